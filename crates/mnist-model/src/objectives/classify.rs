//! Classification: any encoder, a linear head, cross-entropy.

use burn::{
    module::Module,
    tensor::{Int, Tensor, backend::Backend},
};
use cpu_ops::{cross_entropy, cross_entropy_per_sample, softmax};
use mnist_data::{Batch, HostBatch};
use serde::{Deserialize, Serialize};

use super::{CLASS, ChosenBy, Losses, Objective, ObjectiveConfig, Part, Progress, Score};
use crate::{
    blocks::{Linear, LoraConfig, output_linear},
    nets::{Encoder, Net, NetSettings},
};

/// Settings of the classification objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(default)]
pub struct ClassifySettings {
    /// Label smoothing, in [0, 1): share of the target spread over all classes.
    pub label_smoothing: f32,
}

/// All that makes a [`Classify`].
#[derive(Clone, Debug)]
pub struct ClassifyConfig {
    /// Name of the encoder in the table of nets.
    pub net: String,
    /// Settings of the nets.
    pub nets: NetSettings,
    /// Height and width of the images, in pixels.
    pub size: [usize; 2],
    /// Number of classes.
    pub classes: usize,
    /// Mean of the training pixels (in 0-1), taken off every pixel.
    pub mean: f32,
    /// Standard deviation of the training pixels (in 0-1), by which every pixel is divided.
    pub std: f32,
    /// What a recipe may set.
    pub settings: ClassifySettings,
    /// What is learned beside the encoder's frozen linear layers, if anything is.
    pub lora: Option<LoraConfig>,
}

/// An encoder with a linear head: class scores for images.
#[derive(Module, Debug)]
pub struct Classify<B: Backend> {
    /// The encoder.
    pub net: Net<B>,
    /// `[width, classes]`.
    pub head: Linear<B>,
    pub(super) mean: f32,
    pub(super) std: f32,
    pub(super) label_smoothing: f32,
}

impl ObjectiveConfig for ClassifyConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Classify<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "accuracy", larger_is_better: true };
    const LABELS: bool = true;

    fn check(&self) -> Result<(), String> {
        self.nets.check(&self.net, self.size)?;
        if !(0.0..1.0).contains(&self.settings.label_smoothing) {
            return Err(format!(
                "`classify.label_smoothing` is {}; it has to be at least 0 and below 1",
                self.settings.label_smoothing
            ));
        }
        Ok(())
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Classify<B>, String> {
        self.check()?;
        let mut net = self.nets.init(&self.net, self.size, device)?;
        if let Some(lora) = &self.lora {
            net = net.adapt(lora).map_err(|e| format!("LoRA on the net {}: {e}", self.net))?;
        }
        let head = output_linear(net.width(), self.classes, device);
        Ok(Classify {
            net,
            head,
            mean: self.mean,
            std: self.std,
            label_smoothing: self.settings.label_smoothing,
        })
    }
}

impl<B: Backend> Classify<B> {
    /// Class scores for a batch of images.
    ///
    /// # Shapes
    /// - `images`: `[batch, 1, height, width]`, pixels in 0-1
    /// - returns: `[batch, classes]`, logits (not normalised)
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        self.head.forward(self.encoded(images)) // [batch, classes]
    }

    /// Features `[batch, width]` of such images.
    fn encoded(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = (images - self.mean) / self.std; // [batch, 1, height, width]
        self.net.forward(x)
    }
}

impl<B: Backend> Objective<B> for Classify<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, _progress: Progress) -> Losses<B> {
        let logits = self.forward(batch.images);
        let right = predicted(logits.clone().detach()).equal(batch.labels.clone()).float().mean();
        let total = cross_entropy(logits, batch.labels, self.label_smoothing);
        let accuracy = Part { name: "accuracy", unit: "share", value: right };
        Losses { total, parts: vec![accuracy] }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let logits = self.forward(batch.images);
        let predicted = predicted(logits.clone());
        let right = predicted.clone().equal(batch.labels.clone()).float();
        let loss = cross_entropy_per_sample(logits, batch.labels, 0.0);
        vec![
            Score { name: "cross_entropy", unit: "nats", values: loss },
            Score { name: "accuracy", unit: "share", values: right },
            Score { name: "predicted", unit: CLASS, values: predicted.float() },
        ]
    }

    fn probabilities(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(softmax(self.forward(batch.images)))
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(self.encoded(batch.images))
    }
}

/// The class with the largest score: `[batch]`.
fn predicted<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 1, Int> {
    let [batch, _classes] = logits.dims();
    logits.argmax(1).reshape([batch])
}
