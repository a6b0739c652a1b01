//! What a training reads: the training split with its augmentation, the validation split, and their facts.
//!
//! Test images are not read here: only `evaluate.rs` does.

use std::{path::Path, sync::Arc};

use mnist_data::{
    DataSet, Examples, HostBatch, HostTokens, ImageSize, Key, LabelledImages, Loader, Sequences, Split,
    Statistics,
};

use crate::{
    error::{Result, TrainError},
    registry,
    run::Run,
    rundir::Facts,
    token_data::{self, Given, Kept},
};

/// Images in a batch where nothing is trained. No larger than what most train with: some drivers make no
/// buffer over 128 MiB, and a convolution's patches are large.
pub const EVALUATION_BATCH: usize = 64;

/// Batches of any kind of examples.
#[derive(Clone, Debug)]
pub enum AnyLoader {
    /// Images.
    Images(Loader),
    /// Token sequences.
    Tokens(Loader<Sequences>),
}

impl AnyLoader {
    /// Number of examples.
    pub fn len(&self) -> usize {
        match self {
            Self::Images(loader) => loader.len(),
            Self::Tokens(loader) => loader.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` examples only.
    pub fn first(self, count: usize) -> Self {
        match self {
            Self::Images(loader) => Self::Images(loader.first(count)),
            Self::Tokens(loader) => Self::Tokens(loader.first(count)),
        }
    }

    /// Each image once and not distorted, whatever its objective wants.
    pub fn plain(self) -> Self {
        match self {
            Self::Images(loader) => Self::Images(loader.views(Vec::new())),
            other => other,
        }
    }

    /// Number of batches.
    pub fn steps(&self) -> usize {
        match self {
            Self::Images(loader) => loader.steps_per_epoch(),
            Self::Tokens(loader) => loader.steps_per_epoch(),
        }
    }

    /// What the examples are.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Images(_) => "images",
            Self::Tokens(_) => "token sequences",
        }
    }
}

/// A kind of examples, as [`AnyLoader`] may hold it.
pub trait Kind: Examples {
    /// What they are called, many of them.
    const NAME: &'static str;

    /// Classes that are to be told: one an example or, where positions have classes, one a position; below 0 is none.
    fn answers(&self) -> Vec<i32>;

    /// Batches of this kind, if they are.
    fn of(loader: &AnyLoader) -> Option<&Loader<Self::Source>>;

    /// As [`Kind::of`].
    ///
    /// # Errors
    /// [`TrainError::Settings`] if they are of another kind.
    fn wanted(loader: &AnyLoader) -> Result<&Loader<Self::Source>> {
        Self::of(loader).ok_or_else(|| {
            let (found, wanted) = (loader.kind(), Self::NAME);
            TrainError::Settings(format!("the data are {found}; the objective learns from {wanted}"))
        })
    }
}

impl Kind for HostBatch {
    const NAME: &'static str = "images";

    fn answers(&self) -> Vec<i32> {
        self.labels.clone()
    }

    fn of(loader: &AnyLoader) -> Option<&Loader> {
        match loader {
            AnyLoader::Images(loader) => Some(loader),
            AnyLoader::Tokens(_) => None,
        }
    }
}

impl Kind for HostTokens {
    const NAME: &'static str = "token sequences";

    fn answers(&self) -> Vec<i32> {
        if self.per_position { HostTokens::answers(self) } else { self.labels.clone() }
    }

    fn of(loader: &AnyLoader) -> Option<&Loader<Sequences>> {
        match loader {
            AnyLoader::Tokens(loader) => Some(loader),
            AnyLoader::Images(_) => None,
        }
    }
}

/// The two splits a training reads.
#[derive(Debug)]
pub struct TrainingData {
    /// Shuffled and augmented, a pure function of the run's seed.
    pub train: AnyLoader,
    /// In order, as they are.
    pub valid: AnyLoader,
    /// What a model for them has to know.
    pub facts: Facts,
    /// SHA-256 over the files.
    pub digest: String,
    /// What goes into the run's directory beside its settings.
    pub kept: Vec<Kept>,
}

impl TrainingData {
    /// Reads and splits the data that a run names.
    ///
    /// # Errors
    /// [`TrainError::Data`]: files missing or damaged; [`TrainError::Settings`]: more validation images than
    /// there are, a batch larger than the training split.
    pub fn load(run: &Run, data_dir: Option<&Path>) -> Result<Self> {
        Self::load_for(run, data_dir, None)
    }

    /// As [`TrainingData::load`], for a model that starts from one that reads as `given`.
    ///
    /// # Errors
    /// As [`TrainingData::load`]; [`TrainError::Settings`] if it does not read such data, or not as the settings say.
    pub fn load_for(run: &Run, data_dir: Option<&Path>, given: Option<&Given>) -> Result<Self> {
        if let Some(task) = registry::task(run)? {
            return token_data::load(run, task, data_dir, given);
        }
        if token_data::is_text(run) || given.is_some() {
            let found = if token_data::is_text(run) { "text" } else { "tokens" };
            return Err(TrainError::Settings(format!(
                "the objective {} learns from images, not {found}; objectives on tokens are {}",
                run.objective,
                registry::on_tokens().join(", ")
            )));
        }
        let data = Self::images(run, data_dir)?;
        Ok(Self {
            train: registry::prepare(run, data.train)?,
            valid: registry::prepare(run, data.valid)?,
            ..data
        })
    }

    /// The images that a run names, each once and as the run's settings distort it, whatever its objective is called:
    /// for objectives that are not in the registry.
    ///
    /// # Errors
    /// As [`TrainingData::load`].
    pub fn images(run: &Run, data_dir: Option<&Path>) -> Result<Self> {
        let set = DataSet::open(&run.data.name, data_dir)?;
        let images = Arc::new(set.train()?);
        let statistics = Statistics::of(&images);
        let facts = Facts {
            size: images.size(),
            classes: set.class_names(),
            mean: statistics.mean as f32,
            std: statistics.std as f32,
            preparation: set.preparation(),
            tokens: None,
        };
        facts.check().map_err(|e| TrainError::Settings(format!("data.name {}: {e}", run.data.name)))?;
        check_test_header(&set, facts.size)?;
        let Split { train, valid } = split(run, &images)?;
        if train.is_empty() || valid.is_empty() {
            return Err(TrainError::Settings(format!(
                "data.validation is {} of {} images: both training and validation need some",
                run.data.validation,
                images.len()
            )));
        }
        let labels: Vec<u8> = train.iter().filter_map(|&i| images.label(i)).collect();
        let labelled = labelled(run, &labels, facts.classes.len())?
            .map(|drawn| drawn.into_iter().filter_map(|place| train.get(place).copied()).collect::<Vec<_>>());
        if run.batch_size > train.len() {
            return Err(TrainError::Settings(format!(
                "batch_size is {0}, more than the {1} training images: say --set batch_size={1} or less",
                run.batch_size,
                train.len()
            )));
        }
        let mut train = Loader::new(images.clone(), train, run.batch_size)?
            .augment(run.augment.clone())
            .binarise(run.data.binarise)
            .seed(run.seed)
            .workers(run.data.workers);
        if let Some(labelled) = labelled {
            train = train.labelled(&labelled);
        }
        let valid = Loader::new(images, valid, EVALUATION_BATCH)?.binarise(run.data.binarise);
        Ok(Self {
            train: AnyLoader::Images(train),
            valid: AnyLoader::Images(valid),
            facts,
            digest: set.digest()?,
            kept: Vec::new(),
        })
    }

    /// Both splits, of a kind.
    ///
    /// # Errors
    /// [`TrainError::Settings`] if they are of another.
    pub fn loaders<E: Kind>(&self) -> Result<[&Loader<E::Source>; 2]> {
        Ok([E::wanted(&self.train)?, E::wanted(&self.valid)?])
    }
}

/// Finds out before a long training whether its test can be done: by the header alone, no image is read.
pub(crate) fn check_test_header(set: &DataSet, size: ImageSize) -> Result<()> {
    let [_, _, images, _] = set.paths();
    let (count, found) = set.test_size()?;
    if count > 0 && found == size {
        return Ok(());
    }
    Err(TrainError::Damaged {
        path: images.clone(),
        reason: format!("it has {count} images of {found}; wanted some of {size}"),
    })
}

/// Places, among training examples with these labels, of those whose labels are known, where that is not all: each
/// class in its share, a function of the run's seed.
pub(crate) fn labelled(run: &Run, labels: &[u8], classes: usize) -> Result<Option<Vec<usize>>> {
    let count = run.data.labels;
    let refused = |wanted: String| {
        Err(TrainError::Settings(format!("data.labels is {count}; it has to be 0 (all) or {wanted}")))
    };
    if count == 0 {
        return Ok(None);
    }
    if count == labels.len() {
        return Ok(Some((0..count).collect()));
    }
    if count < classes {
        return refused(format!("{classes} at least, one for each class"));
    }
    if count > labels.len() {
        return refused(format!("at most the {} training examples", labels.len()));
    }
    draw(labels, count, run.seed).map(Some)
}

/// Places of `count` examples, fewer than there are, each class in its share and none left out: a function of its arguments.
pub(crate) fn draw(labels: &[u8], count: usize, seed: u64) -> Result<Vec<usize>> {
    Ok(Split::covering(labels, count, Key::new(seed).named("labels").seed())?.valid)
}

/// Which images of the training file train and which validate.
pub(crate) fn split(run: &Run, images: &LabelledImages) -> Result<Split> {
    let mut split = Split::stratified(images.labels(), run.data.validation, run.data.split_seed)
        .map_err(|e| TrainError::Settings(format!("data.validation: {e}")))?;
    if run.data.limit > 0 {
        split.train.truncate(run.data.limit);
    }
    Ok(split)
}
