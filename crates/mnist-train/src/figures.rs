//! evaluation.json: what a finished run measured on the test split.

use std::collections::BTreeMap;

use mnist_data::Binarise;
use serde::{Deserialize, Serialize};

use crate::metrics::Evaluation;

/// Figures of a split.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
pub enum Figures {
    /// Of a model that classifies.
    Classification(Box<Evaluation>),
    /// Of any other: its scores.
    Scores(Scores),
}

/// Means of an objective's scores.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Name of the objective.
    pub objective: String,
    /// Number of examples.
    pub examples: usize,
    /// How pixels were made black or white: what a likelihood is of.
    #[serde(default, skip_serializing_if = "is_none")]
    pub binarise: Binarise,
    /// Mean of each score over them.
    pub scores: BTreeMap<String, f64>,
}

impl Scores {
    /// How pixels were made black or white, to be said behind a number of examples; nothing where they were not.
    pub fn binarised(&self) -> &'static str {
        match self.binarise {
            Binarise::None => "",
            Binarise::Dynamic => ", dynamic binarisation",
            Binarise::Static => ", static binarisation",
        }
    }
}

fn is_none(binarise: &Binarise) -> bool {
    *binarise == Binarise::None
}

impl Figures {
    /// Share of right answers, where the model classifies.
    pub fn accuracy(&self) -> Option<f64> {
        match self {
            Self::Classification(evaluation) => Some(evaluation.accuracy),
            Self::Scores(scores) => scores.scores.get("accuracy").copied(),
        }
    }

    /// A score by its name, as validation has it; of a classifier those that choose among models, accuracy and macro F1.
    pub fn score(&self, name: &str) -> Option<f64> {
        match self {
            Self::Classification(evaluation) => match name {
                "accuracy" => Some(evaluation.accuracy),
                "macro_f1" => Some(evaluation.macro_f1),
                _ => None,
            },
            Self::Scores(scores) => scores.scores.get(name).copied(),
        }
    }
}
