//! Evaluation of a trained model over a whole split. The only file that reads the test images.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn::tensor::backend::Backend;
use mnist_data::{DataSet, Examples, Images, Key, LabelledImages, Loader, Task};
use mnist_model::objectives::{CLASS, Objective};

use crate::{
    data::{AnyLoader, EVALUATION_BATCH, Kind, split},
    error::{Result, TrainError},
    metrics::{Predictions, macro_f1},
    registry::{self, Trained},
    report::Mistake,
    run::DataSettings,
    rundir::SavedRun,
    token_data::{self, Coder},
};

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitName {
    /// The images that train.
    Train,
    /// The images that choose.
    Valid,
    /// The images that nothing was chosen by.
    Test,
}

/// A split of the data that a run was trained on.
///
/// # Errors
/// [`TrainError::Data`]; [`TrainError::Changed`] if the data are not those of the run.
pub fn load_split(
    saved: &SavedRun,
    name: SplitName,
    data_dir: Option<&Path>,
    run: &Path,
) -> Result<AnyLoader> {
    read(saved, name, registry::task(&saved.run)?, data_dir, run)
}

/// As [`load_split`], for features: a run on token sequences reads them whole and with their classes, whatever it was
/// trained to tell of them.
///
/// # Errors
/// As [`load_split`]; [`TrainError::Settings`] for a run that reads strips of images or texts without punctuation.
pub fn load_for_features(
    saved: &SavedRun,
    name: SplitName,
    data_dir: Option<&Path>,
    run: &Path,
) -> Result<AnyLoader> {
    read(saved, name, whole(saved)?, data_dir, run)
}

/// A run as if it had learned from other data, for what [`load_split`] and [`load_for_features`] are to read; its model is
/// made as before, for the run as it is.
///
/// # Errors
/// [`TrainError::Settings`] if the run reads images and the data are text, or the other way round;
/// [`TrainError::Data`].
pub fn on_other_data(
    saved: &SavedRun,
    data: &DataSettings,
    data_dir: Option<&Path>,
    run: &Path,
) -> Result<SavedRun> {
    let mut other = saved.clone();
    // All of it, and with pixels as the model reads them.
    other.run.data = DataSettings { binarise: saved.run.data.binarise, labels: 0, ..data.clone() };
    let [reads, found] = [&saved.run, &other.run].map(token_data::is_text);
    if reads != found {
        let [reads, found] = [reads, found].map(|text| if text { "text" } else { "images" });
        return Err(TrainError::Settings(format!("the run's model reads {reads}, the data are {found}")));
    }
    let (digest, classes) = if found {
        let text = token_data::open_text(&other.run, data_dir)?;
        (text.digest, text.classes)
    } else {
        let set = DataSet::open(&other.run.data.name, data_dir)?;
        (set.digest()?, set.class_names())
    };
    let coder = saved.facts.tokens.is_some().then(|| Coder::load(saved, run)).transpose()?;
    other.provenance.data_digest =
        coder.map_or(Ok(digest.clone()), |coder| token_data::digest_of(&digest, &coder))?;
    // Marks of punctuation are the same in every text.
    if registry::task(&saved.run)? != Some(Task::Label) {
        other.facts.classes = classes;
    }
    Ok(other)
}

/// The task by which [`load_for_features`] reads.
///
/// # Errors
/// As [`load_for_features`].
pub fn whole(saved: &SavedRun) -> Result<Option<Task>> {
    match registry::task(&saved.run)? {
        Some(Task::Next) => Ok(Some(Task::Class { decoder: true })),
        Some(Task::Hidden(_)) => Ok(Some(Task::Class { decoder: false })),
        Some(Task::Label) => Err(TrainError::Settings(format!(
            "no probe is possible: what a run of the objective {} reads has a class at each place, not one",
            saved.run.objective
        ))),
        other => Ok(other),
    }
}

fn read(
    saved: &SavedRun,
    name: SplitName,
    task: Option<Task>,
    data_dir: Option<&Path>,
    run: &Path,
) -> Result<AnyLoader> {
    if let Some(task) = task.filter(|_| token_data::is_text(&saved.run)) {
        return load_text(saved, name, task, data_dir, run);
    }
    let set = DataSet::open(&saved.run.data.name, data_dir)?;
    let images = match name {
        SplitName::Test => set.test()?,
        SplitName::Train | SplitName::Valid => set.train()?,
    };
    let coder = task.map(|_| Coder::load(saved, run)).transpose()?;
    // After the images: what `train` has read and hashed is not read again.
    let digest = match &coder {
        Some(coder) => token_data::digest_of(&set.digest()?, coder)?,
        None => set.digest()?,
    };
    saved.check_data(run, &digest)?;
    let indices = match name {
        SplitName::Test => (0..images.len()).collect(),
        SplitName::Train => split(&saved.run, &images)?.train,
        SplitName::Valid => split(&saved.run, &images)?.valid,
    };
    if images.size() != saved.facts.size {
        let (found, wanted) = (images.size(), saved.facts.size);
        return Err(TrainError::Settings(format!(
            "the data have images of {found}, the model is made for {wanted}"
        )));
    }
    if let (Some(task), Some(Coder::Images(patches))) = (task, coder) {
        let images = Images::new(Arc::new(images)).binarise(saved.run.data.binarise);
        return Ok(AnyLoader::Tokens(token_data::image_loader(images, indices, patches, task)?));
    }
    let loader = Loader::new(Arc::new(images), indices, EVALUATION_BATCH)?.binarise(saved.run.data.binarise);
    registry::prepare(&saved.run, AnyLoader::Images(loader))
}

/// As [`load_split`], of a text.
fn load_text(
    saved: &SavedRun,
    name: SplitName,
    task: Task,
    data_dir: Option<&Path>,
    run: &Path,
) -> Result<AnyLoader> {
    let text = token_data::open_text(&saved.run, data_dir)?;
    let coder = Coder::load(saved, run)?;
    saved.check_data(run, &token_data::digest_of(&text.digest, &coder)?)?;
    let Coder::Text(tokeniser) = coder else {
        return Err(TrainError::Settings("this run's model is one of images, not of text".into()));
    };
    let (passages, limit) = match name {
        SplitName::Train => (text.train, saved.run.data.limit),
        SplitName::Valid => (text.valid, 0),
        SplitName::Test => (text.test, 0),
    };
    Ok(AnyLoader::Tokens(token_data::text_loader(&saved.run, &passages, &tokeniser, task, limit)?))
}

/// Means of all scores over a split, each summed in double precision, and the macro F1 of predicted classes. What the
/// model draws is the same each time.
pub fn scores<B: Backend, M: Objective<B>>(
    model: &M,
    data: &Loader<<M::Input as Examples>::Source>,
    device: &B::Device,
) -> BTreeMap<String, f64>
where
    M::Input: Kind,
{
    let mut answers = Vec::new();
    let mut sums = BTreeMap::<String, f64>::new();
    for (i, batch) in data.in_order().enumerate() {
        seed::<B>(i, device);
        let labels = M::Input::answers(&batch);
        for score in model.scores(batch.to_device(device)) {
            if score.unit == CLASS {
                let predicted: Vec<f32> = score.values.into_data().iter::<f32>().collect();
                let told = labels.iter().zip(predicted).filter(|(label, _)| **label >= 0);
                answers.extend(told.map(|(label, predicted)| (*label as usize, predicted as usize)));
                continue;
            }
            let sum: f64 = score.values.into_data().iter::<f32>().map(f64::from).sum();
            *sums.entry(score.name.to_string()).or_default() += sum;
        }
    }
    sums.values_mut().for_each(|sum| *sum /= data.len() as f64);
    if !answers.is_empty() {
        sums.insert("macro_f1".into(), macro_f1(&answers));
    }
    model.conclude(sums)
}

/// Seeds the backend's generator for measuring batch number `i`.
pub(crate) fn seed<B: Backend>(i: usize, device: &B::Device) {
    B::seed(device, Key::new(0).named("measure").with(i as u64).seed());
}

/// Names of the files that a split's images were, if they are kept, in the split's order.
pub fn files(data: &AnyLoader) -> Vec<String> {
    let AnyLoader::Images(loader) = data else { return Vec::new() };
    let file = |&i: &usize| loader.data().file(i).map(str::to_owned);
    loader.indices().iter().map_while(file).collect()
}

/// Class probabilities for a whole split.
///
/// # Errors
/// [`TrainError::Settings`] if the model does not classify, or not such examples.
pub fn predictions<B: Backend>(
    model: &dyn Trained<B>,
    data: &AnyLoader,
    classes: usize,
    device: &B::Device,
) -> Result<Predictions> {
    match model.probabilities(data, device)? {
        Some(found) => found.predictions(classes),
        None => Err(TrainError::Settings("this model does not classify".into())),
    }
}

/// The `count` images that the model was most wrong about: least probability given to the truth.
pub fn worst_mistakes(
    images: &LabelledImages,
    predictions: &Predictions,
    classes: &[String],
    count: usize,
) -> Vec<Mistake> {
    let name = |class: usize| classes.get(class).cloned().unwrap_or_else(|| class.to_string());
    let mut wrong: Vec<Mistake> = (0..predictions.len())
        .filter_map(|i| {
            let (truth, predicted) = (*predictions.labels.get(i)?, predictions.predicted(i));
            let probability = |class: usize| predictions.row(i).get(class).copied();
            (truth != predicted).then_some(())?;
            Some(Mistake {
                index: i,
                file: images.file(i).map(str::to_owned),
                pixels: images.image(i)?.to_vec(),
                size: images.size(),
                truth: name(truth),
                predicted: name(predicted),
                probability: probability(predicted)?,
                truth_probability: probability(truth)?,
            })
        })
        .collect();
    wrong.sort_by(|a, b| a.truth_probability.total_cmp(&b.truth_probability).then(a.index.cmp(&b.index)));
    wrong.truncate(count);
    wrong
}
