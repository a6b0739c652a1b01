//! `evaluate RUN`: figures of a trained model on a split.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use mnist_train::{
    TrainError,
    evaluate::{SplitName, load_split},
    figures::Figures,
    metrics::Predictions,
    publish::{load_model, measure},
    rundir::{RunDir, SavedRun, write_whole},
};

use crate::{
    args::{Common, Evaluate, Split},
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
    let measure = Measure { dir: &dir, saved: &saved, split, data_dir: common.data_dir.as_deref() };
    let (figures, found) = place.run(measure)?;
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
        found.to_csv(&mut csv)?;
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
    split: SplitName,
    data_dir: Option<&'a Path>,
}

impl Job for Measure<'_> {
    type Output = (Figures, Option<Predictions>);

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Self::Output> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let data = load_split(self.saved, self.split, self.data_dir, self.dir.path())?;
        Ok(measure(&*model, self.saved, &data, main)?)
    }
}
