//! `cargo xtask downstream`: the projects of examples/downstream are built and run as their readers would, on an encoder that is
//! trained first; the other way about, `finetune` starts from what the second one trained.

use std::process::Command;

use anyhow::Result;

use crate::workspace::{self, step};

/// Their workspace.
const MANIFEST: &str = "examples/downstream/Cargo.toml";

/// Builds, tests and runs both.
pub(crate) fn run() -> Result<()> {
    let program = workspace::built_cli()?;
    let target = workspace::target_directory()?;
    let home = workspace::home("downstream")?;
    let ours = |arguments: &[&str], what: &str| {
        step(Command::new(&program).args(arguments).args(["--quiet", "--runs"]).arg(&home), what)
    };
    // All at once, and beside our own: what both workspaces need alike is compiled once.
    let theirs = |verb: &str| {
        let mut command = workspace::cargo();
        command.env("CARGO_TARGET_DIR", &target).args([verb, "--locked", "--manifest-path", MANIFEST]);
        step(&mut command, &format!("{verb} {MANIFEST}"))
    };
    let built = |name: &str, argument: &std::path::Path| {
        let program = target.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        step(Command::new(program).arg(argument), &format!("run {name}"))
    };
    theirs("build")?;
    theirs("test")?;
    let brief = ["--epochs", "1", "--set", "data.limit=4000"];
    ours(&[&["pretrain", "autoencoder", "--name", "pretrained"], &brief[..]].concat(), "train an encoder")?;
    built("own-head", &home.join("pretrained"))?;
    built("own-objective", &home.join("rotation"))?;
    let from = home.join("rotation/model.safetensors").display().to_string();
    let further = [
        "finetune",
        "--from",
        &from,
        "few-labels",
        "--name",
        "further",
        "--set",
        "steps=100",
        "--epochs",
        "1",
    ];
    ours(&further, "fine-tune what own-objective trained")
}
