//! A small convolutional net after LeNet-5 (LeCun et al. 1998), with ReLU.
//!
//! Each stage is one convolution or more, each with optional BatchNorm (arXiv 1502.03167) and ReLU, as in VGG
//! (arXiv 1409.1556). The last of a stage halves the image: by a stride of 2 (Springenberg et al. 2014,
//! arXiv 1412.6806), or by 2x2 max-pooling, which costs four times the multiplications. Pooling comes before the
//! norm: it leaves a quarter of the values to normalise. Then one fully connected layer, or none.

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use super::{Encoder, at_least_one, not_absurd, share};
use crate::blocks::{BatchNorm, Conv, Linear, LoraConfig, batch_norm, conv2d, dropout_of, hidden_linear};

/// More convolutions in a stage are a mistake.
const MOST_CONVOLUTIONS: usize = 16;

/// Settings of [`Cnn`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct CnnConfig {
    /// Channels of each stage; every stage halves height and width.
    pub channels: Vec<usize>,
    /// Side of each stage's square kernels, odd, in pixels.
    pub kernels: Vec<usize>,
    /// Convolutions in each stage, one after the other.
    pub convolutions: usize,
    /// Whether stages halve the image by max-pooling; else by a stride of 2.
    pub pool: bool,
    /// Whether a BatchNorm follows each convolution.
    pub norm: bool,
    /// Length of the feature vector, in units; 0 takes the maps of the last stage as they are.
    pub width: usize,
    /// Share of features dropped in training, in [0, 1).
    pub dropout: f64,
}

impl Default for CnnConfig {
    fn default() -> Self {
        Self {
            channels: vec![16, 32, 96],
            kernels: vec![3, 3, 3],
            convolutions: 1,
            pool: true,
            norm: true,
            width: 128,
            dropout: 0.0,
        }
    }
}

impl CnnConfig {
    /// Whether these settings make a net for images of `size`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, size: ImageSize) -> Result<(), String> {
        at_least_one("channels", &self.channels)?;
        if !(1..=MOST_CONVOLUTIONS).contains(&self.convolutions) {
            return Err(format!(
                "`convolutions` is {}; it has to be 1 to {MOST_CONVOLUTIONS}",
                self.convolutions
            ));
        }
        share("dropout", self.dropout)?;
        if self.kernels.len() != self.channels.len()
            || self.kernels.iter().any(|k| k.is_multiple_of(2) || *k > 27)
        {
            return Err(format!(
                "`kernels` is {:?}; it has to hold {} odd numbers of at most 27, one for each of `channels`",
                self.kernels,
                self.channels.len()
            ));
        }
        let [height, width] = self.map_size(size.sides());
        if height == 0 || width == 0 {
            return Err(format!(
                "`channels` has {} stages that each halve the image; {size} do not last that long",
                self.channels.len()
            ));
        }
        let mut inputs = size.channels;
        for (&outputs, kernel) in self.channels.iter().zip(&self.kernels) {
            not_absurd(kernel.pow(2).saturating_mul(outputs).saturating_mul(inputs.max(outputs)))?;
            inputs = outputs;
        }
        not_absurd(inputs.saturating_mul(height * width).saturating_mul(self.width))
    }

    /// A net with fresh weights for images of `size`.
    pub fn init<B: Backend>(&self, size: ImageSize, device: &B::Device) -> Cnn<B> {
        let mut inputs = size.channels;
        let mut layers = Vec::with_capacity(self.channels.len() * self.convolutions);
        for (&outputs, &kernel) in self.channels.iter().zip(&self.kernels) {
            for convolution in 1..=self.convolutions {
                let halves = convolution == self.convolutions;
                let stride = if halves && !self.pool { 2 } else { 1 };
                layers.push(Layer {
                    conv: conv2d([inputs, outputs], kernel, stride, !self.norm, device),
                    norm: self.norm.then(|| batch_norm(outputs, device)),
                    pool: halves && self.pool,
                });
                inputs = outputs;
            }
        }
        let [height, width] = self.map_size(size.sides());
        let flat = inputs * height * width;
        Cnn {
            layers,
            features: (self.width > 0).then(|| hidden_linear(flat, self.width, device)),
            flat,
            dropout: self.dropout,
        }
    }

    /// Height and width after the last stage, in pixels.
    fn map_size(&self, size: [usize; 2]) -> [usize; 2] {
        let half = |n: usize| if self.pool { n / 2 } else { n.div_ceil(2) };
        self.channels.iter().fold(size, |[height, width], _| [half(height), half(width)])
    }
}

/// Small convolutional net.
#[derive(Module, Debug)]
pub struct Cnn<B: Backend> {
    layers: Vec<Layer<B>>,
    features: Option<Linear<B>>,
    flat: usize,
    dropout: f64,
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    conv: Conv<B>,
    norm: Option<BatchNorm<B>>,
    pool: bool,
}

impl<B: Backend> Layer<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match (&self.norm, self.pool) {
            (None, true) => self.conv.forward_pool_relu(x),
            (None, false) => self.conv.forward_relu(x),
            (Some(norm), true) => norm.forward_relu(self.conv.forward_pool(x)),
            (Some(norm), false) => norm.forward_relu(self.conv.forward(x)),
        }
    }
}

impl<B: Backend> Encoder<B> for Cnn<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        // [batch, 1, 28, 28] for MNIST, then [batch, channels, height, width]
        let maps = self.layers.iter().fold(images, |x, layer| layer.forward(x));
        let flat = maps.flatten(1, 3); // [batch, channels * height * width]
        let features = match &self.features {
            Some(features) => features.forward_relu(flat), // [batch, width]
            None => flat,
        };
        let trains = match &self.features {
            Some(layer) => layer.trains(),
            None => self.layers.last().is_some_and(|layer| layer.conv.trains()),
        };
        dropout_of(features, self.dropout, trains)
    }

    fn width(&self) -> usize {
        match &self.features {
            Some(features) => {
                let [_inputs, width] = features.weight.dims();
                width
            }
            None => self.flat,
        }
    }

    fn adapt(mut self, lora: &LoraConfig) -> Result<Self, String> {
        let Some(features) = self.features else {
            return Err("a cnn without `width` has no linear layer that could be adapted".into());
        };
        self.features = Some(features.adapted(lora)?);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;
    use crate::parameters::parameter_count;

    #[test]
    fn stages_have_their_convolutions_and_halve_once() {
        let config = CnnConfig {
            channels: vec![3, 5],
            kernels: vec![5, 3],
            convolutions: 2,
            width: 7,
            ..Default::default()
        };
        for pool in [true, false] {
            let device = Default::default();
            let net: Cnn<Flex> = CnnConfig { pool, ..config.clone() }.init([28, 20].into(), &device);
            let norms = 2 * (3 + 3 + 5 + 5);
            let weights = 25 * (3 + 3 * 3) + 9 * (3 * 5 + 5 * 5) + norms + 5 * 7 * 5 * 7 + 7;
            assert_eq!(parameter_count(&net), weights);
            assert_eq!(net.forward(Tensor::zeros([2, 1, 28, 20], &device)).dims(), [2, 7]);
        }
    }

    #[test]
    fn without_a_width_the_maps_are_the_features() {
        let config = CnnConfig { channels: vec![8, 12, 14], width: 0, ..Default::default() };
        assert_eq!(config.check([28, 28].into()), Ok(()));
        let device = Default::default();
        let net: Cnn<Flex> = config.init([28, 28].into(), &device);
        assert_eq!(net.width(), 14 * 9);
        assert_eq!(net.forward(Tensor::zeros([2, 1, 28, 28], &device)).dims(), [2, 14 * 9]);
    }

    #[test]
    fn no_convolution_in_a_stage_is_named() {
        for convolutions in [0, 17] {
            let error = CnnConfig { convolutions, ..Default::default() }.check([28, 28].into()).unwrap_err();
            assert!(error.contains(&format!("`convolutions` is {convolutions}")), "{error}");
        }
    }
}
