//! Classification of token sequences: the encoder of a masked model or a language model, a linear head,
//! cross-entropy.
//!
//! BERT (Devlin et al. 2018, arXiv 1810.04805, section 3.2) puts the head on the first token. Departure: on the mean of
//! all real tokens by default, which a decoder, whose first token sees only itself, needs, and which asks less of a short
//! pretraining; the paper's is `pool = "first"`.

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use cpu_ops::{cross_entropy, cross_entropy_per_sample, softmax};
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
pub struct ClassifyTokensSettings {
    /// What the features are: `mean` of the tokens, or the `first` token.
    pub pool: TokenPool,
    /// Whether a token sees only itself and those before it, as in a language model; fine-tuning sets it as its source has it.
    pub causal: bool,
    /// Label smoothing, in [0, 1): share of the target spread over all classes.
    pub label_smoothing: f32,
}

/// How a sequence of tokens becomes one vector of features.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum TokenPool {
    /// The mean of all real tokens.
    #[default]
    Mean,
    /// The first token.
    First,
}

/// All that makes a [`ClassifyTokens`].
#[derive(Clone, Debug)]
pub struct ClassifyTokensConfig {
    /// Number of different tokens, without the special ones.
    pub vocabulary: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Number of classes.
    pub classes: usize,
    /// Sizes of the net.
    pub net: TokenNetSettings,
    /// What a recipe may set.
    pub settings: ClassifyTokensSettings,
    /// What is learned beside the encoder's frozen linear layers, if anything is.
    pub lora: Option<LoraConfig>,
}

/// An encoder with a linear head: class scores for token sequences.
#[derive(Module, Debug)]
pub struct ClassifyTokens<B: Backend> {
    /// The encoder.
    pub net: TokenNet<B>,
    /// `[width, classes]`.
    head: Linear<B>,
    first: bool,
    label_smoothing: f32,
}

impl ClassifyTokensConfig {
    fn net(&self) -> TokenNetConfig {
        self.net.encoder(self.vocabulary, self.length, self.settings.causal)
    }
}

impl ObjectiveConfig for ClassifyTokensConfig {
    type Input = HostTokens;
    type Model<B: Backend> = ClassifyTokens<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "macro_f1", larger_is_better: true };
    const LABELS: bool = true;

    fn check(&self) -> Result<(), String> {
        let ClassifyTokensSettings { pool, causal, label_smoothing } = self.settings;
        if self.vocabulary == 0 || self.length == 0 {
            return Err("this classifier learns from tokens, and these data have none".into());
        }
        if self.classes < 2 {
            return Err(format!("the data have {} class; it takes two to tell apart", self.classes));
        }
        if causal && pool == TokenPool::First {
            return Err(
                "`classify_tokens.pool` is first: in a causal net the first token sees only itself; \
                        set it to mean"
                    .into(),
            );
        }
        if !(0.0..1.0).contains(&label_smoothing) {
            return Err(format!(
                "`classify_tokens.label_smoothing` is {label_smoothing}; it has to be at least 0 and below 1"
            ));
        }
        self.net().check()
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<ClassifyTokens<B>, String> {
        self.check()?;
        let net = self.net().adapted(self.lora.as_ref(), device)?;
        Ok(ClassifyTokens {
            net,
            head: output_linear(self.net.width, self.classes, device),
            first: self.settings.pool == TokenPool::First,
            label_smoothing: self.settings.label_smoothing,
        })
    }
}

impl<B: Backend> ClassifyTokens<B> {
    /// Class scores for a batch of sequences: `[batch, classes]`, logits (not normalised).
    pub fn forward(&self, batch: &Tokens<B>) -> Tensor<B, 2> {
        self.head.forward(self.encoded(batch)) // [batch, classes]
    }

    /// Features `[batch, width]` of such sequences.
    fn encoded(&self, batch: &Tokens<B>) -> Tensor<B, 2> {
        if !self.first {
            return self.net.mean(batch);
        }
        let lengths = batch.lengths.as_ref();
        let x = self.net.forward(batch.tokens.clone(), batch.segments.clone(), lengths);
        let [size, _, width] = x.dims(); // [batch, length, width]
        x.narrow(1, 0, 1).reshape([size, width])
    }
}

impl<B: Backend> Objective<B> for ClassifyTokens<B> {
    type Input = HostTokens;

    fn losses(&self, batch: Tokens<B>, _: Progress) -> Losses<B> {
        let logits = self.forward(&batch);
        let right = hits(logits.clone().detach(), batch.labels.clone()).mean();
        let total = cross_entropy(logits, batch.labels, self.label_smoothing);
        Losses { total, parts: vec![Part { name: "accuracy", unit: "share", value: right }] }
    }

    fn scores(&self, batch: Tokens<B>) -> Vec<Score<B>> {
        let logits = self.forward(&batch);
        let predicted = predicted(logits.clone());
        let right = predicted.clone().equal(batch.labels.clone()).float();
        let loss = cross_entropy_per_sample(logits, batch.labels, 0.0);
        vec![
            Score { name: "cross_entropy", unit: "nats", values: loss },
            Score { name: "accuracy", unit: "share", values: right },
            Score { name: "predicted", unit: CLASS, values: predicted.float() },
        ]
    }

    fn probabilities(&self, batch: Tokens<B>) -> Option<Tensor<B, 2>> {
        Some(softmax(self.forward(&batch)))
    }

    fn features(&self, batch: Tokens<B>) -> Option<Tensor<B, 2>> {
        Some(self.encoded(&batch))
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;
    use mnist_data::Examples;

    use super::*;

    /// Two sequences of three real tokens, filled up to `length`.
    fn batch(length: usize) -> Tokens<Flex> {
        let filled = |row: [i32; 3], with| row.into_iter().chain(std::iter::repeat(with)).take(length);
        let rows = [[5, 1, 2], [5, 3, 0]];
        let host = HostTokens {
            tokens: rows.into_iter().flat_map(|row| filled(row, 8)).collect(),
            targets: vec![-1; 2 * length],
            segments: vec![0; 2 * length],
            labels: vec![0, 1],
            next: vec![0; 2],
            units: vec![0.0; 2],
            lengths: vec![3; 2],
            indices: vec![0, 1],
            length,
            per_position: false,
            patches: None,
            tokeniser: None,
        };
        host.to_device(&Default::default())
    }

    #[test]
    fn what_fills_up_changes_nothing() {
        let net = TokenNetSettings { width: 16, heads: 2, layers: 2, hidden: 24, dropout: 0.0 };
        for (pool, causal) in [(TokenPool::Mean, false), (TokenPool::First, false), (TokenPool::Mean, true)] {
            let settings = ClassifyTokensSettings { pool, causal, label_smoothing: 0.0 };
            let config = ClassifyTokensConfig {
                vocabulary: 5,
                length: 9,
                classes: 2,
                net: net.clone(),
                settings,
                lora: None,
            };
            let model = config.init::<Flex>(&Default::default()).unwrap();
            let [short, long]: [Vec<f32>; 2] =
                [3, 9].map(|length| model.forward(&batch(length)).into_data().to_vec().unwrap());
            assert!(
                short.iter().zip(&long).all(|(a, b)| (a - b).abs() < 1e-6),
                "{pool:?}: {short:?} {long:?}"
            );
        }
        let settings = ClassifyTokensSettings { pool: TokenPool::First, causal: true, label_smoothing: 0.0 };
        let config = ClassifyTokensConfig { vocabulary: 5, length: 9, classes: 2, net, settings, lora: None };
        assert!(config.check().unwrap_err().contains("sees only itself"));
        assert!(
            ClassifyTokensConfig { classes: 1, ..config }.check().unwrap_err().contains("two to tell apart")
        );
    }
}
