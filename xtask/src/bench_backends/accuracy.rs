//! Time to 99.0 % of the test images: the default recipe on each backend, the peer's one-epoch script.

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{PEER, Work, measure::Task, programs::Program, rows::Row};

/// Share of the test images that have to be right.
const WANTED: f64 = 0.99;
/// Steps of the recipe between two measurements.
const EVERY: usize = 25;

/// A row for each backend, the mean over seeds 1 to `seeds`.
pub(crate) fn rows(programs: &[Program], seeds: u32) -> Vec<Row> {
    let task = Task { work: Work::Accuracy, net: "default-recipe".into() };
    let mut rows: Vec<Row> = programs.iter().map(|program| Row::new(&program.backend, &task)).collect();
    let mut accuracies = vec![0.0; rows.len()];
    for seed in 1..=seeds {
        for ((program, row), sum) in programs.iter().zip(&mut rows).zip(&mut accuracies) {
            if row.error.is_some() {
                continue;
            }
            match reach(program, seed) {
                Ok((seconds, accuracy)) => {
                    row.rounds_ms.push(1e3 * seconds);
                    *sum += accuracy;
                }
                Err(error) => row.error = Some(format!("seed {seed}: {error:#}")),
            }
        }
    }
    let seeds = f64::from(seeds);
    let finish = |(row, sum): (Row, f64)| Row { accuracy: row.error.is_none().then(|| sum / seeds), ..row };
    rows.into_iter().zip(accuracies).map(finish).map(Row::finished).collect()
}

/// Seconds of training and the test accuracy at their end.
fn reach(program: &Program, seed: u32) -> Result<(f64, f64)> {
    let request = json!({"do": "reach", "accuracy": WANTED, "every": EVERY, "seed": seed});
    let answer = program.start()?.ask(&request)?;
    let accuracy = answer["accuracy"].as_f64().context("the worker answers no accuracy")?;
    match answer["seconds"].as_f64() {
        Some(seconds) => {
            // The script cannot stop at 99 %, so that its mean has to be there.
            eprintln!("    {} seed {seed}: {seconds:.1} s, {:.2} %", program.backend, 100.0 * accuracy);
            Ok((seconds, accuracy))
        }
        None if program.backend == PEER => bail!("the script answers no seconds"),
        None => bail!("the recipe ended at {:.2} %", 100.0 * accuracy),
    }
}
