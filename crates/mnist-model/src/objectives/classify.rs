//! Classification: any encoder, a linear head, cross-entropy or squared error.
//!
//! Squared error is that of the softmax's probabilities against the one-hot truth, summed over classes (Brier 1950), so
//! that what is minimised are still probabilities. (Hui & Belkin 2020, arXiv 2006.07322, leave the softmax away.)

use burn::{
    module::Module,
    tensor::{Int, Tensor, backend::Backend},
};
use cpu_ops::{cross_entropy, cross_entropy_per_sample, softmax};
use mnist_data::{Batch, HostBatch};
use serde::{Deserialize, Serialize};

use super::{CLASS, ChosenBy, Losses, Objective, ObjectiveConfig, Part, Progress, Score, hits, predicted};
use crate::{
    blocks::{Linear, output_linear},
    nets::{Encoder, EncoderConfig, Net},
};

/// Settings of the classification objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(default)]
pub struct ClassifySettings {
    /// Label smoothing, in [0, 1): share of the target spread over all classes.
    pub label_smoothing: f32,
    /// What is minimised: `cross-entropy`, in nats, or `squared-error`, in 0-2.
    pub loss: ClassifyLoss,
}

/// What a classifier minimises.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "kebab-case")]
pub enum ClassifyLoss {
    /// The negative logarithm of the truth's probability.
    #[default]
    CrossEntropy,
    /// The squared distance of the probabilities from those of the truth.
    SquaredError,
}

/// All that makes a [`Classify`].
#[derive(Clone, Debug)]
pub struct ClassifyConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// Number of classes.
    pub classes: usize,
    /// What a recipe may set.
    pub settings: ClassifySettings,
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
    pub(super) squared: bool,
}

impl ObjectiveConfig for ClassifyConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Classify<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "accuracy", larger_is_better: true };
    const LABELS: bool = true;

    fn check(&self) -> Result<(), String> {
        self.encoder.check()?;
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
        let net = self.encoder.init(device)?;
        let head = output_linear(net.width(), self.classes, device);
        Ok(Classify {
            net,
            head,
            mean: self.encoder.mean,
            std: self.encoder.std,
            label_smoothing: self.settings.label_smoothing,
            squared: self.settings.loss == ClassifyLoss::SquaredError,
        })
    }
}

impl<B: Backend> Classify<B> {
    /// Class scores for a batch of images.
    ///
    /// # Shapes
    /// - `images`: `[batch, channels, height, width]`, pixels in 0-1
    /// - returns: `[batch, classes]`, logits (not normalised)
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        self.head.forward(self.encoded(images)) // [batch, classes]
    }

    /// Features `[batch, width]` of such images.
    fn encoded(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = (images - self.mean) / self.std; // [batch, channels, height, width]
        self.net.forward(x)
    }
}

impl<B: Backend> Objective<B> for Classify<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, _progress: Progress) -> Losses<B> {
        let logits = self.forward(batch.images);
        let right = hits(logits.clone().detach(), batch.labels.clone()).mean();
        let total = if self.squared {
            squared_error(logits, batch.labels, self.label_smoothing).mean()
        } else {
            cross_entropy(logits, batch.labels, self.label_smoothing)
        };
        let accuracy = Part { name: "accuracy", unit: "share", value: right };
        Losses { total, parts: vec![accuracy] }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let logits = self.forward(batch.images);
        let predicted = predicted(logits.clone());
        let right = predicted.clone().equal(batch.labels.clone()).float();
        let loss = if self.squared {
            let values = squared_error(logits, batch.labels, 0.0);
            Score { name: "squared_error", unit: "of probabilities", values }
        } else {
            let values = cross_entropy_per_sample(logits, batch.labels, 0.0);
            Score { name: "cross_entropy", unit: "nats", values }
        };
        vec![
            loss,
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

/// Squared distance of the softmax of `logits` `[batch, classes]` from the truth, of which the share `smoothing` is
/// spread over all classes: `[batch]`.
fn squared_error<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    smoothing: f32,
) -> Tensor<B, 1> {
    let [batch, classes] = logits.dims();
    let truth = labels.one_hot::<2>(classes).float() * (1.0 - smoothing) + smoothing / classes as f32;
    (softmax(logits) - truth).square().sum_dim(1).reshape([batch])
}

#[cfg(test)]
mod tests {
    use burn::{backend::Autodiff, tensor::TensorData};
    use burn_flex::Flex;

    use super::*;

    const ERRORS: [[f32; 2]; 2] = [[0.767129, 0.039205], [0.446844, 0.005482]];
    const GRADIENTS: [[f32; 6]; 2] = [
        [0.28402, -0.003104, -0.280917, 0.00668, -0.033081, 0.026401],
        [0.217694, -0.006406, -0.211288, -0.003954, 0.00646, -0.002506],
    ];

    /// Numbers of PyTorch 2.9:
    ///
    /// ```python
    /// import torch, torch.nn.functional as F
    /// x = torch.tensor([[1., -2, 0.5], [0, 3, 1]], requires_grad=True)
    /// y = torch.tensor([2, 1])
    /// for s in (0., .3):
    ///     e = (x.softmax(1) - (F.one_hot(y, 3) * (1 - s) + s / 3)).square().sum(1)
    ///     print(e.tolist(), torch.autograd.grad(e.mean(), x)[0].flatten().tolist())
    /// ```
    #[test]
    fn pytorchs_squared_error() {
        let device = Default::default();
        let close = |found: Vec<f32>, wanted: &[f32]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} {wanted:?}");
        };
        for (smoothing, errors, gradient) in [(0.0, ERRORS[0], GRADIENTS[0]), (0.3, ERRORS[1], GRADIENTS[1])]
        {
            let data = TensorData::from([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]);
            let logits = Tensor::<Autodiff<Flex>, 2>::from_data(data, &device).require_grad();
            let labels = Tensor::from_data(TensorData::from([2, 1]), &device);
            let found = squared_error(logits.clone(), labels, smoothing);
            let grads = found.clone().mean().backward();
            close(found.into_data().to_vec().unwrap(), &errors);
            close(logits.grad(&grads).unwrap().into_data().to_vec().unwrap(), &gradient);
        }
    }
}
