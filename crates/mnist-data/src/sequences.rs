//! Token sequences as examples: what comes next, or what is hidden.
//!
//! *Next*: at each position the next token is to be told, as in GPT. Of text, an example is a window; training moves all
//! windows by one draw in each epoch, and measuring has them side by side, so that every token is told once. Of images,
//! an example is an image.
//!
//! *Hidden* (BERT: Devlin et al. 2018, arXiv 1810.04805, sections 3.1 and A.1): `[START] A [SEPARATOR] B [SEPARATOR]`;
//! some tokens are hidden and have to be told, and half of the time B is what follows A. Of text, A ends with a passage
//! and B begins with one, both as long as fits; of images, A is the upper half and B a lower half. What is hidden is
//! drawn anew in each epoch (RoBERTa: Liu et al. 2019, arXiv 1907.11692).
//!
//! *Class*: `[START] A [SEPARATOR]` of a passage, from its beginning as much as fits; of images the two halves as above,
//! or, for a decoder, what *next* reads of an image (all patches but the last).
//!
//! *Label*: `[START] A [SEPARATOR]`, and a class for each position: of a passage stripped of its punctuation, the mark
//! behind each word; of images a strip of [`STRIP`] of them side by side, and for each patch the class of its image.
//!
//! A sequence that is too short is filled with `[PAD]`, which no real token sees.

use std::sync::Arc;

use rand::{RngExt, rngs::ChaCha8Rng, seq::index::sample};
use serde::{Deserialize, Serialize};

use crate::{
    augment::Augmenter,
    error::{DataError, Result},
    images::Images,
    loader::{Purpose, Source},
    patches::Patches,
    punctuation::Marked,
    rng::Key,
    size::ImageSize,
    text::Passage,
    tokeniser::Tokeniser,
    tokens::{HostTokens, MASK, PAD, SEPARATOR, START},
};

/// Images in a strip.
pub const STRIP: usize = 5;

/// What is to be told of a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// The next token, everywhere.
    Next,
    /// Hidden tokens, and whether the second segment follows the first.
    Hidden(Hiding),
    /// The class of the whole.
    Class {
        /// Whether it is read as by a language model.
        decoder: bool,
    },
    /// The class of each position.
    Label,
}

/// Which tokens are hidden, and how.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(default)]
pub struct Hiding {
    /// Share of the tokens that are chosen to be told, in (0, 1); at least one is.
    pub share: f64,
    /// Of these, share that is read as [MASK], in 0-1.
    pub masked: f64,
    /// Of these, share that is read as a token drawn evenly (it may be the same), in 0-1; the rest is read as it is.
    pub random: f64,
}

impl Default for Hiding {
    /// The paper's.
    fn default() -> Self {
        Self { share: 0.15, masked: 0.8, random: 0.1 }
    }
}

impl Hiding {
    /// Whether these are shares.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self) -> Result<(), String> {
        let Self { share, masked, random } = *self;
        if !(share > 0.0 && share < 1.0) {
            return Err(format!("`share` is {share}; it has to be above 0 and below 1"));
        }
        let sum = masked + random;
        if !(0.0..=1.0).contains(&masked) || !(0.0..=1.0).contains(&random) || sum > 1.0 + 1e-9 {
            return Err(format!(
                "`masked` is {masked} and `random` is {random}; they have to be 0 to 1 together"
            ));
        }
        Ok(())
    }
}

/// A split of a text in tokens.
#[derive(Clone, Debug)]
pub struct Stream {
    tokens: Vec<i32>,
    /// For each passage its first token, whether it follows the one before, and its class; then the end.
    passages: Vec<(usize, bool, i32)>,
    /// Bytes of each token of the vocabulary.
    bytes: Vec<f32>,
    tokeniser: Arc<Tokeniser>,
}

impl Stream {
    /// Passages, each with a newline at its end.
    ///
    /// # Errors
    /// Those of [`Tokeniser::encode`].
    pub fn new(passages: &[Passage], tokeniser: &Tokeniser) -> Result<Self> {
        let bytes = (0..tokeniser.vocabulary()).map(|token| tokeniser.bytes_of(token) as f32).collect();
        let tokeniser = Arc::new(tokeniser.clone());
        let mut stream = Self { tokens: Vec::new(), passages: Vec::new(), bytes, tokeniser };
        for passage in passages {
            stream.passages.push((stream.tokens.len(), passage.follows, passage.label));
            stream.tokens.extend(stream.tokeniser.encode(&format!("{}\n", passage.text))?);
        }
        stream.passages.push((stream.tokens.len(), false, 0));
        Ok(stream)
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens of passage `i` without the newline's, at most `most`.
    fn passage(&self, i: usize, most: usize) -> &[i32] {
        let (start, end) = (self.passages[i].0, self.passages[i + 1].0);
        &self.tokens[start..(end - usize::from(end > start)).min(start + most)]
    }

    /// The tokens before the end of passage `i`, at most `most`, all of its book.
    fn until_end(&self, i: usize, most: usize) -> &[i32] {
        let end = self.passages[i + 1].0;
        let begin = (0..=i).rev().take_while(|&k| k == i || self.passages[k + 1].1).last().unwrap_or(i);
        &self.tokens[self.passages[begin].0.max(end.saturating_sub(most))..end]
    }

    /// The tokens from the beginning of passage `i` on, at most `most`, all of its book.
    fn beginning_with(&self, i: usize, most: usize) -> &[i32] {
        let start = self.passages[i].0;
        let next = self.passages.iter().skip(i + 1).find(|passage| !passage.1 || passage.0 >= start + most);
        let end = next.map_or(self.tokens.len(), |passage| passage.0);
        &self.tokens[start..end.min(start + most)]
    }
}

#[derive(Clone, Debug)]
enum Content {
    /// Windows of a text.
    Windows(Arc<Stream>),
    /// Neighbouring passages of a text, in part hidden: the first of each pair.
    Pairs(Arc<Stream>, Arc<[usize]>, Hiding),
    /// Passages of a text, each for itself.
    Passages(Arc<Stream>),
    /// Passages of a text without their punctuation.
    Marked(Arc<Marked>),
    /// Images, the others among which halves are exchanged, and how they become tokens.
    Images(Images, Arc<[usize]>, Arc<Patches>),
}

/// Token sequences of text or images.
#[derive(Clone, Debug)]
pub struct Sequences {
    content: Content,
    task: Task,
    vocabulary: usize,
    length: usize,
}

fn long_enough(length: usize) -> Result<()> {
    if length < 8 {
        return Err(DataError::invalid("context", length, "8 tokens or more"));
    }
    Ok(())
}

impl Sequences {
    /// Sequences of `length` tokens of a text; for [`Task::Label`] see [`Sequences::marked`].
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a text shorter than a sequence or without neighbouring passages where the task needs
    /// them, and for lengths below 8.
    pub fn text(stream: Arc<Stream>, length: usize, task: Task) -> Result<Self> {
        let vocabulary = stream.bytes.len();
        long_enough(length)?;
        if stream.len() < length && !matches!(task, Task::Class { .. }) {
            let wanted = format!("at least the context of {length} in each split");
            return Err(DataError::invalid("tokens of a text", stream.len(), wanted));
        }
        let content = match task {
            Task::Next => Content::Windows(stream),
            Task::Class { .. } => Content::Passages(stream),
            Task::Label => {
                return Err(DataError::invalid(
                    "task",
                    "labels of positions",
                    "passages without punctuation",
                ));
            }
            Task::Hidden(hiding) => {
                let last = stream.passages.len().saturating_sub(2);
                let pairs: Arc<[usize]> = (0..last).filter(|&i| stream.passages[i + 1].1).collect();
                if pairs.len() < 2 {
                    let found = stream.passages.len() - 1;
                    return Err(DataError::invalid("passages", found, "some neighbours in each split"));
                }
                Content::Pairs(stream, pairs, hiding)
            }
        };
        Ok(Self { content, task, vocabulary, length })
    }

    /// Sequences of at most `length` tokens of passages stripped of punctuation, which is to be told.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for lengths below 8.
    pub fn marked(marked: Arc<Marked>, length: usize) -> Result<Self> {
        long_enough(length)?;
        let vocabulary = marked.vocabulary();
        Ok(Self { content: Content::Marked(marked), task: Task::Label, vocabulary, length })
    }

    /// Draws what an example needs of other images from these.
    pub fn among(mut self, indices: &[usize]) -> Self {
        if let Content::Images(_, among, _) = &mut self.content {
            *among = indices.into();
        }
        self
    }

    /// The tokens of images; lower halves are exchanged with those `among` them, and strips filled with them.
    ///
    /// # Errors
    /// [`DataError::Invalid`] if the patches are for images of another size, or too few to be halved.
    pub fn images(images: Images, among: &[usize], patches: Arc<Patches>, task: Task) -> Result<Self> {
        let (size, wanted) = (images.data().size(), ImageSize::from(patches.size()));
        if size != wanted {
            return Err(DataError::invalid("images", size, format!("{wanted}, as the patches")));
        }
        if patches.grid()[0] < 2 {
            return Err(DataError::invalid("rows of patches", patches.grid()[0], "2 or more"));
        }
        let length = match task {
            Task::Next | Task::Class { decoder: true } => patches.tokens(),
            Task::Hidden(_) | Task::Class { decoder: false } => patches.tokens() + 3,
            Task::Label => STRIP * patches.tokens() + 2,
        };
        let vocabulary = patches.vocabulary();
        Ok(Self { content: Content::Images(images, among.into(), patches), task, vocabulary, length })
    }

    /// Number of different tokens, without the specials.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Class of each example.
    pub fn labels(&self) -> Vec<u8> {
        let label = |label: i32| u8::try_from(label).unwrap_or(0);
        match &self.content {
            Content::Windows(_) => vec![0; self.len()],
            Content::Pairs(stream, pairs, _) => pairs.iter().map(|&i| label(stream.passages[i].2)).collect(),
            Content::Passages(stream) => {
                stream.passages[..self.len()].iter().map(|passage| label(passage.2)).collect()
            }
            Content::Marked(marked) => (0..marked.len()).map(|i| label(marked.label(i))).collect(),
            Content::Images(images, ..) => images.data().labels().to_vec(),
        }
    }

    /// Tokens in a sequence.
    pub fn length(&self) -> usize {
        self.length
    }

    fn special(&self, which: usize) -> i32 {
        (self.vocabulary + which) as i32
    }

    /// A sequence in which each of `told`, after `before`, is told from those before it.
    fn next(&self, before: Option<i32>, told: &[i32], row: &mut Row) {
        let first = before.unwrap_or(self.special(START));
        let read = std::iter::once(first).chain(told.iter().copied()).take(told.len());
        row.tokens.extend(read);
        row.targets.extend(told);
    }

    /// `[START] a [SEPARATOR]`.
    fn alone(&self, a: &[i32]) -> Vec<i32> {
        [&[self.special(START)], a, &[self.special(SEPARATOR)]].concat()
    }

    /// `[START] a [SEPARATOR] b [SEPARATOR]`.
    fn both(&self, a: &[i32], b: &[i32], row: &mut Row) {
        let (start, separator) = (self.special(START), self.special(SEPARATOR));
        row.tokens = [&[start], a, &[separator], b, &[separator]].concat();
        row.segments = vec![0; a.len() + 2];
        row.segments.resize(self.length, 1);
    }

    /// As [`Sequences::both`], in part hidden.
    fn hidden(&self, a: &[i32], b: &[i32], hiding: Hiding, key: Key, row: &mut Row) {
        self.both(a, b, row);
        let mut rng = key.named("hide").rng();
        let content = a.len() + b.len();
        let count = ((content as f64 * hiding.share).round() as usize).clamp(1, content.max(1)).min(content);
        row.targets = vec![-1; row.tokens.len()];
        let mut chosen = sample(&mut rng, content, count).into_vec();
        chosen.sort_unstable();
        for place in chosen {
            let at = if place < a.len() { place + 1 } else { place + 2 };
            row.targets[at] = row.tokens[at];
            let draw: f64 = rng.random();
            let other = rng.random_range(0..self.vocabulary) as i32;
            row.tokens[at] = match draw {
                draw if draw < hiding.masked => self.special(MASK),
                draw if draw < hiding.masked + hiding.random => other,
                _ => row.tokens[at],
            };
        }
    }
}

/// One example.
#[derive(Default)]
struct Row {
    tokens: Vec<i32>,
    targets: Vec<i32>,
    segments: Vec<i32>,
    label: i32,
    next: bool,
    units: f32,
}

impl Source for Sequences {
    type Batch = HostTokens;
    type Scratch = Vec<Augmenter>;

    fn len(&self) -> usize {
        match &self.content {
            Content::Windows(stream) => stream.len().div_ceil(self.length),
            Content::Pairs(_, pairs, _) => pairs.len(),
            Content::Passages(stream) => stream.passages.len().saturating_sub(1),
            Content::Marked(marked) => marked.len(),
            Content::Images(images, ..) => images.len(),
        }
    }

    fn scratch(&self) -> Vec<Augmenter> {
        match &self.content {
            Content::Images(images, ..) => images.scratch(),
            _ => Vec::new(),
        }
    }

    fn batch(&self, indices: &[usize], purpose: Purpose, scratch: &mut Vec<Augmenter>) -> HostTokens {
        let mut batch = HostTokens {
            tokens: Vec::with_capacity(indices.len() * self.length),
            targets: Vec::with_capacity(indices.len() * self.length),
            segments: Vec::with_capacity(indices.len() * self.length),
            labels: Vec::with_capacity(indices.len()),
            next: Vec::with_capacity(indices.len()),
            units: Vec::with_capacity(indices.len()),
            indices: indices.to_vec(),
            lengths: Vec::with_capacity(indices.len()),
            length: self.length,
            per_position: self.task == Task::Label,
            patches: match &self.content {
                Content::Images(.., patches) => Some(Arc::clone(patches)),
                _ => None,
            },
            tokeniser: match &self.content {
                Content::Windows(stream) | Content::Pairs(stream, ..) | Content::Passages(stream) => {
                    Some(Arc::clone(&stream.tokeniser))
                }
                _ => None,
            },
        };
        for &index in indices {
            let mut row = self.row(index, purpose, scratch);
            batch.lengths.push(row.tokens.len().min(self.length));
            row.tokens.resize(self.length, self.special(PAD));
            row.targets.resize(self.length, -1);
            row.segments.resize(self.length, 0);
            batch.tokens.extend(row.tokens);
            batch.targets.extend(row.targets);
            batch.segments.extend(row.segments);
            batch.labels.push(row.label);
            batch.next.push(row.next.into());
            batch.units.push(row.units);
        }
        batch
    }
}

impl Sequences {
    fn row(&self, index: usize, purpose: Purpose, scratch: &mut Vec<Augmenter>) -> Row {
        let mut row = Row::default();
        let key = purpose.key().with(index as u64);
        match (&self.content, self.task) {
            (Content::Windows(stream), _) => {
                let shift = match purpose {
                    Purpose::Train(key) => key.named("shift").rng().random_range(0..self.length),
                    Purpose::Measure(_) => 0,
                };
                let start = (index * self.length + shift) % stream.len();
                let told = &stream.tokens[start..stream.len().min(start + self.length)];
                self.next(start.checked_sub(1).map(|before| stream.tokens[before]), told, &mut row);
                row.units = told.iter().filter_map(|&token| stream.bytes.get(token as usize)).sum();
                let passage = stream.passages.partition_point(|passage| passage.0 <= start).max(1) - 1;
                row.label = stream.passages[passage].2;
            }
            (Content::Pairs(stream, pairs, hiding), _) => {
                let first = pairs[index];
                let mut rng = key.named("second").rng();
                row.next = rng.random();
                let other = rng.random_range(0..stream.passages.len() - 1);
                let second = if row.next || other == first + 1 { first + 1 } else { other };
                row.next = second == first + 1;
                let most = self.length - 3;
                let b = stream.beginning_with(second, most / 2);
                let a = stream.until_end(first, most - most / 2);
                self.hidden(a, b, *hiding, key, &mut row);
                row.label = stream.passages[first].2;
            }
            (Content::Passages(stream), _) => {
                let passage = stream.passage(index, self.length - 2);
                row.tokens = self.alone(passage);
                row.label = stream.passages[index].2;
                row.units = passage.iter().filter_map(|&token| stream.bytes.get(token as usize)).sum();
            }
            (Content::Marked(marked), _) => {
                let (passage, told) = marked.passage(index, self.length - 2);
                row.tokens = self.alone(passage);
                row.targets = [&[-1], told, &[-1]].concat();
                row.label = marked.label(index);
            }
            (Content::Images(images, among, patches), task) => {
                let mut image = |index: usize| {
                    let batch = images.batch(&[index], purpose, scratch);
                    (patches.encode(&batch.pixels), batch.labels.first().copied().unwrap_or(0))
                };
                let other = |rng: &mut ChaCha8Rng| match among.len() {
                    0 => index,
                    len => among[rng.random_range(0..len)],
                };
                let (tokens, label) = image(index);
                row.label = label;
                row.units = (patches.size()[0] * patches.size()[1]) as f32;
                let [rows, cols] = patches.grid();
                let (upper, lower) = tokens.split_at(rows.div_ceil(2) * cols);
                match task {
                    Task::Next => self.next(None, &tokens, &mut row),
                    Task::Class { decoder: true } => {
                        row.tokens = [&[self.special(START)], &tokens[..tokens.len() - 1]].concat();
                    }
                    Task::Class { decoder: false } => self.both(upper, lower, &mut row),
                    Task::Label => {
                        let mut rng = key.named("strip").rng();
                        row.tokens = [&[self.special(START)], &tokens[..]].concat();
                        row.targets = [vec![-1], vec![label; tokens.len()]].concat();
                        for _ in 1..STRIP {
                            let (tokens, label) = image(other(&mut rng));
                            row.targets.resize(row.targets.len() + tokens.len(), label);
                            row.tokens.extend(tokens);
                        }
                        row.tokens.push(self.special(SEPARATOR));
                    }
                    Task::Hidden(hiding) => {
                        let mut rng = key.named("second").rng();
                        row.next = rng.random();
                        let other = other(&mut rng);
                        row.next |= other == index;
                        let lower =
                            if row.next { lower.to_vec() } else { image(other).0.split_off(upper.len()) };
                        self.hidden(upper, &lower, hiding, key, &mut row);
                    }
                }
            }
        }
        row
    }
}
