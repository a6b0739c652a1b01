//! Where the workspace is, what Cargo and Git say of it, and how `mnist-cli` is built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Longest reason that a report quotes, in characters.
const REASON: usize = 160;

/// The directory of the workspace's `Cargo.toml`.
///
/// Cargo names the package's directory when it runs us; the compiled-in one serves a binary that
/// is started by hand.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// The Cargo that runs us (or the one on the PATH), in the workspace's root.
///
/// What `cargo run` tells us of our own package is taken away: build scripts of dependencies look at it, and
/// would run anew each time that a build goes through us or not.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|p| name.to_string_lossy().starts_with(p));
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// `cargo metadata` of the members, without their dependencies.
pub(crate) fn metadata() -> Result<Value> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed ({})", output.status);
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

/// Whether this is a machine of GitHub's, on which all that CI needs can be installed.
pub(crate) fn on_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some()
}

/// Cargo's build directory, which `CARGO_TARGET_DIR` and configuration can move.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let metadata = metadata()?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .context("cargo metadata names no target_directory")
}

/// `cargo build` or `cargo run` (`verb`) of mnist-cli in release, with `more` arguments.
pub(crate) fn cargo_cli(verb: &str, more: &[&str]) -> Command {
    let mut command = cargo();
    command.args([verb, "--release", "--locked", "-p", "mnist-cli"]).args(more);
    command
}

/// The program that [`cargo_cli`] builds.
pub(crate) fn cli_program() -> Result<PathBuf> {
    let name = format!("mnist-cli{}", std::env::consts::EXE_SUFFIX);
    Ok(target_directory()?.join("release").join(name))
}

/// mnist-cli, as the tests have built it: in the dev profile.
pub(crate) fn built_cli() -> Result<PathBuf> {
    step(cargo().args(["build", "-p", "mnist-cli", "--locked"]), "build mnist-cli")?;
    let name = format!("mnist-cli{}", std::env::consts::EXE_SUFFIX);
    Ok(target_directory()?.join("debug").join(name))
}

/// Runs a program that has to succeed, its output going to our stderr.
pub(crate) fn step(command: &mut Command, what: &str) -> Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot {what}: {program} does not start"))?;
    if !status.success() {
        bail!("cannot {what}: {program} ended with {status}");
    }
    Ok(())
}

/// A directory of this name under the build directory, without what an earlier time left there.
pub(crate) fn home(name: &str) -> Result<PathBuf> {
    let home = target_directory()?.join(name);
    if home.exists() {
        std::fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    Ok(home)
}

/// Memory that a process takes now, in bytes, where the system tells.
pub(crate) fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Why a command failed: of its messages the first line that says `error`, else the last line.
pub(crate) fn reason(messages: &str) -> String {
    let mut lines = messages.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back();
    let line = lines.find(|line| line.to_lowercase().starts_with("error")).or(last);
    line.unwrap_or("no message").chars().take(REASON).collect()
}

/// The repository's files, relative to `root`, with `/` between the parts, sorted.
///
/// Git's list (tracked, and new ones that are not ignored); outside a Git checkout, a walk.
pub(crate) fn files(root: &Path) -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .stderr(Stdio::null())
        .output();
    let mut files: Vec<String> = match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty() && root.join(path).is_file())
            .map(str::to_owned)
            .collect(),
        _ => {
            let mut found = Vec::new();
            walk(root, "", &mut found)?;
            found
        }
    };
    files.sort();
    files.dedup();
    Ok(files)
}

/// Adds every file below `root/prefix`, without build output, runs and Git's own directory.
fn walk(root: &Path, prefix: &str, found: &mut Vec<String>) -> Result<()> {
    let directory = root.join(prefix);
    let entries =
        std::fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
        if kind.is_file() {
            found.push(path);
        } else if kind.is_dir() && !matches!(path.as_str(), ".git" | "target" | "runs") {
            walk(root, &path, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn git_and_the_walk_both_find_this_file() {
        let this = "xtask/src/workspace.rs".to_owned();
        assert!(files(&root()).unwrap().contains(&this));
        let mut walked = Vec::new();
        walk(&root(), "xtask", &mut walked).unwrap();
        assert!(walked.contains(&this));
    }

    #[test]
    fn the_reason_is_the_first_error() {
        assert_eq!(reason("warning: x\nerror: no libtorch\nerror: aborting"), "error: no libtorch");
        assert_eq!(reason("thread panicked\nat main\n\n"), "at main");
        assert_eq!(reason(""), "no message");
    }
}
