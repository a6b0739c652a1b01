//! `evaluate RUN`: figures of a trained model on a split.

use std::{collections::BTreeMap, io::Write, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use mnist_data::HostBatch;
use mnist_train::{
    TrainError,
    data::{AnyLoader, Kind},
    evaluate::{SplitName, files, load_split},
    figures::{Figures, Scores},
    judge::judge,
    metrics::Predictions,
    publish::{load_model, measure, save_pictures},
    registry::{self, Trained},
    rundir::{RunDir, SavedRun, write_whole},
};

use super::train::reading;
use crate::{
    args::{Common, Evaluate, Split, UsageError},
    device::{Compute, Job, Place},
    show,
};

/// Evaluates.
pub(crate) fn run(args: &Evaluate, common: &Common) -> Result<ExitCode> {
    let dir = RunDir::find(&args.run, &common.runs)?;
    let saved = dir.load()?;
    let (split, name) = match args.split {
        Split::Test => (SplitName::Test, "test"),
        Split::Valid => (SplitName::Valid, "validation"),
        Split::Train => (SplitName::Train, "training"),
    };
    let place = Place::choose(common)?;
    let data_dir = common.data_dir.as_deref();
    let (first, samples) = (args.first.map(usize::from), args.samples.map(usize::from));
    let judge = match &args.features {
        Some(wanted) => {
            let judge = RunDir::find(wanted, &common.runs)?;
            let saved = judge.load()?;
            Some((judge, saved))
        }
        None => None,
    };
    let judge = judge.as_ref();
    let read = &reading(&saved, &dir, args.data.as_deref(), common)?;
    let [wanted, found] = [&saved, read].map(|saved| saved.facts.classes.join(", "));
    if registry::learns_from_labels(&saved.run.objective) && wanted != found {
        let message = format!("--data: its classes are {found}; the model tells apart {wanted}");
        return Err(UsageError(message).into());
    }
    let measure = Measure { dir: &dir, saved: &saved, read, split, data_dir, first, samples, judge };
    let (figures, found, files) = place.run(measure)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&figures)?)?;
    } else {
        show::figures(&mut out, name, &figures)?;
        if let Figures::Classification(evaluation) = &figures {
            show::details(&mut out, evaluation)?;
        }
    }
    if let Some(path) = &args.predictions {
        let Some(found) = found else {
            let objective = &saved.run.objective;
            return Err(
                TrainError::Settings(format!("a model of objective {objective} does not classify")).into()
            );
        };
        let mut csv = Vec::new();
        found.to_csv(&mut csv, &read.facts.classes, &files)?;
        // A pipe or a device is written to; a file is replaced as a whole.
        let special = std::fs::metadata(path).is_ok_and(|target| !target.is_file());
        if special {
            std::fs::write(path, &csv).with_context(|| format!("cannot write {}", path.display()))?;
        } else {
            write_whole(path, &csv).context("the predictions could not be written")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Measure<'a> {
    dir: &'a RunDir,
    saved: &'a SavedRun,
    /// The same, or those with the data of another set.
    read: &'a SavedRun,
    split: SplitName,
    data_dir: Option<&'a Path>,
    first: Option<usize>,
    samples: Option<usize>,
    judge: Option<&'a (RunDir, SavedRun)>,
}

impl Job for Measure<'_> {
    /// Figures, and where it classifies what it said of each example, and these examples' files.
    type Output = (Figures, Option<Predictions>, Vec<String>);

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Self::Output> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let data = load_split(self.read, self.split, self.data_dir, self.dir.path())?;
        let data = match self.first {
            Some(count) => data.first(count),
            None => data,
        };
        let (mut figures, found) = measure(&*model, self.saved, &data, main)?;
        if let Some(samples) = self.samples {
            let (Some(found), Figures::Scores(Scores { scores, .. })) =
                (model.likelihood(&data, samples, main)?, &mut figures)
            else {
                let objective = &self.saved.run.objective;
                let message =
                    format!("--samples: a model of objective {objective} has no hidden codes to sample");
                return Err(UsageError(message).into());
            };
            scores.insert(format!("importance_weighted_nll_{samples}_samples"), found.negative);
            scores.insert(
                format!("importance_weighted_nll_{samples}_samples_standard_error"),
                found.standard_error,
            );
        }
        if let Some((judge_dir, judge_saved)) = self.judge {
            let found = self.judged(&*model, (judge_dir, judge_saved), &data, main)?;
            if let Figures::Scores(Scores { scores, .. }) = &mut figures {
                scores.extend(found);
            }
        }
        Ok((figures, found, files(&data)))
    }
}

impl Measure<'_> {
    /// What a classifier says of the images that the model makes; the nearest training images go into its pictures.
    fn judged<B: Compute>(
        &self,
        model: &dyn Trained<B>,
        (judge_dir, judge_saved): (&RunDir, &SavedRun),
        data: &AnyLoader,
        device: &B::Device,
    ) -> Result<BTreeMap<String, f64>> {
        /// Seed of the images that are judged.
        const SEED: u64 = 1;
        let (made_for, size) = (&judge_saved.facts.size, &self.saved.facts.size);
        if made_for != size {
            let message =
                format!("--features: {} is made for images of {made_for}, not of {size}", judge_dir.name());
            return Err(UsageError(message).into());
        }
        let classifier = load_model::<B>(judge_dir, judge_saved, device)?;
        let train = load_split(self.read, SplitName::Train, self.data_dir, self.dir.path())?;
        let images = [<HostBatch as Kind>::wanted(data)?, <HostBatch as Kind>::wanted(&train)?];
        let classes = &judge_saved.facts.classes;
        let found = judge(model, &*classifier, classes, images, SEED, device)?;
        save_pictures(self.dir, "", &[("nearest-training-images.png".into(), found.nearest)])?;
        Ok(found.scores)
    }
}
