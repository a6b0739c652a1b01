//! What models say of texts: the class of each, or the punctuation that belongs behind its words.

use axum::http::StatusCode;
use burn::tensor::backend::Backend;
use mnist_train::{TrainError, questions};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    asks::Refused,
    models::{Loaded, failed},
    refusal::Refusal,
};
use crate::cmd::{finite, likeliest, predict::Punctuated};

/// Most texts in one request.
const MOST_TEXTS: usize = 64;
/// Most bytes of the texts of one request together.
const MOST_BYTES: usize = 64 << 10;

/// What a model says of a text.
#[derive(Serialize, Debug, ToSchema)]
#[serde(untagged)]
pub(super) enum OfText {
    /// Its class.
    Class(OfWhole),
    /// The punctuation that belongs behind its words.
    Words(Punctuated),
}

/// What a model says of a text as a whole.
#[derive(Serialize, Debug, ToSchema)]
pub(super) struct OfWhole {
    /// The text.
    text: String,
    /// The likeliest class.
    label: String,
    /// Of each class, 0-1.
    probabilities: Vec<f32>,
    /// Of a text that is longer than the model's context, how much is read of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<Cut>,
}

/// What is read of a text that is longer than the model's context.
#[derive(Serialize, Debug, ToSchema)]
struct Cut {
    /// Tokens that the text has.
    tokens: usize,
    /// Tokens that are read, its first.
    read: usize,
}

/// Refuses more texts than are taken.
pub(super) fn check(texts: &[String]) -> Result<(), Refusal> {
    let bytes: usize = texts.iter().map(String::len).sum();
    if texts.is_empty() {
        return Err(Refusal::unprocessable(format!("found 0 texts; send 1 to {MOST_TEXTS}")));
    }
    if texts.len() > MOST_TEXTS || bytes > MOST_BYTES {
        let found = texts.len();
        let reason = format!(
            "found {found} texts of {bytes} bytes together; send 1 to {MOST_TEXTS} of at most {} KiB",
            MOST_BYTES >> 10
        );
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    if let Some(empty) = texts.iter().position(|text| text.trim().is_empty()) {
        return Err(Refusal::unprocessable(format!("text {} is empty", empty + 1)));
    }
    Ok(())
}

impl<B: Backend> Loaded<'_, B> {
    /// What is found of texts; those of one request go through the model together.
    pub(super) fn read(&self, texts: &[String]) -> Result<Vec<OfText>, Refused> {
        let (name, facts) = (self.served.name(), &self.served.saved.facts);
        let Some(reader) = &self.texts else {
            return Err(Refused::Asked(format!("{name} does not classify text")));
        };
        let read = reader.read(texts).map_err(|error| match error {
            TrainError::Settings(reason) => Refused::Asked(reason),
            error => failed(error),
        })?;
        let Some(found) = self.model.probabilities(&read.loader, &self.device).map_err(failed)? else {
            return Err(Refused::Asked(format!("{name} does not classify")));
        };
        finite(&found.values, &self.served.dir).map_err(failed)?;
        let mut rows = found.values.chunks_exact(facts.classes.len().max(1));
        if let Some(words) = &read.words {
            return Ok(words.iter().map(|words| OfText::Words(Punctuated::of(words, &mut rows))).collect());
        }
        let cut = |number: usize| {
            let of = |cut: &questions::Cut| Cut { tokens: cut.tokens, read: cut.read };
            read.cut.iter().find(|cut| cut.text == number).map(of)
        };
        let whole = |(number, (text, row)): (usize, (&String, &[f32]))| {
            let (best, _) = likeliest(row);
            let label = facts.classes.get(best).cloned().unwrap_or_default();
            OfText::Class(OfWhole {
                text: text.clone(),
                label,
                probabilities: row.to_vec(),
                cut: cut(number),
            })
        };
        Ok(texts.iter().zip(rows).enumerate().map(whole).collect())
    }
}
