//! Decoders: from a code to an image, the way back of an encoder. Autoencoders, VAEs and a GAN's generator have one.
//!
//! `conv` is a DCGAN's generator (Radford et al. 2015, arXiv 1511.06434): a fully connected layer to a small map, then
//! transposed convolutions that double it; ours ends at a quarter of the image's size, which suits 28x28, and its
//! norms are a setting, and hidden layers may come before the map. `mlp` is fully connected, as in Kingma & Welling (2013, arXiv 1312.6114).

use burn::{
    module::Module,
    tensor::{Tensor, activation::relu, backend::Backend},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use crate::{
    blocks::{
        BatchNorm, Conv, ConvTranspose, Linear, batch_norm, conv_transpose2d, conv2d, hidden_linear,
        output_linear,
    },
    nets::{at_least_one, not_absurd},
};

/// Kinds of decoders.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DecoderKind {
    /// Transposed convolutions.
    Conv,
    /// Fully connected layers.
    Mlp,
}

/// Settings of a [`Decoder`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct DecoderConfig {
    /// `conv` or `mlp`.
    pub kind: DecoderKind,
    /// `conv`: channels of the map at a quarter of the image's size, and at half of it.
    pub channels: [usize; 2],
    /// `conv`: whether a BatchNorm follows each layer but the last.
    pub norm: bool,
    /// Units of the hidden layers between the code and the first map (`conv`; may be none) or the pixels (`mlp`).
    pub hidden: Vec<usize>,
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self { kind: DecoderKind::Conv, channels: [64, 32], norm: true, hidden: Vec::new() }
    }
}

impl DecoderConfig {
    /// Whether these settings make a decoder of codes of `code` numbers to images of `size`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, code: usize, size: ImageSize) -> Result<(), String> {
        at_least_one("decoder.channels", &self.channels)?;
        if self.hidden.contains(&0) {
            return Err(format!("`decoder.hidden` is {:?}; a layer has at least one unit", self.hidden));
        }
        if self.kind == DecoderKind::Mlp && self.hidden.is_empty() {
            return Err(
                "`decoder.hidden` is []; a decoder of kind mlp has a hidden layer, for example [512]".into(),
            );
        }
        let [height, width] = size.sides().map(|side| side.div_ceil(4));
        let map = height.saturating_mul(width).saturating_mul(self.channels[0]);
        not_absurd(self.channels[0].saturating_mul(self.channels[1]).saturating_mul(16))?;
        let sizes = [&[code], &self.hidden[..], &[map.max(size.values())]].concat();
        sizes
            .windows(2)
            .try_for_each(|pair| not_absurd(pair.iter().fold(1, |product, &n| n.saturating_mul(product))))
    }

    /// A decoder with fresh weights.
    pub fn init<B: Backend>(&self, code: usize, size: ImageSize, device: &B::Device) -> Decoder<B> {
        let [height, width] = size.sides().map(|side| side.div_ceil(4));
        let [first, second] = self.channels;
        let norm = |channels| self.norm.then(|| batch_norm(channels, device));
        let sizes = [&[code], &self.hidden[..]].concat();
        let hidden = sizes.windows(2).map(|pair| hidden_linear(pair[0], pair[1], device)).collect();
        let last = sizes.last().copied().unwrap_or(code);
        match self.kind {
            DecoderKind::Conv => Decoder {
                hidden,
                conv: Some(ConvPart {
                    start: hidden_linear(last, first * height * width, device),
                    norm1: norm(first),
                    double1: conv_transpose2d([first, second], 4, 2, device),
                    norm2: norm(second),
                    double2: conv_transpose2d([second, second], 4, 2, device),
                    norm3: norm(second),
                    end: conv2d([second, size.channels], 3, 1, true, device),
                    channels: first,
                }),
                end: None,
                dims: size.dims(),
            },
            DecoderKind::Mlp => Decoder {
                hidden,
                conv: None,
                end: Some(output_linear(last, size.values(), device)),
                dims: size.dims(),
            },
        }
    }
}

/// From codes to images.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    hidden: Vec<Linear<B>>,
    conv: Option<ConvPart<B>>,
    end: Option<Linear<B>>,
    /// Channels, height and width of the images.
    dims: [usize; 3],
}

#[derive(Module, Debug)]
struct ConvPart<B: Backend> {
    start: Linear<B>,
    norm1: Option<BatchNorm<B>>,
    double1: ConvTranspose<B>,
    norm2: Option<BatchNorm<B>>,
    double2: ConvTranspose<B>,
    norm3: Option<BatchNorm<B>>,
    end: Conv<B>,
    channels: usize,
}

impl<B: Backend> Decoder<B> {
    /// Images of codes.
    ///
    /// # Shapes
    /// - `codes`: `[batch, code]`
    /// - returns: `[batch, channels, height, width]`, logits: a sigmoid makes pixels in 0-1 of them
    pub fn forward(&self, codes: Tensor<B, 2>) -> Tensor<B, 4> {
        let [batch, _code] = codes.dims();
        let [channels, height, width] = self.dims;
        let x = self.hidden.iter().fold(codes, |x, layer| relu(layer.forward(x))); // [batch, hidden]
        match (&self.conv, &self.end) {
            (Some(conv), _) => {
                let x = conv.forward(x, [height, width].map(|side| side.div_ceil(4)));
                x.slice([0..batch, 0..channels, 0..height, 0..width])
            }
            (None, end) => {
                let x = end.as_ref().map_or(x.clone(), |end| end.forward(x)); // [batch, channels * height * width]
                x.reshape([batch, channels, height, width])
            }
        }
    }
}

impl<B: Backend> ConvPart<B> {
    fn forward(&self, x: Tensor<B, 2>, [height, width]: [usize; 2]) -> Tensor<B, 4> {
        let [batch, _] = x.dims();
        let x = self.start.forward(x).reshape([batch, self.channels, height, width]);
        let x = norm_relu(&self.norm1, x);
        let x = norm_relu(&self.norm2, self.double1.forward(x)); // [batch, second, 2 * height, 2 * width]
        let x = norm_relu(&self.norm3, self.double2.forward(x)); // [batch, second, 4 * height, 4 * width]
        self.end.forward(x) // [batch, channels, 4 * height, 4 * width]
    }
}

fn norm_relu<B: Backend>(norm: &Option<BatchNorm<B>>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    match norm {
        Some(norm) => norm.forward_relu(x),
        None => relu(x),
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    #[test]
    fn images_have_their_size_whatever_it_is() {
        let device = Default::default();
        for (kind, hidden) in
            [(DecoderKind::Conv, vec![]), (DecoderKind::Conv, vec![20]), (DecoderKind::Mlp, vec![12, 20])]
        {
            for size in [ImageSize::from([28, 28]), [9, 14].into(), [3, 9, 14].into()] {
                let config = DecoderConfig { kind, channels: [6, 4], hidden: hidden.clone(), norm: true };
                config.check(5, size).unwrap();
                let images = config.init::<Flex>(5, size, &device).forward(Tensor::ones([3, 5], &device));
                assert_eq!(images.dims()[1..], size.dims());
            }
        }
    }

    #[test]
    fn settings_that_make_no_decoder_are_refused() {
        let bad = |config: DecoderConfig, code| config.check(code, [28, 28].into()).err().unwrap();
        assert!(bad(DecoderConfig { channels: [0, 4], ..Default::default() }, 5).contains("channels"));
        assert!(bad(DecoderConfig { hidden: vec![0], ..Default::default() }, 5).contains("hidden"));
        assert!(bad(DecoderConfig { kind: DecoderKind::Mlp, ..Default::default() }, 5).contains("hidden"));
        assert!(bad(DecoderConfig::default(), usize::MAX).contains("weights"));
    }
}
