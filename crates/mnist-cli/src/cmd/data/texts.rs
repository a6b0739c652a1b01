//! `data info` and `data tokens` of a text.

use std::io::Write;

use anyhow::{Result, bail};
use mnist_data::{Text, Tokeniser, text::Passage};

use super::grouped;
use crate::args::UsageError;

/// Passages that are shown.
const SHOWN: usize = 3;
/// Characters of a passage that are shown.
const CHARACTERS: usize = 100;

/// What a text holds, with its own numbers.
pub(super) fn info(text: &Text, name: &str, example: usize, out: &mut impl Write) -> Result<()> {
    let splits = [("train", &text.train), ("valid", &text.valid), ("test", &text.test)];
    let bytes = |passages: &[Passage]| grouped(passages.iter().map(|p| p.text.len()).sum::<usize>());
    writeln!(out, "{name}, digest {}", text.digest)?;
    writeln!(out, "\nPASSAGES: verses, paragraphs or lines; none is in two splits")?;
    for (split, passages) in splits {
        writeln!(out, "  {split:<6} {:>8} passages, {:>11} bytes", grouped(passages.len()), bytes(passages))?;
    }
    if text.classes.len() > 1 {
        writeln!(out, "\nLABELS: what a passage can be told by")?;
        for (class, name) in text.classes.iter().enumerate() {
            let of = |passages: &[Passage]| {
                grouped(passages.iter().filter(|p| usize::try_from(p.label) == Ok(class)).count())
            };
            let [train, valid, test] = splits.map(|(_, passages)| of(passages));
            writeln!(out, "  {class:>3}  {name}: {train}, {valid} and {test}")?;
        }
    }
    writeln!(out, "\nFROM passage {example} on of those to learn from")?;
    if example >= text.train.len() {
        bail!(UsageError(format!("there is no passage {example}: there are {}", grouped(text.train.len()))));
    }
    for passage in text.train.iter().skip(example).take(SHOWN) {
        let begins: String = passage.text.chars().take(CHARACTERS).collect();
        let more = if passage.text.chars().nth(CHARACTERS).is_some() { " ..." } else { "" };
        writeln!(out, "  {begins}{more}")?;
    }
    Ok(())
}

/// A text as tokens: the bytes of UTF-8, or with a `vocabulary` byte-pair encoding learned from passages.
pub(super) fn tokens(
    text: &str,
    learned_from: &[Passage],
    vocabulary: Option<usize>,
    out: &mut impl Write,
) -> Result<()> {
    let (tokeniser, what) = match vocabulary {
        None => (Tokeniser::Bytes, "the bytes of UTF-8".to_string()),
        Some(vocabulary) => {
            let lines: Vec<String> = learned_from.iter().map(|p| format!("{}\n", p.text)).collect();
            let learned = Tokeniser::learn(vocabulary, lines.iter().map(String::as_str));
            let learned = learned.map_err(|e| UsageError(format!("--vocabulary: {e}")))?;
            let what = format!("byte-pair encoding of {} different ones", learned.vocabulary());
            (learned, what)
        }
    };
    let tokens = tokeniser.encode(text)?;
    writeln!(out, "{} tokens, {what}: {tokens:?}", tokens.len())?;
    if vocabulary.is_some() {
        let parts: Vec<String> = tokens.iter().map(|&token| tokeniser.decode(&[token])).collect();
        writeln!(out, "cut: {}", parts.join("|"))?;
    }
    writeln!(out, "back: {}", tokeniser.decode(&tokens))?;
    Ok(())
}
