//! `few-labels --from RUN`: what a pretrained encoder is worth with few labels, against training from scratch with as
//! many steps, the same settings and the same labels.

use std::{
    fs,
    io::Write,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use mnist_train::{
    TrainError,
    data::TrainingData,
    evaluate::{SplitName, load_split, on_other_data, whole},
    few_labels::{self, Cell, Figure, percent},
    figures::Figures,
    finetune::Source,
    learner::Outcome,
    plot,
    probe::{self, Chosen, Features, Splits},
    publish::{load_model, measure},
    registry,
    run::Run,
    rundir::{RunDir, SavedRun, write_whole},
};
use serde_json::json;

use super::{
    belongs, interrupted,
    probe::Encode,
    train::{Fit, begun, data_sets, usual_recipe},
    unoccupied,
};
use crate::{
    args::{Common, FewLabels, UsageError},
    device::{Compute, Job, Place},
    recipes::Recipe,
    show::Progress,
    stop,
};

/// Ways that train nothing: probes of frozen features.
const PROBES: [&str; 2] = ["knn", "logistic"];

/// Fills the table.
pub(crate) fn run(args: &FewLabels, common: &Common) -> Result<ExitCode> {
    let source = Source::find(&args.from, &common.runs)?;
    let recipe = Recipe::find(args.recipe.as_deref().unwrap_or(usual_recipe(&source, "few-labels")))?;
    let mut base = source.defaults()?;
    let data = args.data.as_ref().map(|data| data_sets(data, &mut base, common)).transpose()?;
    let fixed = [source.structure(), data.unwrap_or_default(), args.set.clone()].concat();
    let resolve = |extra: &[String]| {
        let sets = [&fixed[..], extra].concat();
        Run::resolve_over(base.clone(), Some((&recipe.text, &recipe.origin)), &sets)
    };
    // Sets of settings among which validation picks.
    let rates: Vec<String> =
        once(&args.rates).iter().map(|rate| format!("schedule.learning_rate={rate:?}")).collect();
    rates.iter().try_for_each(|rate| resolve(std::slice::from_ref(rate)).map(|_| ()))?;
    let plain = resolve(&[])?;
    // What validation chooses by is what is told at the end.
    let by = chosen_by(&plain)?;
    let mut facts = None;
    let labels = match &args.labels[..] {
        [] => {
            let data = TrainingData::load_for(&plain, common.data_dir.as_deref(), source.given.as_ref())?;
            let there = data.facts.classes.len()..=data.train.len();
            facts = Some(data.facts);
            let some: Vec<usize> =
                [10, 50, 100, 500, 1000].into_iter().filter(|number| there.contains(number)).collect();
            if some.is_empty() {
                let message =
                    format!("name numbers of labels from {} to {} with --labels", there.start(), there.end());
                return Err(UsageError(message).into());
            }
            some
        }
        asked => once(asked),
    };
    let ways = ways(&args.ways, |way| {
        if PROBES.contains(&way) {
            return reader(&source, &plain, common).map(|_| ());
        }
        // Found out before anything is trained: whether there are so many labels.
        let most = labels.iter().copied().max().unwrap_or_default();
        let run = resolve(&[format!("finetune.method={way}"), format!("data.labels={most}")])?;
        let known = match facts.take() {
            Some(known) => known,
            None => TrainingData::load_for(&run, common.data_dir.as_deref(), source.given.as_ref())?.facts,
        };
        Ok(registry::check(&run, facts.insert(known)).map_err(TrainError::Settings)?)
    })?;
    let place = Place::choose(common)?;
    let name = Path::new(&args.from).file_stem().map_or_else(|| "model".into(), |n| n.to_string_lossy());
    let out = args.out.clone().unwrap_or_else(|| common.runs.join(format!("few-labels-{name}")));
    unoccupied(&out, Some("settings.toml"))?;
    let cells = out.join("cells");
    fs::create_dir_all(&out).map_err(TrainError::io("make the directory", &out))?;
    let reason = ": its table was begun with other settings or another encoder; choose another --out";
    let mut settings = toml::to_string(&plain.to_table()?)?;
    if by == Chosen::MacroF1 {
        settings += "# chosen by macro F1, probes too\n";
    }
    if !rates.is_empty() {
        settings += &format!("# one of: {}\n", rates.join(", "));
    }
    belongs(&out, "settings.toml", &settings, reason)?;
    fs::create_dir_all(&cells).map_err(TrainError::io("make the directory", &cells))?;

    let stop = stop::listen()?;
    let mut bench = Bench {
        work: &out.join("training"),
        source: &source,
        stop: &stop,
        place: &place,
        common,
        features: None,
    };
    let mut done = Vec::new();
    for &labels in &labels {
        for seed in 1..=args.seeds {
            for way in &ways {
                if stop.load(Ordering::Relaxed) {
                    return Ok(interrupted());
                }
                if let Some(cell) = Cell::read(&cells, way, labels, seed)? {
                    done.push(cell);
                    continue;
                }
                let cell = if PROBES.contains(&way.as_str()) {
                    bench.probed(way, &plain, labels, seed)?
                } else {
                    let sets = [
                        format!("finetune.method={way}"),
                        format!("data.labels={labels}"),
                        format!("seed={seed}"),
                    ];
                    let with = |rate: &String| resolve(&[&sets[..], std::slice::from_ref(rate)].concat());
                    let runs = match &rates[..] {
                        [] => vec![resolve(&sets)?],
                        rates => rates.iter().map(with).collect::<Result<_, _>>()?,
                    };
                    let Some(cell) = bench.best_of(way, runs)? else {
                        continue; // stopped
                    };
                    cell
                };
                cell.write(&cells)?;
                if !common.quiet {
                    tell!("{way}, {labels} labels, seed {seed}: test accuracy {:.2} %", 100.0 * cell.test);
                }
                done.push(cell);
            }
        }
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(interrupted());
    }
    report(&out, &done, &name, by.into(), args.json)
}

/// What validation chooses trainings by.
fn chosen_by(run: &Run) -> Result<Chosen> {
    let score = registry::chosen_by(run)?.score;
    Ok(if score == "accuracy" { Chosen::Accuracy } else { Chosen::MacroF1 })
}

/// What was said more than once counts once, where it was said first.
fn once<T: Clone + PartialEq>(said: &[T]) -> Vec<T> {
    let first = |(i, one): &(usize, &T)| !said[..*i].contains(one);
    said.iter().enumerate().filter(first).map(|(_, one)| one.clone()).collect()
}

/// What is compared: what was asked for, or all that this encoder can. Found out before hours of training.
fn ways(asked: &[String], mut check: impl FnMut(&str) -> Result<()>) -> Result<Vec<String>> {
    let all = [few_labels::SCRATCH, "full", "head", "lora"].iter().chain(&PROBES).map(ToString::to_string);
    let wanted = if asked.is_empty() { all.collect() } else { once(asked) };
    let mut ways = Vec::new();
    for way in wanted {
        match check(&way) {
            Ok(()) => ways.push(way),
            // Scratch has to be possible, or nothing is.
            Err(error) if asked.is_empty() && way != few_labels::SCRATCH => {
                tracing::warn!("{way} is left out: {}", crate::show::report(&error));
            }
            Err(error) => return Err(error.context(format!("--ways {way}"))),
        }
    }
    Ok(ways)
}

/// Table, picture and conclusion.
fn report(out: &Path, cells: &[Cell], name: &str, figure: Figure, json: bool) -> Result<ExitCode> {
    write_whole(&out.join("few-labels.csv"), few_labels::csv(cells).as_bytes())?;
    let chart = few_labels::chart(cells, figure, &format!("Few labels, from {name}"));
    write_whole(&out.join("few-labels.png"), &plot::png(&[chart])?)?;
    let mut text = std::io::stdout().lock();
    if json {
        let conclusion = few_labels::conclusion(cells, figure);
        let chosen_by = figure.name();
        let told = json!({ "directory": out, "figure": chosen_by, "cells": cells, "conclusion": conclusion });
        writeln!(text, "{told}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for figure in [Figure::Accuracy, Figure::MacroF1] {
        writeln!(text, "{}", figure.name())?;
        for (way, means) in few_labels::table(cells, figure) {
            let row: Vec<_> =
                means.iter().map(|(labels, mean)| format!("{labels}: {}", percent(mean))).collect();
            writeln!(text, "  {way:<12} {}", row.join("   "))?;
        }
    }
    writeln!(text, "{}\n{}", few_labels::conclusion(cells, figure), out.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Where cells are made.
struct Bench<'a> {
    /// Directory of a training while it lasts.
    work: &'a Path,
    source: &'a Source,
    stop: &'a AtomicBool,
    place: &'a Place,
    common: &'a Common,
    /// Those of the source's encoder, once they were asked for, and how many classes they are of.
    features: Option<([Features; 3], usize)>,
}

impl Bench<'_> {
    /// Trains each of some runs, at least one, and keeps the best on validation, of equals the first; `None` if it was
    /// stopped.
    fn best_of(&self, way: &str, runs: Vec<Run>) -> Result<Option<Cell>> {
        let several = runs.len() > 1;
        let mut best: Option<Cell> = None;
        for run in runs {
            let rate = run.schedule.learning_rate;
            let Some(mut cell) = self.trained(way, run)? else { return Ok(None) };
            cell.learning_rate = several.then_some(rate);
            if best.as_ref().is_none_or(|best| cell.valid > best.valid) {
                best = Some(cell);
            }
        }
        Ok(best)
    }

    /// Trains and measures one cell; `None` if it was stopped.
    fn trained(&self, way: &str, run: Run) -> Result<Option<Cell>> {
        let &Self { work, source, stop, place, common, features: _ } = self;
        let data = TrainingData::load_for(&run, common.data_dir.as_deref(), source.given.as_ref())?;
        let from = (way != few_labels::SCRATCH).then_some(source);
        let saved = begun(run, &data, from, place.name(), place.devices());
        // What an interrupted cell has left behind is not gone on with: it takes seconds.
        if work.exists() {
            fs::remove_dir_all(work).map_err(TrainError::io("remove", work))?;
        }
        let (dir, _lock) = RunDir::create(work, &saved)?;
        dir.keep(&data.kept)?;
        let fit = Fit {
            dir: &dir,
            saved: &saved,
            data: &data,
            from: None,
            source: from,
            stop,
            progress: Progress::new(true, saved.run.epochs, false),
            board: None,
        };
        let Outcome::Finished(state) = place.run(fit)? else { return Ok(None) };
        let figures = place.run(Measured { dir: &dir, saved: &saved, common })?;
        let Figures::Classification(evaluation) = figures else {
            return Err(TrainError::Settings(
                "few-labels compares classifiers; set objective=classify".into(),
            )
            .into());
        };
        fs::remove_dir_all(work).map_err(TrainError::io("remove", work))?;
        Ok(Some(Cell {
            way: way.into(),
            labels: saved.run.data.labels,
            seed: saved.run.seed,
            valid: state.best.map_or(f64::NAN, |best| best.score),
            test: evaluation.accuracy,
            test_f1: evaluation.macro_f1,
            learning_rate: None,
        }))
    }

    /// A probe of the encoder's features, which are computed once.
    fn probed(&mut self, way: &str, run: &Run, labels: usize, seed: u64) -> Result<Cell> {
        let known = match self.features.take() {
            Some(known) => known,
            None => {
                let (dir, saved, read) = reader(self.source, run, self.common)?;
                let data_dir = self.common.data_dir.as_deref();
                let encode = Encode { dir: &dir, saved, read: &read, data_dir };
                (self.place.run(encode)?, read.facts.classes.len())
            }
        };
        let ([train, valid, test], classes) = self.features.insert(known);
        let classes = *classes;
        let drawn = train.drawn(labels, classes, seed).context("the labels of a probe")?;
        let splits = Splits { train: &drawn, valid, test };
        // As the trainings that they stand beside.
        let by = chosen_by(run)?;
        let found = match way {
            "knn" => probe::neighbours(splits, classes, by),
            _ => probe::logistic(splits, classes, by),
        };
        let way = way.into();
        let (valid, test, test_f1) = (found.valid, found.test, found.test_f1);
        Ok(Cell { way, labels, seed, valid, test, test_f1, learning_rate: None })
    }
}

struct Measured<'a> {
    dir: &'a RunDir,
    saved: &'a SavedRun,
    common: &'a Common,
}

impl Job for Measured<'_> {
    type Output = Figures;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Figures> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let data = load_split(self.saved, SplitName::Test, self.common.data_dir.as_deref(), self.dir.path())?;
        Ok(measure(&*model, self.saved, &data, main)?.0)
    }
}

/// The run that an encoder is of, and the same with the data of `run`, as probes read them.
fn reader<'a>(source: &'a Source, run: &Run, common: &Common) -> Result<(RunDir, &'a SavedRun, SavedRun)> {
    let wanted = "probes need a run: a file of weights does not say of what data it is; say --ways scratch,full,head,lora";
    let saved = source.saved.as_ref().ok_or_else(|| UsageError(wanted.into()))?;
    whole(saved)?;
    let dir = RunDir::find(&source.from, &common.runs)?;
    let read = on_other_data(saved, &run.data, common.data_dir.as_deref(), dir.path())?;
    Ok((dir, saved, read))
}
