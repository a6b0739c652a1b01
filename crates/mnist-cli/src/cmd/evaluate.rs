//! `evaluate RUN`: figures of a trained model on a split.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use mnist_train::{
    evaluate::{SplitName, load_split, predictions},
    metrics::{Evaluation, Predictions},
    publish::load_model,
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
    let found =
        place.run(Predict { dir: &dir, saved: &saved, split, data_dir: common.data_dir.as_deref() })?;
    let evaluation = Evaluation::of(&found, &saved.facts.classes)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&evaluation)?)?;
    } else {
        show::evaluation(&mut out, name, &evaluation)?;
        show::details(&mut out, &evaluation)?;
    }
    if let Some(path) = &args.predictions {
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

struct Predict<'a> {
    dir: &'a RunDir,
    saved: &'a SavedRun,
    split: SplitName,
    data_dir: Option<&'a Path>,
}

impl Job for Predict<'_> {
    type Output = Predictions;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Predictions> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let data = load_split(self.saved, self.split, self.data_dir, self.dir.path())?;
        Ok(predictions(&*model, &data, self.saved.facts.classes.len(), main)?)
    }
}
