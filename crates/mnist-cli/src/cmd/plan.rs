//! `plan`: what a training will take, before it begins; with `--check` beside what some of its steps took.

use std::{io::Write, process::ExitCode, sync::atomic::AtomicBool};

use anyhow::{Context, Result};
use mnist_train::{
    TrainError,
    data::TrainingData,
    finetune::{Method, Source},
    learner::{Event, Outcome, Session},
    log::read_end,
    plan::{self, Plan},
    registry,
    run::Run,
    rundir::{RunDir, SavedRun},
};
use serde::Serialize;
use toml::Table;

use crate::{
    args::{self, Common},
    cmd::train::{Start, begun, resolved, source_of, usual_recipe},
    device::{Compute, Job, Place},
};

/// What is printed as JSON.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    step_bytes: u64,
    peak_bytes: u64,
    measured: Option<Measured>,
}

/// What some steps took.
#[derive(Serialize, Clone, Debug)]
struct Measured {
    steps: usize,
    /// An update.
    step_seconds: f64,
    /// Most memory of the process until the steps were done; `None` where the system does not tell.
    step_bytes: Option<u64>,
}

/// Plans.
pub(crate) fn run(args: &args::Plan, common: &Common) -> Result<ExitCode> {
    let source = args.from.as_ref().map(|from| Source::find(from, &common.runs)).transpose()?;
    let (recipe, base, sets) = match &source {
        Some(source) => (usual_recipe(source, "finetune"), source.defaults()?, source.structure()),
        None => ("default", Table::new(), Vec::new()),
    };
    let (_, run) = resolved(&args.chosen, None, recipe, base, sets, common)?;
    let source = source_of(&run, source, common)?;
    let place = Place::choose(common)?;
    let given = source.as_ref().and_then(|source| source.given.as_ref());
    let data = TrainingData::load_for(&run, common.data_dir.as_deref(), given)?;
    registry::check(&run, &data.facts).map_err(TrainError::Settings)?;
    if let Some(source) = &source {
        // What does not fit is found out as `finetune` does.
        let saved = begun(run.clone(), &data, Some(source), place.name(), 1);
        place.run(Start { saved: &saved, source })?;
    }
    let plan = place.run(Planned { run: &run, data: &data, seconds: args.seconds })?;
    let measured = match args.check {
        Some(steps) => Some(measure(run.clone(), data, source.as_ref(), steps.into(), &place)?),
        None => None,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let (step_bytes, peak_bytes) = (plan.memory.step(), plan.memory.peak());
        let told = Told { plan: &plan, step_bytes, peak_bytes, measured };
        writeln!(out, "{}", serde_json::to_string(&told)?)?;
    } else {
        show(&mut out, &run, &plan, measured.as_ref(), place.name())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(
    out: &mut impl Write,
    run: &Run,
    plan: &Plan,
    measured: Option<&Measured>,
    backend: &str,
) -> Result<()> {
    let Plan { parts, parameters, moved, flops, examples, steps_per_epoch, steps, memory, time } = plan;
    writeln!(out, "{}: {parameters} parameters", run.objective)?;
    for (name, count) in parts {
        writeln!(out, "  {name:<36} {count:>12}")?;
    }
    if moved != parameters {
        writeln!(out, "  {:<36} {moved:>12}", "moved by the first update")?;
    }
    let per_step = format!("{examples} examples a step");
    match flops {
        Some(flops) => {
            let rate = *flops as f64 / time.step.max(1e-9) / 1e9;
            writeln!(out, "FLOPs of a step: {:.4e} ({per_step}; {rate:.1} GFLOP/s)", *flops as f64)?;
        }
        None => writeln!(out, "FLOPs of a step: not counted on backend {backend} ({per_step})")?,
    }
    writeln!(out, "memory of a step: {}", mib(memory.step()))?;
    for (name, bytes) in [
        ("process and data", memory.process),
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("moving average", memory.average),
    ] {
        writeln!(out, "  {name:<36} {:>12}", mib(bytes))?;
    }
    let activations = memory.activations.map_or("not counted".into(), mib);
    writeln!(out, "  {:<36} {activations:>12}", "kept for the backward pass")?;
    writeln!(out, "memory while it trains, checkpoints written: {}", mib(memory.peak()))?;
    writeln!(out, "time, as this machine is now (measured on {} examples):", time.measured_batch)?;
    writeln!(out, "  {:<36} {:>12}", "a step", seconds(time.step))?;
    writeln!(out, "  {:<36} {:>12}", "validation", seconds(time.validation))?;
    writeln!(out, "  {:<36} {:>12}", format!("an epoch of {steps_per_epoch} steps"), seconds(time.epoch))?;
    writeln!(out, "  {:<36} {:>12}", format!("the run of {steps} steps"), seconds(time.run))?;
    if let Some(Measured { steps, step_seconds, step_bytes }) = measured {
        let off = |planned: f64, measured: f64| format!("{:+.0} %", (planned / measured - 1.0) * 100.0);
        writeln!(out, "planned against {steps} steps:")?;
        writeln!(
            out,
            "  {:<20} {:>12} {:>12} {:>8}",
            "time of a step",
            seconds(time.step),
            seconds(*step_seconds),
            off(time.step, *step_seconds)
        )?;
        if let Some(bytes) = *step_bytes {
            let planned = memory.step();
            writeln!(
                out,
                "  {:<20} {:>12} {:>12} {:>8}",
                "memory of a step",
                mib(planned),
                mib(bytes),
                off(planned as f64, bytes as f64)
            )?;
        }
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", 1000.0 * s),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

struct Planned<'a> {
    run: &'a Run,
    data: &'a TrainingData,
    seconds: f64,
}

impl Job for Planned<'_> {
    type Output = Plan;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Plan> {
        Ok(registry::plan::<B::Training>(self.run, self.data, main, self.seconds)?)
    }
}

/// Makes some updates as `train` makes them, in a directory that is gone afterwards.
fn measure(
    mut run: Run,
    mut data: TrainingData,
    source: Option<&Source>,
    steps: usize,
    place: &Place,
) -> Result<Measured> {
    (run.steps, run.epochs, run.log.every_steps) = (steps, 1, steps);
    // A checkpoint by the clock would take memory of its own.
    run.checkpoint.every_seconds = 0;
    // As it begins; that nothing thaws in so few steps goes without saying.
    if run.finetune.method == Method::Gradual {
        run.finetune.method = Method::Head;
    }
    data.valid = data.valid.first(mnist_train::data::EVALUATION_BATCH);
    let home = std::env::temp_dir().join(format!("mnist-plan-{}", std::process::id()));
    let saved = begun(run, &data, source, place.name(), 1);
    let (dir, _lock) = RunDir::create(&home, &saved)?;
    plan::forget_peak();
    let measured = place.run(Steps { dir: &dir, saved: &saved, data: &data, source, steps });
    std::fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    measured
}

struct Steps<'a> {
    dir: &'a RunDir,
    saved: &'a SavedRun,
    data: &'a TrainingData,
    source: Option<&'a Source>,
    steps: usize,
}

impl Job for Steps<'_> {
    type Output = Measured;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Measured> {
        let Self { dir, saved, data, source, steps } = self;
        let mut step_bytes = None;
        let session = Session {
            run: &saved.run,
            dir,
            data,
            resume: None,
            source,
            stop: &AtomicBool::new(false),
            // Before anything is validated or saved.
            tell: &mut |event| {
                if matches!(event, Event::Logged { .. }) {
                    step_bytes = plan::status("VmHWM:");
                }
            },
        };
        let devices = [main.clone()];
        let outcome = registry::fit::<B::Training>(&saved.facts, session, &devices)?;
        let Outcome::Finished(_) = outcome else { unreachable!("nobody asks for a stop") };
        let end = read_end(&dir.timing()).context("the steps left no account of their time")?;
        let examples = saved.run.batch_size * saved.run.accumulate;
        let step_seconds = examples as f64 / end.examples_per_second.max(1e-9);
        Ok(Measured { steps, step_seconds, step_bytes })
    }
}
