//! Seconds of training until a test accuracy is reached.
//!
//! The real learner trains and saves every so many steps; each checkpoint is measured on the test split with
//! the weights that the recipe would keep (the moving average where it has one). Saving and measuring stop the
//! learner's clock. Nothing is chosen by what is measured here: it is a figure of a benchmark.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, ensure};
use burn::tensor::backend::Backend;
use mnist_train::{
    data::AnyLoader,
    evaluate::{SplitName, load_split},
    learner::Event,
    registry,
};
use serde::Serialize;

use super::{Serve, train::Trial};
use crate::device::Compute;

/// How it went.
#[derive(Serialize)]
pub(super) struct Reached {
    /// Seconds of training; `None` if the recipe ended before.
    seconds: Option<f64>,
    /// Steps of training.
    steps: usize,
    /// Share of the test images that were right then, in 0-1.
    accuracy: f64,
}

/// Trains until `wanted` is reached or the recipe ends.
pub(super) fn reach<B: Compute>(
    serve: &Serve,
    wanted: f64,
    every: usize,
    mut set: Vec<String>,
    device: &B::Device,
) -> Result<Reached> {
    ensure!(every > 0, "every is 0; it has to be 1 or more");
    ensure!((0.0..=1.0).contains(&wanted), "accuracy is {wanted}; it has to be 0 to 1");
    set.push(format!("log.every_steps={every}"));
    set.push(format!("checkpoint.every_steps={every}"));
    set.push("checkpoint.every_seconds=0".into());
    let trial = Trial::begin(serve, &set)?;
    let data_dir = serve.common.data_dir.as_deref();
    let test = load_split(&trial.saved, SplitName::Test, data_dir, trial.dir.path())?;
    let settings = trial.dir.settings_digest()?;

    let stop = AtomicBool::new(false);
    let mut reached = Reached { seconds: None, steps: 0, accuracy: 0.0 };
    let mut speed = 0.0;
    let mut failure = None;
    let mut tell = |event: Event<'_>| match event {
        Event::Logged { line, examples_per_second } => {
            (reached.steps, speed) = (line.step, examples_per_second)
        }
        // The learner makes one more step after it has been stopped, and saves that too.
        Event::Saved { path } if !stop.load(Ordering::Relaxed) => {
            match accuracy::<B>(&trial, &settings, path, &test, device) {
                Ok(accuracy) => {
                    reached.accuracy = accuracy;
                    if accuracy >= wanted {
                        reached.seconds = Some(images(&trial, reached.steps) as f64 / speed);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    failure = Some(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        _ => {}
    };
    trial.fit::<B>(&stop, &mut tell, device)?;
    match failure {
        Some(error) => Err(error),
        None => Ok(reached),
    }
}

/// Share of the test images that a checkpoint's chosen weights get right.
fn accuracy<B: Backend>(
    trial: &Trial,
    settings: &str,
    checkpoint: &Path,
    test: &AnyLoader,
    device: &B::Device,
) -> Result<f64> {
    let (run, facts) = (&trial.saved.run, &trial.saved.facts);
    let model = registry::load_checkpoint::<B>(run, facts, checkpoint, settings, device)?;
    let found = model.scores(test, device)?;
    found.get("accuracy").copied().context("the default recipe does not classify")
}

/// Images that have been trained on after so many steps.
fn images(trial: &Trial, steps: usize) -> usize {
    let (run, train) = (&trial.saved.run, &trial.data.train);
    let per_epoch = train.steps().div_ceil(run.accumulate);
    let (epochs, rest) = (steps / per_epoch, steps % per_epoch);
    epochs * train.len() + rest * run.batch_size * run.accumulate
}
