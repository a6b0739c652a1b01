//! Token sequences of a run: which text or images, how they become tokens, and what of that is kept with the run.
//!
//! Tokenisers and codebooks are learned from the training split, as functions of it and the settings. They are kept in
//! the run's directory, so that a trained model reads what it learned to read; a resumed run learns them again and
//! has to find the same. A fine-tuned run has those of the run that it starts from; of a text they may be extended,
//! where learning more of them from the training split goes on with the same.

use std::{path::Path, sync::Arc};

use mnist_data::{
    Binarise, DataSet, ImageSize, Images, Key, Loader, Patches, Sequences, Split, Stream, Task, Text,
    Tokeniser,
    digest::sha256_hex,
    punctuation::{self, Marked},
    text::{self, Passage},
};
use serde::{Deserialize, Serialize};

use crate::{
    data::{AnyLoader, EVALUATION_BATCH, TrainingData, check_test_header, labelled, split},
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
        Self { tokeniser: Tokenisation::Bytes, vocabulary: 4096, context: 128, patch: [2, 4], codebook: 0 }
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

/// How a model that training starts from reads.
#[derive(Clone, Debug)]
pub struct Given {
    /// Its tokens.
    pub coder: Coder,
    /// As which settings they were made.
    pub settings: TokenSettings,
}

impl Given {
    /// What was kept in a run's directory; `None` if its model is not one of tokens.
    ///
    /// # Errors
    /// As [`Coder::load`].
    pub fn of(saved: &SavedRun, dir: &Path) -> Result<Option<Self>> {
        let load = || Ok(Self { coder: Coder::load(saved, dir)?, settings: saved.run.tokens.clone() });
        saved.facts.tokens.is_some().then(load).transpose()
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

/// The training data of a run whose objective learns from tokens, read as a `given` model reads.
pub(crate) fn load(
    run: &Run,
    task: Task,
    data_dir: Option<&Path>,
    given: Option<&Given>,
) -> Result<TrainingData> {
    if is_text(run) { load_text(run, task, data_dir, given) } else { load_images(run, task, data_dir, given) }
}

/// The tokeniser of a run: the given one, or one learned from the passages, which has to go on with the given one.
fn tokeniser(run: &Run, train: &[Passage], given: Option<&Given>) -> Result<Tokeniser> {
    let TokenSettings { tokeniser, vocabulary, .. } = run.tokens;
    let refused = |reason: String| Err(TrainError::Settings(reason));
    let old = match given {
        None => None,
        Some(Given { coder: Coder::Text(old), settings }) => Some((old, settings)),
        Some(_) => return refused("the model to start from reads images as tokens, not text; name a set of images, for example --data mnist".into()),
    };
    if let Some((old, settings)) = old {
        if settings.tokeniser != tokeniser {
            return refused(
                "tokens.tokeniser is not that of the model to start from; its tokens mean something else"
                    .into(),
            );
        }
        if tokeniser == Tokenisation::Bytes || settings.vocabulary == vocabulary {
            return Ok(old.clone());
        }
    }
    let new = match tokeniser {
        Tokenisation::Bytes => Tokeniser::Bytes,
        Tokenisation::Bpe => {
            let lines: Vec<String> = train.iter().map(|passage| format!("{}\n", passage.text)).collect();
            Tokeniser::learn(vocabulary, lines.iter().map(String::as_str))
                .map_err(|e| TrainError::Settings(format!("tokens.{e}")))?
        }
    };
    match old {
        Some((old, settings)) if !new.extends(old) => refused(format!(
            "tokens.vocabulary is {vocabulary}; so many tokens learned from these data do not go on with the {} that \
             the model to start from has; set it to {}",
            old.vocabulary(),
            settings.vocabulary
        )),
        _ => Ok(new),
    }
}

fn load_text(run: &Run, task: Task, data_dir: Option<&Path>, given: Option<&Given>) -> Result<TrainingData> {
    let mut text = open_text(run, data_dir)?;
    let tokeniser = tokeniser(run, &text.train, given)?;
    let source = |passages: &mut Vec<Passage>, limit| {
        text_loader(run, &std::mem::take(passages), &tokeniser, task, limit)
    };
    let train = source(&mut text.train, run.data.limit)?;
    let valid = source(&mut text.valid, 0)?;
    let classes = match task {
        Task::Label => punctuation::MARKS.map(String::from).to_vec(),
        _ => text.classes,
    };
    let facts = Facts {
        size: [1, 1].into(),
        classes,
        mean: 0.0,
        std: 1.0,
        preparation: Default::default(),
        tokens: Some(TokenFacts {
            vocabulary: train.source().vocabulary(),
            length: train.source().length(),
            images: false,
        }),
    };
    let labels = train.source().labels();
    let there =
        |class: usize| train.indices().iter().any(|&i| labels.get(i).map(|&l| usize::from(l)) == Some(class));
    let missing = facts.classes.iter().enumerate().find(|(class, _)| !there(*class));
    if let (Task::Class { .. }, Some((_, missing))) = (task, missing) {
        let limit = run.data.limit;
        return Err(TrainError::Settings(format!(
            "data.limit is {limit}: no training example is of the {missing}"
        )));
    }
    finish(run, task, [train, valid], facts, text.digest, &Coder::Text(tokeniser))
}

/// Batches of a split of a text; all of them with a `limit` of 0.
pub(crate) fn text_loader(
    run: &Run,
    passages: &[Passage],
    tokeniser: &Tokeniser,
    task: Task,
    limit: usize,
) -> Result<Loader<Sequences>> {
    let length = run.tokens.context;
    let sequences = match task {
        Task::Label => Sequences::marked(Arc::new(Marked::new(passages, tokeniser)?), length)?,
        _ => Sequences::text(Arc::new(Stream::new(passages, tokeniser)?), length, task)?,
    };
    let all = (0..mnist_data::loader::Source::len(&sequences)).collect();
    let loader = Loader::of(sequences, all, EVALUATION_BATCH)?;
    Ok(if limit > 0 { loader.first(limit) } else { loader })
}

fn load_images(
    run: &Run,
    task: Task,
    data_dir: Option<&Path>,
    given: Option<&Given>,
) -> Result<TrainingData> {
    let set = DataSet::open(&run.data.name, data_dir)?;
    let images = Arc::new(set.train()?);
    let size = images.size();
    check_test_header(&set, size)?;
    if size.is_colour() {
        return Err(TrainError::Settings(format!(
            "the data have images of {size}; {} reads tokens, which are made of grey images only: import the set again \
             with --channels 1",
            run.objective
        )));
    }
    let Split { train, valid } = split(run, &images)?;
    let (TokenSettings { patch, codebook, .. }, binarise) = (&run.tokens, run.data.binarise);
    let (patch, codebook) = (*patch, *codebook);
    let named = |e: mnist_data::DataError| TrainError::Settings(format!("tokens: {e}"));
    let patches = if let Some(given) = given {
        given_patches(run, size, given)?
    } else if codebook == 0 {
        if binarise == Binarise::None {
            let wanted =
                "has to be dynamic or static where tokens.codebook is 0: only black and white is lossless";
            return Err(TrainError::Settings(format!("data.binarise is none; it {wanted}")));
        }
        Patches::lossless(size.sides(), patch).map_err(named)?
    } else if task == Task::Next {
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
        preparation: set.preparation(),
        tokens: Some(TokenFacts {
            vocabulary: patches.vocabulary(),
            length: train.source().length(),
            images: true,
        }),
    };
    finish(run, task, [train, valid], facts, set.digest()?, &Coder::Images(patches))
}

/// The patches of a model to start from, if a run's settings say the same of them.
fn given_patches(run: &Run, size: ImageSize, given: &Given) -> Result<Patches> {
    let refused = |reason: String| Err(TrainError::Settings(reason));
    let Coder::Images(patches) = &given.coder else {
        return refused("the model to start from reads text, not images as tokens".into());
    };
    let (TokenSettings { patch, codebook, .. }, own) = (&given.settings, &run.tokens);
    if (own.patch, own.codebook) != (*patch, *codebook) {
        return refused(format!(
            "tokens.patch is {:?} and tokens.codebook {}; the model to start from has {patch:?} and {codebook}, and other \
             patches are other tokens",
            own.patch, own.codebook
        ));
    }
    let wanted = ImageSize::from(patches.size());
    if size != wanted {
        return refused(format!(
            "the data have images of {size}, the model to start from reads such of {wanted} as tokens"
        ));
    }
    Ok((**patches).clone())
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
    task: Task,
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
    let mut indices = train.indices().to_vec();
    if matches!(task, Task::Class { .. } | Task::Label) {
        // A class for each position is drawn without regard to it.
        let classes = if task == Task::Label { 1 } else { facts.classes.len() };
        let labels = train.source().labels();
        let labels: Vec<u8> = indices.iter().filter_map(|&index| labels.get(index).copied()).collect();
        if let Some(places) = labelled(run, &labels, classes)? {
            indices = places.into_iter().filter_map(|place| indices.get(place).copied()).collect();
        }
    }
    // As with images, a batch has as many examples at most as there are with labels.
    let batch_size = run.batch_size.min(indices.len());
    // What is drawn of others is drawn of those that train, with their labels.
    let train = Loader::of(train.source().clone().among(&indices), indices, batch_size)?
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
