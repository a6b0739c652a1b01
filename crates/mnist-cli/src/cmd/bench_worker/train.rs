//! A whole run of the real learner, for how its time and memory grow.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use mnist_train::{
    data::TrainingData,
    learner::{Event, Session},
    log::read_end,
    registry,
    run::Run,
    rundir::{RunDir, RunLock, SavedRun},
};
use serde::Serialize;

use super::{Serve, peak_mib};
use crate::{cmd::train::begun, device::Compute, recipes::Recipe};

/// What came of a training.
#[derive(Serialize)]
pub(super) struct Trained {
    /// From the first step to the last, with validation and checkpoints.
    seconds: f64,
    /// Training alone.
    images_per_s: f64,
    /// Of this process so far.
    peak_mib: Option<f64>,
}

/// A run directory that goes when this goes.
pub(super) struct Trial {
    pub dir: RunDir,
    pub saved: SavedRun,
    pub data: TrainingData,
    _lock: RunLock,
}

impl Trial {
    /// The default recipe with some settings changed, in a directory of its own below `--runs`.
    pub(super) fn begin(serve: &Serve, set: &[String]) -> Result<Self> {
        let recipe = Recipe::find("default")?;
        let run = Run::resolve(Some((&recipe.text, &recipe.origin)), set)?;
        let data = TrainingData::load(&run, serve.common.data_dir.as_deref())?;
        let saved = begun(run, &data, None, serve.backend, 1);
        let name = format!("bench-{}-{}", serve.backend, std::process::id());
        let (dir, _lock) = RunDir::create(&serve.common.runs.join(name), &saved)?;
        Ok(Self { dir, saved, data, _lock })
    }

    /// Trains; `tell` may set `stop`.
    pub(super) fn fit<B: Compute>(
        &self,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Event<'_>),
        device: &B::Device,
    ) -> Result<()> {
        let session = Session {
            run: &self.saved.run,
            dir: &self.dir,
            data: &self.data,
            resume: None,
            source: None,
            stop,
            tell,
        };
        registry::fit::<B::Training>(&self.saved.facts, session, std::slice::from_ref(device))?;
        Ok(())
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(self.dir.path()) {
            tracing::warn!("{} stays: {error}", self.dir.path().display());
        }
    }
}

/// Trains to the end.
pub(super) fn train<B: Compute>(serve: &Serve, set: &[String], device: &B::Device) -> Result<Trained> {
    let trial = Trial::begin(serve, set)?;
    trial.fit::<B>(&AtomicBool::new(false), &mut |_| (), device)?;
    let end = read_end(&trial.dir.timing()).context("the training has left no time")?;
    Ok(Trained { seconds: end.train_seconds, images_per_s: end.examples_per_second, peak_mib: peak_mib() })
}
