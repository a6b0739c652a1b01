//! `generate RUN --n 64 --out grid.png`: new examples of a trained model.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use mnist_model::objectives::GenerateRequest;
use mnist_train::{
    grid,
    publish::load_model,
    rundir::{RunDir, SavedRun, write_whole},
    sampling,
};

use crate::{
    args::{Common, Generate, UsageError},
    device::{Compute, Job, Place},
};

/// More images make no picture that can be looked at.
const MOST: usize = 10_000;

/// Generates.
pub(crate) fn run(args: &Generate, common: &Common) -> Result<ExitCode> {
    if !(1..=MOST).contains(&args.n) {
        return Err(UsageError(format!("--n is {}; it has to be 1 to {MOST}", args.n)).into());
    }
    if !(args.temperature > 0.0 && args.temperature <= 100.0) {
        let message = format!("--temperature is {}; it has to be above 0 and at most 100", args.temperature);
        return Err(UsageError(message).into());
    }
    let dir = RunDir::find(&args.run, &common.runs)?;
    let saved = dir.load()?;
    let request =
        GenerateRequest { count: args.n, temperature: args.temperature, ..GenerateRequest::default() };
    let made = Make { dir: &dir, saved: &saved, request, seed: args.seed, out: &args.out };
    Place::choose(common)?.run(made)?;
    println!("{}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

struct Make<'a> {
    dir: &'a RunDir,
    saved: &'a SavedRun,
    request: GenerateRequest,
    seed: u64,
    out: &'a Path,
}

impl Job for Make<'_> {
    type Output = ();

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<()> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let picture = sampling::images(&*model, &self.request, self.seed, main)
            .with_context(|| format!("a model of objective {}", self.saved.run.objective))?;
        write_whole(self.out, &grid::png(picture)?).context("the picture could not be written")
    }
}
