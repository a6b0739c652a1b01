//! Regression: any encoder, a linear head, squared error. What is told of an image is the number that its class is,
//! 0-9: of MNIST the digit's value, the one number that the data have labels for. Between two digits it may answer in
//! between, which is what tells it from classification. (Of Fashion-MNIST the numbers mean nothing.)
//!
//! The head learns the value less the middle of the classes, divided by the standard deviation of evenly spread ones.

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use mnist_data::{Batch, HostBatch};

use super::{ChosenBy, Losses, Objective, ObjectiveConfig, Progress, Score};
use crate::{
    blocks::{Linear, output_linear},
    nets::{Encoder, EncoderConfig, Net},
};

/// All that makes a [`Regression`].
#[derive(Clone, Debug)]
pub struct RegressionConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// Number of classes: values are 0 to one less.
    pub classes: usize,
}

/// An encoder with a head of one unit.
#[derive(Module, Debug)]
pub struct Regression<B: Backend> {
    /// The encoder.
    pub net: Net<B>,
    /// `[width, 1]`.
    head: Linear<B>,
    mean: f32,
    std: f32,
    middle: f64,
    spread: f64,
}

impl ObjectiveConfig for RegressionConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Regression<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "squared_error", larger_is_better: false };
    const LABELS: bool = true;

    fn check(&self) -> Result<(), String> {
        self.encoder.check()
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Regression<B>, String> {
        self.check()?;
        let net = self.encoder.init(device)?;
        let count = self.classes.max(2) as f64;
        Ok(Regression {
            head: output_linear(net.width(), 1, device),
            net,
            mean: self.encoder.mean,
            std: self.encoder.std,
            middle: (count - 1.0) / 2.0,
            spread: ((count * count - 1.0) / 12.0).sqrt(),
        })
    }
}

impl<B: Backend> Regression<B> {
    /// A value for each image.
    ///
    /// # Shapes
    /// - `images`: `[batch, channels, height, width]`, pixels in 0-1
    /// - returns: `[batch]`
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 1> {
        let [batch, ..] = images.dims();
        let x = self.head.forward(self.encoded(images)); // [batch, 1]
        x.reshape([batch]) * self.spread + self.middle
    }

    /// Features `[batch, width]` of such images.
    fn encoded(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        self.net.forward((images - self.mean) / self.std)
    }
}

impl<B: Backend> Objective<B> for Regression<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, _progress: Progress) -> Losses<B> {
        let error = (self.forward(batch.images) - batch.labels.float()) / self.spread;
        Losses { total: error.square().mean(), parts: Vec::new() }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let truth = batch.labels.float(); // [batch]
        let found = self.forward(batch.images);
        let score = |name, unit, values| Score { name, unit, values };
        vec![
            score("squared_error", "squared digits", (found.clone() - truth.clone()).square()),
            score("absolute_error", "digits", (found - truth.clone()).abs()),
            score("value", "digits", truth.clone()),
            score("squared_value", "squared digits", truth.square()),
        ]
    }

    /// The share of the values' variance that is explained, R^2 = 1 - squared error / variance (scikit-learn's
    /// `r2_score`), from the means over the split.
    fn conclude(&self, mut means: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        let [value, square] = ["value", "squared_value"].map(|name| means.remove(name).unwrap_or(0.0));
        let error = means.get("squared_error").copied().unwrap_or(f64::NAN);
        let variance = square - value * value;
        // One value everywhere has no variance to explain.
        let r2 = if variance > 1e-9 { 1.0 - error / variance } else { 0.0 };
        means.insert("r2".into(), r2);
        means
    }

    fn values(&self, batch: Batch<B>) -> Option<Tensor<B, 1>> {
        Some(self.forward(batch.images))
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(self.encoded(batch.images))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, TensorData};
    use burn_flex::Flex;

    use super::*;
    use crate::nets::NetSettings;

    /// By hand for a head of zeros, which answers 4.5; by scikit-learn `r2_score([1, 9, 4, 4], [4.5] * 4)`.
    #[test]
    fn errors_and_explained_variance() {
        let encoder = EncoderConfig::new("mlp", NetSettings::default(), [28, 28]);
        let config = RegressionConfig { encoder, classes: 10 };
        let device = Default::default();
        let mut model = config.init::<Flex>(&device).unwrap();
        model.head.weight = model.head.weight.map(|weight| weight.zeros_like());
        let labels = Tensor::<Flex, 1, Int>::from_data(TensorData::from([1, 9, 4, 4]), &device);
        let batch = Batch { images: Tensor::zeros([4, 1, 28, 28], &device), labels };
        let mean = |score: &Score<Flex>| f64::from(score.values.clone().mean().into_scalar());
        let means =
            model.scores(batch.clone()).iter().map(|score| (score.name.into(), mean(score))).collect();
        let found = model.conclude(means);
        assert!(
            (found["squared_error"] - 8.25).abs() < 1e-5 && (found["absolute_error"] - 2.25).abs() < 1e-5
        );
        assert!((found["r2"] - -0.0).abs() < 1e-5, "{found:?}");
        assert_eq!(found.len(), 3);
        let loss = model.losses(batch, Progress::default()).total.into_scalar();
        assert!((loss - 1.0).abs() < 1e-5, "{loss}"); // the variance of 0-9 is 8.25 too
    }
}
