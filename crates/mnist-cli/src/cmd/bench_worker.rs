//! `bench-worker`: what `cargo xtask bench-backends` measures, on one backend.
//!
//! A request is one JSON object on a line of stdin, its answer one on a line of stdout. A request that cannot be
//! done is answered by `{"error": ...}`, and the next one is waited for. xtask's peer.py speaks the same
//! protocol for PyTorch. The timing is done here, so that neither pipe nor parser is a part of it.

mod feed;
mod nets;
mod ops;
mod reach;
mod train;

use std::{
    io::{BufRead, Write},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    args::Common,
    device::{Compute, Job, Place},
    show,
};

/// What is asked for.
#[derive(Deserialize, Debug)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Request {
    /// Whether the backend works at all; the answer is empty.
    Hello,
    /// Makes a piece of work ready. Answered by [`Prepared`].
    Prepare(Prepare),
    /// Does what was prepared again and again for this time. Answered by [`Round`].
    Round { seconds: f64 },
    /// Trains a whole run. Answered by [`train::Trained`].
    Train {
        /// Settings over the default recipe, `key=value`.
        set: Vec<String>,
    },
    /// Trains the default recipe until its test accuracy is reached. Answered by [`reach::Reached`].
    Reach {
        /// Share of the test images, in 0-1.
        accuracy: f64,
        /// Steps between two measurements of it.
        every: usize,
        /// Seed of the training.
        seed: u64,
        /// Settings over the default recipe, `key=value`.
        #[serde(default)]
        set: Vec<String>,
    },
}

/// A piece of work.
#[derive(Deserialize, Debug)]
struct Prepare {
    work: Work,
    /// A net, or the operation.
    net: String,
    /// Images in a batch; an operation has its own.
    batch: usize,
    /// Settings of the net over its defaults.
    #[serde(default)]
    settings: Value,
}

/// What is done with a net.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Work {
    /// Forward, loss, backward, update by Adam.
    Train,
    /// Forward without gradients.
    Infer,
    /// Forward without gradients, until the result is read.
    Latency,
    /// Forward and backward of one operation.
    Op,
}

/// What was made ready.
#[derive(Serialize)]
struct Prepared {
    /// Trained values.
    parameters: usize,
    /// All settings of the net, for the peer to build the same.
    settings: Value,
}

/// What came of a round.
#[derive(Serialize)]
struct Round {
    /// How often the work was done.
    iterations: u64,
    /// Time of all of them together.
    seconds: f64,
    /// Median of their single times, in milliseconds: of use where each waits for its result.
    median_ms: f64,
    /// Largest memory that the process has had, in MiB; `None` where the system does not tell.
    peak_mib: Option<f64>,
}

/// Work that can be done again and again.
struct Piece<'a> {
    parameters: usize,
    settings: Value,
    once: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// Serves until stdin ends.
pub(crate) fn run(common: &Common) -> Result<ExitCode> {
    let place = Place::choose(common)?;
    place.run(Serve { common, backend: place.name() })
}

struct Serve<'a> {
    common: &'a Common,
    backend: &'static str,
}

impl Job for Serve<'_> {
    type Output = ExitCode;

    fn run<B: Compute>(self, device: &B::Device, _: &[B::Device]) -> Result<ExitCode> {
        let mut piece = None;
        let mut out = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            let answer = serde_json::from_str(&line?)
                .context("this is no request")
                .and_then(|request| self.answer::<B>(request, &mut piece, device));
            let answer = answer.unwrap_or_else(|error| serde_json::json!({ "error": show::report(&error) }));
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl<'a> Serve<'a> {
    fn answer<B: Compute>(
        &self,
        request: Request,
        piece: &mut Option<Piece<'a>>,
        device: &B::Device,
    ) -> Result<Value> {
        let answer = match request {
            Request::Hello => {
                B::sync(device)?;
                serde_json::json!({})
            }
            Request::Prepare(wanted) => {
                // What was ready goes first: two nets need not be in memory together.
                *piece = None;
                let ready = match wanted.work {
                    Work::Op => ops::prepare::<B>(&wanted.net, device)?,
                    _ => nets::prepare::<B>(&wanted, self.common.data_dir.as_deref(), device)?,
                };
                let answer = Prepared { parameters: ready.parameters, settings: ready.settings.clone() };
                *piece = Some(ready);
                serde_json::to_value(answer)?
            }
            Request::Round { seconds } => match piece {
                Some(piece) => serde_json::to_value(round::<B>(piece, seconds, device)?)?,
                None => bail!("nothing has been prepared"),
            },
            Request::Train { set } => serde_json::to_value(train::train::<B>(self, &set, device)?)?,
            Request::Reach { accuracy, every, seed, mut set } => {
                set.push(format!("seed={seed}"));
                serde_json::to_value(reach::reach::<B>(self, accuracy, every, set, device)?)?
            }
        };
        Ok(answer)
    }
}

fn round<B: Backend>(piece: &mut Piece, wanted: f64, device: &B::Device) -> Result<Round> {
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || begun.elapsed().as_secs_f64() < wanted {
        let lap = Instant::now();
        (piece.once)()?;
        times.push(lap.elapsed().as_secs_f64() * 1e3);
    }
    B::sync(device)?; // a backend that computes behind our back ends here
    let seconds = begun.elapsed().as_secs_f64();
    let iterations = times.len() as u64;
    let middle = times.len() / 2;
    let (_, median_ms, _) = times.select_nth_unstable_by(middle, f64::total_cmp);
    Ok(Round { iterations, seconds, median_ms: *median_ms, peak_mib: peak_mib() })
}

/// Largest resident memory of this process so far, in MiB, as Linux tells it.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
