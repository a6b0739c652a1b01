//! Transformer (Vaswani et al. 2017, arXiv 1706.03762) with its norms before the sub-layers and one at the end
//! (Xiong et al. 2020, arXiv 2002.04745), and GELU.
//!
//! Initialised as GPT-2 (Radford et al. 2019, section 2.3): weights normal with standard deviation 0.02, those
//! that end on the residual path divided by sqrt(2 * layers), biases zero. Queries, keys and values come from one
//! projection. Dropout is where GPT-2 has it, but none on the attention's weights.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use cpu_ops::{AttentionOptions, attention, gelu, padded_self_attention, self_attention};

use crate::{
    blocks::{LayerNorm, Linear, LoraConfig, dropout_of, layer_norm, normal_linear},
    nets::{at_least_one, not_absurd, share},
    recompute,
};

/// Sizes of a [`Transformer`].
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Length of a token's vector; a multiple of `heads`.
    pub width: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Layers, each of attention and feed-forward net.
    pub layers: usize,
    /// Units of the feed-forward nets' hidden layers; the paper has 4 * `width`.
    pub hidden: usize,
    /// Share of a sub-layer's output dropped in training, in [0, 1).
    pub dropout: f64,
}

/// Which tokens a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All, as in an encoder.
    All,
    /// Itself and those before it, as in a decoder.
    Past,
}

impl TransformerConfig {
    /// Whether these sizes make a Transformer.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self) -> Result<(), String> {
        let Self { width, heads, layers, hidden, dropout } = *self;
        for (name, value) in [("width", width), ("heads", heads), ("layers", layers), ("hidden", hidden)] {
            at_least_one(name, &[value])?;
        }
        share("dropout", dropout)?;
        if !width.is_multiple_of(heads) {
            return Err(format!("`width` is {width}, which {heads} `heads` cannot share"));
        }
        if layers > 1000 {
            return Err(format!("`layers` is {layers}; at most 1000"));
        }
        not_absurd(width.saturating_mul(hidden.max(width.saturating_mul(3))))
    }

    /// A Transformer with fresh weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Transformer<B> {
        Transformer {
            blocks: (0..self.layers).map(|_| Block::new(self, device)).collect(),
            norm: layer_norm(self.width, device),
        }
    }
}

/// Layers of attention and feed-forward nets; what comes before (embedding, positions) is the caller's.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    blocks: Vec<Block<B>>,
    norm: LayerNorm<B>,
}

impl<B: Backend> Transformer<B> {
    /// Each token in the light of those it sees.
    ///
    /// # Shapes
    /// - `x`: `[batch, tokens, width]`
    /// - returns: the same, normalised by a LayerNorm
    pub fn forward(&self, x: Tensor<B, 3>, sight: Sight) -> Tensor<B, 3> {
        self.forward_padded(x, None, sight)
    }

    /// As [`Transformer::forward`], of sequences that are filled up behind so many tokens (`None`: none is); no real
    /// token sees what fills up.
    ///
    /// # Shapes
    /// - `x`: `[batch, tokens, width]`; `lengths`: `[batch]`
    /// - returns: `[batch, tokens, width]`, normalised by a LayerNorm
    pub fn forward_padded(
        &self,
        mut x: Tensor<B, 3>,
        lengths: Option<&Arc<[usize]>>,
        sight: Sight,
    ) -> Tensor<B, 3> {
        for block in &self.blocks {
            x = block.forward(x, lengths, sight); // [batch, tokens, width]
        }
        self.norm.forward(x)
    }

    /// With something to learn beside each frozen product; see [`Lora`](crate::blocks::Lora).
    ///
    /// # Errors
    /// As [`Linear::adapted`].
    pub fn adapted(mut self, lora: &LoraConfig) -> Result<Self, String> {
        self.blocks = self.blocks.into_iter().map(|block| block.adapted(lora)).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// More tokens of sequences whose beginning is in the cache; a decoder's sight. Without dropout.
    ///
    /// # Shapes
    /// - `x`: `[batch, new, width]`
    /// - returns: the same, normalised by a LayerNorm
    pub fn forward_more(&self, mut x: Tensor<B, 3>, cache: &mut Cache<B>) -> Tensor<B, 3> {
        cache.tokens += x.dims()[1];
        cache.layers.resize(self.blocks.len(), None);
        for (block, seen) in self.blocks.iter().zip(&mut cache.layers) {
            x = block.forward_more(x, seen); // [batch, new, width]
        }
        self.norm.forward(x)
    }
}

/// Keys and values of the tokens that a decoder has seen, so that it need not read them again.
#[derive(Clone, Debug)]
pub struct Cache<B: Backend> {
    /// Of each layer, keys and values `[batch, tokens, width]`.
    layers: Vec<Option<[Tensor<B, 3>; 2]>>,
    tokens: usize,
}

impl<B: Backend> Default for Cache<B> {
    fn default() -> Self {
        Self { layers: Vec::new(), tokens: 0 }
    }
}

impl<B: Backend> Cache<B> {
    /// Number of tokens seen.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// Whether none has been seen.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }
}

/// One layer.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    norm1: LayerNorm<B>,
    /// To queries, keys and values, side by side.
    qkv: Linear<B>,
    /// From the heads' results.
    mix: Linear<B>,
    norm2: LayerNorm<B>,
    expand: Linear<B>,
    contract: Linear<B>,
    heads: usize,
    dropout: f64,
}

impl<B: Backend> Block<B> {
    fn new(config: &TransformerConfig, device: &B::Device) -> Self {
        let &TransformerConfig { width, heads, layers, hidden, dropout } = config;
        let (inner, residual) = (STD, STD / (2.0 * layers as f64).sqrt());
        let norm = || layer_norm(width, device);
        Self {
            norm1: norm(),
            qkv: normal_linear([width, 3 * width], inner, device),
            mix: normal_linear([width, width], residual, device),
            norm2: norm(),
            expand: normal_linear([width, hidden], inner, device),
            contract: normal_linear([hidden, width], residual, device),
            heads,
            dropout,
        }
    }

    /// `[batch, tokens, width]` to the same; a stage for [`recompute`](crate::recompute) where it is trained,
    /// unless it has dropout, whose masks would be others the second time.
    fn forward(&self, x: Tensor<B, 3>, lengths: Option<&Arc<[usize]>>, sight: Sight) -> Tensor<B, 3> {
        if !(recompute::is_recording() && self.dropout == 0.0 && self.trains()) {
            return self.tracked(x, lengths, sight);
        }
        let (again, input, real) = (self.clone(), x.clone(), lengths.cloned());
        let untracked = || self.clone().no_grad().tracked(x.detach(), lengths, sight);
        recompute::stage(untracked, move || again.tracked(input, real.as_ref(), sight))
    }

    fn trains(&self) -> bool {
        let norms = [&self.norm1, &self.norm2].iter().any(|norm| norm.trains());
        norms || [&self.qkv, &self.mix, &self.expand, &self.contract].iter().any(|layer| layer.trains())
    }

    /// `[batch, tokens, width]` to the same.
    fn tracked(&self, x: Tensor<B, 3>, lengths: Option<&Arc<[usize]>>, sight: Sight) -> Tensor<B, 3> {
        let how = AttentionOptions { heads: self.heads, causal: sight == Sight::Past, ..Default::default() };
        let qkv = self.qkv.forward(self.norm1.forward(x.clone())); // [batch, tokens, 3 * width]
        let y = match lengths {
            Some(lengths) => padded_self_attention(qkv, lengths, how),
            None => self_attention(qkv, how),
        };
        let y = self.mix.forward(y); // [batch, tokens, width]
        self.feed_forward(x + dropout_of(y, self.dropout, self.mix.trains()))
    }

    /// As [`Block::forward`] of a decoder, after what has been seen, which the new tokens are put behind.
    fn forward_more(&self, x: Tensor<B, 3>, seen: &mut Option<[Tensor<B, 3>; 2]>) -> Tensor<B, 3> {
        let how = AttentionOptions { heads: self.heads, causal: true, ..Default::default() };
        let qkv = self.qkv.forward(self.norm1.forward(x.clone())); // [batch, new, 3 * width]
        let width = x.dims()[2];
        let [query, key, value] = [0, 1, 2].map(|k| qkv.clone().narrow(2, k * width, width)); // [batch, new, width]
        let [key, value] = match seen.take() {
            Some([keys, values]) => [Tensor::cat(vec![keys, key], 1), Tensor::cat(vec![values, value], 1)],
            None => [key, value],
        };
        *seen = Some([key.clone(), value.clone()]);
        self.feed_forward(x + self.mix.forward(attention(query, key, value, how)))
    }

    /// The second half of a layer: `[batch, tokens, width]` to the same.
    fn feed_forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let y = gelu(self.expand.forward(self.norm2.forward(x.clone()))); // [batch, tokens, hidden]
        let y = self.contract.forward(y); // [batch, tokens, width]
        x + dropout_of(y, self.dropout, self.contract.trains())
    }

    fn adapted(self, lora: &LoraConfig) -> Result<Self, String> {
        let [qkv, mix, expand, contract] =
            [self.qkv, self.mix, self.expand, self.contract].map(|layer| layer.adapted(lora));
        Ok(Self { qkv: qkv?, mix: mix?, expand: expand?, contract: contract?, ..self })
    }
}

/// Standard deviation of GPT-2's weights; of embeddings and positions too.
pub(crate) const STD: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use burn_flex::Flex;

    const CONFIG: TransformerConfig =
        TransformerConfig { width: 12, heads: 3, layers: 2, hidden: 20, dropout: 0.0 };

    #[test]
    fn only_a_decoder_is_blind_to_the_future() {
        let device = Default::default();
        let net = CONFIG.init::<Flex>(&device);
        let x = Tensor::<Flex, 3>::random([2, 5, 12], Distribution::Normal(0.0, 1.0), &device);
        let other = x.clone().slice_assign([0..2, 3..4, 0..12], Tensor::ones([2, 1, 12], &device));
        let difference = |sight| -> Vec<f32> {
            let y = net.forward(x.clone(), sight) - net.forward(other.clone(), sight);
            y.abs().max_dim(2).max_dim(0).into_data().to_vec().unwrap()
        };
        assert!(difference(Sight::All).iter().all(|&d| d > 0.0));
        let past = difference(Sight::Past);
        assert!(past[..3].iter().all(|&d| d == 0.0) && past[3..].iter().all(|&d| d > 0.0), "{past:?}");
    }

    #[test]
    fn sizes_that_make_no_transformer_are_refused() {
        let bad = |change: fn(&mut TransformerConfig)| {
            let mut config = CONFIG;
            change(&mut config);
            config.check().err().unwrap()
        };
        assert!(bad(|c| c.heads = 5).contains("`width` is 12, which 5 `heads` cannot share"));
        assert!(bad(|c| c.heads = 0).contains("heads"));
        assert!(bad(|c| c.dropout = 1.0).contains("dropout"));
        assert!(bad(|c| c.width = usize::MAX / 3 * 3).contains("weights"));
        assert!(bad(|c| c.layers = 1001).contains("layers"));
    }
}
