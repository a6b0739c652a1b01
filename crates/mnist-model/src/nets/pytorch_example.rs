//! The net of PyTorch's MNIST example (github.com/pytorch/examples, mnist/main.py) without its dropout.
//!
//! Two 3x3 convolutions without padding, ReLU behind each, 2x2 max-pooling, one fully connected layer with
//! ReLU; the objective's head is the example's second one. It is here as a yardstick: every framework has been
//! measured on it. Departures: He initialisation and zero biases, as all nets here; the pooling comes before the
//! second ReLU, which gives the same values.

use burn::{
    module::{Module, Param},
    tensor::{Tensor, backend::Backend},
};
use cpu_ops::Conv2dOptions;
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use super::{Encoder, at_least_one, not_absurd};
use crate::blocks::{Conv, Linear, LoraConfig, conv2d, hidden_linear};

/// Settings of [`PytorchExample`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct PytorchExampleConfig {
    /// Channels of the two convolutions.
    pub channels: [usize; 2],
    /// Length of the feature vector, in units.
    pub width: usize,
}

impl Default for PytorchExampleConfig {
    fn default() -> Self {
        Self { channels: [32, 64], width: 128 }
    }
}

impl PytorchExampleConfig {
    /// Whether these settings make a net for images of `size`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, size: ImageSize) -> Result<(), String> {
        at_least_one("channels", &self.channels)?;
        at_least_one("width", &[self.width])?;
        if size.sides().iter().any(|&side| side < 6) {
            return Err(format!("images of {size} are too small; 6x6 is the least"));
        }
        let [first, second] = self.channels;
        not_absurd(first.max(size.channels).saturating_mul(second).saturating_mul(9))?;
        let [height, width] = map_size(size.sides());
        not_absurd(second.saturating_mul(height * width).saturating_mul(self.width))
    }

    /// A net with fresh weights for images of `size`, each at least 6.
    pub fn init<B: Backend>(&self, size: ImageSize, device: &B::Device) -> PytorchExample<B> {
        let [first, second] = self.channels;
        let [height, width] = map_size(size.sides());
        PytorchExample {
            conv1: conv2d([size.channels, first], 3, 1, true, device),
            conv2: conv2d([first, second], 3, 1, true, device),
            features: hidden_linear(second * height * width, self.width, device),
        }
    }
}

/// Height and width after both convolutions and the pooling, in pixels.
fn map_size(size: [usize; 2]) -> [usize; 2] {
    size.map(|side| (side - 4) / 2)
}

/// The net of PyTorch's MNIST example.
#[derive(Module, Debug)]
pub struct PytorchExample<B: Backend> {
    conv1: Conv<B>,
    conv2: Conv<B>,
    features: Linear<B>,
}

impl<B: Backend> Encoder<B> for PytorchExample<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let then = Conv2dOptions { relu: true, ..Default::default() };
        let x = unpadded(&self.conv1, images, then); // [batch, 32, height - 2, width - 2]
        let then = Conv2dOptions { max_pool: true, ..then };
        let x = unpadded(&self.conv2, x, then); // [batch, 64, (height - 4) / 2, (width - 4) / 2]
        self.features.forward_relu(x.flatten(1, 3)) // [batch, width]
    }

    fn width(&self) -> usize {
        let [_inputs, width] = self.features.weight.dims();
        width
    }

    fn adapt(self, lora: &LoraConfig) -> Result<Self, String> {
        Ok(Self { features: self.features.adapted(lora)?, ..self })
    }
}

/// The convolution without the padding that [`Conv`] gives itself.
fn unpadded<B: Backend>(conv: &Conv<B>, x: Tensor<B, 4>, then: Conv2dOptions) -> Tensor<B, 4> {
    cpu_ops::conv2d(x, conv.weight.val(), conv.bias.as_ref().map(Param::val), then)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nets::EncoderConfig,
        objectives::{ClassifyConfig, ObjectiveConfig},
        parameters::parameter_count,
    };
    use burn_flex::Flex;

    #[test]
    fn with_a_head_it_has_as_many_parameters_as_in_pytorch() {
        // sum(p.numel() for p in Net().parameters()) of the example
        let encoder = EncoderConfig::new("pytorch_example_cnn", Default::default(), [28, 28]);
        let config = ClassifyConfig { encoder, classes: 10, settings: Default::default() };
        let model = config.init::<Flex>(&Default::default()).unwrap();
        assert_eq!(parameter_count(&model), 1_199_882);
    }

    #[test]
    fn images_too_small_are_refused() {
        assert!(PytorchExampleConfig::default().check([5, 28].into()).unwrap_err().contains("6x6"));
    }
}
