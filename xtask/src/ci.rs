//! `cargo xtask ci`: the steps that `.ci/run` and GitHub run, stopped at the first failure.
//!
//! All steps use the dev profile, and all but the last the same features, so that Burn is compiled
//! once for `check` (clippy, doc, features) and once in full (test).

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{browser, downstream, exchange, fences, tidy, walkthrough, workspace};

/// Options of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this step alone
    step: Option<String>,
    /// Print the steps and their commands
    #[arg(long, conflicts_with = "step")]
    list: bool,
}

/// One step: its name, and what it runs.
struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    /// `cargo` with these arguments and the variables `NAME=value` before it.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// The line of the README that starts with `cargo test`.
    ReadmeTest,
    /// `cargo xtask tidy`, in this process.
    Tidy,
    /// `cargo xtask exchange`, in this process.
    Exchange,
    /// `cargo xtask browser`, in this process.
    Browser,
    /// `cargo xtask downstream`, in this process.
    Downstream,
    /// `cargo xtask walkthrough`, in this process.
    Walkthrough,
}

/// The steps, in order.
const STEPS: [Step; 10] = [
    Step { name: "fmt", action: Action::Cargo(&["fmt", "--all", "--check"], &[]) },
    Step {
        name: "clippy",
        action: Action::Cargo(
            &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
            &[],
        ),
    },
    Step { name: "test", action: Action::ReadmeTest },
    Step {
        name: "doc",
        action: Action::Cargo(
            &["doc", "--workspace", "--no-deps", "--locked"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ),
    },
    Step { name: "tidy", action: Action::Tidy },
    Step { name: "exchange", action: Action::Exchange },
    Step { name: "browser", action: Action::Browser },
    // What stands in the packages is enough for the next one; that it compiles is known from the steps before.
    Step { name: "package", action: Action::Cargo(&PACKAGE, &[]) },
    Step { name: "downstream", action: Action::Downstream },
    Step {
        name: "features",
        action: Action::Cargo(
            &["check", "-p", "mnist-cli", "--no-default-features", "--features", "ndarray", "--locked"],
            &[],
        ),
    },
];

/// The crates that others may build on.
const PACKAGE: [&str; 12] = [
    "package",
    "--quiet",
    "--no-verify",
    "--allow-dirty",
    "-p",
    "cpu-ops",
    "-p",
    "mnist-data",
    "-p",
    "mnist-model",
    "-p",
    "mnist-train",
];

/// Steps that run only by name: they need what not every machine has, and build for minutes.
const BY_NAME: [Step; 3] = [
    // Most of the workspace once more, at another path: a job of its own on GitHub.
    Step { name: "walkthrough", action: Action::Walkthrough },
    // A Vulkan driver: `apt-get install mesa-vulkan-drivers libvulkan1`.
    Step { name: "wgpu", action: Action::Cargo(&AGREEMENT_ON_WGPU, &[]) },
    // libtorch: `eval "$(cargo xtask libtorch)"`.
    Step { name: "tch", action: Action::Cargo(&AGREEMENT_ON_TCH, &[]) },
];

const AGREEMENT_ON_WGPU: [&str; 8] =
    ["test", "-p", "mnist-cli", "--features", "wgpu", "--test", "agreement", "--locked"];
const AGREEMENT_ON_TCH: [&str; 8] =
    ["test", "-p", "mnist-cli", "--features", "tch", "--test", "agreement", "--locked"];

/// Runs all steps, or the one that is named.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        for step in &STEPS {
            println!("{:<10}{}", step.name, shown(&step.action));
        }
        for step in &BY_NAME {
            println!("{:<10}{} (only by name)", step.name, shown(&step.action));
        }
        return Ok(());
    }
    let wanted = args.step.as_deref();
    let steps: Vec<&Step> = match wanted {
        None => STEPS.iter().collect(),
        Some(wanted) => STEPS.iter().chain(&BY_NAME).filter(|step| step.name == wanted).collect(),
    };
    if steps.is_empty() {
        let names: Vec<&str> = STEPS.iter().chain(&BY_NAME).map(|step| step.name).collect();
        bail!("no step is called `{}`: they are {}", wanted.unwrap_or(""), names.join(", "));
    }
    let mut seconds = Vec::new();
    for step in steps {
        println!("==> {}: {}", step.name, shown(&step.action));
        let start = Instant::now();
        let result = perform(&step.action);
        let taken = start.elapsed().as_secs_f64();
        if let Err(error) = result {
            let name = step.name;
            bail!("step `{name}` failed after {taken:.1} s: {error:#}\nrun it alone: cargo xtask ci {name}");
        }
        println!("==> {}: passed in {taken:.1} s", step.name);
        seconds.push((step.name, taken));
    }
    let parts: Vec<String> = seconds.iter().map(|(name, s)| format!("{name} {s:.1} s")).collect();
    let total: f64 = seconds.iter().map(|(_, s)| s).sum();
    println!("ci passed in {total:.1} s ({})", parts.join(", "));
    Ok(())
}

/// The command as one would type it.
fn shown(action: &Action) -> String {
    match action {
        Action::Cargo(args, variables) => {
            let set = variables.iter().map(|(name, value)| format!("{name}=\"{value}\" "));
            format!("{}cargo {}", set.collect::<String>(), args.join(" "))
        }
        Action::ReadmeTest => match readme_test() {
            Ok(words) => words.join(" "),
            Err(_) => "the `cargo test` line of README.md".to_owned(),
        },
        Action::Tidy => "cargo xtask tidy".to_owned(),
        Action::Exchange => "cargo xtask exchange".to_owned(),
        Action::Browser => "cargo xtask browser".to_owned(),
        Action::Downstream => "cargo xtask downstream".to_owned(),
        Action::Walkthrough => "cargo xtask walkthrough".to_owned(),
    }
}

fn perform(action: &Action) -> Result<()> {
    match action {
        Action::Cargo(args, variables) => cargo(args, variables),
        Action::ReadmeTest => {
            let words = readme_test()?;
            let args: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
            cargo(&args, &[])
        }
        Action::Tidy => tidy::run(),
        Action::Exchange => exchange::where_possible(),
        Action::Browser => browser::where_possible(),
        Action::Downstream => downstream::run(),
        Action::Walkthrough => walkthrough::run(),
    }
}

/// Words of the README's test command.
fn readme_test() -> Result<Vec<String>> {
    let readme = workspace::root().join("README.md");
    let text = std::fs::read_to_string(&readme).context("cannot read README.md")?;
    fences::test_command(&text)
        .context("README.md has no fenced code block with a line that starts with `cargo test`")
}

/// Runs cargo with its output going where ours goes.
fn cargo(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let status = workspace::cargo()
        .args(args)
        .envs(variables.iter().copied())
        .status()
        .context("cannot start cargo")?;
    if status.success() {
        return Ok(());
    }
    bail!("cargo {} ended with {status}", args.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_as_they_would_be_typed() {
        let doc = STEPS.iter().find(|step| step.name == "doc").unwrap();
        let wanted = "RUSTDOCFLAGS=\"-D warnings\" cargo doc --workspace --no-deps --locked";
        assert_eq!(shown(&doc.action), wanted);
    }

    #[test]
    fn an_unknown_step_is_an_error_that_lists_them() {
        let error = run(&Args { step: Some("lint".into()), list: false }).unwrap_err();
        assert!(error.to_string().contains(
            "fmt, clippy, test, doc, tidy, exchange, browser, package, downstream, features, walkthrough, wgpu, tch"
        ));
    }
}
