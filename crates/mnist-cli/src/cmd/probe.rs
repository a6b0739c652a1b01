//! `probe RUN`: how far classes can be told apart by a trained encoder's features as they are.

use std::{collections::BTreeSet, io::Write, path::Path, process::ExitCode};

use anyhow::Result;
use mnist_train::{
    evaluate::{SplitName, load_for_features},
    few_labels::{Mean, percent},
    probe::{self, Features, Splits},
    publish::load_model,
    rundir::{RunDir, SavedRun},
};
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
            "{name}: {width} features; test accuracy of probes, mean of the seeds with its 95 % interval"
        )?;
        writeln!(out, "{:>8}  {:>5}  {:<24} logistic regression", "labels", "seeds", "nearest neighbours")?;
    }
    let mut probes = Vec::new();
    for labels in numbers {
        // All labels are one draw.
        let seeds = if labels == all { 1 } else { args.seeds };
        let (mut nearest, mut logistic) = (Vec::new(), Vec::new());
        for seed in 1..=seeds {
            let drawn = train.drawn(labels, classes, seed)?;
            let splits = Splits { train: &drawn, valid: &valid, test: &test };
            nearest.push(probe::neighbours(splits, classes).test);
            logistic.push(probe::logistic(splits, classes).test);
        }
        if args.json {
            probes.push(json!({ "labels": labels, "nearest_neighbours": nearest, "logistic": logistic }));
        } else {
            let mean = |found: &[f64]| percent(&Mean::of(found));
            writeln!(out, "{labels:>8}  {seeds:>5}  {:<24} {}", mean(&nearest), mean(&logistic))?;
        }
    }
    if args.json {
        writeln!(out, "{}", json!({ "run": dir.name(), "features": train.width, "probes": probes }))?;
    }
    Ok(ExitCode::SUCCESS)
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
