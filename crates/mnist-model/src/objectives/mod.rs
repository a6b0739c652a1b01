//! Objectives: what a model is trained for. One file each.
//!
//! An objective is one function from a batch to named losses with units ([`Objective::losses`]) and one from
//! a batch to a score per sample ([`Objective::scores`]). The learner knows none of them by name.

mod classify;

pub use classify::{Classify, ClassifyConfig, ClassifySettings};

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use mnist_data::Batch;

/// What one training step minimises, and the parts of it worth watching.
pub struct Losses<B: Backend> {
    /// The value to minimise, `[1]`.
    pub total: Tensor<B, 1>,
    /// Named values `[1]` for the log, cut from the graph.
    pub parts: Vec<Part<B>>,
}

/// A named value with its unit.
pub struct Part<B: Backend> {
    /// Name in logs and tables: `cross_entropy`.
    pub name: &'static str,
    /// Unit: `nats`, `share`.
    pub unit: &'static str,
    /// The mean over the batch, `[1]`.
    pub value: Tensor<B, 1>,
}

/// A named value for each sample of a batch; means over a split are taken from these.
pub struct Score<B: Backend> {
    /// Name in logs and tables: `accuracy`.
    pub name: &'static str,
    /// Unit: `nats`, `share`.
    pub unit: &'static str,
    /// One value a sample, `[batch]`.
    pub values: Tensor<B, 1>,
}

/// The score by which validation chooses the best weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenBy {
    /// Name of one of the [`Score`]s.
    pub score: &'static str,
    /// Whether a larger value is better.
    pub larger_is_better: bool,
}

impl ChosenBy {
    /// Whether `new` is better than `old`; equal is not better.
    pub fn better(&self, new: f64, old: f64) -> bool {
        if self.larger_is_better { new > old } else { new < old }
    }
}

/// A model with a purpose.
pub trait Objective<B: Backend>: Module<B> {
    /// Named losses of a training batch.
    fn losses(&self, batch: Batch<B>) -> Losses<B>;

    /// Named scores of each sample of a validation batch.
    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>>;

    /// Class probabilities of images, for objectives that classify.
    ///
    /// # Shapes
    /// - `images`: `[batch, 1, height, width]`, pixels in 0-1
    /// - returns: `[batch, classes]`, each row sums to 1
    fn probabilities(&self, images: Tensor<B, 4>) -> Option<Tensor<B, 2>> {
        let _ = images;
        None
    }
}

/// Settings that make an objective's model.
pub trait ObjectiveConfig {
    /// The model, on any backend.
    type Model<B: Backend>: Objective<B>;

    /// How validation chooses.
    const CHOSEN_BY: ChosenBy;

    /// Whether these settings make a model.
    ///
    /// # Errors
    /// A message that names the setting.
    fn check(&self) -> Result<(), String>;

    /// A model with fresh weights. Initial values come from the backend's generator: seed it before, and see
    /// [`parameters`](crate::parameters::parameters) for drawing them in a fixed order.
    ///
    /// # Errors
    /// Settings that make no model give a message that names the setting.
    fn init<B: Backend>(&self, device: &B::Device) -> Result<Self::Model<B>, String>;
}
