//! ResNets as torchvision has them (He et al. 2015, arXiv 1512.03385): 7x7 stem at stride 2, 3x3 max-pooling, four stages of
//! BasicBlocks (18 and 34 layers) or bottlenecks (50 layers; stride in the 3x3 convolution, unlike the paper). Made for 224x224
//! photographs; they are here to take published weights.
//!
//! A grey image is read as three equal channels. Where `channels` is 1 the stem has one: torchvision's three, summed,
//! give the same. The small net for digits is [`Resnet`](super::Resnet).

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend, module::max_pool2d},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use super::{
    Encoder, at_least_one, not_absurd,
    resnet::{Block, pooled},
};
use crate::blocks::{BatchNorm, Conv, batch_norm, conv2d};

/// Stages, each with twice the channels of the one before.
const STAGES: usize = 4;
/// How much wider a bottleneck's output is than its middle.
const WIDER: usize = 4;

/// The blocks of a ResNet of torchvision's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Blocks of each stage.
    pub blocks: [usize; STAGES],
    /// Whether they are bottlenecks: 1x1, 3x3 and 1x1 convolutions in place of two of 3x3.
    pub bottleneck: bool,
}

impl Layout {
    /// Of `resnet18`.
    pub const RESNET18: Self = Self { blocks: [2, 2, 2, 2], bottleneck: false };
    /// Of `resnet34`.
    pub const RESNET34: Self = Self { blocks: [3, 4, 6, 3], bottleneck: false };
    /// Of `resnet50`.
    pub const RESNET50: Self = Self { blocks: [3, 4, 6, 3], bottleneck: true };

    /// Of the net called `net`, if it is one of these.
    pub fn of_net(net: &str) -> Option<Self> {
        match net {
            "resnet18" => Some(Self::RESNET18),
            "resnet34" => Some(Self::RESNET34),
            "resnet50" => Some(Self::RESNET50),
            _ => None,
        }
    }

    /// Channels that a stage ends with, of a first stage of `width`.
    fn outputs(self, width: usize, stage: usize) -> usize {
        let widened = if self.bottleneck { width.saturating_mul(WIDER) } else { width };
        widened.saturating_mul(1 << stage)
    }

    fn check(self, channels: usize, width: usize, size: ImageSize) -> Result<(), String> {
        if ![1, 3].contains(&channels) {
            return Err(format!("`channels` is {channels}; it has to be 3 (as published) or 1"));
        }
        if size.is_colour() && size.channels != channels {
            return Err(format!("`channels` is {channels}; images of {size} take {}", size.channels));
        }
        at_least_one("width", &[width])?;
        let last = self.outputs(width, STAGES - 1);
        not_absurd(last.saturating_mul(last).saturating_mul(9))
    }

    fn init<B: Backend>(self, channels: usize, width: usize, device: &B::Device) -> Torchvision<B> {
        let mut inputs = width;
        let mut blocks = Vec::with_capacity(self.blocks.iter().sum());
        for (stage, count) in self.blocks.into_iter().enumerate() {
            let outputs = self.outputs(width, stage);
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(if self.bottleneck {
                    Block::bottleneck([inputs, width << stage, outputs], stride, device)
                } else {
                    Block::basic([inputs, outputs], stride, device)
                });
                inputs = outputs;
            }
        }
        Torchvision {
            stem: conv2d([channels, width], 7, 2, false, device),
            norm: batch_norm(width, device),
            blocks,
            width: inputs,
        }
    }
}

macro_rules! depths {
    ($($net:ident, $config:ident, $layout:ident, $name:literal;)*) => {$(
        #[doc = $name]
        pub type $net<B> = Torchvision<B>;

        #[doc = concat!("Settings of ", $name, ".")]
        #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
        #[serde(default)]
        pub struct $config {
            /// Channels of the stem's input: 3 as published, or 1.
            pub channels: usize,
            /// Channels of the stem; published weights have 64.
            pub width: usize,
        }

        impl Default for $config {
            fn default() -> Self {
                Self { channels: 3, width: 64 }
            }
        }

        impl $config {
            /// Whether these settings make a net for images of `size`.
            ///
            /// # Errors
            /// A message that names the setting.
            pub fn check(&self, size: ImageSize) -> Result<(), String> {
                Layout::$layout.check(self.channels, self.width, size)
            }

            /// A net with fresh weights.
            pub fn init<B: Backend>(&self, _size: ImageSize, device: &B::Device) -> Torchvision<B> {
                Layout::$layout.init(self.channels, self.width, device)
            }
        }
    )*};
}

depths! {
    Resnet18, Resnet18Config, RESNET18, "ResNet-18";
    Resnet34, Resnet34Config, RESNET34, "ResNet-34";
    Resnet50, Resnet50Config, RESNET50, "ResNet-50";
}

/// A ResNet of torchvision's.
#[derive(Module, Debug)]
pub struct Torchvision<B: Backend> {
    stem: Conv<B>,
    norm: BatchNorm<B>,
    blocks: Vec<Block<B>>,
    width: usize,
}

impl<B: Backend> Encoder<B> for Torchvision<B> {
    /// Repeats grey images where the stem has three channels.
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let [_outputs, wanted, ..] = self.stem.weight.dims();
        let [_batch, channels, ..] = images.dims();
        let images = if channels < wanted { images.repeat_dim(1, wanted) } else { images };
        let x = self.norm.forward_relu(self.stem.forward(images)); // [batch, width, height / 2, width / 2]
        let x = max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], false); // [batch, width, height / 4, width / 4]
        pooled(&self.blocks, x)
    }

    fn width(&self) -> usize {
        self.width
    }
}
