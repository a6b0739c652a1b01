//! How far a killed run had come, read from its directory as the kill left it.
//!
//! It decides how the trial goes on and what the report says, never whether the trial passes.

use std::fmt;
use std::path::Path;

use serde_json::Value;

/// What a killed run left to go on from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Left {
    /// No `run.toml`: the first command has to be given again.
    Nothing,
    /// `run.toml`, and no checkpoint that exists whole.
    Settings,
    /// The newest checkpoint's step.
    Checkpoint(u64),
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("started again"),
            Self::Settings => f.write_str("resumed without a checkpoint"),
            Self::Checkpoint(step) => write!(f, "resumed from step {step}"),
        }
    }
}

/// What there is in the run directory.
pub(super) fn left(run: &Path) -> Left {
    if !run.join("run.toml").is_file() {
        return Left::Nothing;
    }
    last_checkpoint(run).map_or(Left::Settings, Left::Checkpoint)
}

/// The last step in `metrics.jsonl`; a line cut off by the kill does not count.
pub(super) fn step_reached(run: &Path) -> Option<u64> {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).ok()?;
    last_step(&metrics)
}

fn last_step(metrics: &str) -> Option<u64> {
    let step = |line: &str| serde_json::from_str::<Value>(line).ok()?["step"].as_u64();
    metrics.lines().rev().find_map(step)
}

/// The step of the newest checkpoint that exists whole.
fn last_checkpoint(run: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(run.join("checkpoints")).ok()?;
    let step = |entry: std::fs::DirEntry| {
        let state = std::fs::read_to_string(entry.path().join("state.json")).ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        checkpoint_step(&name, &state)
    };
    entries.flatten().filter_map(step).max()
}

/// The step of a checkpoint, from its `state.json` or else from its name (`step-000120`).
fn checkpoint_step(name: &str, state: &str) -> Option<u64> {
    if name.starts_with('.') || name.ends_with(".tmp") {
        return None;
    }
    let state: Value = serde_json::from_str(state).ok()?;
    let digits = || name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    state["step"].as_u64().or_else(digits)
}

/// `step 12`, or that none was logged.
pub(super) fn shown(step: Option<u64>) -> String {
    step.map_or("no step logged".to_owned(), |step| format!("step {step}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_counts() {
        let metrics = "{\"step\":10,\"loss\":1.5}\n{\"step\":20}\n{\"epoch\":1}\n{\"step\":3";
        assert_eq!(last_step(metrics), Some(20));
        assert_eq!(last_step(""), None);
        assert_eq!(last_step("{\"step\":"), None);
    }

    #[test]
    fn checkpoints_tell_their_step() {
        assert_eq!(checkpoint_step("step-000120", "{\"step\":120}"), Some(120));
        assert_eq!(checkpoint_step("step-000120", "{}"), Some(120));
        assert_eq!(checkpoint_step("best", "{}"), None);
        assert_eq!(checkpoint_step("step-000120", "{\"step\":"), None);
        assert_eq!(checkpoint_step(".step-000120", "{\"step\":120}"), None);
    }

    #[test]
    fn a_run_directory_is_read_as_the_kill_left_it() {
        let run = std::env::temp_dir().join(format!("xtask-run-state-{}", std::process::id()));
        assert_eq!(left(&run), Left::Nothing);
        std::fs::create_dir_all(run.join("checkpoints/step-00000020")).unwrap();
        std::fs::create_dir_all(run.join("checkpoints/step-00000040")).unwrap();
        assert_eq!(left(&run), Left::Nothing);
        std::fs::write(run.join("run.toml"), "").unwrap();
        assert_eq!(left(&run), Left::Settings);
        std::fs::write(run.join("checkpoints/step-00000020/state.json"), "{\"step\":20}").unwrap();
        assert_eq!(left(&run), Left::Checkpoint(20));
        assert_eq!(step_reached(&run), None);
        std::fs::remove_dir_all(&run).unwrap();
    }
}
