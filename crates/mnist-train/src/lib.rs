//! Learner, checkpoints, evaluation and reports for the models of `mnist-model`.
//!
//! Settings flow one way: what was typed -> [`run::Run`] (defaults, recipe, `key=value`) -> saved in a
//! [`rundir::RunDir`] -> the registry -> [`learner::fit`]. Everything random is a function of (seed, epoch,
//! step), so a run that is killed and resumed ends in the same bits as one that is not.
//!
//! ```
//! use mnist_train::run::Run;
//!
//! let run = Run::resolve(None, &["net=mlp".into(), "epochs=3".into()])?;
//! assert_eq!(run.epochs, 3);
//! let error = Run::resolve(None, &["epoch=3".into()]).unwrap_err();
//! assert!(error.to_string().contains("the nearest are epochs"));
//! # Ok::<(), mnist_train::TrainError>(())
//! ```

mod adapt;
pub mod card;
pub mod checkpoint;
pub mod compare;
pub mod data;
mod error;
pub mod evaluate;
pub mod export;
pub mod few_labels;
pub mod figures;
pub mod finetune;
pub mod foreign;
pub mod frechet;
mod graph;
pub mod grid;
pub mod import;
pub mod judge;
pub mod learner;
pub mod likelihood;
pub mod log;
pub mod metrics;
pub mod optimizer;
pub mod plan;
pub mod plot;
pub mod probe;
pub mod prompt;
pub mod publish;
pub mod questions;
pub mod registry;
mod replicas;
pub mod report;
pub mod run;
pub mod rundir;
pub mod sampling;
pub mod schedule;
pub mod tensorboard;
pub mod tensors;
pub mod token_data;
pub mod tune;
pub mod weights;

pub use error::{Result, TrainError};
