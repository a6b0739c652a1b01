//! `manual --out DIR`: man pages of the program and each of its commands.

use std::{fs, io::Write, process::ExitCode};

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Args, Manual};

/// Writes them.
pub(crate) fn run(args: &Manual) -> Result<ExitCode> {
    let dir = &args.out;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(Args::command(), dir)
        .with_context(|| format!("cannot write into {}", dir.display()))?;
    writeln!(std::io::stdout().lock(), "read one: man {}", dir.join("mnist-cli.1").display())?;
    Ok(ExitCode::SUCCESS)
}
