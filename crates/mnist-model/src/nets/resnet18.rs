//! ResNet-18 as torchvision has it (He et al. 2015, arXiv 1512.03385): 7x7 stem at stride 2, 3x3 max-pooling, four
//! stages of two BasicBlocks. Made for 224x224 photographs; it is here to take published weights.
//!
//! A grey image is read as three equal channels. Where `channels` is 1 the stem has one: torchvision's three, summed,
//! give the same. The small net for digits is [`Resnet`](super::Resnet).

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend, module::max_pool2d},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use super::{Encoder, at_least_one, not_absurd, resnet::BasicBlock};
use crate::blocks::{BatchNorm, Conv, batch_norm, conv2d};

/// Stages, each with twice the channels of the one before.
const STAGES: usize = 4;
/// BasicBlocks of a stage.
pub const BLOCKS: usize = 2;

/// Settings of [`Resnet18`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct Resnet18Config {
    /// Channels of the stem's input: 3 as published, or 1.
    pub channels: usize,
    /// Channels of the first stage; published weights have 64.
    pub width: usize,
}

impl Default for Resnet18Config {
    fn default() -> Self {
        Self { channels: 3, width: 64 }
    }
}

impl Resnet18Config {
    /// Whether these settings make a net for images of `size`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, size: ImageSize) -> Result<(), String> {
        if ![1, 3].contains(&self.channels) {
            return Err(format!("`channels` is {}; it has to be 3 (as published) or 1", self.channels));
        }
        if size.is_colour() && size.channels != self.channels {
            return Err(format!("`channels` is {}; images of {size} take {}", self.channels, size.channels));
        }
        at_least_one("width", &[self.width])?;
        let last = self.width.saturating_mul(1 << (STAGES - 1));
        not_absurd(last.saturating_mul(last).saturating_mul(9))
    }

    /// A net with fresh weights.
    pub fn init<B: Backend>(&self, _size: ImageSize, device: &B::Device) -> Resnet18<B> {
        let mut inputs = self.width;
        let mut blocks = Vec::with_capacity(STAGES * BLOCKS);
        for stage in 0..STAGES {
            let outputs = self.width << stage;
            for block in 0..BLOCKS {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(BasicBlock::new([inputs, outputs], stride, device));
                inputs = outputs;
            }
        }
        Resnet18 {
            stem: conv2d([self.channels, self.width], 7, 2, false, device),
            norm: batch_norm(self.width, device),
            blocks,
            width: inputs,
        }
    }
}

/// ResNet-18.
#[derive(Module, Debug)]
pub struct Resnet18<B: Backend> {
    stem: Conv<B>,
    norm: BatchNorm<B>,
    blocks: Vec<BasicBlock<B>>,
    width: usize,
}

impl<B: Backend> Encoder<B> for Resnet18<B> {
    /// Repeats grey images where the stem has three channels.
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let [_outputs, wanted, ..] = self.stem.weight.dims();
        let [_batch, channels, ..] = images.dims();
        let images = if channels < wanted { images.repeat_dim(1, wanted) } else { images };
        let x = self.norm.forward_relu(self.stem.forward(images)); // [batch, width, height / 2, width / 2]
        let mut x = max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], false); // [batch, width, height / 4, width / 4]
        for block in &self.blocks {
            x = block.forward(x); // [batch, channels, height, width]
        }
        let [batch, channels, height, width] = x.dims();
        x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
    }

    fn width(&self) -> usize {
        self.width
    }
}
