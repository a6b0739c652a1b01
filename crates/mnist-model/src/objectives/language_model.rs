//! Language model: at each position the next token, from those before it (GPT: Radford et al. 2018; the size of its
//! blocks and its initialisation are GPT-2's). On lossless tokens of images its likelihood is that of the image, pixel by
//! pixel, as PixelRNN's (van den Oord et al. 2016, arXiv 1601.06759).

use std::{collections::BTreeMap, f64::consts::LN_2};

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor, TensorData, backend::Backend},
};
use cpu_ops::{cross_entropy, cross_entropy_per_sample, linear};
use mnist_data::{HostTokens, Key, Tokens, tokens};
use serde::{Deserialize, Serialize};

use super::{ChosenBy, Losses, Objective, ObjectiveConfig, Picture, Progress, Score, drawn};
use crate::{
    blocks::{Linear, normal_linear},
    generate::{GenerateRequest, Generated, Watch, unwatched},
    token_net::{TokenNet, TokenNetConfig, TokenNetSettings},
    transformer::{Cache, STD},
};

/// Images in a picture of samples.
const SAMPLES: usize = 32;
/// Texts of an excerpt.
const EXCERPTS: usize = 3;

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct LanguageModelSettings {
    /// Whether the output layer's weights are the tokens' embedding (Press & Wolf 2016, arXiv 1608.05859).
    pub tied: bool,
}

impl Default for LanguageModelSettings {
    fn default() -> Self {
        Self { tied: true }
    }
}

/// All that makes a [`LanguageModel`].
#[derive(Clone, Debug)]
pub struct LanguageModelConfig {
    /// Number of different tokens, without the special ones.
    pub vocabulary: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// How the pixels became black or white, if the tokens are of images; its name is in the scores.
    pub binarised: Option<String>,
    /// Sizes of the net.
    pub net: TokenNetSettings,
    /// What a recipe may set.
    pub settings: LanguageModelSettings,
}

/// A decoder with an output layer.
#[derive(Module, Debug)]
pub struct LanguageModel<B: Backend> {
    /// The decoder.
    pub net: TokenNet<B>,
    /// `[width, vocabulary]`; none where it is tied to the embedding.
    head: Option<Linear<B>>,
    /// `[vocabulary]`, of a tied output layer.
    bias: Option<Param<Tensor<B, 1>>>,
    vocabulary: usize,
    /// Of images: how they are binarised. Of text: empty.
    binarised: String,
}

impl LanguageModelConfig {
    fn net(&self) -> TokenNetConfig {
        self.net.encoder(self.vocabulary, self.length, true)
    }
}

impl ObjectiveConfig for LanguageModelConfig {
    type Input = HostTokens;
    type Model<B: Backend> = LanguageModel<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "nats_per_token", larger_is_better: false };

    fn check(&self) -> Result<(), String> {
        if self.vocabulary == 0 || self.length == 0 {
            return Err("a language model learns from tokens, and these data have none".into());
        }
        self.net().check()
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<LanguageModel<B>, String> {
        self.check()?;
        let (width, vocabulary, tied) = (self.net.width, self.vocabulary, self.settings.tied);
        Ok(LanguageModel {
            net: self.net().init(device),
            head: (!tied).then(|| normal_linear([width, vocabulary], STD, device)),
            bias: tied.then(|| Initializer::Zeros.init([vocabulary], device)),
            vocabulary,
            binarised: self.binarised.clone().unwrap_or_default(),
        })
    }
}

impl<B: Backend> LanguageModel<B> {
    /// Logits of the next token at each position.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, length]`
    /// - returns: `[batch * length, vocabulary]`
    pub fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        let none = tokens.zeros_like();
        // What fills up comes last: it is in nobody's past.
        self.logits(self.net.forward(tokens, none, None)) // [batch * length, vocabulary]
    }

    /// `[batch, length, width]` to `[batch * length, vocabulary]`.
    fn logits(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, length, width] = x.dims();
        let x = x.reshape([batch * length, width]);
        match &self.head {
            Some(head) => head.forward(x),
            None => {
                let weight = self.net.tokens.val().narrow(0, 0, self.vocabulary).transpose(); // [width, vocabulary]
                linear(x, weight, self.bias.as_ref().map(Param::val))
            }
        }
    }

    /// So many sequences from nothing, under this name the same each time.
    fn afresh(&self, count: usize, name: &str) -> Vec<Vec<i32>> {
        let start = vec![(self.vocabulary + tokens::START) as i32];
        let request = GenerateRequest { count, start, key: Key::new(0).named(name), ..Default::default() };
        self.continued(&request, &mut unwatched)
    }

    /// Continues the given tokens, each example by its own draws; the net's length is the most there can be.
    fn continued(&self, request: &GenerateRequest, watch: &mut Watch<'_>) -> Vec<Vec<i32>> {
        let device = self.net.tokens.val().device();
        let (count, given) = (request.count, request.start.len());
        let most = (self.net.length() + 1).saturating_sub(given).min(request.length);
        let mut rows = vec![request.start.clone(); count];
        let mut cache = Cache::default();
        let mut new: Vec<i32> = rows.concat();
        for step in 0..most {
            let length = new.len() / count.max(1);
            if length == 0 {
                break; // nothing to begin with
            }
            let read = Tensor::from_data(TensorData::new(new, [count, length]), &device);
            let x = self.net.forward_more(read, &mut cache).narrow(1, length - 1, 1); // [count, 1, width]
            let logits: Vec<f32> = self.logits(x).into_data().iter::<f32>().collect();
            let drawn = |(i, logits): (usize, &[f32])| {
                request.draw(logits, request.key.with(i as u64).with(step as u64).uniform()).0
            };
            new = logits.chunks_exact(self.vocabulary).enumerate().map(drawn).collect();
            rows.iter_mut().zip(&new).for_each(|(row, &token)| row.push(token));
            if watch(&rows).is_break() {
                break;
            }
        }
        rows.iter_mut().for_each(|row| row.retain(|&token| (0..self.vocabulary as i32).contains(&token)));
        rows
    }
}

impl<B: Backend> Objective<B> for LanguageModel<B> {
    type Input = HostTokens;

    fn losses(&self, batch: Tokens<B>, _: Progress) -> Losses<B> {
        let logits = self.forward(batch.tokens);
        let [batch_size, chosen] = batch.weights.dims();
        let total = if batch.told as usize == batch_size * chosen && batch.places.is_none() {
            cross_entropy(logits, batch.targets, 0.0)
        } else {
            let x = match batch.places {
                Some(places) => logits.select(0, places),
                None => logits,
            };
            let each = cross_entropy_per_sample(x, batch.targets, 0.0);
            (each * batch.weights.reshape([-1])).sum() / batch.told.max(1.0)
        };
        Losses { total, parts: Vec::new() }
    }

    fn scores(&self, batch: Tokens<B>) -> Vec<Score<B>> {
        let logits = self.forward(batch.tokens);
        let [size, chosen] = batch.weights.dims();
        let logits = match batch.places {
            Some(places) => logits.select(0, places),
            None => logits,
        };
        let each = cross_entropy_per_sample(logits, batch.targets, 0.0).reshape([size, chosen]);
        let sum = |values: Tensor<B, 2>| values.sum_dim(1).reshape([size]);
        vec![
            Score { name: "nats", unit: "nats", values: sum(each * batch.weights.clone()) },
            Score { name: "tokens", unit: "tokens", values: sum(batch.weights) },
            Score { name: "units", unit: "bytes or pixels", values: batch.units },
        ]
    }

    /// Per token, per byte or pixel, per image: ratios of sums over the whole split.
    fn conclude(&self, means: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        let [nats, tokens, units] =
            ["nats", "tokens", "units"].map(|name| means.get(name).copied().unwrap_or(0.0));
        let mut found = BTreeMap::from([("nats_per_token".to_string(), nats / tokens)]);
        let bits = nats / units / LN_2;
        match self.binarised.as_str() {
            "" => {
                found.insert("perplexity_per_token".into(), (nats / tokens).exp());
                found.insert("bits_per_byte".into(), bits);
            }
            how => {
                found.insert(format!("nats_per_image_{how}_binarisation"), nats);
                found.insert(format!("bits_per_dimension_{how}_binarisation"), bits);
            }
        }
        found
    }

    fn pictures(&self, batch: Tokens<B>) -> Vec<Picture<B>> {
        let Some(patches) = &batch.patches else { return Vec::new() };
        let images = drawn(patches, &self.afresh(SAMPLES, "pictures"), &batch.units.device());
        vec![Picture { name: "samples", images, columns: 8 }]
    }

    fn excerpts(&self, batch: Tokens<B>) -> Vec<(&'static str, String)> {
        let Some(tokeniser) = &batch.tokeniser else { return Vec::new() };
        let rows = self.afresh(EXCERPTS, "excerpts");
        let lines = rows.iter().map(|row| tokeniser.shown(row) + "\n").collect::<Vec<_>>();
        vec![("samples", lines.join("\n"))]
    }

    fn features(&self, batch: Tokens<B>) -> Option<Tensor<B, 2>> {
        Some(self.net.mean(&batch))
    }

    fn generate_watched(
        &self,
        request: &GenerateRequest,
        _device: &B::Device,
        watch: &mut Watch<'_>,
    ) -> Option<Generated<B>> {
        Some(Generated::Tokens(self.continued(request, watch)))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use burn::tensor::Tolerance;
    use burn_flex::Flex;

    use super::*;

    #[test]
    fn the_cache_changes_nothing() {
        let device = Default::default();
        let net = TokenNetSettings { width: 16, heads: 2, layers: 2, hidden: 24, dropout: 0.0 };
        let settings = LanguageModelSettings { tied: false };
        let config = LanguageModelConfig { vocabulary: 7, length: 9, binarised: None, net, settings };
        let model = config.init::<Flex>(&device).unwrap();
        let tokens = Tensor::<Flex, 2, Int>::from_data([[7, 3, 1, 4, 1, 5], [7, 2, 0, 6, 6, 2]], &device);
        let whole = model.net.forward(tokens.clone(), tokens.zeros_like(), None);
        let mut cache = Cache::default();
        let cut = |start, length| tokens.clone().narrow(1, start, length);
        let parts = [(0, 3), (3, 1), (4, 2)]
            .map(|(start, length)| model.net.forward_more(cut(start, length), &mut cache));
        let parts = Tensor::cat(parts.to_vec(), 1);
        parts.into_data().assert_approx_eq::<f32>(&whole.into_data(), Tolerance::absolute(1e-5));

        // Each example has its own draws: more of them change none.
        let request = GenerateRequest { count: 3, start: vec![7], ..Default::default() };
        let three = model.continued(&request, &mut unwatched);
        let one = GenerateRequest { count: 1, ..request.clone() };
        assert_eq!(model.continued(&one, &mut unwatched)[0], three[0]);
        assert!(three.iter().all(|row| row.len() == 9 && row.iter().all(|&t| (0..7).contains(&t))));

        // Who watches sees each token come, and may stop it.
        let mut seen = Vec::new();
        let watched = model.continued(&request, &mut |rows| {
            seen.push(rows.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(watched, three);
        assert_eq!(seen.iter().map(|rows| rows[2].len()).collect::<Vec<_>>(), (2..=10).collect::<Vec<_>>());
        assert!(seen.iter().all(|rows| rows[2][1..] == three[2][..rows[2].len() - 1]));
        let stopped = model.continued(&request, &mut |rows| {
            if rows[0].len() < 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert_eq!(stopped[1], three[1][..3]);
    }
}
