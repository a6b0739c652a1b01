//! Objectives: what a model is trained for. One file each.
//!
//! An objective is one function from a batch to named losses with units ([`Objective::losses`]) and one from
//! a batch to a score per sample ([`Objective::scores`]). The learner knows none of them by name.

mod autoencoder;
mod classify;
mod classify_tokens;
mod contrastive;
mod fixmatch;
mod gan;
mod label_sequence;
mod language_model;
mod masked;
mod regression;
mod vae;

pub use autoencoder::{Autoencoder, AutoencoderConfig, AutoencoderSettings};
pub use classify::{Classify, ClassifyConfig, ClassifyLoss, ClassifySettings};
pub use classify_tokens::{ClassifyTokens, ClassifyTokensConfig, ClassifyTokensSettings, TokenPool};
pub use contrastive::{Contrastive, ContrastiveConfig, ContrastiveSettings, VIEWS};
pub use fixmatch::{FIXMATCH_VIEWS, Fixmatch, FixmatchConfig, FixmatchSettings};
pub use gan::{Gan, GanConfig, GanSettings};
pub use label_sequence::{LabelSequence, LabelSequenceConfig, LabelSequenceSettings};
pub use language_model::{LanguageModel, LanguageModelConfig, LanguageModelSettings};
pub use masked::{Masked, MaskedConfig, MaskedSettings};
pub use regression::{Regression, RegressionConfig};
pub use vae::{Vae, VaeConfig, VaeSettings};

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Int, Tensor, TensorData, backend::Backend},
};
use mnist_data::{Examples, Patches};

use crate::generate::{GenerateRequest, Generated, Watch, unwatched};

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
    /// One value a sample, `[batch]`; of predicted classes, one for each that [`Objective::probabilities`] tells.
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
    /// By a score that says nothing: validation chooses the last weights.
    pub const NOTHING: Self = Self { score: "undecided", larger_is_better: false };

    /// Whether the score says which of two models is better.
    pub fn says_something(&self) -> bool {
        *self != Self::NOTHING
    }

    /// Whether `new` is better than `old`; equal is not better.
    pub fn better(&self, new: f64, old: f64) -> bool {
        if self.larger_is_better { new > old } else { new < old }
    }
}

/// A picture of what a model does: images side by side.
#[derive(Debug)]
pub struct Picture<B: Backend> {
    /// Name of its file and its caption: `reconstructions`.
    pub name: &'static str,
    /// `[images, channels, height, width]`, in 0-1, row by row of the picture.
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

/// The class with the largest logit: `[batch, classes]` to `[batch]`.
pub(crate) fn predicted<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 1, Int> {
    let [batch, _classes] = logits.dims();
    logits.argmax(1).reshape([batch])
}

/// 1 where the largest logit is the target's, else 0: `[batch]`.
pub(crate) fn hits<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    predicted(logits).equal(targets).float()
}

/// Images of token sequences: `[rows, 1, height, width]`, grey where a token is no content.
pub(crate) fn drawn<B: Backend>(patches: &Patches, rows: &[Vec<i32>], device: &B::Device) -> Tensor<B, 4> {
    let [height, width] = patches.size();
    let pixels: Vec<f32> = rows.iter().flat_map(|row| patches.decode(row)).collect();
    Tensor::from_data(TensorData::new(pixels, [rows.len(), 1, height, width]), device)
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

/// Which part of which update a loss is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of the phase in the update, below the number of [`ObjectiveConfig::phases`].
    pub phase: usize,
    /// Updates made before this one.
    pub step: usize,
    /// Updates of the whole training.
    pub total: usize,
}

impl Progress {
    /// Share of the training that is done, in [0, 1].
    pub fn share(&self) -> f64 {
        (self.step as f64 / self.total.max(1) as f64).min(1.0)
    }
}

/// A model with a purpose. Where it can be reused, its encoder is its field `net`.
pub trait Objective<B: Backend>: Module<B> {
    /// What it learns from.
    type Input: Examples;

    /// Named losses of a training batch, in a phase of an update.
    ///
    /// What is drawn is drawn from the backend's generator, which the caller has seeded.
    fn losses(&self, batch: On<Self::Input, B>, progress: Progress) -> Losses<B>;

    /// Named scores of each sample of a validation batch; the caller has seeded the backend's generator.
    fn scores(&self, batch: On<Self::Input, B>) -> Vec<Score<B>>;

    /// What is reported, from the means of all scores over a split: ratios of them, for example.
    fn conclude(&self, means: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        means
    }

    /// Class probabilities, each row summing to 1, for objectives that classify: `[batch, classes]`, or a row for each
    /// of [`mnist_data::HostTokens::answers`] where classes are those of positions.
    fn probabilities(&self, batch: On<Self::Input, B>) -> Option<Tensor<B, 2>> {
        let _ = batch;
        None
    }

    /// A number for each example, `[batch]`, for objectives that tell one.
    fn values(&self, batch: On<Self::Input, B>) -> Option<Tensor<B, 1>> {
        let _ = batch;
        None
    }

    /// Features of each example as its encoder gives them, `[batch, width]`, for objectives that have one.
    fn features(&self, batch: On<Self::Input, B>) -> Option<Tensor<B, 2>> {
        let _ = batch;
        None
    }

    /// For models of a likelihood with a hidden code: logarithms of importance weights `p(x, z) / q(z | x)`, in nats,
    /// of `samples` codes drawn for each example, `[batch, samples]`. The mean of the weights estimates `p(x)`.
    fn log_weights(&self, batch: On<Self::Input, B>, samples: usize) -> Option<Tensor<B, 2>> {
        let _ = (batch, samples);
        None
    }

    /// New examples, for objectives that can make some; the caller has seeded the backend's generator.
    fn generate(&self, request: &GenerateRequest, device: &B::Device) -> Option<Generated<B>> {
        self.generate_watched(request, device, &mut unwatched)
    }

    /// What [`Objective::generate`] gives, watched while it is made token by token or in rounds; where that stops it, what
    /// there is so far. Of what is made at once nothing is told.
    fn generate_watched(
        &self,
        request: &GenerateRequest,
        device: &B::Device,
        watch: &mut Watch<'_>,
    ) -> Option<Generated<B>> {
        let _ = (request, device, watch);
        None
    }

    /// Numbers in a code that it makes an image of, if it does; see [`GenerateRequest::codes`].
    fn code_width(&self) -> Option<usize> {
        None
    }

    /// Pictures of what it does with the first examples of the validation split.
    fn pictures(&self, batch: On<Self::Input, B>) -> Vec<Picture<B>> {
        let _ = batch;
        Vec::new()
    }

    /// What it does with the first texts of the validation split: a name, as a [`Picture`] has one, and lines.
    fn excerpts(&self, batch: On<Self::Input, B>) -> Vec<(&'static str, String)> {
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

    /// Whether it learns from labels; what does not is pretraining.
    const LABELS: bool = false;

    /// Whether a batch has to be on one device: its parts would not have the loss of the whole.
    const WHOLE_BATCH: bool = false;

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
