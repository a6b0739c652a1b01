//! `completions SHELL`: a script that completes our commands.

use std::{io::Write, process::ExitCode};

use clap::CommandFactory;

use crate::args::Args;

/// Prints it.
pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "mnist-cli", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
