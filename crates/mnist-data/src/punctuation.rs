//! Text stripped of its punctuation, and what stood behind each word: what a sequence labeller restores.
//!
//! A word's last token is told the mark that stood behind the word; marks inside a word are its own. Capital letters
//! stay, so that the beginning of a sentence is a clue.

use crate::{error::Result, text::Passage, tokeniser::Tokeniser};

/// Names of the classes: nothing, or one of these marks.
pub const MARKS: [&str; 7] = ["none", ",", ".", ";", ":", "?", "!"];

/// Passages without punctuation, in tokens.
#[derive(Clone, Debug)]
pub struct Marked {
    tokens: Vec<i32>,
    /// Class behind each token that ends a word, an index of [`MARKS`]; -1 elsewhere.
    targets: Vec<i32>,
    /// For each passage its first token and its class; then the end.
    passages: Vec<(usize, i32)>,
    vocabulary: usize,
}

impl Marked {
    /// Passages, each for itself.
    ///
    /// # Errors
    /// Those of [`Tokeniser::encode`].
    pub fn new(passages: &[Passage], tokeniser: &Tokeniser) -> Result<Self> {
        let mut found = Self {
            tokens: Vec::new(),
            targets: Vec::new(),
            passages: Vec::with_capacity(passages.len() + 1),
            vocabulary: tokeniser.vocabulary(),
        };
        for passage in passages {
            let start = found.tokens.len();
            found.passages.push((start, passage.label));
            for (word, mark) in words(&passage.text) {
                let space = if found.tokens.len() == start { "" } else { " " };
                found.tokens.extend(tokeniser.encode(&format!("{space}{word}"))?);
                found.targets.resize(found.tokens.len(), -1);
                if let Some(last) = found.targets.last_mut() {
                    *last = mark;
                }
            }
        }
        found.passages.push((found.tokens.len(), 0));
        Ok(found)
    }

    /// Number of passages.
    pub fn len(&self) -> usize {
        self.passages.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of different tokens, without the specials.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Class of passage `i`, which is below [`Marked::len`].
    pub(crate) fn label(&self, i: usize) -> i32 {
        self.passages[i].1
    }

    /// Tokens of passage `i` and what is told of them, at most `most`.
    pub(crate) fn passage(&self, i: usize, most: usize) -> (&[i32], &[i32]) {
        let (start, end) = (self.passages[i].0, self.passages[i + 1].0);
        let range = start..end.min(start + most);
        (&self.tokens[range.clone()], &self.targets[range])
    }
}

/// Words without the punctuation behind them, each with the class of what stood there, an index of [`MARKS`].
pub fn words(text: &str) -> Vec<(String, i32)> {
    let mark = |c: char| MARKS.iter().position(|mark| mark.chars().eq([c])).map(|class| class as i32);
    let mut found: Vec<(String, i32)> = Vec::new();
    for word in text.split_whitespace() {
        let body = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let (mut rest, mut class) = (String::from(body), 0);
        for c in word[body.len()..].chars() {
            match mark(c) {
                Some(found) => class = found,
                None => rest.push(c),
            }
        }
        match found.last_mut() {
            // A mark by itself is the last word's.
            Some(last) if rest.is_empty() => last.1 = class,
            _ if rest.is_empty() => {}
            _ => found.push((rest, class)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_behind_words() {
        for (text, wanted) in [
            ("Let there be light: and", &[("Let", 0), ("there", 0), ("be", 0), ("light", 4), ("and", 0)][..]),
            ("(for he knew not,) Why ?", &[("(for", 0), ("he", 0), ("knew", 0), ("not)", 1), ("Why", 5)]),
            ("3.14 wives' end.", &[("3.14", 0), ("wives'", 0), ("end", 2)]),
            ("... !", &[]),
        ] {
            let found = words(text);
            let found: Vec<(&str, i32)> = found.iter().map(|(word, mark)| (word.as_str(), *mark)).collect();
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn the_last_token_of_a_word_is_told() {
        let passage = |text: &str| Passage { text: text.into(), label: 1, follows: false };
        let marked = Marked::new(&[passage("be so, I"), passage("go!")], &Tokeniser::Bytes).unwrap();
        let (tokens, targets) = marked.passage(0, 9);
        assert_eq!(Tokeniser::Bytes.decode(tokens), "be so I");
        assert_eq!(targets, [-1, 0, -1, -1, 1, -1, 0]);
        assert_eq!(marked.passage(1, 9).1, [-1, 6]);
        assert_eq!(marked.passage(0, 3).0.len(), 3);
        assert_eq!((marked.len(), marked.label(1)), (2, 1));
    }
}
