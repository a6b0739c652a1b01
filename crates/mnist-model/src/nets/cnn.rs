//! A small convolutional net after LeNet-5 (LeCun et al. 1998), with ReLU.
//!
//! Each stage is convolution, optional BatchNorm (arXiv 1502.03167), ReLU, and halves the image: by a stride
//! of 2 in the convolution (Springenberg et al. 2014, arXiv 1412.6806), or by 2x2 max-pooling, which costs
//! four times the multiplications. Then one fully connected layer. No norm by default: on a CPU it costs
//! more than it brings at this size.

use burn::{
    module::Module,
    nn::pool::MaxPool2dConfig,
    tensor::{Tensor, activation::relu, backend::Backend},
};
use cpu_ops::dropout;
use serde::{Deserialize, Serialize};

use super::{Encoder, at_least_one, not_absurd, share};
use crate::blocks::{BatchNorm, Conv, Linear, batch_norm, conv2d, hidden_linear};

/// Settings of [`Cnn`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct CnnConfig {
    /// Channels of each stage; every stage halves height and width.
    pub channels: Vec<usize>,
    /// Side of each stage's square kernels, odd, in pixels.
    pub kernels: Vec<usize>,
    /// Whether stages halve the image by max-pooling; else by a stride of 2.
    pub pool: bool,
    /// Whether a BatchNorm follows each convolution.
    pub norm: bool,
    /// Length of the feature vector, in units.
    pub width: usize,
    /// Share of features dropped in training, in [0, 1).
    pub dropout: f64,
}

impl Default for CnnConfig {
    fn default() -> Self {
        Self {
            channels: vec![24, 48, 96],
            kernels: vec![3, 3, 3],
            pool: true,
            norm: false,
            width: 128,
            dropout: 0.0,
        }
    }
}

impl CnnConfig {
    /// Whether these settings make a net for images of `size` = `[height, width]`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, size: [usize; 2]) -> Result<(), String> {
        at_least_one("channels", &self.channels)?;
        at_least_one("width", &[self.width])?;
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
        let [height, width] = self.map_size(size);
        if height == 0 || width == 0 {
            return Err(format!(
                "`channels` has {} stages that each halve the image; {}x{} pixels do not last that long",
                self.channels.len(),
                size[0],
                size[1]
            ));
        }
        let mut inputs = 1;
        for (&outputs, kernel) in self.channels.iter().zip(&self.kernels) {
            not_absurd(kernel.pow(2).saturating_mul(outputs).saturating_mul(inputs))?;
            inputs = outputs;
        }
        not_absurd(inputs.saturating_mul(height * width).saturating_mul(self.width))
    }

    /// A net with fresh weights for images of `size` = `[height, width]`.
    pub fn init<B: Backend>(&self, size: [usize; 2], device: &B::Device) -> Cnn<B> {
        let mut inputs = 1;
        let mut stages = Vec::with_capacity(self.channels.len());
        let stride = if self.pool { 1 } else { 2 };
        for (&outputs, &kernel) in self.channels.iter().zip(&self.kernels) {
            stages.push(Stage {
                conv: conv2d([inputs, outputs], kernel, stride, !self.norm, device),
                norm: self.norm.then(|| batch_norm(outputs, device)),
            });
            inputs = outputs;
        }
        let [height, width] = self.map_size(size);
        Cnn {
            stages,
            pool: self.pool,
            features: hidden_linear(inputs * height * width, self.width, device),
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
    stages: Vec<Stage<B>>,
    pool: bool,
    features: Linear<B>,
    dropout: f64,
}

#[derive(Module, Debug)]
struct Stage<B: Backend> {
    conv: Conv<B>,
    norm: Option<BatchNorm<B>>,
}

impl<B: Backend> Stage<B> {
    fn forward(&self, x: Tensor<B, 4>, pool: bool) -> Tensor<B, 4> {
        match (&self.norm, pool) {
            (None, true) => self.conv.forward_pool_relu(x),
            (None, false) => self.conv.forward_relu(x),
            (Some(norm), true) => {
                let x = norm.forward(self.conv.forward(x));
                let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
                relu(pool.forward(x)) // they commute, and a quarter of the values is left
            }
            (Some(norm), false) => norm.forward_relu(self.conv.forward(x)),
        }
    }
}

impl<B: Backend> Encoder<B> for Cnn<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let mut x = images; // [batch, 1, 28, 28]
        for stage in &self.stages {
            x = stage.forward(x, self.pool); // [batch, channels, height / 2, width / 2]
        }
        let x = x.flatten(1, 3); // [batch, channels * height * width]
        dropout(self.features.forward_relu(x), self.dropout) // [batch, width]
    }

    fn width(&self) -> usize {
        let [_inputs, width] = self.features.weight.dims();
        width
    }
}
