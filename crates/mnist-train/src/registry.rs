//! The registry of objectives. A new objective is one file in `mnist-model` and one line in `objectives!`:
//! training, resume, evaluation, the tests of all objectives and the tables follow from it.

use std::path::Path;

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mnist_data::Batch;
use mnist_model::{
    objectives::{ClassifyConfig, Objective, ObjectiveConfig, Score},
    parameters::{parameters, summary},
};

use crate::{
    checkpoint,
    error::{Result, TrainError},
    learner::{self, Outcome, Session},
    run::Run,
    rundir::Facts,
    tensors::unflatten,
    weights,
};

/// An objective's configuration, as a run's settings and the data's facts give it.
trait FromRun: ObjectiveConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self;
}

impl FromRun for ClassifyConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self {
            net: run.net.clone(),
            nets: run.nets.clone(),
            size: facts.size,
            classes: facts.classes.len(),
            mean: facts.mean,
            std: facts.std,
            settings: run.classify.clone(),
        }
    }
}

/// A trained model, whatever it was trained for.
pub trait Trained<B: Backend>: Send {
    /// See [`Objective::scores`].
    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>>;
    /// See [`Objective::probabilities`].
    fn probabilities(&self, images: Tensor<B, 4>) -> Option<Tensor<B, 2>>;
    /// A table of its tensors.
    fn summary(&self) -> String;
}

impl<B: Backend, M: Objective<B>> Trained<B> for M {
    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        Objective::scores(self, batch)
    }

    fn probabilities(&self, images: Tensor<B, 4>) -> Option<Tensor<B, 2>> {
        Objective::probabilities(self, images)
    }

    fn summary(&self) -> String {
        summary::<B, M>(self)
    }
}

macro_rules! objectives {
    ($($name:literal: $config:ty, $about:literal;)*) => {
        /// Names of all objectives, and what each is.
        pub const TABLE: &[(&str, &str)] = &[$(($name, $about),)*];

        /// Trains the model that a run's settings name; see [`learner::fit`].
        ///
        /// # Errors
        /// Those of [`learner::fit`], and [`TrainError::Settings`] for settings that make no model.
        pub fn fit<B: AutodiffBackend>(
            facts: &Facts,
            session: Session<'_>,
            devices: &[B::Device],
        ) -> Result<Outcome> {
            match session.run.objective.as_str() {
                $($name => learner::fit::<B, $config>(&<$config>::from_run(session.run, facts), session, devices),)*
                other => Err(unknown(other)),
            }
        }

        /// A model with fresh weights, as a run's settings name it.
        ///
        /// # Errors
        /// [`TrainError::Settings`] for settings that make no model.
        pub fn fresh<B: Backend>(run: &Run, facts: &Facts, device: &B::Device) -> Result<Box<dyn Trained<B>>> {
            match run.objective.as_str() {
                $($name => {
                    let model = <$config>::from_run(run, facts).init::<B>(device).map_err(TrainError::Settings)?;
                    Ok(Box::new(model))
                })*
                other => Err(unknown(other)),
            }
        }

        /// Whether a run's settings make a model.
        ///
        /// # Errors
        /// A message that names the setting.
        pub fn check(run: &Run, facts: &Facts) -> Result<(), String> {
            match run.objective.as_str() {
                $($name => <$config>::from_run(run, facts).check(),)*
                other => Err(unknown(other).to_string()),
            }
        }

        /// Loads the model of a run from a file of weights, made under settings with this digest.
        ///
        /// # Errors
        /// [`TrainError::Io`]; [`TrainError::Checkpoint`] naming every tensor that does not fit.
        pub fn load<B: Backend>(
            run: &Run,
            facts: &Facts,
            weights: &Path,
            settings: &str,
            device: &B::Device,
        ) -> Result<Box<dyn Trained<B>>> {
            match run.objective.as_str() {
                $($name => {
                    let model = <$config>::from_run(run, facts).init::<B>(device).map_err(TrainError::Settings)?;
                    let values = weights::load_weights(weights, &parameters(&model), settings, device)?;
                    Ok(Box::new(unflatten(model, values)))
                })*
                other => Err(unknown(other)),
            }
        }

        /// The model of a run with the weights that a checkpoint would be kept for: the moving average where there
        /// is one.
        ///
        /// # Errors
        /// [`TrainError::Io`]; [`TrainError::Checkpoint`] where it is damaged or does not fit.
        pub fn load_checkpoint<B: Backend>(
            run: &Run,
            facts: &Facts,
            checkpoint: &Path,
            settings: &str,
            device: &B::Device,
        ) -> Result<Box<dyn Trained<B>>> {
            match run.objective.as_str() {
                $($name => {
                    let model = <$config>::from_run(run, facts).init::<B>(device).map_err(TrainError::Settings)?;
                    let values = checkpoint::load_chosen(checkpoint, &parameters(&model), settings, device)?;
                    Ok(Box::new(unflatten(model, values)))
                })*
                other => Err(unknown(other)),
            }
        }
    };
}

objectives! {
    "classify": ClassifyConfig, "classification: an encoder, a linear head, cross-entropy";
}

fn unknown(name: &str) -> TrainError {
    let names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
    TrainError::Settings(format!("no objective is called {name:?}; there are: {}", names.join(", ")))
}
