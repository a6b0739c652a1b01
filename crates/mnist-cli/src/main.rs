//! `mnist-cli`: look at MNIST, train, evaluate, predict.
//!
//! Exit codes: 0 done, 1 failure, 2 bad usage, 130 interrupted (with a checkpoint). Results go to stdout,
//! progress and errors to stderr.

// This binary is the one part of the workspace that talks to people.
#![allow(clippy::print_stdout, clippy::print_stderr)]

/// Says something on stderr, whether or not somebody reads it.
macro_rules! tell {
    ($($words:tt)*) => { crate::show::tell(&format!($($words)*)) };
}

mod args;
mod cmd;
mod device;
mod guard;
mod recipes;
mod show;
mod stop;

use std::process::ExitCode;

use mnist_data::DataError;
use mnist_train::TrainError;

use crate::args::{Args, Command};

/// A training step frees as much memory as the next one takes: this allocator keeps it, where the system's gives
/// it back and has every page mapped again. With the feature `tch` libtorch allocates from it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::read();
    let done = start(&args).and_then(|()| match &args.command {
        Command::Train(train) => cmd::train::run(train, &args.common),
        Command::Pretrain(pretrain) => cmd::train::pretrain(pretrain, &args.common),
        Command::Plan(plan) => cmd::plan::run(plan, &args.common),
        Command::Tune(tune) => cmd::tune::run(tune, &args.common),
        Command::Finetune(finetune) => cmd::train::finetune(finetune, &args.common),
        Command::Probe(probe) => cmd::probe::run(probe, &args.common),
        Command::Export(export) => cmd::export::run(export, &args.common),
        Command::Import(import) => cmd::import::run(import, &args.common),
        Command::FewLabels(few) => cmd::few_labels::run(few, &args.common),
        Command::Pipeline(pipeline) => cmd::pipeline::run(pipeline, &args.common),
        Command::Compare(compare) => cmd::compare::run(compare, &args.common),
        Command::Evaluate(evaluate) => cmd::evaluate::run(evaluate, &args.common),
        Command::Predict(predict) => cmd::predict::run(predict, &args.common),
        Command::Generate(generate) => cmd::generate::run(generate, &args.common),
        Command::Runs(runs) => cmd::runs::run(runs, &args.common),
        Command::Recipes(recipes) => cmd::recipes::run(recipes),
        Command::Serve(serve) => cmd::serve::run(serve, &args.common),
        Command::Data { command } => cmd::data::run(command, &args.common).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => cmd::completions::run(*shell),
        Command::Manual(manual) => cmd::manual::run(manual),
        Command::BenchWorker => cmd::bench_worker::run(&args.common),
    });
    match done {
        Ok(code) => code,
        Err(error) if show::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("error: {}", show::report(&error));
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

/// Threads and log, once for the process.
fn start(args: &Args) -> anyhow::Result<()> {
    let level = match (args.common.quiet, args.common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("MNIST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_ansi(show::colours())
        .without_time()
        .with_target(false)
        .init();
    device::set_threads(args.common.threads, &args.common.devices)
}

/// Whether an error is about what was typed, not about what happened.
fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<args::UsageError>()
            || matches!(cause.downcast_ref(), Some(DataError::UnknownSet { .. } | DataError::Invalid { .. }))
            || matches!(
                cause.downcast_ref(),
                Some(TrainError::Settings(_) | TrainError::NoRun { .. } | TrainError::Exists { .. })
            )
    })
}
