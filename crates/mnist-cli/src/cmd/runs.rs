//! `runs`: a table of the runs with their figures.

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use mnist_train::{
    TrainError,
    figures::Figures,
    log::{read_end, read_metrics},
    publish::read_evaluation,
    registry,
    rundir::RunDir,
};
use serde::Serialize;

use crate::args::{Common, Runs};

/// What is known of a run; `None` where it has not come so far.
#[derive(Serialize)]
struct Row {
    name: String,
    objective: String,
    net: String,
    data: String,
    seed: u64,
    backend: String,
    epochs: usize,
    epochs_done: usize,
    /// Name of the score by which validation chooses; none where it chooses the last weights.
    score: Option<&'static str>,
    /// Its best value on validation.
    validation: Option<f64>,
    /// Its value on the test split.
    test: Option<f64>,
    validation_accuracy: Option<f64>,
    test_accuracy: Option<f64>,
    train_seconds: Option<f64>,
}

const HEAD: [&str; 11] = [
    "name",
    "objective",
    "net",
    "data",
    "seed",
    "backend",
    "epochs",
    "score",
    "validation",
    "test",
    "seconds",
];
/// The columns that hold words and begin on the left.
const WORDS: [usize; 6] = [0, 1, 2, 3, 5, 7];

/// Prints it.
pub(crate) fn run(args: &Runs, common: &Common) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for dir in RunDir::all_and_stages(&common.runs)? {
        let name = dir.path().strip_prefix(&common.runs).unwrap_or(dir.path()).display().to_string();
        match row(&dir, name) {
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
    let cells: Vec<_> = [HEAD.map(String::from)].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);
    for row in &cells {
        let columns = row.iter().zip(widths).enumerate();
        let line: Vec<_> = columns
            .map(|(column, (cell, wide))| match WORDS.contains(&column) {
                true => format!("{cell:wide$}"),
                false => format!("{cell:>wide$}"),
            })
            .collect();
        writeln!(out, "{}", line.join("  "))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Row {
    /// What stands under each of [`HEAD`].
    fn cells(&self) -> [String; HEAD.len()] {
        let value = |value: Option<f64>| match (value, self.score) {
            (None, _) => "-".into(),
            (Some(value), Some("accuracy")) => format!("{:.2} %", 100.0 * value),
            (Some(value), _) => format!("{value:.4}"),
        };
        [
            self.name.clone(),
            self.objective.clone(),
            self.net.clone(),
            self.data.clone(),
            self.seed.to_string(),
            self.backend.clone(),
            format!("{}/{}", self.epochs_done, self.epochs),
            self.score.map_or_else(|| "-".into(), |name| name.replace('_', " ")),
            value(self.validation),
            value(self.test),
            self.train_seconds.map_or_else(|| "-".into(), |s| format!("{s:.0}")),
        ]
    }
}

/// What was read, or nothing and a warning: one damaged file does not hide a run.
fn or_warn<T: Default>(read: Result<T, TrainError>) -> T {
    read.unwrap_or_else(|error| {
        tell!("warning: {error}");
        T::default()
    })
}

fn row(dir: &RunDir, name: String) -> Result<Row> {
    let saved = dir.load()?;
    let lines = if dir.metrics().exists() { or_warn(read_metrics(&dir.metrics())) } else { Vec::new() };
    let valid = || lines.iter().filter(|l| l.split == "valid");
    let test = or_warn(read_evaluation(dir));
    let by = registry::chosen_by(&saved.run)?;
    let score = by.says_something().then_some(by.score);
    let values = valid().filter_map(|line| line.values.get(by.score).copied());
    Ok(Row {
        name,
        objective: saved.run.objective.clone(),
        net: saved.net().into(),
        data: saved.run.data.name.clone(),
        seed: saved.run.seed,
        backend: saved.provenance.backend,
        // What was trained elsewhere has no epochs here.
        epochs: if saved.provenance.imported.is_some() { 0 } else { saved.run.epochs },
        epochs_done: valid().map(|l| l.epoch).max().unwrap_or(0),
        score,
        validation: score
            .and_then(|_| values.reduce(|best, value| if by.better(value, best) { value } else { best })),
        test: score.and_then(|score| test.as_ref()?.score(score)),
        validation_accuracy: valid().filter_map(|l| l.values.get("accuracy").copied()).max_by(f64::total_cmp),
        test_accuracy: test.as_ref().and_then(Figures::accuracy),
        train_seconds: read_end(&dir.timing()).map(|end| end.train_seconds),
    })
}
