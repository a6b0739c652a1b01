//! One file for each command.

pub(crate) mod bench_worker;
mod board;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod few_labels;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod manual;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod predict;
pub(crate) mod probe;
pub(crate) mod recipes;
pub(crate) mod runs;
pub(crate) mod serve;
pub(crate) mod train;
pub(crate) mod tune;

use std::{fs, path::Path, process::ExitCode};

use anyhow::Result;
use mnist_data::{
    Preparation, own,
    scan::{self, ScanError},
};
use mnist_train::{
    TrainError,
    rundir::{Facts, RunDir, write_whole},
};

use crate::{args::UsageError, stop};

/// Keeps the settings that a directory of results is begun with, or refuses others than it was begun with: what they
/// give does not belong together. `reason` says so behind the directory's name.
fn belongs(home: &Path, file: &str, settings: &str, reason: &str) -> Result<()> {
    let path = home.join(file);
    if !path.exists() {
        return Ok(write_whole(&path, settings.as_bytes())?);
    }
    let old = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
    if old == settings {
        return Ok(());
    }
    Err(UsageError(format!("{}{reason}", home.display())).into())
}

/// Refuses a directory that holds something, but for a `mark` that the command has put there before.
fn unoccupied(out: &Path, mark: Option<&str>) -> Result<()> {
    let occupied = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !mark.is_some_and(|mark| out.join(mark).is_file()) {
        return Err(
            UsageError(format!("{} is there and not empty; choose another --out", out.display())).into()
        );
    }
    Ok(())
}

/// A picture as a run's model sees it.
fn picture(path: &Path, facts: &Facts) -> Result<Vec<u8>, ScanError> {
    match facts.preparation {
        Preparation::Digit => Ok(scan::read(path)?.pixels.to_vec()),
        Preparation::Middle => own::prepared(path, facts.size),
    }
}

/// Refuses probabilities that are no numbers, as those of a run whose weights are none.
fn finite(found: &[f32], run: &RunDir) -> Result<()> {
    if found.iter().all(|p| p.is_finite()) {
        return Ok(());
    }
    Err(TrainError::Damaged { path: run.model(), reason: "its probabilities are no numbers".into() }.into())
}

/// The class of the greatest probability, and that.
fn likeliest(row: &[f32]) -> (usize, f32) {
    row.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// The end of a command that goes on where it was stopped when it is given again.
fn interrupted() -> ExitCode {
    tell!("stopped; the same command goes on");
    ExitCode::from(stop::INTERRUPTED)
}
