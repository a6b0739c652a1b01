//! Dependencies between the workspace's crates go one way only.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;

/// The crates in their order: each may depend on those before it.
const ORDER: [&str; 4] = ["mnist-data", "mnist-model", "mnist-train", "mnist-cli"];
/// Operations for any user of Burn: depends on none of ours, and of them only those from this one on need it.
const OPERATIONS: (&str, &str) = ("cpu-ops", "mnist-model");
/// The task program, which depends on none of them.
const TASKS: &str = "xtask";

/// Checks the output of `cargo metadata --no-deps`; `root` shortens the paths.
///
/// Dependencies of tests (`[dev-dependencies]`) are free.
pub(super) fn check(metadata: &Value, root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in list(metadata, "packages")? {
        let name = text(package, "name")?;
        let manifest = Path::new(text(package, "manifest_path")?);
        let contents = std::fs::read_to_string(manifest).unwrap_or_default();
        let shown = manifest.strip_prefix(root).unwrap_or(manifest).to_string_lossy().into_owned();
        if position(name).is_none() && name != TASKS && name != OPERATIONS.0 {
            let found = format!("a crate `{name}`");
            findings.push(Finding::new(&shown, 1, found, "a place for it in xtask's arrows.rs"));
        }
        for dependency in list(package, "dependencies")? {
            let on = text(dependency, "name")?;
            if dependency["kind"].as_str() != Some("dev") && !allowed(name, on) {
                let line = contents.lines().position(|line| line.trim_start().starts_with(on));
                let found = format!("{name} depends on {on}");
                findings.push(Finding::new(&shown, line.map_or(1, |i| i + 1), found, wanted(name)));
            }
        }
    }
    Ok(findings)
}

fn position(name: &str) -> Option<usize> {
    ORDER.iter().position(|&crate_name| crate_name == name)
}

/// Whether `from` may depend on `on`, which may be a crate of someone else.
fn allowed(from: &str, on: &str) -> bool {
    if on == OPERATIONS.0 {
        return position(from).is_some() && position(from) >= position(OPERATIONS.1);
    }
    match (position(from), position(on)) {
        (_, None) => on != TASKS,
        (None, Some(_)) => false,
        (Some(from), Some(on)) => on < from,
    }
}

fn wanted(from: &str) -> String {
    if from == TASKS {
        return "xtask that depends on no crate of the workspace".to_owned();
    }
    let (operations, user) = OPERATIONS;
    format!("dependencies that only go {}, and {operations} -> {user}", ORDER.join(" -> "))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata has no list `{key}`"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo metadata has no text `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, on: &str, kind: Value) -> Vec<String> {
        let metadata = serde_json::json!({ "packages": [{
            "name": name,
            "manifest_path": "/nowhere/Cargo.toml",
            "dependencies": [{ "name": on, "kind": kind }],
        }]});
        let findings = check(&metadata, Path::new("/nowhere")).unwrap();
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn arrows_backwards_are_found() {
        let message = found("mnist-model", "mnist-train", Value::Null).remove(0);
        assert!(message.starts_with("Cargo.toml:1: found mnist-model depends on mnist-train;"));
        for (from, on) in [
            ("xtask", "mnist-data"),
            ("mnist-cli", "xtask"),
            ("mnist-data", "mnist-cli"),
            ("mnist-data", "cpu-ops"),
            ("xtask", "cpu-ops"),
            ("cpu-ops", "mnist-data"),
            ("cpu-ops", "xtask"),
        ] {
            assert_eq!(found(from, on, Value::Null).len(), 1, "{from} on {on}");
        }
        assert_eq!(found("mnist-data", "mnist-model", "build".into()).len(), 1);
        assert_eq!(found("mnist-extra", "burn", Value::Null).len(), 1);
    }

    #[test]
    fn arrows_forwards_tests_and_other_crates_are_free() {
        for (from, on) in [
            ("mnist-cli", "mnist-data"),
            ("mnist-train", "mnist-model"),
            ("xtask", "rand"),
            ("mnist-model", "cpu-ops"),
            ("mnist-cli", "cpu-ops"),
            ("cpu-ops", "burn"),
        ] {
            assert!(found(from, on, Value::Null).is_empty(), "{from} on {on}");
        }
        assert!(found("mnist-data", "mnist-model", "dev".into()).is_empty());
    }

    #[test]
    fn metadata_of_another_shape_is_an_error() {
        assert!(check(&Value::Null, Path::new("")).is_err());
    }
}
