//! An encoder of token sequences: what each token is, where it stands, which segment it is of, then a
//! [`Transformer`]. It is the field `net` of the objectives on tokens, so that one can begin with another's weights.
//!
//! Sums of learned embeddings as in BERT (Devlin et al. 2018, arXiv 1810.04805, section 3, figure 2) and, without
//! segments, GPT (Radford et al. 2018). Departure from BERT: no LayerNorm behind the sum; ours is before each sub-layer.

use std::sync::Arc;

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor, TensorData, backend::Backend},
};
use mnist_data::{Tokens, tokens};
use serde::{Deserialize, Serialize};

use crate::{
    blocks::{LoraConfig, dropout_of},
    nets::not_absurd,
    recompute,
    transformer::{Cache, STD, Sight, Transformer, TransformerConfig},
};

/// Sizes of a [`TokenNet`] that a recipe may set. It may say `size`, a name out of [`SIZES`](crate::size::SIZES), for
/// `width`, `heads`, `layers` and `hidden`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct TokenNetSettings {
    /// Length of a token's vector; a multiple of `heads`.
    pub width: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Layers of the Transformer.
    pub layers: usize,
    /// Units of the feed-forward nets' hidden layers.
    pub hidden: usize,
    /// Share of the embedding and of each sub-layer's output dropped in training, in [0, 1).
    pub dropout: f64,
}

impl Default for TokenNetSettings {
    fn default() -> Self {
        Self { width: 128, heads: 4, layers: 4, hidden: 512, dropout: 0.0 }
    }
}

/// All that makes a [`TokenNet`].
#[derive(Clone, Debug)]
pub struct TokenNetConfig {
    /// Number of different tokens, the special ones among them.
    pub vocabulary: usize,
    /// Tokens in a sequence, at most.
    pub length: usize,
    /// Which tokens a token sees.
    pub sight: Sight,
    /// What a recipe may set.
    pub settings: TokenNetSettings,
}

impl TokenNetSettings {
    /// The encoder of sequences of at most `length` tokens out of `vocabulary` and the special ones; a causal one's
    /// tokens see only themselves and those before them.
    pub fn encoder(&self, vocabulary: usize, length: usize, causal: bool) -> TokenNetConfig {
        TokenNetConfig {
            vocabulary: vocabulary + tokens::SPECIALS,
            length,
            sight: if causal { Sight::Past } else { Sight::All },
            settings: self.clone(),
        }
    }
}

impl TokenNetConfig {
    fn transformer(&self) -> TransformerConfig {
        let TokenNetSettings { width, heads, layers, hidden, dropout } = self.settings;
        TransformerConfig { width, heads, layers, hidden, dropout }
    }

    /// Whether these settings make a net.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self) -> Result<(), String> {
        self.transformer().check().map_err(|e| format!("transformer: {e}"))?;
        not_absurd(self.vocabulary.max(self.length).saturating_mul(self.settings.width))
    }

    /// A net with fresh weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> TokenNet<B> {
        let normal =
            |rows| Initializer::Normal { mean: 0.0, std: STD }.init([rows, self.settings.width], device);
        TokenNet {
            tokens: normal(self.vocabulary),
            positions: normal(self.length),
            // A decoder reads one segment.
            segments: (self.sight == Sight::All).then(|| normal(2)),
            transformer: self.transformer().init(device),
            causal: self.sight == Sight::Past,
            dropout: self.settings.dropout,
        }
    }
}

impl TokenNetConfig {
    /// As [`TokenNetConfig::init`], with something to learn beside each frozen product if asked for; see
    /// [`Lora`](crate::blocks::Lora).
    ///
    /// # Errors
    /// A rank above the sizes of a layer.
    pub fn adapted<B: Backend>(
        &self,
        lora: Option<&LoraConfig>,
        device: &B::Device,
    ) -> Result<TokenNet<B>, String> {
        let mut net = self.init(device);
        if let Some(lora) = lora {
            net.transformer =
                net.transformer.adapted(lora).map_err(|e| format!("LoRA on the Transformer: {e}"))?;
        }
        Ok(net)
    }
}

/// An encoder of token sequences.
#[derive(Module, Debug)]
pub struct TokenNet<B: Backend> {
    /// `[vocabulary, width]`, a vector for each token.
    pub tokens: Param<Tensor<B, 2>>,
    /// `[length, width]`, a vector for each place.
    positions: Param<Tensor<B, 2>>,
    /// `[2, width]`, a vector for each segment.
    segments: Option<Param<Tensor<B, 2>>>,
    transformer: Transformer<B>,
    causal: bool,
    dropout: f64,
}

impl<B: Backend> TokenNet<B> {
    /// Each token in the light of those it sees.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, length]`, each below the size of the vocabulary; not longer than the net is made for
    /// - `segments`: `[batch, length]`, 0 or 1; not read by a decoder
    /// - `lengths`: `[batch]`, how many tokens of each are real, from the first; `None`: all
    /// - returns: `[batch, length, width]`
    pub fn forward(
        &self,
        tokens: Tensor<B, 2, Int>,
        segments: Tensor<B, 2, Int>,
        lengths: Option<&Arc<[usize]>>,
    ) -> Tensor<B, 3> {
        let x = if recompute::is_recording() && self.dropout == 0.0 && self.trains() {
            let (again, read) = (self.clone(), (tokens.clone(), segments.clone()));
            let untracked = || self.clone().no_grad().embedded(tokens, segments);
            recompute::stage(untracked, move || again.embedded(read.0, read.1))
        } else {
            self.embedded(tokens, segments)
        };
        let sight = if self.causal { Sight::Past } else { Sight::All };
        self.transformer.forward_padded(x, lengths, sight)
    }

    /// The mean of each sequence's real tokens, `[batch, width]`: features of the whole.
    pub fn mean(&self, batch: &Tokens<B>) -> Tensor<B, 2> {
        let lengths = batch.lengths.as_ref();
        let x = self.forward(batch.tokens.clone(), batch.segments.clone(), lengths);
        let [size, length, width] = x.dims(); // [batch, length, width]
        let Some(lengths) = lengths else { return x.mean_dim(1).reshape([size, width]) };
        let mut shares = vec![0.0_f32; size * length];
        for (row, &real) in shares.chunks_exact_mut(length.max(1)).zip(lengths.iter()) {
            row[..real].fill(1.0 / real.max(1) as f32);
        }
        let shares = Tensor::<B, 3>::from_data(TensorData::new(shares, [size, 1, length]), &x.device());
        shares.matmul(x).reshape([size, width])
    }

    fn trains(&self) -> bool {
        self.tokens.is_require_grad() || self.positions.is_require_grad()
    }

    /// What the Transformer reads, `[batch, length, width]`.
    fn embedded(&self, tokens: Tensor<B, 2, Int>, segments: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let mut x = self.embed(tokens, 0);
        if let Some(table) = &self.segments {
            let [batch, length, width] = x.dims();
            let which = segments.float().reshape([batch, length, 1]); // [batch, length, 1]
            let [first, second] = [0, 1].map(|k| table.val().narrow(0, k, 1).reshape([1, 1, width]));
            x = x + first.clone() + which * (second - first);
        }
        dropout_of(x, self.dropout, self.trains())
    }

    /// More tokens of sequences whose beginning is in the cache, as a decoder sees them.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, new]`
    /// - returns: `[batch, new, width]`
    pub fn forward_more(&self, tokens: Tensor<B, 2, Int>, cache: &mut Cache<B>) -> Tensor<B, 3> {
        let x = self.embed(tokens, cache.len());
        self.transformer.forward_more(x, cache)
    }

    /// Length of a token's vector.
    pub fn width(&self) -> usize {
        self.tokens.dims()[1]
    }

    /// Tokens in a sequence, at most.
    pub fn length(&self) -> usize {
        self.positions.dims()[0]
    }

    /// `[batch, length]`, of which the first stands at place `start`, to `[batch, length, width]`.
    fn embed(&self, tokens: Tensor<B, 2, Int>, start: usize) -> Tensor<B, 3> {
        let ([batch, length], width) = (tokens.dims(), self.width());
        let x = self.tokens.val().select(0, tokens.reshape([batch * length])); // [batch * length, width]
        let positions = self.positions.val().narrow(0, start, length); // [length, width]
        x.reshape([batch, length, width]) + positions.reshape([1, length, width])
    }
}
