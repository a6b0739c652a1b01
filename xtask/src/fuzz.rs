//! `cargo xtask fuzz`: gives every parser of bytes from outside mutations of the committed corpus, for as long as one
//! likes. The targets are those of crates/mnist-train/tests/hostile, which an ordinary test runs for some seconds.

use anyhow::{Context, Result, bail};

use crate::workspace::{self, step};

/// Where the table of targets is.
const TARGETS: &str = "crates/mnist-train/tests/hostile/main.rs";

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Minutes for each target
    #[arg(long, value_name = "M", default_value = "1")]
    minutes: u64,
    /// This target alone
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Seed of the mutations
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
}

/// Runs the test with more time.
pub(crate) fn run(args: &Args) -> Result<()> {
    let text = std::fs::read_to_string(workspace::root().join(TARGETS)).context(TARGETS)?;
    let known = targets(&text);
    let chosen: Vec<&str> = match &args.target {
        None => known,
        Some(name) if known.contains(&name.as_str()) => vec![name.as_str()],
        Some(name) => bail!("no target is called `{name}`: they are {}", known.join(", ")),
    };
    let seconds = args.minutes.saturating_mul(60).to_string();
    for target in chosen {
        let mut test = workspace::cargo();
        test.args(["test", "-p", "mnist-train", "--locked", "--test", "hostile", "--"])
            .args(["--exact", target, "--show-output"])
            .env("HOSTILE_SECONDS", &seconds)
            .env("HOSTILE_SEED", args.seed.to_string());
        step(&mut test, &format!("fuzz {target}"))?;
    }
    Ok(())
}

/// Names of the targets: what stands before the colon in the lines of the table.
fn targets(text: &str) -> Vec<&str> {
    let table = text.lines().skip_while(|line| *line != "targets! {").skip(1);
    let rows = table.take_while(|line| *line != "}");
    rows.filter_map(|line| Some(line.trim().split_once(": ")?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_found() {
        let text = std::fs::read_to_string(workspace::root().join(TARGETS)).unwrap();
        let found = targets(&text);
        assert!(found.contains(&"images") && found.contains(&"pytorch"), "{found:?}");
        assert!(
            found.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')),
            "{found:?}"
        );
    }

    #[test]
    fn an_unknown_target_is_an_error_that_lists_them() {
        let error = run(&Args { minutes: 1, target: Some("nothing".into()), seed: 1 }).unwrap_err();
        assert!(error.to_string().contains("pytorch"));
    }
}
