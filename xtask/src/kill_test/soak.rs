//! `cargo xtask soak`: one long training that is killed again and again, beside one that is left alone, at the same time and with one
//! thread each. What they leave behind has to be equal byte for byte, and neither may grow.

use std::{
    process::Child,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Args as KillArgs,
    lab::{Lab, kill},
    run_state::{self, Left},
};
use crate::workspace;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Share by which the last quarter of a training may need more memory than the second one: counters that rise, fragments.
const GROWTH: f64 = 1.10;
/// Threads of each training: they share the machine.
const THREADS: Option<usize> = Some(1);
/// Sittings of a training that never ends.
const MOST: usize = 10_000;

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long the training is to take if it is left alone, by `plan` (the killed one beside it takes somewhat longer)
    #[arg(long, value_name = "M", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    minutes: u32,
    /// Seconds between two kills
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..))]
    every: u64,
    /// Seed of the training
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Trains, kills, compares.
pub(crate) fn run(args: &Args) -> Result<()> {
    workspace::step(&mut workspace::cargo_cli("build", &[]), "build mnist-cli")?;
    let built = workspace::cli_program()?;
    let directory = workspace::home("soak")?;
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    // A copy: somebody may build while it runs, and each sitting has to be the same program.
    let program = directory.join(built.file_name().unwrap_or_default());
    std::fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    let epochs = epochs(&program, args.minutes)?;
    let settings = [
        format!("epochs={epochs}"),
        "data.limit=0".into(),
        "checkpoint.every_steps=0".into(),
        format!("checkpoint.every_seconds={}", (args.every / 4).max(1)),
    ];
    let kill_args = KillArgs {
        kills: 1,
        seed: args.seed,
        recipe: None,
        settings: settings.to_vec(),
        threads_mix: true,
        keep: true,
    };
    let lab = Lab { args: &kill_args, program, directory };
    lab.make()?;
    println!("{epochs} epochs of the default recipe, twice");

    let killed = scope(|scope| {
        let whole = scope.spawn(|| left_alone(&lab));
        let killed = again_and_again(&lab, args.every);
        whole
            .join()
            .unwrap_or_else(|_| bail!("the thread that watched the training left alone has ended"))?;
        killed
    });
    killed?;
    match lab.artifacts("whole")?.difference(&lab.artifacts("killed")?) {
        None => {
            println!("weights, metrics, figures and predictions are equal byte for byte");
            Ok(())
        }
        Some(difference) => bail!("the killed training differs: {difference}"),
    }
}

/// The training that nothing happens to.
fn left_alone(lab: &Lab) -> Result<()> {
    let (begun, mut seen) = (Instant::now(), Vec::new());
    let mut child = lab.spawn("whole", lab.train("whole", THREADS))?;
    watch(&mut child, None, &mut seen)?;
    lab.must_succeed("whole", "the training left alone", child.wait()?)?;
    println!("left alone: {:.1} minutes, {}", minutes(begun), flat("the training left alone", &seen)?);
    Ok(())
}

/// The training that is killed every so many seconds, until it is done.
fn again_and_again(lab: &Lab, every: u64) -> Result<()> {
    let (begun, mut peaks, mut resumed) = (Instant::now(), Vec::new(), 0);
    for sitting in 0..MOST {
        let command = if sitting == 0 { lab.train("killed", THREADS) } else { lab.go_on("killed", THREADS) };
        let mut child = lab.spawn("killed", command)?;
        let mut seen = Vec::new();
        let ended = watch(&mut child, Some(Duration::from_secs(every)), &mut seen)?;
        let status = if ended { child.wait()? } else { kill(&mut child)? };
        if ended || status.success() {
            lab.must_succeed("killed", "a training that is killed again and again", status)?;
            println!(
                "killed {sitting} times, {resumed} of them resumed from a checkpoint: {:.1} minutes, {}",
                minutes(begun),
                flat("the killed one, sitting by sitting", &peaks)?
            );
            return Ok(());
        }
        // The last sitting also tests, which takes more; it is not among these.
        peaks.extend(seen.iter().copied().max());
        resumed += usize::from(matches!(run_state::left(&lab.run_directory("killed")), Left::Checkpoint(_)));
    }
    bail!("the training had not ended after {MOST} sittings; it makes no headway between two kills")
}

fn minutes(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() / 60.0
}

/// Epochs that take so many minutes by `plan`.
fn epochs(program: &std::path::Path, minutes: u32) -> Result<u64> {
    let mut command = std::process::Command::new(program);
    let output = command
        .current_dir(workspace::root())
        .args(["plan", "default", "--json", "--quiet", "--threads", "1"])
        .output()
        .context("cannot start mnist-cli plan")?;
    let plan: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("mnist-cli plan: {}", workspace::reason(&String::from_utf8_lossy(&output.stderr)))
    })?;
    let epoch = plan["time"]["epoch"].as_f64().filter(|seconds| *seconds > 0.0);
    let epoch = epoch.context("mnist-cli plan tells no time of an epoch")?;
    Ok(((f64::from(minutes) * 60.0 / epoch) as u64).max(2))
}

/// Waits for a training to end, or so long; whether it has. Its memory in bytes is kept from time to time.
fn watch(child: &mut Child, at_most: Option<Duration>, seen: &mut Vec<u64>) -> Result<bool> {
    let begun = Instant::now();
    loop {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        if at_most.is_some_and(|limit| begun.elapsed() >= limit) {
            return Ok(false);
        }
        seen.extend(workspace::resident(child.id()));
        sleep(LOOK);
    }
}

/// What is to be said of memory that was seen; an error where it grew.
fn flat(what: &str, seen: &[u64]) -> Result<String> {
    let quarter = |number: usize| {
        let part = &seen[seen.len() * number / 4..seen.len() * (number + 1) / 4];
        part.iter().sum::<u64>() as f64 / part.len().max(1) as f64 / f64::from(1 << 20)
    };
    // The first quarter warms up.
    let (early, late) = (quarter(1), quarter(3));
    if early > 0.0 && late > GROWTH * early {
        bail!("{what} grew: {early:.0} MiB in the second quarter, {late:.0} in the last");
    }
    Ok(format!("{early:.0} MiB in the second quarter, {late:.0} in the last"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_found() {
        let steady: Vec<u64> = (0..40).map(|i| (98 << 20) + i % 7).collect();
        assert!(flat("it", &steady).unwrap().starts_with("98 MiB"));
        let growing: Vec<u64> = (0..40).map(|i| (98 << 20) + i * 3_000_000).collect();
        assert!(flat("it", &growing).unwrap_err().to_string().starts_with("it grew"));
        assert!(flat("it", &[]).is_ok());
    }
}
