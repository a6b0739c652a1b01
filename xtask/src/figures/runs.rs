//! What mnist-cli has written of a training: `evaluation.json`, `run.toml`, `timing.jsonl`, and, if a checkpoint says which
//! weights were kept, their line of validation in `metrics.jsonl`. Runs that are read together differ in the seed alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use toml::{Table, Value as Toml};

use super::{
    mean::Mean,
    results::{Measured, Results},
};

/// What no document quotes: the more numbers a file has, the more wrong ones are found in it by chance.
const LEFT_OUT: [&str; 3] = ["examples", "weighted_f1", "top2_accuracy"];

/// Digits that are kept behind the point.
const DECIMALS: i32 = 6;

/// The values of runs that differ in their seed.
pub(super) fn read(directories: &[PathBuf]) -> Result<Results> {
    let mut first: Option<(&Path, BTreeMap<String, Toml>)> = None;
    let (mut seeds, mut commits) = (Vec::new(), Vec::<String>::new());
    // In the order in which they come, for each run.
    let mut names: Vec<(String, &'static str)> = Vec::new();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for directory in directories {
        let settings = read_toml(&directory.join("run.toml"))?;
        let seed = settings.get("seed").and_then(Toml::as_integer).and_then(|seed| u64::try_from(seed).ok());
        let seed = seed.with_context(|| format!("{}/run.toml has no seed", directory.display()))?;
        ensure!(!seeds.contains(&seed), "two runs with seed {seed}");
        seeds.push(seed);
        let commit =
            settings.get("provenance").and_then(|told| told.get("git_commit")).and_then(Toml::as_str);
        let commit: String = commit.unwrap_or("unknown").chars().take(7).collect();
        if !commits.contains(&commit) {
            commits.push(commit);
        }
        let flat = flat(&settings);
        match &first {
            None => first = Some((directory, flat)),
            Some((other, wanted)) => {
                let mut keys = wanted.keys().chain(flat.keys());
                if let Some(key) = keys.find(|key| wanted.get(*key) != flat.get(*key)) {
                    bail!(
                        "{} and {} differ in {key}, not in the seed alone",
                        other.display(),
                        directory.display()
                    );
                }
            }
        }
        let values = values(directory)?;
        let found: Vec<(String, &'static str)> = values.iter().map(|(n, u, _)| (n.clone(), *u)).collect();
        if names.is_empty() {
            columns = vec![Vec::new(); found.len()];
            names = found;
        } else {
            ensure!(names == found, "{} has other figures than the first", directory.display());
        }
        columns.iter_mut().zip(values).for_each(|(column, (_, _, value))| column.push(value));
    }
    let values = names.into_iter().zip(columns).map(|((name, unit), column)| measured(name, unit, &column));
    Ok(Results {
        commit: commits.join(", "),
        seeds,
        origin: "evaluation.json, timing.jsonl and metrics.jsonl of the runs".into(),
        values: values.collect(),
        ..Results::default()
    })
}

/// The settings that have to be the same, by their path.
fn flat(settings: &Table) -> BTreeMap<String, Toml> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(String, &Table)> = vec![(String::new(), settings)];
    while let Some((prefix, table)) = open.pop() {
        for (key, value) in table {
            let path = format!("{prefix}{key}");
            match value {
                Toml::Table(inner) if path != "provenance" => open.push((format!("{path}."), inner)),
                _ if matches!(path.as_str(), "provenance" | "seed" | "name") => {}
                other => {
                    found.insert(path, other.clone());
                }
            }
        }
    }
    found
}

/// Figures of one run: name, unit, value.
fn values(directory: &Path) -> Result<Vec<(String, &'static str, f64)>> {
    let evaluation = read_json(&directory.join("evaluation.json"))?;
    let mut values = Vec::new();
    let mut add = |split: &str, key: &str, value: &Json| {
        if let Some(value) = value.as_f64() {
            let (name, unit) = (key.replace('_', " "), unit_of(key));
            values.push((format!("{split} {name}"), unit, if unit == "%" { 100.0 * value } else { value }));
        }
    };
    let scores = evaluation.get("scores").unwrap_or(&evaluation);
    for (key, value) in scores.as_object().context("evaluation.json is no object")? {
        if !LEFT_OUT.contains(&key.as_str()) {
            add("test", key, value);
        }
    }
    if let Some(chosen) = chosen(directory)? {
        for (key, value) in chosen.as_object().into_iter().flatten() {
            add("validation", key, value);
        }
    }
    if let Some(end) =
        lines(&directory.join("timing.jsonl"))?.iter().rev().find(|line| line["event"] == "end")
    {
        for (key, name, unit) in
            [("train_seconds", "training time", "s"), ("examples_per_second", "training speed", "/s")]
        {
            if let Some(value) = end[key].as_f64() {
                values.push((name.into(), unit, value));
            }
        }
    }
    Ok(values)
}

/// The unit of a score, by its name.
fn unit_of(key: &str) -> &'static str {
    let has = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    if has(&["accuracy", "f1", "found", "taken_for", "share"]) {
        "%"
    } else if has(&["bits"]) {
        "bits"
    } else if has(&["entropy", "nats", "elbo", "reconstruction", "nll"]) || key == "kl" {
        "nats"
    } else {
        ""
    }
}

/// The scores of validation at the step whose weights were kept, if a checkpoint tells it.
fn chosen(directory: &Path) -> Result<Option<Json>> {
    let Ok(listed) = fs::read_dir(directory.join("checkpoints")) else { return Ok(None) };
    let mut states: Vec<PathBuf> = listed.flatten().map(|entry| entry.path().join("state.json")).collect();
    states.retain(|state| state.exists());
    states.sort();
    let Some(newest) = states.last() else { return Ok(None) };
    let step = read_json(newest)?["state"]["best"]["step"].clone();
    let metrics = lines(&directory.join("metrics.jsonl"))?;
    let line = metrics.iter().rev().find(|line| line["split"] == "valid" && line["step"] == step);
    Ok(line.map(|line| line["values"].clone()))
}

/// Values of the seeds with their mean, or the single one.
pub(super) fn measured(name: String, unit: &str, column: &[f64]) -> Measured {
    let kept = |value: f64| {
        let factor = 10_f64.powi(DECIMALS);
        (value * factor).round() / factor
    };
    let unit = unit.to_owned();
    let per_seed: Vec<f64> = column.iter().copied().map(kept).collect();
    if let [only] = per_seed.as_slice() {
        return Measured { name, unit, value: Some(*only), ..Measured::default() };
    }
    // Of what is kept, so that who adds it up has the same.
    let Mean { mean, half } = Mean::of(&per_seed);
    Measured { name, unit, mean: Some(kept(mean)), half: half.map(kept), per_seed, ..Measured::default() }
}

fn read_toml(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is no TOML", path.display()))
}

fn read_json(path: &Path) -> Result<Json> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// The objects of a file of one object a line.
fn lines(path: &Path) -> Result<Vec<Json>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = |line| serde_json::from_str(line).with_context(|| format!("{}: `{line}`", path.display()));
    text.lines().map(line).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Files below a new directory.
    pub(in crate::figures) fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("figures-add-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn run_of(seed: u64, accuracy: f64, rate: f64) -> PathBuf {
        let settings = format!(
            "seed = {seed}\nnet = \"cnn\"\n[schedule]\nlearning_rate = {rate}\n[provenance]\ngit_commit = \"3fb411220\"\n"
        );
        let evaluation = format!(
            "{{\"accuracy\": {accuracy}, \"cross_entropy\": 0.5, \"per_class\": [], \"examples\": 10}}"
        );
        directory(
            &format!("run-{seed}-{accuracy}-{rate}"),
            &[
                ("run.toml", &settings),
                ("evaluation.json", &evaluation),
                (
                    "timing.jsonl",
                    "{\"event\":\"epoch\"}\n{\"event\":\"end\",\"train_seconds\":27.0,\"examples_per_second\":12000.5}\n",
                ),
                (
                    "metrics.jsonl",
                    "{\"split\":\"valid\",\"step\":10,\"values\":{\"accuracy\":0.9}}\n{\"split\":\"valid\",\"step\":20,\"values\":{\"accuracy\":0.8}}\n",
                ),
                ("checkpoints/step-00000020/state.json", "{\"state\":{\"step\":20,\"best\":{\"step\":10}}}"),
            ],
        )
    }

    #[test]
    fn runs_become_means_over_seeds() {
        let directories = [run_of(1, 0.98, 0.1), run_of(2, 0.99, 0.1)];
        let results = read(&directories).unwrap();
        assert_eq!((results.seeds.as_slice(), results.commit.as_str()), ([1, 2].as_slice(), "3fb4112"));
        let names: Vec<&str> = results.values.iter().map(|value| value.name.as_str()).collect();
        let wanted =
            ["test accuracy", "test cross entropy", "validation accuracy", "training time", "training speed"];
        assert_eq!(names, wanted);
        let accuracy = &results.values[0];
        assert_eq!((accuracy.unit.as_str(), accuracy.mean), ("%", Some(98.5)));
        // 12.7062 times the standard error, half a point.
        assert_eq!((accuracy.half, accuracy.per_seed.as_slice()), (Some(6.3531), [98.0, 99.0].as_slice()));
        assert_eq!(results.values[2].mean, Some(90.0));
        let single = read(&directories[..1]).unwrap();
        assert_eq!((single.values[3].value, single.values[3].mean), (Some(27.0), None));
    }

    #[test]
    fn runs_of_other_settings_or_the_same_seed_are_refused() {
        let first = run_of(1, 0.97, 0.1);
        let told = read(&[first.clone(), run_of(2, 0.97, 0.2)]).unwrap_err().to_string();
        assert!(told.contains("differ in schedule.learning_rate"), "{told}");
        let told = read(&[first, run_of(1, 0.96, 0.1)]).unwrap_err().to_string();
        assert!(told.contains("two runs with seed 1"), "{told}");
    }
}
