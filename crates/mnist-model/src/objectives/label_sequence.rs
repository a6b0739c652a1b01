//! Sequence labelling: a class for each position that is told, by one linear layer on every token of an encoder
//! (BERT: Devlin et al. 2018, arXiv 1810.04805, section 5.3). Of text, the punctuation behind each word; of images, the
//! digit of each patch in a strip of five. See [`mnist_data::sequences`].

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use cpu_ops::{cross_entropy_per_sample, softmax};
use mnist_data::{HostTokens, Tokens};
use serde::{Deserialize, Serialize};

use super::{CLASS, ChosenBy, Losses, Objective, ObjectiveConfig, Part, Progress, Score, hits, predicted};
use crate::{
    blocks::{Linear, LoraConfig, output_linear},
    token_net::{TokenNet, TokenNetConfig, TokenNetSettings},
};

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(default)]
pub struct LabelSequenceSettings {
    /// Whether a token sees only itself and those before it, as in a language model; fine-tuning sets it as its source has it.
    pub causal: bool,
}

/// All that makes a [`LabelSequence`].
#[derive(Clone, Debug)]
pub struct LabelSequenceConfig {
    /// Number of different tokens, without the special ones.
    pub vocabulary: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Number of classes.
    pub classes: usize,
    /// Sizes of the net.
    pub net: TokenNetSettings,
    /// What a recipe may set.
    pub settings: LabelSequenceSettings,
    /// What is learned beside the encoder's frozen linear layers, if anything is.
    pub lora: Option<LoraConfig>,
}

/// An encoder with a linear head on each token.
#[derive(Module, Debug)]
pub struct LabelSequence<B: Backend> {
    /// The encoder.
    pub net: TokenNet<B>,
    /// `[width, classes]`.
    head: Linear<B>,
}

impl LabelSequenceConfig {
    fn net(&self) -> TokenNetConfig {
        self.net.encoder(self.vocabulary, self.length, self.settings.causal)
    }
}

impl ObjectiveConfig for LabelSequenceConfig {
    type Input = HostTokens;
    type Model<B: Backend> = LabelSequence<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "macro_f1", larger_is_better: true };
    const LABELS: bool = true;

    fn check(&self) -> Result<(), String> {
        if self.vocabulary == 0 || self.length == 0 || self.classes < 2 {
            return Err(
                "a sequence labeller learns from tokens with classes, and these data have none".into()
            );
        }
        self.net().check()
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<LabelSequence<B>, String> {
        self.check()?;
        let net = self.net().adapted(self.lora.as_ref(), device)?;
        Ok(LabelSequence { net, head: output_linear(self.net.width, self.classes, device) })
    }
}

impl<B: Backend> LabelSequence<B> {
    /// Class scores at the positions that are told: `[batch * chosen, classes]`, logits (not normalised).
    pub fn forward(&self, batch: &Tokens<B>) -> Tensor<B, 2> {
        let x = self.net.forward(batch.tokens.clone(), batch.segments.clone(), batch.lengths.as_ref());
        let [size, length, width] = x.dims(); // [batch, length, width]
        let x = x.reshape([size * length, width]);
        let x = match &batch.places {
            Some(places) => x.select(0, places.clone()), // [batch * chosen, width]
            None => x,
        };
        self.head.forward(x)
    }
}

impl<B: Backend> Objective<B> for LabelSequence<B> {
    type Input = HostTokens;

    fn losses(&self, batch: Tokens<B>, _: Progress) -> Losses<B> {
        let logits = self.forward(&batch);
        let [places, _] = logits.dims();
        let (weights, told) = (batch.weights.reshape([places]), batch.told.max(1.0));
        let right = hits(logits.clone().detach(), batch.targets.clone());
        let each = cross_entropy_per_sample(logits, batch.targets, 0.0);
        let accuracy =
            Part { name: "accuracy", unit: "share", value: (right * weights.clone()).sum() / told };
        Losses { total: (each * weights).sum() / told, parts: vec![accuracy] }
    }

    fn scores(&self, batch: Tokens<B>) -> Vec<Score<B>> {
        let logits = self.forward(&batch);
        let [size, chosen] = batch.weights.dims();
        let predicted = predicted(logits.clone());
        let right = predicted.clone().equal(batch.targets.clone()).float().reshape([size, chosen]);
        let each = cross_entropy_per_sample(logits, batch.targets, 0.0).reshape([size, chosen]);
        let sum = |values: Tensor<B, 2>| values.sum_dim(1).reshape([size]);
        vec![
            Score { name: "nats", unit: "nats", values: sum(each * batch.weights.clone()) },
            Score { name: "right", unit: "positions", values: sum(right * batch.weights.clone()) },
            Score { name: "told", unit: "positions", values: sum(batch.weights) },
            Score { name: "predicted", unit: CLASS, values: predicted.float() },
        ]
    }

    /// Means over positions, not over sequences.
    fn conclude(&self, mut means: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        let [nats, right, told] = ["nats", "right", "told"].map(|name| means.remove(name).unwrap_or(0.0));
        means.insert("cross_entropy".into(), nats / told);
        means.insert("accuracy".into(), right / told);
        means
    }

    /// A row for each position, those that only fill up among them.
    fn probabilities(&self, batch: Tokens<B>) -> Option<Tensor<B, 2>> {
        Some(softmax(self.forward(&batch)))
    }
}
