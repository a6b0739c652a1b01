//! Token sequences of a run: which text or images, how they become tokens, and what of that is kept with the run.
//!
//! Tokenisers and codebooks are learned from the training split, as functions of it and the settings. They are kept in
//! the run's directory, so that a trained model reads what it learned to read; a resumed run learns them again and
//! has to find the same.

use std::{path::Path, sync::Arc};

use mnist_data::{
    Binarise, DataSet, Images, Key, Loader, Patches, Sequences, Split, Stream, Task, Text, Tokeniser,
    digest::sha256_hex, text,
};
use serde::{Deserialize, Serialize};

use crate::{
    data::{AnyLoader, EVALUATION_BATCH, TrainingData, check_test_header, split},
    error::{Result, TrainError},
    run::Run,
    rundir::{Facts, SavedRun},
};

/// Name of the file of a tokeniser.
pub const TOKENISER: &str = "tokenizer.json";
/// Name of the file of an images' patches.
pub const PATCHES: &str = "patches.json";

/// How data become tokens.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct TokenSettings {
    /// Of text: `bytes` or `bpe`, byte-pair encoding learned from the training split.
    pub tokeniser: Tokenisation,
    /// Of byte-pair encoding: number of tokens, at most; 257 to 65,536.
    pub vocabulary: usize,
    /// Of text: tokens in a sequence, 8 or more.
    pub context: usize,
    /// Of images: height and width of a patch in pixels, which divide the image's; a token each.
    pub patch: [usize; 2],
    /// Of images: patches in a codebook that is learned from the training split; 0 is none: a token for each value that
    /// a patch of black and white pixels can have, so that nothing is lost.
    pub codebook: usize,
    /// Of images: how pixels become black or white; has to be `dynamic` or `static` without a codebook.
    pub binarise: Binarise,
}

/// How text becomes tokens.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tokenisation {
    /// A token for each byte.
    Bytes,
    /// Byte-pair encoding.
    Bpe,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            tokeniser: Tokenisation::Bytes,
            vocabulary: 4096,
            context: 128,
            patch: [2, 4],
            codebook: 0,
            binarise: Binarise::Dynamic,
        }
    }
}

impl TokenSettings {
    /// How the pixels of lossless tokens became black or white, as scores name it.
    pub fn binarised(&self) -> &'static str {
        match self.binarise {
            Binarise::None => "no",
            Binarise::Dynamic => "dynamic",
            Binarise::Static => "static",
        }
    }
}

/// What a model of tokens has to know of them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TokenFacts {
    /// Number of different tokens, without the special ones.
    pub vocabulary: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Whether they are of images.
    pub images: bool,
}

/// A file that goes into the run's directory: its name and bytes.
pub type Kept = (&'static str, Vec<u8>);

/// How tokens are made, and shown.
#[derive(Clone, Debug)]
pub enum Coder {
    /// Of text.
    Text(Tokeniser),
    /// Of images.
    Images(Arc<Patches>),
}

impl Coder {
    /// What was kept in a run's directory.
    ///
    /// # Errors
    /// [`TrainError::Settings`] if the run's model is not one of tokens; [`TrainError::Damaged`]; [`TrainError::Io`].
    pub fn load(saved: &SavedRun, dir: &Path) -> Result<Self> {
        let Some(facts) = &saved.facts.tokens else {
            return Err(TrainError::Settings("this run's model is not one of tokens".into()));
        };
        let name = if facts.images { PATCHES } else { TOKENISER };
        let path = dir.join(name);
        let damaged = |reason: String| TrainError::Damaged { path: path.clone(), reason };
        let read = || std::fs::read(&path).map_err(TrainError::io("read", &path));
        let (coder, vocabulary) = if facts.images {
            let patches: Patches = serde_json::from_slice(&read()?).map_err(|e| damaged(e.to_string()))?;
            patches.check().map_err(|e| damaged(e.to_string()))?;
            let vocabulary = patches.vocabulary();
            (Self::Images(Arc::new(patches)), vocabulary)
        } else {
            let tokeniser = match saved.run.tokens.tokeniser {
                Tokenisation::Bytes => Tokeniser::Bytes,
                Tokenisation::Bpe => Tokeniser::from_json(&read()?).map_err(|e| damaged(e.to_string()))?,
            };
            let vocabulary = tokeniser.vocabulary();
            (Self::Text(tokeniser), vocabulary)
        };
        if vocabulary != facts.vocabulary {
            return Err(damaged(format!("it has {vocabulary} tokens, the model {}", facts.vocabulary)));
        }
        Ok(coder)
    }

    /// What is kept of it.
    fn kept(&self) -> Result<Vec<Kept>> {
        Ok(match self {
            Self::Text(tokeniser) => {
                tokeniser.to_json()?.into_iter().map(|json| (TOKENISER, json.into_bytes())).collect()
            }
            Self::Images(patches) => {
                let json = serde_json::to_vec(&**patches).map_err(|e| TrainError::Settings(e.to_string()))?;
                vec![(PATCHES, json)]
            }
        })
    }
}

/// Whether a run reads text, not images.
pub fn is_text(run: &Run) -> bool {
    run.data.name == text::NAME || !run.data.path.is_empty()
}

/// The text that a run names.
pub(crate) fn open_text(run: &Run, data_dir: Option<&Path>) -> Result<Text> {
    let path = (!run.data.path.is_empty()).then(|| Path::new(&run.data.path));
    Ok(Text::open(path, data_dir)?)
}

/// The training data of a run whose objective learns from tokens.
pub(crate) fn load(run: &Run, task: Task, data_dir: Option<&Path>) -> Result<TrainingData> {
    if is_text(run) { load_text(run, task, data_dir) } else { load_images(run, task, data_dir) }
}

fn load_text(run: &Run, task: Task, data_dir: Option<&Path>) -> Result<TrainingData> {
    let mut text = open_text(run, data_dir)?;
    let tokeniser = match run.tokens.tokeniser {
        Tokenisation::Bytes => Tokeniser::Bytes,
        Tokenisation::Bpe => {
            let lines: Vec<String> = text.train.iter().map(|passage| format!("{}\n", passage.text)).collect();
            Tokeniser::learn(run.tokens.vocabulary, lines.iter().map(String::as_str))
                .map_err(|e| TrainError::Settings(format!("tokens.{e}")))?
        }
    };
    let source = |passages: &mut Vec<mnist_data::text::Passage>, limit| {
        let stream = Stream::new(&std::mem::take(passages), &tokeniser)?;
        text_loader(run, stream, task, limit)
    };
    let train = source(&mut text.train, run.data.limit)?;
    let valid = source(&mut text.valid, 0)?;
    let facts = Facts {
        size: [1, 1],
        classes: text.classes,
        mean: 0.0,
        std: 1.0,
        tokens: Some(TokenFacts {
            vocabulary: train.source().vocabulary(),
            length: train.source().length(),
            images: false,
        }),
    };
    finish(run, [train, valid], facts, text.digest, &Coder::Text(tokeniser))
}

/// Batches of a split of a text; all of them with a `limit` of 0.
pub(crate) fn text_loader(run: &Run, stream: Stream, task: Task, limit: usize) -> Result<Loader<Sequences>> {
    let sequences = Sequences::text(Arc::new(stream), run.tokens.context, task)?;
    let all = (0..mnist_data::loader::Source::len(&sequences)).collect();
    let loader = Loader::of(sequences, all, EVALUATION_BATCH)?;
    Ok(if limit > 0 { loader.first(limit) } else { loader })
}

fn load_images(run: &Run, task: Task, data_dir: Option<&Path>) -> Result<TrainingData> {
    let set = DataSet::open(&run.data.name, data_dir)?;
    let images = Arc::new(set.train()?);
    let size = [images.rows(), images.cols()];
    check_test_header(&set, size)?;
    let Split { train, valid } = split(run, &images)?;
    let TokenSettings { patch, codebook, binarise, .. } = run.tokens;
    let named = |e: mnist_data::DataError| TrainError::Settings(format!("tokens: {e}"));
    let patches = if codebook == 0 {
        if binarise == Binarise::None {
            let wanted =
                "has to be dynamic or static where tokens.codebook is 0: only black and white is lossless";
            return Err(TrainError::Settings(format!("tokens.binarise is none; it {wanted}")));
        }
        Patches::lossless(size, patch).map_err(named)?
    } else if matches!(task, Task::Next) {
        return Err(TrainError::Settings(format!(
            "tokens.codebook is {codebook}; a language model of images wants 0, lossless tokens: only their likelihood is one of images"
        )));
    } else {
        let key = Key::new(run.data.split_seed);
        Patches::learn(&images, &train, patch, codebook, key).map_err(named)?
    };
    let patches = Arc::new(patches);
    let examples = Images::new(images).binarise(binarise);
    let loader = |indices: Vec<usize>, augmented: bool| -> Result<Loader<Sequences>> {
        let examples =
            if augmented { examples.clone().views(vec![run.augment.clone()]) } else { examples.clone() };
        image_loader(examples, indices, Arc::clone(&patches), task)
    };
    let (train, valid) = (loader(train, true)?, loader(valid, false)?);
    let facts = Facts {
        size,
        classes: set.class_names(),
        mean: 0.0,
        std: 1.0,
        tokens: Some(TokenFacts {
            vocabulary: patches.vocabulary(),
            length: train.source().length(),
            images: true,
        }),
    };
    finish(run, [train, valid], facts, set.digest()?, &Coder::Images(patches))
}

/// Batches of some images.
pub(crate) fn image_loader(
    images: Images,
    indices: Vec<usize>,
    patches: Arc<Patches>,
    task: Task,
) -> Result<Loader<Sequences>> {
    let sequences = Sequences::images(images, &indices, patches, task)?;
    Ok(Loader::of(sequences, indices, EVALUATION_BATCH)?)
}

fn finish(
    run: &Run,
    [train, valid]: [Loader<Sequences>; 2],
    facts: Facts,
    digest: String,
    coder: &Coder,
) -> Result<TrainingData> {
    if train.is_empty() || valid.is_empty() {
        return Err(TrainError::Settings("both training and validation need examples".into()));
    }
    if run.batch_size > train.len() {
        let found =
            format!("batch_size is {}, more than the {} training examples", run.batch_size, train.len());
        return Err(TrainError::Settings(found));
    }
    let train = Loader::of(train.source().clone(), train.indices().to_vec(), run.batch_size)?
        .seed(run.seed)
        .workers(run.data.workers);
    let (digest, kept) = (digest_of(&digest, coder)?, coder.kept()?);
    Ok(TrainingData { train: AnyLoader::Tokens(train), valid: AnyLoader::Tokens(valid), facts, digest, kept })
}

/// The digest of a run's data: what tokens mean is part of what is learned from.
pub(crate) fn digest_of(data: &str, coder: &Coder) -> Result<String> {
    let kept = coder.kept()?;
    let listing: String =
        kept.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256_hex(bytes))).collect();
    Ok(if kept.is_empty() { data.into() } else { sha256_hex(format!("{data}\n{listing}").as_bytes()) })
}
