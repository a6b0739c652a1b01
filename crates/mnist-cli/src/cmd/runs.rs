//! `runs`: a table of the runs with their figures.

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use mnist_train::{
    TrainError,
    log::{read_end, read_metrics},
    publish::read_evaluation,
    rundir::RunDir,
};
use serde::Serialize;

use crate::args::{Common, Runs};

/// What is known of a run; `None` where it has not come so far.
#[derive(Serialize)]
struct Row {
    name: String,
    net: String,
    seed: u64,
    backend: String,
    epochs: usize,
    epochs_done: usize,
    validation_accuracy: Option<f64>,
    test_accuracy: Option<f64>,
    train_seconds: Option<f64>,
}

/// Prints it.
pub(crate) fn run(args: &Runs, common: &Common) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for dir in RunDir::all(&common.runs)? {
        match row(&dir) {
            Ok(row) => rows.push(row),
            Err(error) => tell!("warning: {}", crate::show::report(&error)),
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        for row in &rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        writeln!(out, "no runs in {}; make one with: mnist-cli train", common.runs.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let wide = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "{:wide$}  net     seed  backend   epochs  validation      test  seconds", "name")?;
    for r in &rows {
        let percent = |v: Option<f64>| v.map_or_else(|| "-".to_string(), |v| format!("{:.2} %", 100.0 * v));
        writeln!(
            out,
            "{:wide$}  {:6}  {:>4}  {:8}  {:>6}  {:>10}  {:>8}  {:>7}",
            r.name,
            r.net,
            r.seed,
            r.backend,
            format!("{}/{}", r.epochs_done, r.epochs),
            percent(r.validation_accuracy),
            percent(r.test_accuracy),
            r.train_seconds.map_or_else(|| "-".into(), |s| format!("{s:.0}")),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was read, or nothing and a warning: one damaged file does not hide a run.
fn or_warn<T: Default>(read: Result<T, TrainError>) -> T {
    read.unwrap_or_else(|error| {
        tell!("warning: {error}");
        T::default()
    })
}

fn row(dir: &RunDir) -> Result<Row> {
    let saved = dir.load()?;
    let lines = if dir.metrics().exists() { or_warn(read_metrics(&dir.metrics())) } else { Vec::new() };
    let valid = || lines.iter().filter(|l| l.split == "valid");
    Ok(Row {
        name: dir.name(),
        net: saved.net().into(),
        seed: saved.run.seed,
        backend: saved.provenance.backend,
        // What was trained elsewhere has no epochs here.
        epochs: if saved.provenance.imported.is_some() { 0 } else { saved.run.epochs },
        epochs_done: valid().map(|l| l.epoch).max().unwrap_or(0),
        validation_accuracy: valid().filter_map(|l| l.values.get("accuracy").copied()).max_by(f64::total_cmp),
        test_accuracy: or_warn(read_evaluation(dir)).and_then(|e| e.accuracy()),
        train_seconds: read_end(&dir.timing()).map(|end| end.train_seconds),
    })
}
