//! `cargo xtask kill-test`: the proof that a resumed training equals an uninterrupted one.
//!
//! One training runs to its end. Then, in each trial, the same training is killed (SIGKILL) at
//! random moments and resumed until it is done; weights, metrics, test figures and predictions must
//! equal the uninterrupted run's byte for byte.

mod compare;
mod lab;
mod run_state;
mod schedule;
pub(crate) mod soak;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;
use lab::{Kill, Lab};
use run_state::Left;

/// Options of `cargo xtask kill-test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Trials, each with one to three kills
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// Seed of the trainings and of the moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Recipe to train; without it the default one
    #[arg(long)]
    recipe: Option<String>,
    /// A setting of the training, after epochs=2, data.limit=4096, checkpoint.every_steps=20
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Give each start and resume its own --threads, from 1 to 4
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true",
          num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    threads_mix: bool,
    /// Keep the run directories and logs of trials that were equal
    #[arg(long)]
    keep: bool,
}

/// Runs the reference and the trials; an error when one is not equal.
pub(crate) fn run(args: &Args) -> Result<()> {
    workspace::step(&mut workspace::cargo_cli("build", &[]), "build mnist-cli")?;
    let directory = workspace::target_directory()?.join("kill-test");
    prove(&Lab { args, program: workspace::cli_program()?, directory })
}

/// The test itself, on any program that trains and evaluates as `mnist-cli` does.
fn prove(lab: &Lab) -> Result<()> {
    let args = lab.args;
    remove(&lab.directory)?;
    lab.make()?;

    let (reference, wall) = lab.reference()?;
    let mut equal = 0;
    let mut all_kills: Vec<Kill> = Vec::new();
    for (index, plan) in schedule::plans(args.seed, args.kills, wall).iter().enumerate() {
        let name = format!("trial-{:02}", index + 1);
        let mut kills = Vec::new();
        let verdict = match lab.trial(&name, plan, wall, &mut kills) {
            Ok(artifacts) => match reference.difference(&artifacts) {
                None => "equal".to_owned(),
                Some(difference) => format!("DIFFERS: {difference}"),
            },
            Err(error) => format!("FAILED: {error:#}"),
        };
        let history: String = kills.iter().map(|kill| format!("{kill}; ")).collect();
        println!("{name}: {history}{verdict}");
        all_kills.append(&mut kills);
        if verdict == "equal" {
            equal += 1;
            if !args.keep {
                remove(&lab.run_directory(&name))?;
            }
        }
    }
    if equal == args.kills && !args.keep {
        remove(&lab.directory)?;
    } else {
        println!("runs and logs are kept in {}", lab.directory.display());
    }
    let from_checkpoint = all_kills.iter().filter(|kill| matches!(kill.left, Left::Checkpoint(_))).count();
    println!("{} kills, {from_checkpoint} of them resumed from a checkpoint", all_kills.len());
    println!("{equal} of {} bit-equal", args.kills);
    if equal < args.kills {
        bail!("resuming is not exact (or a command failed) in {} trials", args.kills - equal);
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// The closing error of three trials of the fake training, if any.
    fn prove_fake(name: &str, settings: &[&str]) -> Result<()> {
        let args = Args {
            kills: 3,
            seed: 1,
            recipe: None,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            threads_mix: true,
            keep: false,
        };
        let program = workspace::root().join("xtask/src/kill_test/fake_cli.sh");
        let directory = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let result = prove(&Lab { args: &args, program, directory: directory.clone() });
        remove(&directory)?;
        result
    }

    #[test]
    fn an_exact_training_passes() {
        prove_fake("exact", &[]).unwrap();
    }

    #[test]
    fn a_training_that_resumes_inexactly_is_found() {
        let message = prove_fake("inexact", &["fault=1"]).unwrap_err().to_string();
        assert!(message.starts_with("resuming is not exact"), "{message}");
    }
}
