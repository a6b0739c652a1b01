//! Contrastive learning, SimCLR (Chen et al. 2020, arXiv 2002.05709): two distorted views of an image are to be found
//! by their features among those of all others in the batch.
//!
//! NT-Xent loss: cosine similarities over a temperature, cross-entropy with the other view as the answer. As in the
//! paper a small projection stands between features and loss and is thrown away afterwards. Departures: Adam in place
//! of LARS, batches of a laptop's size, distortions of pen strokes (shift, turn, scale, shear, elastic) in place of
//! crops and colours.

use burn::{
    module::Module,
    tensor::{Int, Tensor, backend::Backend},
};
use cpu_ops::{cross_entropy, cross_entropy_per_sample};
use mnist_data::{Batch, HostBatch};
use serde::{Deserialize, Serialize};

use super::{ChosenBy, Losses, Objective, ObjectiveConfig, Part, Picture, Progress, Score, side_by_side};
use crate::{
    blocks::{Linear, hidden_linear, output_linear},
    nets::{Encoder, EncoderConfig, Net, at_least_one},
};

/// Views of each image.
pub const VIEWS: usize = 2;

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct ContrastiveSettings {
    /// What similarities, in -1 to 1, are divided by.
    pub temperature: f64,
    /// Units of the projection's hidden layer.
    pub hidden: usize,
    /// Numbers that the projection gives.
    pub projection: usize,
}

impl Default for ContrastiveSettings {
    fn default() -> Self {
        Self { temperature: 0.2, hidden: 256, projection: 64 }
    }
}

/// All that makes a [`Contrastive`].
#[derive(Clone, Debug)]
pub struct ContrastiveConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// What a recipe may set.
    pub settings: ContrastiveSettings,
}

/// An encoder and a projection.
#[derive(Module, Debug)]
pub struct Contrastive<B: Backend> {
    /// The encoder.
    pub net: Net<B>,
    /// `[width, hidden]`.
    pub hidden: Linear<B>,
    /// `[hidden, projection]`.
    pub projection: Linear<B>,
    mean: f32,
    std: f32,
    temperature: f64,
}

impl ObjectiveConfig for ContrastiveConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Contrastive<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "nt_xent", larger_is_better: false };

    fn check(&self) -> Result<(), String> {
        let &ContrastiveSettings { temperature, hidden, projection } = &self.settings;
        self.encoder.check()?;
        at_least_one("contrastive.hidden", &[hidden])?;
        at_least_one("contrastive.projection", &[projection])?;
        if !(0.001..=100.0).contains(&temperature) {
            return Err(format!("`contrastive.temperature` is {temperature}; it has to be 0.001 to 100"));
        }
        Ok(())
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Contrastive<B>, String> {
        self.check()?;
        let ContrastiveSettings { temperature, hidden, projection } = self.settings;
        let net = self.encoder.init(device)?;
        Ok(Contrastive {
            hidden: hidden_linear(net.width(), hidden, device),
            net,
            projection: output_linear(hidden, projection, device),
            mean: self.encoder.mean,
            std: self.encoder.std,
            temperature,
        })
    }
}

impl<B: Backend> Contrastive<B> {
    /// Similarities of all views in a batch, and for each the number of the other view of its image.
    ///
    /// # Shapes
    /// - `images`: `[views, channels, height, width]`, the two of an image one after the other
    /// - returns: `[views, views]`, over the temperature, a view's with itself out of the question; `[views]`
    pub fn forward(&self, images: Tensor<B, 4>) -> (Tensor<B, 2>, Tensor<B, 1, Int>) {
        let x = self.net.forward((images - self.mean) / self.std); // [views, width]
        self.compare(self.projection.forward(self.hidden.forward_relu(x)))
    }

    /// As [`Contrastive::forward`], of projections `[views, projection]`.
    fn compare(&self, z: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 1, Int>) {
        let (device, [views, _]) = (z.device(), z.dims());
        let length = (z.clone().square().sum_dim(1) + 1e-12).sqrt(); // [views, 1]
        let z = z / length;
        let similar = z.clone().matmul(z.transpose()) / self.temperature; // [views, views]
        let similar = similar - Tensor::eye(views, &device) * (2.0 / self.temperature + 100.0);
        let partners = Tensor::from_ints(partners(views).as_slice(), &device);
        (similar, partners)
    }
}

/// The number of each view's partner.
fn partners(views: usize) -> Vec<i32> {
    (0..views as i32).map(|view| view ^ 1).collect()
}

impl<B: Backend> Objective<B> for Contrastive<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, _: Progress) -> Losses<B> {
        let (similar, partners) = self.forward(batch.images);
        let value = found(similar.clone().detach(), partners.clone()).mean();
        let part = Part { name: "partner_found", unit: "share", value };
        Losses { total: cross_entropy(similar, partners, 0.0), parts: vec![part] }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let (similar, partners) = self.forward(batch.images);
        let per_image = |values: Tensor<B, 1>| {
            let [views] = values.dims();
            values.reshape([views / VIEWS, VIEWS]).mean_dim(1).reshape([views / VIEWS])
        };
        let right = per_image(found(similar.clone(), partners.clone()));
        let loss = per_image(cross_entropy_per_sample(similar, partners, 0.0));
        vec![
            Score { name: "nt_xent", unit: "nats", values: loss },
            Score { name: "partner_found", unit: "share", values: right },
        ]
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(self.net.forward((batch.images - self.mean) / self.std))
    }

    fn pictures(&self, batch: Batch<B>) -> Vec<Picture<B>> {
        let [views, channels, height, width] = batch.images.dims();
        let pairs = batch.images.reshape([views / VIEWS, VIEWS, channels * height, width]);
        let view = |i| pairs.clone().narrow(1, i, 1).reshape([views / VIEWS, channels, height, width]);
        vec![Picture { name: "views", ..side_by_side(vec![view(0), view(1)]) }]
    }
}

/// 1 where the most similar view is the partner, else 0: `[views]`.
fn found<B: Backend>(similar: Tensor<B, 2>, partners: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let [views, _] = similar.dims();
    similar.argmax(1).reshape([views]).equal(partners).float()
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use burn_flex::Flex;

    use super::*;
    use crate::nets::{MlpConfig, NetSettings};

    /// The loss of projections that are given, by the paper's equation 1:
    ///
    /// ```python
    /// import torch, torch.nn.functional as F
    /// z = F.normalize(((torch.arange(12) * 7 % 11) / 4 - 1).reshape(4, 3), dim=1)
    /// s = z @ z.T / 0.5
    /// s.fill_diagonal_(-torch.inf)
    /// print(F.cross_entropy(s, torch.tensor([1, 0, 3, 2]), reduction="none"))
    /// ```
    #[test]
    fn the_loss_is_the_papers() {
        let device = Default::default();
        let nets = NetSettings { mlp: MlpConfig { hidden: vec![3], dropout: 0.0 }, ..Default::default() };
        let config = ContrastiveConfig {
            encoder: EncoderConfig::new("mlp", nets, [1, 3]),
            settings: ContrastiveSettings { temperature: 0.5, hidden: 6, projection: 3 },
        };
        let model = config.init::<Flex>(&device).unwrap();
        let x: Vec<f32> = (0..12).map(|i| (i * 7 % 11) as f32 / 4.0 - 1.0).collect();
        let x = Tensor::<Flex, 2>::from_data(TensorData::new(x, [4, 3]), &device);
        let (similar, partners) = model.compare(x);
        let loss = cross_entropy_per_sample(similar, partners, 0.0).into_data().to_vec::<f32>().unwrap();
        const THEIRS: [f32; 4] = [1.143865, 3.49777, 0.733801, 0.629941];
        assert!(loss.iter().zip(THEIRS).all(|(a, b)| (a - b).abs() < 1e-5), "{loss:?}");
    }
}
