//! metrics.jsonl and timing.jsonl: what a run measured, one JSON object a line.
//!
//! metrics.jsonl holds nothing that depends on the clock: a resumed run cuts it back to its checkpoint's length
//! and writes the same bytes again.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// One line of metrics.jsonl.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct MetricsLine {
    /// `train` (means over the steps since the line before) or `valid` (means over the split).
    pub split: String,
    /// Updates made.
    pub step: usize,
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Named values.
    pub values: BTreeMap<String, f64>,
}

/// metrics.jsonl while it is being written.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
    length: u64,
}

impl MetricsLog {
    /// Opens the file and cuts it to `length` bytes (0: a new run).
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Damaged`] if it is shorter than that.
    pub fn open(path: &Path, length: u64) -> Result<Self> {
        let io = |action| TrainError::io(action, path);
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io("open"))?;
        let found = file.metadata().map_err(io("read"))?.len();
        if found < length {
            return Err(TrainError::Damaged {
                path: path.to_path_buf(),
                reason: format!("it has {found} bytes, the checkpoint was made at {length}"),
            });
        }
        file.set_len(length).map_err(io("cut"))?;
        file.seek(SeekFrom::End(0)).map_err(io("write"))?;
        Ok(Self { file, path: path.to_path_buf(), length })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&mut self, line: &MetricsLine) -> Result<()> {
        let bytes = json_line(line, &self.path)?;
        self.file.write_all(&bytes).map_err(TrainError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Brings all lines to the disk and returns the file's length, in bytes.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn sync(&mut self) -> Result<u64> {
        self.file.sync_all().map_err(TrainError::io("write", &self.path))?;
        Ok(self.length)
    }
}

/// All lines of a metrics.jsonl.
///
/// # Errors
/// [`TrainError::Io`]; [`TrainError::Damaged`] naming the line.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>> {
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    text.lines()
        .enumerate()
        .map(|(i, line)| {
            serde_json::from_str(line).map_err(|e| TrainError::Damaged {
                path: path.to_path_buf(),
                reason: format!("line {}: {e}", i + 1),
            })
        })
        .collect()
}

/// One line of timing.jsonl.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TimingLine {
    /// `epoch` (an epoch of this sitting ended) or `end` (training ended).
    pub event: String,
    /// Updates made.
    pub step: usize,
    /// Training examples a second in this sitting, validation and saving left out.
    pub examples_per_second: f64,
    /// Seconds of training so far, all sittings together, validation and saving included.
    pub train_seconds: f64,
}

/// Appends to timing.jsonl.
///
/// # Errors
/// [`TrainError::Io`].
pub fn append_timing(path: &Path, line: &TimingLine) -> Result<()> {
    let bytes = json_line(line, path)?;
    let open = OpenOptions::new().create(true).append(true).open(path);
    open.and_then(|mut file| file.write_all(&bytes)).map_err(TrainError::io("write", path))
}

/// The last `end` line of a timing.jsonl, if there is one.
pub fn read_end(path: &Path) -> Option<TimingLine> {
    let text = std::fs::read_to_string(path).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<TimingLine>(line).ok());
    lines.rev().find(|line| line.event == "end")
}

fn json_line<T: Serialize>(line: &T, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line).map_err(|e| TrainError::Io {
        action: "write",
        path: path.to_path_buf(),
        source: e.into(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}
