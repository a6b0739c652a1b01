//! evaluation.json: what a finished run measured on the test split.

use std::collections::BTreeMap;

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
    /// Mean of each score over them.
    pub scores: BTreeMap<String, f64>,
}

impl Figures {
    /// Share of right answers, where the model classifies.
    pub fn accuracy(&self) -> Option<f64> {
        match self {
            Self::Classification(evaluation) => Some(evaluation.accuracy),
            Self::Scores(scores) => scores.scores.get("accuracy").copied(),
        }
    }
}
