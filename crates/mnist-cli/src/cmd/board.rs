//! Event files for TensorBoard, while a run trains.

use std::path::PathBuf;

use mnist_train::{learner::Event, log::read_metrics, rundir::RunDir, tensorboard::TensorBoard};

/// Event files of a run, and what became of them.
pub(crate) struct Board {
    directory: PathBuf,
    metrics: PathBuf,
    open: Option<TensorBoard>,
}

impl Board {
    /// Nothing is written before the first event.
    pub(crate) fn of(dir: &RunDir) -> Self {
        Self { directory: dir.tensorboard(), metrics: dir.metrics(), open: None }
    }

    /// Writes what belongs there. What cannot be written is no reason to stop a training.
    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        let written = match (event, &mut self.open) {
            (Event::Begun { .. }, _) => read_metrics(&self.metrics)
                .and_then(|lines| TensorBoard::begin(&self.directory, &lines))
                .map(|board| self.open = Some(board)),
            (Event::Logged { line, .. } | Event::Validated { line, .. }, Some(board)) => board.write(line),
            _ => Ok(()),
        };
        if let Err(error) = written {
            tracing::warn!("no more is written for TensorBoard: {error}");
            self.open = None;
        }
    }
}
