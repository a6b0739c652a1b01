//! From text to tokens and back: bytes, or byte-pair encoding.
//!
//! Byte-pair encoding (Sennrich et al. 2015, arXiv 1508.07909) on bytes, as GPT-2 does it (Radford et al. 2019, section
//! 2.2), learned from the training split by the `tokenizers` crate. Every text has tokens, none is unknown.

use serde_json::Value;
use tokenizers::{
    Tokenizer,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainerBuilder},
    },
    pre_tokenizers::byte_level::ByteLevel,
};

use crate::{
    error::{DataError, Result},
    tokens::{MASK, SEPARATOR},
};

/// Number of different bytes.
const BYTES: usize = 256;
/// What stands for the end of a segment until it is shown: of no text, for it is a control character.
const BAR: char = '\u{1f}';
/// Most tokens.
const MOST: usize = 1 << 16;

/// From text to tokens and back. Tokens are `0..vocabulary`.
#[derive(Clone, Debug)]
pub enum Tokeniser {
    /// The bytes of UTF-8.
    Bytes,
    /// Byte-pair encoding.
    Bpe(Box<Tokenizer>),
}

impl PartialEq for Tokeniser {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes, Self::Bytes) => true,
            (Self::Bpe(one), Self::Bpe(other)) => one.to_string(false).ok() == other.to_string(false).ok(),
            _ => false,
        }
    }
}

impl Tokeniser {
    /// Byte-pair encoding with `vocabulary` tokens (257-65,536; fewer where the text does not give as many), learned
    /// from these texts; a function of its arguments.
    ///
    /// # Errors
    /// [`DataError::Invalid`].
    pub fn learn<'a>(vocabulary: usize, texts: impl Iterator<Item = &'a str> + Send) -> Result<Self> {
        if vocabulary <= BYTES || vocabulary > MOST {
            return Err(DataError::invalid("vocabulary", vocabulary, "257 to 65536"));
        }
        let mut tokenizer = untaught();
        let trainer = BpeTrainerBuilder::new()
            .vocab_size(vocabulary)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut trainer = TrainerWrapper::BpeTrainer(trainer);
        tokenizer
            .train(&mut trainer, texts)
            .map_err(|e| DataError::invalid("text", e, "one to learn from"))?;
        Ok(Self::Bpe(Box::new(tokenizer)))
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Bytes => BYTES,
            Self::Bpe(tokenizer) => tokenizer.get_vocab_size(false),
        }
    }

    /// Whether every token of `other` is the same here, and what is more comes behind them.
    pub fn extends(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes, Self::Bytes) => true,
            (Self::Bpe(new), Self::Bpe(old)) => {
                let known = other.vocabulary() as u32;
                other.vocabulary() <= self.vocabulary()
                    && (0..known).all(|id| new.id_to_token(id) == old.id_to_token(id))
            }
            _ => false,
        }
    }

    /// Bytes that a token stands for.
    pub fn bytes_of(&self, token: usize) -> usize {
        match self {
            Self::Bytes => 1,
            // Each byte is written as one character.
            Self::Bpe(tokenizer) => {
                tokenizer.id_to_token(token as u32).map_or(0, |text| text.chars().count())
            }
        }
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// [`DataError::Invalid`] where the tokeniser fails, which a learned one does on no text.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>> {
        match self {
            Self::Bytes => Ok(text.bytes().map(i32::from).collect()),
            Self::Bpe(tokenizer) => {
                let found = tokenizer.encode_fast(text, false);
                let found = found.map_err(|e| DataError::invalid("text", e, "one with tokens"))?;
                Ok(found.get_ids().iter().map(|&id| id as i32).collect())
            }
        }
    }

    /// What a model of tokens reads or makes, in one line: hidden tokens as `[MASK]`, ends of segments and of lines as bars.
    pub fn shown(&self, tokens: &[i32]) -> String {
        let special = |which: usize| (self.vocabulary() + which) as i32;
        let (mut text, mut known) = (String::new(), Vec::new());
        for &token in tokens {
            if token < self.vocabulary() as i32 {
                known.push(token);
                continue;
            }
            text += &self.decode(&std::mem::take(&mut known));
            if token == special(MASK) {
                text += "[MASK]";
            } else if token == special(SEPARATOR) {
                text.push(BAR);
            }
        }
        text += &self.decode(&known);
        let parts = text.split(['\n', BAR]).map(str::trim).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(" | ")
    }

    /// The text of tokens; what is no text, as half a character, becomes U+FFFD.
    pub fn decode(&self, tokens: &[i32]) -> String {
        match self {
            Self::Bytes => {
                let bytes: Vec<u8> = tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Bpe(tokenizer) => {
                let ids: Vec<u32> = tokens.iter().filter_map(|&token| u32::try_from(token).ok()).collect();
                tokenizer.decode(&ids, false).unwrap_or_default()
            }
        }
    }

    /// What is kept of it in a file, if there is anything to keep: the JSON of the `tokenizers` crate.
    ///
    /// # Errors
    /// [`DataError::Invalid`] where it cannot be written.
    pub fn to_json(&self) -> Result<Option<String>> {
        match self {
            Self::Bytes => Ok(None),
            Self::Bpe(tokenizer) => {
                let text = tokenizer.to_string(true);
                text.map(Some).map_err(|e| DataError::invalid("tokeniser", e, "one that can be written"))
            }
        }
    }

    /// What [`Tokeniser::to_json`] gave.
    ///
    /// # Errors
    /// [`DataError::Invalid`] where it is not such a file: the crate's format also has tokenisers that depend on chance,
    /// or that give tokens outside the vocabulary.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let wrong =
            |found: String| DataError::invalid("tokeniser", found, "one that was learned here, in JSON");
        let unreadable = |e: serde_json::Error| wrong(e.to_string());
        let given: Value = serde_json::from_slice(json).map_err(unreadable)?;
        let ours = serde_json::to_value(untaught()).map_err(unreadable)?;
        if let Some(key) = other_part(&given, &ours) {
            return Err(wrong(format!("another {key}")));
        }
        // What was looked at, not what was given: that may have a part twice.
        let plain = serde_json::to_vec(&given).map_err(unreadable)?;
        let found = Tokenizer::from_bytes(plain).map_err(|e| wrong(e.to_string()))?;
        let known = found.get_vocab(false);
        let mut ids: Vec<u32> = known.values().copied().collect();
        ids.sort_unstable();
        if ids.len() > MOST || !ids.iter().copied().eq(0..ids.len() as u32) {
            return Err(wrong(format!("{} tokens that are not numbered from 0 to {MOST}", ids.len())));
        }
        if let Some(byte) = ByteLevel::alphabet().iter().find(|byte| !known.contains_key(&byte.to_string())) {
            return Err(wrong(format!("no token for {byte:?}")));
        }
        Ok(Self::Bpe(Box::new(found)))
    }
}

/// Byte-pair encoding of bytes that knows no token yet.
fn untaught() -> Tokenizer {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer
}

/// The first part of a tokeniser's JSON, tokens and merges aside, that is not as in `ours`.
fn other_part(given: &Value, ours: &Value) -> Option<String> {
    let Some(parts) = given.as_object() else { return Some("kind of JSON".into()) };
    let other = |(key, value): (&String, &Value)| match key.as_str() {
        "vocab" | "merges" => None,
        "model" => other_part(value, ours.get("model")?),
        _ if ours.get(key) == Some(value) => None,
        _ => Some(key.clone()),
    };
    // What is left out is read as none.
    let lacks = |key: &&String| !["vocab", "merges"].contains(&key.as_str()) && !parts.contains_key(*key);
    let missing = ours.as_object().and_then(|ours| ours.keys().find(lacks).cloned());
    missing.or_else(|| parts.iter().find_map(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_learning_is_repeatable() {
        let learn = || {
            let texts = ["the cat and the hat\n", "the end of the cat\n", "that is that\n"];
            Tokeniser::learn(270, texts.into_iter()).unwrap()
        };
        let bpe = learn();
        assert_eq!(bpe.to_json().unwrap(), learn().to_json().unwrap());
        assert_eq!(bpe.vocabulary(), 270);
        let again = Tokeniser::from_json(bpe.to_json().unwrap().unwrap().as_bytes()).unwrap();
        for text in ["the cat\n", "  Spaces,\ttabs\n\nand ünïcödé 漢字 🦀", ""] {
            for tokeniser in [&Tokeniser::Bytes, &bpe, &again] {
                let tokens = tokeniser.encode(text).unwrap();
                assert!(tokens.iter().all(|&t| (0..tokeniser.vocabulary() as i32).contains(&t)));
                assert_eq!(tokeniser.decode(&tokens), text);
            }
            assert_eq!(bpe.encode(text).unwrap(), again.encode(text).unwrap());
        }
        assert!(bpe.encode("the cat").unwrap().len() < 4);
        let [start, separator, mask, pad] = [0, 1, 2, 3].map(|which| 256 + which);
        let read = [start, 97, 98, mask, 99, 10, 100, separator, 101, separator, pad, pad];
        assert_eq!(Tokeniser::Bytes.shown(&read), "ab[MASK]c | d | e");
        let texts = ["the cat and the hat\n", "the end of the cat\n", "that is that\n"];
        let more = Tokeniser::learn(273, texts.into_iter()).unwrap();
        assert!(more.extends(&bpe) && !bpe.extends(&more) && !bpe.extends(&Tokeniser::Bytes));
        let other = Tokeniser::learn(273, ["zebras zigzag, zebras zoom\n"].into_iter()).unwrap();
        assert!(!other.extends(&bpe));
        let json = bpe.to_json().unwrap().unwrap();
        for part in ["pre_tokenizer", "decoder"] {
            let mut without: Value = serde_json::from_str(&json).unwrap();
            without.as_object_mut().unwrap().remove(part).unwrap();
            let error = Tokeniser::from_json(without.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        for (from, to) in [
            ("\"dropout\": null", "\"dropout\": 0.5"),
            ("\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}"),
            (": 7,", ": 70000,"),
            ("\"added_tokens\": []", "\"added_tokens\": [{\"id\": 999, \"content\": \"<x>\"}]"),
        ] {
            assert!(json.contains(from), "{from}");
            assert!(Tokeniser::from_json(json.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert!(Tokeniser::from_json(b"{}").is_err() && Tokeniser::learn(256, ["a"].into_iter()).is_err());
    }
}
