//! What a user asks a trained classifier: texts and pictures, as examples that it reads.

use std::{path::Path, sync::Arc};

use mnist_data::{
    Images, LabelledImages, Loader, Patches, Preparation, Task, Tokeniser, punctuation, text::Passage,
};

use crate::{
    data::AnyLoader,
    error::{Result, TrainError},
    registry,
    rundir::SavedRun,
    token_data::{self, Coder},
};

/// How a run's model reads texts.
#[derive(Debug)]
pub struct Texts<'a> {
    saved: &'a SavedRun,
    task: Task,
    tokeniser: Tokeniser,
}

/// Texts, as a model of text reads them.
#[derive(Debug)]
pub struct Read {
    /// The examples; what they are labelled with means nothing.
    pub loader: AnyLoader,
    /// Of each text its words without punctuation, if the model tells what stands behind each word; else it tells the
    /// class of each text.
    pub words: Option<Vec<Vec<String>>>,
    /// Texts of which only the beginning is read.
    pub cut: Vec<Cut>,
}

/// A text that is longer than what is read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which text, counted from 0.
    pub text: usize,
    /// Tokens that it has.
    pub tokens: usize,
    /// Tokens that are read.
    pub read: usize,
}

impl<'a> Texts<'a> {
    /// How the run in the directory `run` reads texts.
    ///
    /// # Errors
    /// [`TrainError::Settings`] if the model tells no class of a text; those of [`Coder::load`].
    pub fn of(saved: &'a SavedRun, run: &Path) -> Result<Self> {
        let refused = |reason: &str| Err(TrainError::Settings(reason.into()));
        let task = match registry::task(&saved.run)? {
            Some(task @ (Task::Class { .. } | Task::Label)) if token_data::is_text(&saved.run) => task,
            _ => {
                return refused("this run's model tells no class of a text; give it what it was trained on");
            }
        };
        match Coder::load(saved, run)? {
            Coder::Text(tokeniser) => Ok(Self { saved, task, tokeniser }),
            Coder::Images(_) => refused("this run's model reads images, not text"),
        }
    }

    /// Whether it tells what stands behind each word, not the class of each text.
    pub fn by_words(&self) -> bool {
        self.task == Task::Label
    }

    /// Texts as the model reads them. One longer than its context is read in pieces where words are told; of others the
    /// beginning is read, see [`Read::cut`].
    ///
    /// # Errors
    /// [`TrainError::Settings`] for texts without a word or with one that is longer than the context.
    pub fn read(&self, texts: &[String]) -> Result<Read> {
        let Self { saved, task, tokeniser } = self;
        let refused = |reason: String| Err(TrainError::Settings(reason));
        let passage = |text: &str| Passage { text: text.into(), label: 0, follows: false };
        let most = saved.run.tokens.context.saturating_sub(2);
        let (mut passages, mut words, mut cut) = (Vec::new(), Vec::new(), Vec::new());
        for (number, text) in texts.iter().enumerate() {
            let all: Vec<String> = punctuation::words(text).into_iter().map(|(word, _)| word).collect();
            if all.is_empty() {
                return refused(format!("text {} is {text:?}; wanted at least one word", number + 1));
            }
            if self.by_words() {
                // As in training, the first word of a passage has no space before it.
                let mut piece = (String::new(), 0);
                for word in &all {
                    let mut next = format!(" {word}");
                    let mut tokens = tokeniser.encode(&next)?.len();
                    if piece.1 == 0 || piece.1 + tokens > most {
                        if piece.1 > 0 {
                            passages.push(passage(&piece.0));
                        }
                        piece = (String::new(), 0);
                        next = word.clone();
                        tokens = tokeniser.encode(word)?.len();
                    }
                    if tokens > most {
                        return refused(format!(
                            "{word:?} has {tokens} tokens; the model reads {most} at once"
                        ));
                    }
                    piece = (piece.0 + &next, piece.1 + tokens);
                }
                passages.push(passage(&piece.0));
                words.push(all);
            } else {
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let tokens = tokeniser.encode(&text)?.len();
                if tokens > most {
                    cut.push(Cut { text: number, tokens, read: most });
                }
                passages.push(passage(&text));
            }
        }
        let loader = token_data::text_loader(&saved.run, &passages, tokeniser, *task, 0)?;
        Ok(Read { loader: AnyLoader::Tokens(loader), words: self.by_words().then_some(words), cut })
    }
}

/// How a run's model reads pictures.
#[derive(Debug)]
pub struct Pictures<'a> {
    saved: &'a SavedRun,
    /// Of a model of image tokens.
    tokens: Option<(Task, Arc<Patches>)>,
}

impl<'a> Pictures<'a> {
    /// How the run in the directory `run` reads pictures, which are prepared as its facts say; those of digits have
    /// `side` x `side` pixels.
    ///
    /// # Errors
    /// [`TrainError::Settings`] if the model reads other images or no single ones; those of [`Coder::load`].
    pub fn of(saved: &'a SavedRun, run: &Path, side: usize) -> Result<Self> {
        let refused = |reason: String| Err(TrainError::Settings(reason));
        let text = "this model reads text: ask with --text";
        let digits = saved.facts.preparation == Preparation::Digit;
        if digits && saved.facts.size != [side, side].into() || token_data::is_text(&saved.run) {
            return refused(match &saved.facts.tokens {
                Some(facts) if !facts.images => text.into(),
                _ => format!(
                    "this model takes images of {}; predict prepares {side}x{side} pixels, grey",
                    saved.facts.size
                ),
            });
        }
        let tokens = match registry::task(&saved.run)? {
            None => None,
            Some(task @ Task::Class { .. }) => match Coder::load(saved, run)? {
                Coder::Images(patches) => Some((task, patches)),
                Coder::Text(_) => return refused(text.into()),
            },
            Some(_) => return refused("this run's model does not classify images one by one".into()),
        };
        Ok(Self { saved, tokens })
    }

    /// Examples of the `pixels` of one picture after the other.
    ///
    /// # Errors
    /// [`TrainError::Data`] if these are not whole pictures, or none.
    pub fn loader(&self, pixels: Vec<u8>) -> Result<AnyLoader> {
        let (size, binarise) = (self.saved.facts.size, self.saved.run.data.binarise);
        let unknown = vec![0; pixels.len() / size.values().max(1)];
        let images = Arc::new(LabelledImages::of_size(size, 1, pixels, unknown)?);
        let all: Vec<usize> = (0..images.len()).collect();
        if let Some((task, patches)) = &self.tokens {
            let images = Images::new(images).binarise(binarise);
            return Ok(AnyLoader::Tokens(token_data::image_loader(images, all, Arc::clone(patches), *task)?));
        }
        // As many pixels together as 256 images of MNIST have.
        let together = all.len().min((256 * 784 / size.values().max(1)).max(1));
        let loader = Loader::new(images, all, together)?.workers(0).binarise(binarise);
        registry::prepare(&self.saved.run, AnyLoader::Images(loader))
    }
}
