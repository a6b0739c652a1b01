//! Objectives: what a model is trained for. One file each.
//!
//! An objective is one function from a batch to named losses with units ([`Objective::losses`]) and one from
//! a batch to a score per sample ([`Objective::scores`]). The learner knows none of them by name.

mod autoencoder;
mod classify;

pub use autoencoder::{Autoencoder, AutoencoderConfig, AutoencoderSettings};
pub use classify::{Classify, ClassifyConfig, ClassifySettings};

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use mnist_data::Examples;

/// What one training step minimises, and the parts of it worth watching.
pub struct Losses<B: Backend> {
    /// The value to minimise, `[1]`.
    pub total: Tensor<B, 1>,
    /// Other named values `[1]` for the log, cut from the graph.
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

/// Unit of a score whose values are predicted classes: over a split they become the macro F1 (see scikit-learn's
/// `f1_score`), which is no mean over samples.
pub const CLASS: &str = "class";

/// A named value for each sample of a batch; means over a split are taken from these.
pub struct Score<B: Backend> {
    /// Name in logs and tables: `accuracy`.
    pub name: &'static str,
    /// Unit: `nats`, `share`; or [`CLASS`].
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

/// A picture of what a model does: images side by side.
pub struct Picture<B: Backend> {
    /// Name of its file and its caption: `reconstructions`.
    pub name: &'static str,
    /// `[images, 1, height, width]`, in 0-1, row by row of the picture.
    pub images: Tensor<B, 4>,
    /// Images in a row of the picture.
    pub columns: usize,
}

/// The first images of each batch, one batch a row: what was given above what was made of it.
pub(crate) fn side_by_side<B: Backend>(rows: Vec<Tensor<B, 4>>) -> Picture<B> {
    /// Images in a row.
    const COLUMNS: usize = 16;
    let columns = rows.iter().map(|row| row.dims()[0]).min().unwrap_or(0).min(COLUMNS);
    let images = Tensor::cat(rows.into_iter().map(|row| row.narrow(0, 0, columns)).collect(), 0);
    Picture { name: "", images, columns }
}

/// Examples of one kind on a device.
pub type On<E, B> = <E as Examples>::OnDevice<B>;

/// A part of an update with a loss of its own, whose gradients move some of the parameters: a GAN has two.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Name of its loss in logs and tables.
    pub loss: &'static str,
    /// Beginnings of the names of the parameters that it moves; `""` is the beginning of all.
    pub moves: Vec<&'static str>,
    /// What the run's learning rate is multiplied by, above 0.
    pub learning_rate: f64,
}

impl Phase {
    /// Whether it moves the parameter of this name.
    pub fn moves(&self, path: &str) -> bool {
        self.moves.iter().any(|start| path.starts_with(start))
    }
}

impl Default for Phase {
    /// All parameters, at the run's learning rate.
    fn default() -> Self {
        Self { loss: "loss", moves: vec![""], learning_rate: 1.0 }
    }
}

/// A model with a purpose. Where it can be reused, its encoder is its field `net`.
pub trait Objective<B: Backend>: Module<B> {
    /// What it learns from.
    type Input: Examples;

    /// Named losses of a training batch, in phase number `phase` of the update.
    ///
    /// What is drawn is drawn from the backend's generator, which the caller has seeded.
    fn losses(&self, batch: On<Self::Input, B>, phase: usize) -> Losses<B>;

    /// Named scores of each sample of a validation batch; the caller has seeded the backend's generator.
    fn scores(&self, batch: On<Self::Input, B>) -> Vec<Score<B>>;

    /// Class probabilities, `[batch, classes]`, each row summing to 1, for objectives that classify.
    fn probabilities(&self, batch: On<Self::Input, B>) -> Option<Tensor<B, 2>> {
        let _ = batch;
        None
    }

    /// Features of each sample, `[batch, width]`, for objectives with an encoder: what is reused.
    fn features(&self, batch: On<Self::Input, B>) -> Option<Tensor<B, 2>> {
        let _ = batch;
        None
    }

    /// Pictures of what it does with the first examples of the validation split.
    fn pictures(&self, batch: On<Self::Input, B>) -> Vec<Picture<B>> {
        let _ = batch;
        Vec::new()
    }
}

/// Settings that make an objective's model.
pub trait ObjectiveConfig {
    /// What it learns from.
    type Input: Examples;

    /// The model, on any backend.
    type Model<B: Backend>: Objective<B, Input = Self::Input>;

    /// How validation chooses.
    const CHOSEN_BY: ChosenBy;

    /// The phases of an update, in their order, at least one.
    fn phases(&self) -> Vec<Phase> {
        vec![Phase::default()]
    }

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
