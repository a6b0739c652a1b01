//! Event files for TensorBoard: what metrics.jsonl holds, in the format that TensorBoard reads.
//!
//! `RUN/tensorboard/train` and `RUN/tensorboard/valid` hold one file each, so that both draw into one chart. A file is
//! a row of records (the length, its checksum, the bytes, their checksum; checksums are CRC-32C, turned and shifted),
//! each of them a protobuf message `Event` (tensorflow/core/util/event.proto). A resumed run writes both anew from
//! metrics.jsonl, which is the truth: nothing stands in them twice.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

use crate::{
    error::{Result, TrainError},
    log::MetricsLine,
};

/// Name of the only file in each directory; TensorBoard looks for `tfevents` in it.
const FILE: &str = "events.out.tfevents.0.mnist";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes the event files of a run.
#[derive(Debug)]
pub struct TensorBoard {
    directory: PathBuf,
    files: BTreeMap<String, File>,
}

impl TensorBoard {
    /// Begins in `directory`, whose event files it replaces, with the lines that there are.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn begin(directory: &Path, lines: &[MetricsLine]) -> Result<Self> {
        let mut board = Self { directory: directory.into(), files: BTreeMap::new() };
        lines.iter().try_for_each(|line| board.write(line))?;
        Ok(board)
    }

    /// Adds a line's values and its learning rate, each under its name.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&mut self, line: &MetricsLine) -> Result<()> {
        let value = |(name, value): (&str, f64)| Value { tag: name.into(), simple_value: Some(value as f32) };
        let rate = (line.split == "train").then_some(("learning_rate", line.learning_rate));
        let values = line.values.iter().map(|(name, value)| (name.as_str(), *value)).chain(rate);
        let event = Event {
            wall_time: now(),
            step: i64::try_from(line.step).unwrap_or(i64::MAX),
            summary: Some(Summary { value: values.map(value).collect() }),
            ..Event::default()
        };
        let folder = self.directory.join(&line.split);
        let path = folder.join(FILE);
        let file = match self.files.get_mut(&line.split) {
            Some(file) => file,
            None => {
                fs::create_dir_all(&folder).map_err(TrainError::io("make the directory", &folder))?;
                let mut file = File::create(&path).map_err(TrainError::io("make", &path))?;
                let version = Some("brain.Event:2".into());
                let first = Event { wall_time: now(), file_version: version, ..Event::default() };
                file.write_all(&record(&first)).map_err(TrainError::io("write", &path))?;
                self.files.entry(line.split.clone()).or_insert(file)
            }
        };
        file.write_all(&record(&event)).map_err(TrainError::io("write", &path))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// An event as it stands in a file.
fn record(event: &Event) -> Vec<u8> {
    let bytes = event.encode_to_vec();
    let length = (bytes.len() as u64).to_le_bytes();
    let checksum = |bytes: &[u8]| masked(Crc::<u32>::new(&CRC_32_ISCSI).checksum(bytes)).to_le_bytes();
    [&length[..], &checksum(&length), &bytes, &checksum(&bytes)].concat()
}

/// A checksum as records hold it, so that one over bytes that hold checksums is not special.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that TensorFlow's own writer makes:
    /// ```python
    /// from tensorboard.compat.proto.event_pb2 import Event
    /// from tensorboard.summary.writer.record_writer import RecordWriter
    /// import io; f = io.BytesIO(); w = RecordWriter(f)
    /// e = Event(wall_time=1.5, step=7); v = e.summary.value.add(); v.tag = "loss"; v.simple_value = 0.25
    /// w.write(e.SerializeToString()); f.getvalue().hex()
    /// ```
    #[test]
    fn a_record_is_byte_for_byte_tensorflows() {
        let value = Value { tag: "loss".into(), simple_value: Some(0.25) };
        let event = Event {
            wall_time: 1.5,
            step: 7,
            file_version: None,
            summary: Some(Summary { value: vec![value] }),
        };
        let hex: String = record(&event).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "1a00000000000000129bd82d09000000000000f83f10072a0d0a0b0a046c6f7373150000803ec9d07b8d"
        );
    }

    #[test]
    fn begun_again_nothing_stands_twice() {
        let directory = tempfile::tempdir().unwrap();
        let line = |split: &str, step| MetricsLine {
            split: split.into(),
            step,
            epoch: 1,
            learning_rate: 1e-3,
            values: [("loss".to_string(), 0.5)].into(),
        };
        let length = |split: &str| fs::metadata(directory.path().join(split).join(FILE)).unwrap().len();
        let lines = [line("train", 1), line("train", 2), line("valid", 2)];
        let mut board = TensorBoard::begin(directory.path(), &lines).unwrap();
        board.write(&line("train", 3)).unwrap();
        let longer = length("train");
        TensorBoard::begin(directory.path(), &lines).unwrap();
        assert!(length("train") < longer);
        assert!(length("valid") > 0);
    }
}
