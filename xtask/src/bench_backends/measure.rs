//! One piece of work on all backends, round by round in turns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{PEER, Rounds, Work, programs::Program, rows::Row, worker::Worker};

/// Rest before each round: threads of the backend before that wait for work in a loop (OpenMP's, rayon's) have
/// gone to sleep by then.
const REST: Duration = Duration::from_millis(50);

/// A piece of work.
pub(crate) struct Task {
    pub(crate) work: Work,
    /// A net, or an operation.
    pub(crate) net: String,
}

/// A worker that is ready, and what it has measured.
struct Runner<'a> {
    program: &'a Program,
    worker: Worker,
    row: Row,
}

/// Measures the task on every backend. A backend that fails is a row too.
pub(crate) fn interleaved(task: &Task, programs: &[Program], rounds: Rounds) -> Vec<Row> {
    let mut runners = Vec::new();
    let mut rows = Vec::new();
    let mut settings = Value::Null;
    let mut parameters = None;
    // The peer comes last: it builds the net of the settings that the others answer.
    let (peer, ours): (Vec<_>, Vec<_>) = programs.iter().partition(|program| program.backend == PEER);
    for program in ours.into_iter().chain(peer) {
        let mut row = Row::new(&program.backend, task);
        match prepared(program, task, &mut settings, &mut parameters, rounds) {
            Ok(worker) => {
                row.parameters = parameters;
                runners.push(Runner { program, worker, row });
            }
            Err(error) => rows.push(Row { error: Some(format!("{error:#}")), ..row }),
        }
    }
    for _ in 0..rounds.count {
        for runner in runners.iter_mut().filter(|runner| runner.row.error.is_none()) {
            std::thread::sleep(REST);
            if let Err(error) = runner.round(task, rounds.seconds) {
                runner.row.error = Some(format!("{error:#}"));
            }
        }
    }
    rows.extend(runners.into_iter().map(|runner| runner.row.finished()));
    let place = |row: &Row| programs.iter().position(|program| program.backend == row.backend);
    rows.sort_by_key(place);
    rows
}

/// Starts a worker, prepares the work, and warms up.
fn prepared(
    program: &Program,
    task: &Task,
    settings: &mut Value,
    parameters: &mut Option<u64>,
    rounds: Rounds,
) -> Result<Worker> {
    let mut worker = program.start()?;
    let answer = worker.ask(&json!({
        "do": "prepare",
        "work": task.work.name(),
        "net": task.net,
        "batch": task.work.batch(),
        "settings": settings,
    }))?;
    let count = answer["parameters"].as_u64().context("the worker counts no parameters")?;
    let wanted = *parameters.get_or_insert(count);
    ensure!(count == wanted, "its net has {count} parameters, the others' {wanted}");
    if settings.is_null() {
        *settings = answer["settings"].clone();
    }
    std::thread::sleep(REST);
    worker.ask(&json!({"do": "round", "seconds": rounds.warm_up}))?;
    Ok(worker)
}

impl Runner<'_> {
    fn round(&mut self, task: &Task, seconds: f64) -> Result<()> {
        let answer = self.worker.ask(&json!({"do": "round", "seconds": seconds}))?;
        let number = |name: &str| {
            answer[name].as_f64().with_context(|| format!("{} answers no {name}", self.program.backend))
        };
        let milliseconds = match task.work {
            Work::Latency => number("median_ms")?,
            _ => 1e3 * number("seconds")? / number("iterations")?,
        };
        self.row.rounds_ms.push(milliseconds);
        self.row.peak_mib = answer["peak_mib"].as_f64();
        Ok(())
    }
}
