//! `cargo xtask`: the project's own tasks, in Rust so that a clone needs nothing else.
//!
//! The idea is matklad's (github.com/matklad/cargo-xtask): an alias in `.cargo/config.toml` and an
//! ordinary program. One file a command.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench_backends;
mod book_check;
mod browser;
mod ci;
mod downstream;
mod exchange;
mod fences;
mod figures;
mod fuzz;
mod http;
mod kill_test;
mod libtorch;
mod load;
mod tidy;
mod walkthrough;
mod workspace;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check that a change must pass (what .ci/run and GitHub call)
    Ci(ci::Args),
    /// Check the repository's invariants (ARCHITECTURE.md)
    Tidy,
    /// Look for every measured figure of READMEs, book and recipes in docs/results, or add results there
    Figures(figures::Args),
    /// Kill trainings at random moments and prove that resuming them loses no bit
    KillTest(kill_test::Args),
    /// Train for hours with a kill every minute: the same end, and no growth of memory
    Soak(kill_test::soak::Args),
    /// Have other programs read what export and --tensorboard write
    Exchange(exchange::Args),
    /// Build and run the projects of examples/downstream, which use the crates from outside
    Downstream,
    /// Do what CONTRIBUTING.md says of a new objective, in a copy of the repository
    Walkthrough,
    /// Run the commands of README and book, made small, and look for the code that they quote
    BookCheck(book_check::Args),
    /// Draw digits on the page of `serve` in a real Chromium, and read the answers
    Browser(browser::Args),
    /// Measure how many requests `serve` answers, and attack it
    Load(load::Args),
    /// Give every parser damaged and hostile files, for as long as you like
    Fuzz(fuzz::Args),
    /// Find or set up the libtorch that --features tch needs, and print what to export
    Libtorch(libtorch::Args),
    /// Measure the training speed of each backend
    BenchBackends(bench_backends::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => Cli::command().print_help().map_err(Into::into),
        Some(Command::Ci(args)) => ci::run(&args),
        Some(Command::Tidy) => tidy::run(),
        Some(Command::Figures(args)) => figures::run(&args),
        Some(Command::KillTest(args)) => kill_test::run(&args),
        Some(Command::Soak(args)) => kill_test::soak::run(&args),
        Some(Command::Exchange(args)) => exchange::run(&args),
        Some(Command::Downstream) => downstream::run(),
        Some(Command::Walkthrough) => walkthrough::run(),
        Some(Command::BookCheck(args)) => book_check::run(&args),
        Some(Command::Browser(args)) => browser::run(&args),
        Some(Command::Load(args)) => load::run(&args),
        Some(Command::Fuzz(args)) => fuzz::run(&args),
        Some(Command::Libtorch(args)) => libtorch::run(&args),
        Some(Command::BenchBackends(args)) => bench_backends::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
