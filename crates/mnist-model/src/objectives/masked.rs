//! Masked model (BERT: Devlin et al. 2018, arXiv 1810.04805): some tokens are hidden and have to be told from all
//! others, and whether the second segment is what follows the first. What is hidden is drawn with the batch: see
//! [`mnist_data::sequences`].
//!
//! Making new sequences is iterative unmasking (MaskGIT: Chang et al. 2022, arXiv 2202.04200): in each round all hidden
//! tokens are drawn, and those most sure are kept, more of them from round to round after its cosine.

use std::{collections::BTreeMap, f64::consts::FRAC_PI_2, sync::Arc};

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor, TensorData, backend::Backend},
};
use cpu_ops::{cross_entropy, cross_entropy_per_sample, gelu, linear};
use mnist_data::{HostTokens, Patches, Tokens, tokens};
use serde::{Deserialize, Serialize};

use super::{
    ChosenBy, Losses, Objective, ObjectiveConfig, Part, Picture, Progress, Score, drawn, hits, side_by_side,
};
use crate::{
    blocks::{LayerNorm, Linear, layer_norm, normal_linear},
    generate::{GenerateRequest, Generated, Watch},
    token_net::{TokenNet, TokenNetConfig, TokenNetSettings},
    transformer::STD,
};

/// Name of the picture and the excerpt.
const SHOWN: &str = "masked-predicted-true";
/// Texts of an excerpt.
const EXCERPTS: usize = 4;

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct MaskedSettings {
    /// What the loss of the second segment is multiplied by, 0 or more; BERT has 1.
    pub next: f64,
    /// Which tokens are hidden, and how: `share = 0.15`, `masked = 0.8`, `random = 0.1` are BERT's; `masked = 1`,
    /// `random = 0` hides all.
    pub hiding: mnist_data::Hiding,
}

impl Default for MaskedSettings {
    fn default() -> Self {
        Self { next: 1.0, hiding: mnist_data::Hiding::default() }
    }
}

/// All that makes a [`Masked`].
#[derive(Clone, Debug)]
pub struct MaskedConfig {
    /// Number of different tokens, without the special ones.
    pub vocabulary: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Sizes of the net.
    pub net: TokenNetSettings,
    /// What a recipe may set.
    pub settings: MaskedSettings,
}

/// An encoder, an output layer for hidden tokens, another for the second segment.
#[derive(Module, Debug)]
pub struct Masked<B: Backend> {
    /// The encoder.
    pub net: TokenNet<B>,
    /// `[width, width]`, before the output layer, which is tied to the embedding.
    transform: Linear<B>,
    norm: LayerNorm<B>,
    /// `[vocabulary]`.
    bias: Param<Tensor<B, 1>>,
    /// `[width, width]`, of the first token.
    pool: Linear<B>,
    /// `[width, 2]`: does not follow, follows.
    second: Linear<B>,
    vocabulary: usize,
    next: f64,
}

impl MaskedConfig {
    fn net(&self) -> TokenNetConfig {
        self.net.encoder(self.vocabulary, self.length, false)
    }
}

impl ObjectiveConfig for MaskedConfig {
    type Input = HostTokens;
    type Model<B: Backend> = Masked<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "masked_cross_entropy", larger_is_better: false };

    fn check(&self) -> Result<(), String> {
        if self.vocabulary == 0 || self.length == 0 {
            return Err("a masked model learns from tokens, and these data have none".into());
        }
        if !(0.0..=1000.0).contains(&self.settings.next) {
            return Err(format!("`masked.next` is {}; it has to be 0 to 1000", self.settings.next));
        }
        self.settings.hiding.check().map_err(|e| format!("masked.hiding: {e}"))?;
        self.net().check()
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Masked<B>, String> {
        self.check()?;
        let width = self.net.width;
        Ok(Masked {
            net: self.net().init(device),
            transform: normal_linear([width, width], STD, device),
            norm: layer_norm(width, device),
            bias: Initializer::Zeros.init([self.vocabulary], device),
            pool: normal_linear([width, width], STD, device),
            second: normal_linear([width, 2], STD, device),
            vocabulary: self.vocabulary,
            next: self.settings.next,
        })
    }
}

/// What a [`Masked`] says of a batch.
struct Said<B: Backend> {
    /// `[places, vocabulary]`.
    tokens: Tensor<B, 2>,
    /// `[batch, 2]`.
    next: Tensor<B, 2>,
}

impl<B: Backend> Masked<B> {
    /// Logits of the tokens at some places, counted through the batch (`None`: all), and of the second segment.
    ///
    /// # Shapes
    /// - `read`, `segments`: `[batch, length]`; `lengths`: `[batch]`, see [`Tokens::lengths`]
    /// - returns: `[places, vocabulary]` and `[batch, 2]`
    fn forward(
        &self,
        read: Tensor<B, 2, Int>,
        segments: Tensor<B, 2, Int>,
        lengths: Option<&Arc<[usize]>>,
        places: Option<Tensor<B, 1, Int>>,
    ) -> Said<B> {
        let x = self.net.forward(read, segments, lengths); // [batch, length, width]
        let [batch, length, width] = x.dims();
        let first = x.clone().narrow(1, 0, 1).reshape([batch, width]); // [batch, width]
        let x = x.reshape([batch * length, width]);
        let x = match places {
            Some(places) => x.select(0, places), // [places, width]
            None => x,
        };
        let x = self.norm.forward(gelu(self.transform.forward(x)));
        let weight = self.net.tokens.val().narrow(0, 0, self.vocabulary).transpose(); // [width, vocabulary]
        let tokens = linear(x, weight, Some(self.bias.val()));
        Said { tokens, next: self.second.forward(self.pool.forward(first).tanh()) }
    }

    /// What hidden tokens are likeliest, put in their places: `[batch, length]` on the host.
    fn filled(&self, batch: &Tokens<B>) -> Vec<Vec<i32>> {
        let said = self.forward(batch.tokens.clone(), batch.segments.clone(), batch.lengths.as_ref(), None);
        let [_, length] = batch.tokens.dims();
        let best: Vec<i64> = said.tokens.argmax(1).into_data().iter::<i64>().collect();
        let told: Vec<i64> = batch.truth.to_data().iter::<i64>().collect();
        let read: Vec<i64> = batch.tokens.to_data().iter::<i64>().collect();
        let pick = |i: usize| if told[i] >= 0 { best[i] } else { read[i] };
        let all: Vec<i32> = (0..told.len()).map(|i| pick(i) as i32).collect();
        all.chunks_exact(length.max(1)).map(<[i32]>::to_vec).collect()
    }

    /// What is read, what is predicted, and what is true.
    fn shown(&self, batch: &Tokens<B>) -> [Vec<Vec<i32>>; 3] {
        let [_, length] = batch.tokens.dims();
        let rows = |values: Vec<i64>| -> Vec<Vec<i32>> {
            values.chunks_exact(length.max(1)).map(|row| row.iter().map(|&t| t as i32).collect()).collect()
        };
        let read: Vec<i64> = batch.tokens.to_data().iter::<i64>().collect();
        let told: Vec<i64> = batch.truth.to_data().iter::<i64>().collect();
        let truth =
            read.iter().zip(&told).map(|(&read, &told)| if told >= 0 { told } else { read }).collect();
        [rows(read), self.filled(batch), rows(truth)]
    }

    /// Images of whole sequences, of which the special tokens that end segments are taken out.
    fn draw(&self, patches: &Patches, rows: &[Vec<i32>], device: &B::Device) -> Tensor<B, 4> {
        let [start, separator] =
            [tokens::START, tokens::SEPARATOR].map(|which| (self.vocabulary + which) as i32);
        let content =
            |row: &Vec<i32>| row.iter().copied().filter(|&t| t != start && t != separator).collect();
        let rows: Vec<Vec<i32>> = rows.iter().map(content).collect();
        drawn(patches, &rows, device)
    }

    /// Finds the tokens that are -1, in rounds.
    fn unmasked(&self, request: &GenerateRequest, watch: &mut Watch<'_>) -> Vec<Vec<i32>> {
        let device = self.net.tokens.val().device();
        let length = request.start.len().min(self.net.length());
        let [separator, mask] =
            [tokens::SEPARATOR, tokens::MASK].map(|which| (self.vocabulary + which) as i32);
        let given = &request.start[..length];
        let mut seen = 0;
        let segments: Vec<i32> = given
            .iter()
            .map(|&token| {
                let segment = i32::from(seen > 0);
                seen += usize::from(token == separator);
                segment
            })
            .collect();
        let mut rows = vec![given.to_vec(); request.count];
        let unknown = given.iter().filter(|&&token| token < 0).count();
        let rounds = request.rounds.clamp(1, unknown.max(1));
        for round in 1..=rounds {
            let hidden = |token: &i32| if *token < 0 { mask } else { *token };
            let read: Vec<i32> = rows.iter().flatten().map(hidden).collect();
            let shape = [request.count, length];
            let read = Tensor::from_data(TensorData::new(read, shape), &device);
            let segments = Tensor::from_data(TensorData::new(segments.repeat(request.count), shape), &device);
            let said = self.forward(read, segments, None, None);
            let logits: Vec<f32> = said.tokens.into_data().iter::<f32>().collect();
            let share = (FRAC_PI_2 * round as f64 / rounds as f64).cos();
            let left = if round == rounds { 0 } else { (share * unknown as f64).floor() as usize };
            let noise = request.temperature * (1.0 - round as f32 / rounds as f32);
            for (i, row) in rows.iter_mut().enumerate() {
                let key = request.key.with(i as u64).with(round as u64);
                let mut found = Vec::new();
                for place in (0..length).filter(|&place| row[place] < 0) {
                    let start = (i * length + place) * self.vocabulary;
                    let key = key.with(place as u64);
                    let (token, p) = request.draw(&logits[start..start + self.vocabulary], key.uniform());
                    // Gumbel noise, so that it is not always the easy places that come first.
                    let gumbel = -(-key.named("order").uniform().max(1e-9).ln()).max(1e-9).ln();
                    found.push((p.max(1e-9).ln() + noise * gumbel, place, token));
                }
                found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                let kept = found.len().saturating_sub(left);
                found.iter().take(kept).for_each(|&(_, place, token)| row[place] = token);
            }
            if watch(&rows).is_break() {
                break;
            }
        }
        rows
    }
}

impl<B: Backend> Objective<B> for Masked<B> {
    type Input = HostTokens;

    fn losses(&self, batch: Tokens<B>, _: Progress) -> Losses<B> {
        let said = self.forward(batch.tokens, batch.segments, batch.lengths.as_ref(), batch.places);
        let right = hits(said.tokens.clone().detach(), batch.targets.clone());
        let weights = batch.weights.reshape([-1]);
        let told = batch.told.max(1.0);
        let each = cross_entropy_per_sample(said.tokens, batch.targets, 0.0);
        let hidden = (each * weights.clone()).sum() / told;
        let followed = hits(said.next.clone().detach(), batch.next.clone()).mean();
        let next = cross_entropy(said.next, batch.next, 0.0);
        let part = |name, unit, value| Part { name, unit, value };
        let parts = vec![
            part("masked_cross_entropy", "nats", hidden.clone().detach()),
            part("masked_accuracy", "share", (right * weights).sum() / told),
            part("next_cross_entropy", "nats", next.clone().detach()),
            part("next_accuracy", "share", followed),
        ];
        Losses { total: hidden + next * self.next, parts }
    }

    fn scores(&self, batch: Tokens<B>) -> Vec<Score<B>> {
        let [size, chosen] = batch.weights.dims();
        let said = self.forward(batch.tokens, batch.segments, batch.lengths.as_ref(), batch.places);
        let right = hits(said.tokens.clone(), batch.targets.clone()).reshape([size, chosen]);
        let each = cross_entropy_per_sample(said.tokens, batch.targets, 0.0).reshape([size, chosen]);
        let sum = |values: Tensor<B, 2>| values.sum_dim(1).reshape([size]);
        vec![
            Score { name: "masked_nats", unit: "nats", values: sum(each * batch.weights.clone()) },
            Score { name: "masked_right", unit: "tokens", values: sum(right * batch.weights.clone()) },
            Score { name: "masked", unit: "tokens", values: sum(batch.weights) },
            Score {
                name: "next_accuracy",
                unit: "share",
                values: hits(said.next.clone(), batch.next.clone()),
            },
            Score {
                name: "next_cross_entropy",
                unit: "nats",
                values: cross_entropy_per_sample(said.next, batch.next, 0.0),
            },
        ]
    }

    /// Means over hidden tokens, not over sequences.
    fn conclude(&self, mut means: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        let mut take = |name: &str| means.remove(name).unwrap_or(0.0);
        let [nats, right, told] = ["masked_nats", "masked_right", "masked"].map(&mut take);
        means.insert("masked_cross_entropy".into(), nats / told);
        means.insert("masked_accuracy".into(), right / told);
        means
    }

    fn pictures(&self, batch: Tokens<B>) -> Vec<Picture<B>> {
        let Some(patches) = &batch.patches else { return Vec::new() };
        let device = batch.units.device();
        let draw = |rows: Vec<Vec<i32>>| self.draw(patches, &rows, &device);
        vec![Picture { name: SHOWN, ..side_by_side(self.shown(&batch).map(draw).into()) }]
    }

    fn excerpts(&self, batch: Tokens<B>) -> Vec<(&'static str, String)> {
        let Some(tokeniser) = &batch.tokeniser else { return Vec::new() };
        let [masked, predicted, truth] = self.shown(&batch);
        let three = masked.iter().zip(&predicted).zip(&truth).take(EXCERPTS);
        let lines = three.map(|((masked, predicted), truth)| {
            let [masked, predicted, truth] = [masked, predicted, truth].map(|row| tokeniser.shown(row));
            format!("masked     {masked}\npredicted  {predicted}\ntrue       {truth}\n")
        });
        vec![(SHOWN, lines.collect::<Vec<_>>().join("\n"))]
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
        Some(Generated::Tokens(self.unmasked(request, watch)))
    }
}
