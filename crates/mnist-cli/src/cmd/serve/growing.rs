//! An answer while it is made: what is new of it, told as far as who waits for it reads. What finds no room goes with what
//! comes next, so that the thread that computes waits for no reader.

use std::ops::ControlFlow;

use mnist_data::{Patches, Tokeniser};
use mnist_train::{prompt, token_data::Coder};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{generate::Made, models::grey};

/// What is told of an answer that is being made: the data of an event.
#[derive(Serialize, Clone, Debug, PartialEq, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    /// Patches of images that were not known before.
    Patches(Vec<Patch>),
    /// Of each text that goes on, what comes behind what was told before.
    More(Vec<String>),
    /// Of each text whose tokens are found in any order, what is known, with a `_` for each token that is not.
    Texts(Vec<String>),
    /// The whole answer: the last event.
    Made(Made),
    /// Why there is no more of it: the last event.
    Error(String),
}

/// A patch of an image.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, ToSchema)]
pub(super) struct Patch {
    /// Which image, counted from 0.
    image: usize,
    /// Which patch of it, counted from 0, row by row.
    patch: usize,
    /// Its pixels, row by row, 0 paper to 255 ink.
    pixels: Vec<u8>,
}

/// What was told of an answer so far.
pub(super) struct Growing<'a> {
    coder: &'a Coder,
    /// Whether tokens are found in any order.
    masked: bool,
    way: mpsc::Sender<Told>,
    /// Tokens of each image.
    tokens: Vec<Vec<i32>>,
    /// Each text.
    texts: Vec<String>,
}

impl<'a> Growing<'a> {
    /// Nothing told yet.
    pub(super) fn new(coder: &'a Coder, masked: bool, way: mpsc::Sender<Told>) -> Self {
        Self { coder, masked, way, tokens: Vec::new(), texts: Vec::new() }
    }

    /// Tells what is new of token sequences, -1 where a token is not found yet; stops if nobody is there any more.
    pub(super) fn tell(&mut self, rows: &[Vec<i32>]) -> ControlFlow<()> {
        let (news, tokens, texts) = match self.coder {
            Coder::Images(patches) => {
                let now = contents(rows, patches.vocabulary());
                (self.patches(&now, patches), now, Vec::new())
            }
            Coder::Text(tokeniser) if self.masked => {
                let rows = contents(rows, tokeniser.vocabulary());
                let now: Vec<String> = rows.iter().map(|row| with_gaps(row, tokeniser)).collect();
                ((now != self.texts).then(|| Told::Texts(now.clone())), Vec::new(), now)
            }
            Coder::Text(tokeniser) => {
                let (more, now) = self.more(rows, tokeniser);
                (more.iter().any(|more| !more.is_empty()).then_some(Told::More(more)), Vec::new(), now)
            }
        };
        let Some(news) = news else { return ControlFlow::Continue(()) };
        match self.way.try_send(news) {
            Ok(()) => (self.tokens, self.texts) = (tokens, texts),
            Err(mpsc::error::TrySendError::Full(_)) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// Patches that are known now and were not told.
    fn patches(&self, now: &[Vec<i32>], patches: &Patches) -> Option<Told> {
        let mut new = Vec::new();
        for (image, row) in now.iter().enumerate() {
            let told = self.tokens.get(image).map_or(&[][..], Vec::as_slice);
            for (patch, &token) in row.iter().enumerate().filter(|(at, token)| told.get(*at) != Some(token)) {
                let Some(pixels) = patches.pixels(token) else { continue };
                new.push(Patch { image, patch, pixels: grey(&pixels) });
            }
        }
        (!new.is_empty()).then_some(Told::Patches(new))
    }

    /// What of each text was not told, and what is told with it. Half a character waits for its other half.
    fn more(&self, rows: &[Vec<i32>], tokeniser: &Tokeniser) -> (Vec<String>, Vec<String>) {
        let pair = |(i, row): (usize, &Vec<i32>)| {
            let told = self.texts.get(i).map_or("", String::as_str);
            let now = tokeniser.decode(&prompt::contents(row, tokeniser.vocabulary()));
            let more = now.trim_end_matches(char::REPLACEMENT_CHARACTER).strip_prefix(told).unwrap_or("");
            (more.to_owned(), format!("{told}{more}"))
        };
        rows.iter().enumerate().map(pair).unzip()
    }
}

/// Sequences without special tokens, but with -1 where a token is not found yet.
fn contents(rows: &[Vec<i32>], vocabulary: usize) -> Vec<Vec<i32>> {
    let ours = |token: &i32| usize::try_from(*token).map_or(true, |token| token < vocabulary);
    rows.iter().map(|row| row.iter().copied().filter(ours).collect()).collect()
}

fn with_gaps(row: &[i32], tokeniser: &Tokeniser) -> String {
    let run = |run: &[i32]| match run.first() {
        Some(token) if *token < 0 => "_".repeat(run.len()),
        _ => tokeniser.decode(run),
    };
    row.chunk_by(|a, b| (*a < 0) == (*b < 0)).map(run).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn all(way: &mut mpsc::Receiver<Told>) -> Vec<Told> {
        std::iter::from_fn(|| way.try_recv().ok()).collect()
    }

    #[test]
    fn text_is_told_in_whole_characters_and_what_finds_no_room_later() {
        let coder = Coder::Text(Tokeniser::Bytes);
        let (way, mut told) = mpsc::channel(1);
        let mut growing = Growing::new(&coder, false, way);
        let bytes: Vec<i32> = "a\u{4e66}bc".bytes().map(i32::from).collect();
        let mut found = Vec::new();
        for length in 1..=bytes.len() {
            assert!(growing.tell(&[bytes[..length].to_vec(), Vec::new()]).is_continue());
            // As read as it comes, until the last two.
            if length < 5 {
                found.extend(all(&mut told));
            }
        }
        found.extend(all(&mut told));
        let more = |text: &str| Told::More(vec![text.into(), String::new()]);
        assert_eq!(found, [more("a"), more("\u{4e66}"), more("b")]);
        // There is room again.
        assert!(growing.tell(&[bytes.clone(), Vec::new()]).is_continue());
        assert_eq!(all(&mut told), [more("c")]);
        drop(told);
        assert!(growing.tell(&[[bytes, vec![100]].concat(), Vec::new()]).is_break());
    }

    #[test]
    fn patches_are_told_once_and_gaps_are_shown() {
        let patches = Patches::lossless([2, 4], [2, 2]).unwrap();
        let coder = Coder::Images(Arc::new(patches));
        let (way, mut told) = mpsc::channel(8);
        let mut growing = Growing::new(&coder, true, way);
        // Between special tokens, the second patch first.
        for row in [[16, -1, 9, 17], [16, -1, 9, 17], [16, 0, 9, 17]] {
            assert!(growing.tell(&[row.to_vec()]).is_continue());
        }
        let patch = |patch, pixels: [u8; 4]| {
            Told::Patches(vec![Patch { image: 0, patch, pixels: pixels.map(|p| p * 255).to_vec() }])
        };
        assert_eq!(all(&mut told), [patch(1, [1, 0, 0, 1]), patch(0, [0; 4])]);

        let coder = Coder::Text(Tokeniser::Bytes);
        let (way, mut told) = mpsc::channel(8);
        let mut growing = Growing::new(&coder, true, way);
        assert!(growing.tell(&[vec![256, 72, -1, -1, 257, 33]]).is_continue());
        assert_eq!(all(&mut told), [Told::Texts(vec!["H__!".into()])]);
    }
}
