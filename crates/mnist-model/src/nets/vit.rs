//! Vision Transformer (Dosovitskiy et al. 2020, arXiv 2010.11929): an image as a sequence of patches.
//!
//! Departures: features are the mean of the tokens by default (Beyer et al. 2022, arXiv 2205.01580), the paper's
//! class token is a setting; sizes are for 28x28 images and a laptop's CPU; weights are initialised as GPT-2's
//! (see [`crate::transformer`]).

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Tensor, backend::Backend},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use super::{Encoder, at_least_one};
use crate::{
    blocks::{Linear, LoraConfig, dropout_of, output_linear},
    recompute,
    transformer::{STD, Sight, Transformer, TransformerConfig},
};

/// Settings of [`Vit`]. A recipe may say `size`, a name out of [`SIZES`](crate::size::SIZES), for `width`, `heads`,
/// `layers` and `hidden`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct VitConfig {
    /// Height and width of a patch, in pixels; divides both of the image.
    pub patch: usize,
    /// Length of a token's vector, and of the features; a multiple of `heads`.
    pub width: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Layers of the Transformer.
    pub layers: usize,
    /// Units of the feed-forward nets' hidden layers.
    pub hidden: usize,
    /// Share of the embedding and of each sub-layer's output dropped in training, in [0, 1).
    pub dropout: f64,
    /// What the features are: `mean` or `class`.
    pub pool: Pool,
}

/// How a sequence of tokens becomes one vector of features.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The mean of all tokens.
    Mean,
    /// A token of its own, before the patches, that is learned.
    Class,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self { patch: 4, width: 64, heads: 4, layers: 4, hidden: 256, dropout: 0.0, pool: Pool::Mean }
    }
}

impl VitConfig {
    /// Whether these settings make a net for images of `size`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, size: ImageSize) -> Result<(), String> {
        at_least_one("patch", &[self.patch])?;
        if size.sides().iter().any(|pixels| !pixels.is_multiple_of(self.patch)) {
            return Err(format!("`patch` is {}, which does not divide images of {size}", self.patch));
        }
        self.transformer().check()
    }

    fn transformer(&self) -> TransformerConfig {
        let &Self { width, heads, layers, hidden, dropout, .. } = self;
        TransformerConfig { width, heads, layers, hidden, dropout }
    }

    /// A net with fresh weights for images of `size`.
    pub fn init<B: Backend>(&self, size: ImageSize, device: &B::Device) -> Vit<B> {
        let patches = (size.height / self.patch) * (size.width / self.patch);
        let class = self.pool == Pool::Class;
        let normal =
            |tokens| Initializer::Normal { mean: 0.0, std: STD }.init([1, tokens, self.width], device);
        Vit {
            embed: output_linear(size.channels * self.patch * self.patch, self.width, device),
            class: class.then(|| normal(1)),
            positions: normal(patches + usize::from(class)),
            transformer: self.transformer().init(device),
            patch: self.patch,
            width: self.width,
            dropout: self.dropout,
        }
    }
}

/// Vision Transformer.
#[derive(Module, Debug)]
pub struct Vit<B: Backend> {
    embed: Linear<B>,
    /// `[1, 1, width]`.
    class: Option<Param<Tensor<B, 3>>>,
    /// `[1, tokens, width]`, the class token's first.
    positions: Param<Tensor<B, 3>>,
    transformer: Transformer<B>,
    patch: usize,
    width: usize,
    dropout: f64,
}

impl<B: Backend> Encoder<B> for Vit<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = if recompute::is_recording() && self.dropout == 0.0 && self.embedding_trains() {
            let (again, input) = (self.clone(), images.clone());
            recompute::stage(|| self.clone().no_grad().embedded(images), move || again.embedded(input))
        } else {
            self.embedded(images)
        };
        let [batch, _tokens, width] = x.dims();
        let x = self.transformer.forward(x, Sight::All); // [batch, tokens, width]
        let x = if self.class.is_some() { x.narrow(1, 0, 1) } else { x.mean_dim(1) }; // [batch, 1, width]
        x.reshape([batch, width])
    }

    fn width(&self) -> usize {
        self.width
    }

    fn adapt(mut self, lora: &LoraConfig) -> Result<Self, String> {
        self.transformer = self.transformer.adapted(lora)?;
        Ok(self)
    }
}

impl<B: Backend> Vit<B> {
    /// Images `[batch, channels, height, width]` as what the Transformer reads: `[batch, tokens, width]`.
    fn embedded(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let mut x = self.embed.forward(patchify(images, self.patch)); // [batch, patches, width]
        let [batch, _patches, width] = x.dims();
        if let Some(class) = &self.class {
            x = Tensor::cat(vec![class.val().expand([batch, 1, width]), x], 1); // [batch, 1 + patches, width]
        }
        dropout_of(x + self.positions.val(), self.dropout, self.embedding_trains())
    }

    fn embedding_trains(&self) -> bool {
        self.embed.trains() || self.positions.is_require_grad()
    }
}

/// Images as sequences of patches, row by row, each with its pixels row by row.
///
/// # Shapes
/// - `images`: `[batch, channels, height, width]`, both multiples of `patch`
/// - returns: `[batch, patches, channels * patch * patch]`
pub fn patchify<B: Backend>(images: Tensor<B, 4>, patch: usize) -> Tensor<B, 3> {
    let [batch, channels, height, width] = images.dims();
    let [down, across] = [height / patch, width / patch];
    images
        .reshape([batch, channels, down, patch, across, patch])
        .permute([0, 2, 4, 1, 3, 5]) // [batch, down, across, channels, patch, patch]
        .reshape([batch, down * across, channels * patch * patch])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::{
        module::ModuleMapper,
        tensor::{Int, TensorData},
    };
    use burn_flex::Flex;

    /// Gives each parameter numbers that PyTorch can be given too.
    struct Ramps(usize);

    impl ModuleMapper<Flex> for Ramps {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<Flex, D>>) -> Param<Tensor<Flex, D>> {
            self.0 += 1;
            let (shape, start) = (param.val().shape(), self.0 * 3);
            let value = |i| ((i * 7 + start) % 11) as f32 / 20.0 - 0.25;
            let values: Vec<f32> = (0..shape.num_elements()).map(value).collect();
            param.map(|_| Tensor::from_data(TensorData::new(values, shape), &Default::default()))
        }
    }

    /// The same numbers as PyTorch 2.9:
    ///
    /// ```python
    /// import torch, torch.nn.functional as F
    /// def features(pool):
    ///     count = 0
    ///     def p(*shape):
    ///         nonlocal count; count += 1
    ///         return ((torch.arange(torch.Size(shape).numel()) * 7 + count * 3) % 11).reshape(shape) / 20 - .25
    ///     linear = lambda inputs, outputs: (lambda w, b: lambda x: x @ w + b)(p(inputs, outputs), p(outputs))
    ///     norm = lambda: (lambda w, b: lambda x: F.layer_norm(x, (4,), w, b))(p(4), p(4))
    ///     embed, cls = linear(4, 4), p(1, 1, 4) if pool == "class" else None
    ///     pos = p(1, 7 if pool == "class" else 6, 4)
    ///     layer = lambda: [norm(), linear(4, 12), linear(4, 4), norm(), linear(4, 6), linear(6, 4)]
    ///     layers, last = [layer() for _ in range(2)], norm()
    ///     image = ((torch.arange(48) * 5) % 13).reshape(2, 1, 4, 6) / 2
    ///     x = embed(F.unfold(image, 2, stride=2).transpose(1, 2))
    ///     x = x if cls is None else torch.cat([cls.expand(2, 1, 4), x], 1)
    ///     x = x + pos
    ///     heads = lambda t: t.view(2, -1, 2, 2).transpose(1, 2)
    ///     for norm1, qkv, mix, norm2, expand, contract in layers:
    ///         q, k, v = map(heads, qkv(norm1(x)).split(4, 2))
    ///         x = x + mix(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
    ///         x = x + contract(F.gelu(expand(norm2(x))))
    ///     x = last(x)
    ///     return x.mean(1) if cls is None else x[:, 0]
    /// for pool in ("mean", "class"): print([round(v, 6) for v in features(pool).flatten().tolist()])
    /// ```
    #[test]
    fn pytorchs_numbers() {
        const MEAN: [f32; 8] =
            [0.359285, 0.120349, -0.278283, 0.206189, 0.34807, 0.092147, -0.284208, 0.19888];
        const CLASS: [f32; 8] =
            [-0.169485, 0.188095, 0.185399, 0.110406, -0.173568, 0.189307, 0.186277, 0.109996];
        let device = Default::default();
        let pixels =
            Tensor::<Flex, 1, Int>::arange(0..48, &device).mul_scalar(5).remainder_scalar(13).float();
        let images = pixels.reshape([2, 1, 4, 6]).div_scalar(2.0);
        for (pool, theirs) in [(Pool::Mean, MEAN), (Pool::Class, CLASS)] {
            let config = VitConfig { patch: 2, width: 4, heads: 2, layers: 2, hidden: 6, dropout: 0.0, pool };
            let net = config.init::<Flex>([4, 6].into(), &device).map(&mut Ramps(0));
            let ours: Vec<f32> = net.forward(images.clone()).into_data().to_vec().unwrap();
            assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-5), "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn settings_that_make_no_net_are_refused() {
        let bad = |config: VitConfig| config.check([28, 28].into()).err().unwrap();
        let message = bad(VitConfig { patch: 5, ..Default::default() });
        assert_eq!(message, "`patch` is 5, which does not divide images of 28x28 pixels, grey");
        assert!(bad(VitConfig { patch: 0, ..Default::default() }).contains("patch"));
        assert!(bad(VitConfig { heads: 5, ..Default::default() }).contains("heads"));
        assert!(VitConfig { patch: 7, ..Default::default() }.check([28, 28].into()).is_ok());
    }
}
