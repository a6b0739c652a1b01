//! `probe RUN`: how far classes can be told apart by a trained encoder's features as they are.

use std::{collections::BTreeSet, io::Write, path::Path, process::ExitCode};

use anyhow::Result;
use mnist_train::{
    evaluate::{SplitName, load_for_features},
    few_labels::{Mean, percent},
    probe::{self, Chosen, Features, Probed, Splits},
    publish::load_model,
    rundir::{RunDir, SavedRun},
};
use serde::Serialize;
use serde_json::json;

use super::train::reading;
use crate::{
    args::{Common, Probe},
    device::{Compute, Job, Place},
};

/// Probes.
pub(crate) fn run(args: &Probe, common: &Common) -> Result<ExitCode> {
    let dir = RunDir::find(&args.run, &common.runs)?;
    let saved = dir.load()?;
    let place = Place::choose(common)?;
    let read = &reading(&saved, &dir, args.data.as_deref(), common)?;
    let classes = read.facts.classes.len();
    let encode = Encode { dir: &dir, saved: &saved, read, data_dir: common.data_dir.as_deref() };
    let [train, valid, test] = place.run(encode)?;
    let all = train.labels.len();
    let numbers = match &args.labels[..] {
        [] => [100, 1000, all].into_iter().filter(|&n| (classes..=all).contains(&n)).collect::<BTreeSet<_>>(),
        asked => asked.iter().copied().collect(),
    };
    for &labels in &numbers {
        train.drawn(labels, classes, 1)?; // before anything is said
    }
    let mut out = std::io::stdout().lock();
    if !args.json {
        let (name, width) = (dir.name(), train.width);
        writeln!(
            out,
            "{name}: {width} features; test accuracy of probes, mean of the seeds with its 95 % interval, and in \
             brackets validation accuracy, by which to choose among encoders"
        )?;
        writeln!(out, "{:>8}  {:>5}  {:<27}  logistic regression", "labels", "seeds", "nearest neighbours")?;
    }
    let mut probes = Vec::new();
    for labels in numbers {
        // All labels are one draw.
        let seeds = if labels == all { 1 } else { args.seeds };
        let (mut nearest, mut logistic) = (Vec::new(), Vec::new());
        for seed in 1..=seeds {
            let drawn = train.drawn(labels, classes, seed)?;
            let splits = Splits { train: &drawn, valid: &valid, test: &test };
            nearest.push(probe::neighbours(splits, classes, Chosen::Accuracy));
            logistic.push(probe::logistic(splits, classes, Chosen::Accuracy));
        }
        let [nearest, logistic] = [nearest, logistic].map(|found| Both::of(&found));
        if args.json {
            probes.push(json!({ "labels": labels, "nearest_neighbours": nearest, "logistic": logistic }));
        } else {
            writeln!(out, "{labels:>8}  {seeds:>5}  {:<27}  {}", nearest.text(), logistic.text())?;
        }
    }
    if args.json {
        writeln!(out, "{}", json!({ "run": dir.name(), "features": train.width, "probes": probes }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Accuracies of a probe, 0-1, draw by draw.
#[derive(Serialize)]
struct Both {
    validation: Vec<f64>,
    test: Vec<f64>,
}

impl Both {
    fn of(found: &[Probed]) -> Self {
        Self {
            validation: found.iter().map(|found| found.valid).collect(),
            test: found.iter().map(|found| found.test).collect(),
        }
    }

    fn text(&self) -> String {
        format!("{} ({:.2})", percent(&Mean::of(&self.test)), 100.0 * Mean::of(&self.validation).mean)
    }
}

/// Features of the training, validation and test split of data, as a run's encoder has them.
pub(crate) struct Encode<'a> {
    /// The run.
    pub dir: &'a RunDir,
    /// Its settings.
    pub saved: &'a SavedRun,
    /// The same, or those with the data of another set.
    pub read: &'a SavedRun,
    /// Where the data are.
    pub data_dir: Option<&'a Path>,
}

impl Job for Encode<'_> {
    type Output = [Features; 3];

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Self::Output> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let of = |split| -> Result<Features> {
            let data = load_for_features(self.read, split, self.data_dir, self.dir.path())?;
            Ok(Features::of(&*model, &data, main)?)
        };
        Ok([of(SplitName::Train)?, of(SplitName::Valid)?, of(SplitName::Test)?])
    }
}
