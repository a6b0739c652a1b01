//! Residual net (He et al. 2015, arXiv 1512.03385) of BasicBlocks, as ResNet-18, made for 28x28 images.
//!
//! Departures, as in the paper's own CIFAR nets: a 3x3 stem at stride 1 with no pooling in place of the 7x7
//! stem, and `width` 16 in place of 64, so that it trains on a laptop's CPU. The last BatchNorm of a block
//! starts at zero (Goyal et al. 2017, arXiv 1706.02677, section 5.1): a fresh block is the identity.

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use super::{Encoder, at_least_one, not_absurd};
use crate::blocks::{BatchNorm, Conv, batch_norm, batch_norm_from_zero, conv2d};

/// Settings of [`Resnet`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct ResnetConfig {
    /// Channels of the first stage; each further stage doubles them. ResNet-18 has 64.
    pub width: usize,
    /// BasicBlocks in each stage; every stage but the first halves the image. ResNet-18 has [2, 2, 2, 2].
    pub blocks: Vec<usize>,
}

impl Default for ResnetConfig {
    fn default() -> Self {
        Self { width: 16, blocks: vec![2, 2, 2, 2] }
    }
}

impl ResnetConfig {
    /// Whether these settings make a net for images of `size`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, size: ImageSize) -> Result<(), String> {
        at_least_one("width", &[self.width])?;
        at_least_one("blocks", &self.blocks)?;
        if self.blocks.len() > 6 || self.blocks.iter().any(|&n| n > 64) {
            return Err(format!("`blocks` is {:?}; at most 6 stages of at most 64 blocks", self.blocks));
        }
        let last = self.width.saturating_mul(1 << (self.blocks.len() - 1));
        not_absurd(last.saturating_mul(last.max(size.channels)).saturating_mul(9))
    }

    /// A net with fresh weights.
    pub fn init<B: Backend>(&self, size: ImageSize, device: &B::Device) -> Resnet<B> {
        let mut channels = self.width;
        let mut blocks = Vec::new();
        for (stage, &count) in self.blocks.iter().enumerate() {
            for block in 0..count {
                let halve = stage > 0 && block == 0;
                let outputs = if halve { channels * 2 } else { channels };
                blocks.push(Block::basic([channels, outputs], if halve { 2 } else { 1 }, device));
                channels = outputs;
            }
        }
        Resnet {
            stem: conv2d([size.channels, self.width], 3, 1, false, device),
            norm: batch_norm(self.width, device),
            blocks,
            width: channels,
        }
    }
}

/// Residual net.
#[derive(Module, Debug)]
pub struct Resnet<B: Backend> {
    stem: Conv<B>,
    norm: BatchNorm<B>,
    blocks: Vec<Block<B>>,
    width: usize,
}

impl<B: Backend> Encoder<B> for Resnet<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.norm.forward_relu(self.stem.forward(images)); // [batch, width, 28, 28]
        pooled(&self.blocks, x) // [batch, 8 * width]
    }

    fn width(&self) -> usize {
        self.width
    }
}

/// What comes out of blocks, `[batch, channels]` as means over all pixels.
pub(super) fn pooled<B: Backend>(blocks: &[Block<B>], x: Tensor<B, 4>) -> Tensor<B, 2> {
    let x = blocks.iter().fold(x, |x, block| block.forward(x)); // [batch, channels, height, width]
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
}

/// Convolutions and a shortcut around them.
#[derive(Module, Debug)]
pub(super) struct Block<B: Backend> {
    conv1: Conv<B>,
    norm1: BatchNorm<B>,
    conv2: Conv<B>,
    norm2: BatchNorm<B>,
    /// The third convolution, 1x1, of a bottleneck; a BasicBlock has two, of 3x3.
    expand: Option<Normed<B>>,
    /// 1x1 convolution where the shape changes (option B of the paper), else nothing.
    downsample: Option<Normed<B>>,
}

/// A convolution and its norm.
#[derive(Module, Debug)]
struct Normed<B: Backend> {
    conv: Conv<B>,
    norm: BatchNorm<B>,
}

impl<B: Backend> Block<B> {
    /// A BasicBlock: two 3x3 convolutions, the first of them at `stride`.
    pub(super) fn basic([inputs, outputs]: [usize; 2], stride: usize, device: &B::Device) -> Self {
        Self {
            conv1: conv2d([inputs, outputs], 3, stride, false, device),
            norm1: batch_norm(outputs, device),
            conv2: conv2d([outputs, outputs], 3, 1, false, device),
            norm2: batch_norm_from_zero(outputs, device),
            expand: None,
            downsample: downsample([inputs, outputs], stride, device),
        }
    }

    /// A bottleneck: 1x1 down to `middle` channels, 3x3 at `stride`, 1x1 up to `outputs`.
    pub(super) fn bottleneck(channels: [usize; 3], stride: usize, device: &B::Device) -> Self {
        let [inputs, middle, outputs] = channels;
        Self {
            conv1: conv2d([inputs, middle], 1, 1, false, device),
            norm1: batch_norm(middle, device),
            conv2: conv2d([middle, middle], 3, stride, false, device),
            norm2: batch_norm(middle, device),
            expand: Some(Normed {
                conv: conv2d([middle, outputs], 1, 1, false, device),
                norm: batch_norm_from_zero(outputs, device),
            }),
            downsample: downsample([inputs, outputs], stride, device),
        }
    }

    /// `[batch, inputs, height, width]` to `[batch, outputs, height / stride, width / stride]`.
    pub(super) fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let shortcut = match &self.downsample {
            Some(down) => down.norm.forward(down.conv.forward(x.clone())),
            None => x.clone(),
        };
        let y = self.conv2.forward(self.norm1.forward_relu(self.conv1.forward(x)));
        match &self.expand {
            None => self.norm2.forward_add_relu(y, shortcut),
            Some(last) => last.norm.forward_add_relu(last.conv.forward(self.norm2.forward_relu(y)), shortcut),
        }
    }
}

fn downsample<B: Backend>(channels: [usize; 2], stride: usize, device: &B::Device) -> Option<Normed<B>> {
    let [inputs, outputs] = channels;
    (stride != 1 || inputs != outputs).then(|| Normed {
        conv: conv2d(channels, 1, stride, false, device),
        norm: batch_norm(outputs, device),
    })
}
