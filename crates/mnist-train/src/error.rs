//! What can go wrong in training, each with what was found and what to do.

use std::path::{Path, PathBuf};

use mnist_data::DataError;

use crate::{checkpoint::CheckpointError, metrics::MetricsError, plot::PlotError, report::ReportError};

/// Result of this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting that makes no sense.
    #[error("{0}")]
    Settings(String),

    /// The loss became infinite or not a number.
    #[error(
        "the loss is {loss} at step {step} (epoch {epoch}, learning rate {learning_rate:.3e}); training stopped \
         and nothing of it was saved after the last checkpoint. Try a smaller schedule.learning_rate, a longer \
         schedule.warmup or optimizer.clip_norm=1"
    )]
    NotFinite {
        /// Step whose loss it is, counted from 1.
        step: usize,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Learning rate of that step.
        learning_rate: f64,
        /// The loss.
        loss: f32,
    },

    /// A file or directory could not be read or written.
    #[error("cannot {action} {path}: {source}{}", hint(.action, .source))]
    Io {
        /// What was being done: `write`, `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// Another process holds the run directory.
    #[error("another process is at work in {path} ({holder}); wait for it, or train under another --name")]
    Locked {
        /// The run directory.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },

    /// The name of a new run is taken.
    #[error(
        "the run {path} exists already; go on with it by `train --resume {path}` or choose another --name"
    )]
    Exists {
        /// The run directory.
        path: PathBuf,
    },

    /// A run directory that is not there or not one.
    #[error("{wanted:?} is not a run: looked for run.toml in {}{}", places(.tried), inside(.within))]
    NoRun {
        /// What was asked for.
        wanted: String,
        /// Directories that were tried.
        tried: Vec<PathBuf>,
        /// Runs inside one of them, as of a pipeline.
        within: Vec<PathBuf>,
    },

    /// A run that has no trained weights yet.
    #[error("the run {path} has no trained model yet; finish it with `train --resume {path}`")]
    Unfinished {
        /// The run directory.
        path: PathBuf,
    },

    /// A file of a run that cannot be understood.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// What is being resumed does not fit what was begun.
    #[error("{path} does not fit: {what} was {begun} when it began and is {now} now; {remedy}")]
    Changed {
        /// The run directory.
        path: PathBuf,
        /// Name of what differs.
        what: &'static str,
        /// Then.
        begun: String,
        /// Now.
        now: String,
        /// What to do.
        remedy: &'static str,
    },

    /// A checkpoint that cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Metrics that cannot be computed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Curves that cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A report that cannot be made.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl TrainError {
    /// Makes an [`TrainError::Io`] of a system error: `.map_err(TrainError::io("write", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// What a user can do about the commonest reasons.
fn hint(action: &str, source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::*;
    match source.kind() {
        StorageFull | QuotaExceeded => {
            "; make room; a training goes on from its last checkpoint with `train --resume`"
        }
        PermissionDenied | ReadOnlyFilesystem if action != "read" => "; choose a place that can be written",
        _ => "",
    }
}

fn inside(runs: &[PathBuf]) -> String {
    const MOST: usize = 8;
    match runs.len() {
        0 => String::new(),
        1..=MOST => format!("; there are the runs {}", places(runs)),
        all => format!("; there are the runs {} and {} more", places(&runs[..MOST]), all - MOST),
    }
}

fn places(tried: &[PathBuf]) -> String {
    tried.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
