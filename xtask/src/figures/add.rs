//! `cargo xtask figures --add NAME RUN_DIR...`: a result file from what mnist-cli has written.
//!
//! Of runs what `runs.rs` reads, of few-labels `few-labels.csv`. A file that is there keeps what was typed into it and
//! the values of other names.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{
    Args, DIRECTORY, file,
    results::{self, Measured, Results},
    runs::{self, measured},
};
use crate::bench_backends;

/// The table that `few-labels` writes.
const TABLE: &str = "few-labels.csv";

/// Writes the file.
pub(super) fn run(root: &Path, name: &str, args: &Args) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !name.is_empty() && name.chars().all(plain),
        "`{name}` is no name: small letters, digits and `-`"
    );
    let path = root.join(file(name));
    let old = if path.exists() { Some(results::read(&path)?) } else { None };
    let read = match args.directories.as_slice() {
        [directory] if directory.join(TABLE).exists() => few_labels(directory)?,
        directories => runs::read(directories)?,
    };
    let told = Told {
        command: args.command.clone(),
        machine: args.machine.clone().unwrap_or_else(this_machine),
        commit: args.commit.clone(),
    };
    let written = merged(old, read, told, name)?;
    fs::create_dir_all(root.join(DIRECTORY)).with_context(|| format!("cannot make {DIRECTORY}"))?;
    let text = toml::to_string(&written).context("cannot write TOML")?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    for value in &written.values {
        let half = value.half.map(|half| format!(" ± {half:.2}")).unwrap_or_default();
        if let Some(number) = value.value.or(value.mean) {
            println!("{}: {number:.4}{half} {}", value.name, value.unit);
        }
    }
    println!("{}: say in `what` what it is, and in `quoted_in` where it is quoted", file(name));
    Ok(())
}

/// What was typed to `--add`.
struct Told {
    command: Vec<String>,
    machine: String,
    commit: Option<String>,
}

/// The new values in the old file, or in a new one.
fn merged(old: Option<Results>, read: Results, told: Told, name: &str) -> Result<Results> {
    let mut results = old.unwrap_or_else(|| Results { what: name.replace('-', " "), ..Results::default() });
    if !told.command.is_empty() {
        results.command = told.command;
    }
    ensure!(
        !results.command.is_empty(),
        "what was typed? --command \"train {name}\", again for each command"
    );
    results.id = name.to_owned();
    results.machine = told.machine;
    results.commit = told.commit.unwrap_or(read.commit);
    results.seeds = read.seeds;
    results.origin = read.origin;
    results.values.retain(|kept| !read.values.iter().any(|value| value.name == kept.name));
    results.values.splice(0..0, read.values);
    Ok(results)
}

/// `Intel Xeon, 2 cores`, as far as the system tells.
fn this_machine() -> String {
    let told = bench_backends::this_machine();
    format!("{}, {} cores", told["cpu"].as_str().unwrap_or("unknown processor"), told["cores"])
}

/// The values of a table of few-labels: accuracy and macro F1 of each way, and what each has more than scratch.
fn few_labels(directory: &Path) -> Result<Results> {
    let path = directory.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows = text.lines();
    let heads: Vec<&str> = rows.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        let found = heads.iter().position(|head| *head == name);
        found.with_context(|| format!("{} has no column {name}", path.display()))
    };
    let (way, labels, seed) = (column("way")?, column("labels")?, column("seed")?);
    let figures = [("test accuracy", column("test_accuracy")?), ("test macro F1", column("test_macro_f1")?)];
    // Figure, labels and way, then seed: in percent.
    let mut cells: BTreeMap<(usize, u64, String), BTreeMap<u64, f64>> = BTreeMap::new();
    for (index, row) in rows.enumerate() {
        let parts: Vec<&str> = row.split(',').collect();
        let mut read = || -> Option<()> {
            let (labels, seed) = (parts.get(labels)?.parse().ok()?, parts.get(seed)?.parse().ok()?);
            for (figure, (_, column)) in figures.iter().enumerate() {
                let value: f64 = parts.get(*column)?.parse().ok()?;
                let way = (*parts.get(way)?).to_owned();
                cells.entry((figure, labels, way)).or_default().insert(seed, 100.0 * value);
            }
            Some(())
        };
        read().with_context(|| format!("{}:{}: `{row}` is no row", path.display(), index + 2))?;
    }
    let seeds: Vec<u64> = cells.values().next().context("an empty table")?.keys().copied().collect();
    let mut values = Vec::new();
    for ((figure, labels, way), cell) in &cells {
        ensure!(cell.keys().eq(&seeds), "`{way}` with {labels} labels was not done with every seed");
        let column: Vec<f64> = cell.values().copied().collect();
        let name = figures[*figure].0;
        let mut value = measured(format!("{way}, {labels} labels, {name}"), "%", &column);
        if *figure > 0 {
            // Close to the accuracies: seed by seed they would only hide wrong figures.
            value.per_seed.clear();
        }
        values.push(value);
        let scratch = cells.get(&(*figure, *labels, "scratch".to_owned())).filter(|_| way != "scratch");
        if let Some(scratch) = scratch {
            let more: Vec<f64> = cell.values().zip(scratch.values()).map(|(a, b)| a - b).collect();
            let name = format!("{way} minus scratch, {labels} labels, {name}");
            values.push(Measured { per_seed: Vec::new(), ..measured(name, "points", &more) });
        }
    }
    let origin = format!("{TABLE} of the table");
    Ok(Results { commit: "unknown".into(), seeds, origin, values, ..Results::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::runs::tests::directory;

    #[test]
    fn a_table_of_few_labels_becomes_means_and_differences() {
        let head = "way,labels,seed,valid_score,test_accuracy,test_macro_f1,learning_rate\n";
        let rows = "scratch,100,1,0.5,0.80,0.8,\nfull,100,1,0.5,0.81,0.8,\nscratch,100,2,0.5,0.82,0.8,\nfull,100,2,0.5,0.85,0.8,\n";
        let results = few_labels(&directory("table", &[(TABLE, &format!("{head}{rows}"))])).unwrap();
        let value = |name: &str| results.values.iter().find(|value| value.name == name).unwrap();
        assert_eq!(value("full, 100 labels, test accuracy").mean, Some(83.0));
        let more = value("full minus scratch, 100 labels, test accuracy");
        assert_eq!((more.unit.as_str(), more.mean, more.half), ("points", Some(2.0), Some(12.7062)));
        assert_eq!((results.seeds.as_slice(), results.faults().len()), ([1, 2].as_slice(), 1)); // not told: the command
        let uneven = format!("{head}{rows}full,100,3,0.5,0.85,0.8,\n");
        assert!(few_labels(&directory("uneven", &[(TABLE, &uneven)])).is_err());
    }

    #[test]
    fn what_was_typed_into_a_file_stays() {
        let value =
            |name: &str, value| Measured { name: name.into(), value: Some(value), ..Measured::default() };
        let old = Results {
            id: "mlp".into(),
            what: "an MLP".into(),
            command: vec!["train mlp".into()],
            quoted_in: vec!["README.md".into()],
            values: vec![value("test accuracy", 1.0), value("peak memory", 2.0)],
            ..Results::default()
        };
        let read =
            || Results { values: vec![value("test accuracy", 3.0)], seeds: vec![1], ..Results::default() };
        let told = |command: &[&str]| Told {
            command: command.iter().map(|line| (*line).to_owned()).collect(),
            machine: "m".into(),
            commit: None,
        };
        let merged_old = merged(Some(old.clone()), read(), told(&[]), "mlp").unwrap();
        assert_eq!((&merged_old.what, &merged_old.quoted_in), (&old.what, &old.quoted_in));
        assert_eq!(merged_old.values, [value("test accuracy", 3.0), value("peak memory", 2.0)]);
        let told_nothing = merged(None, read(), told(&[]), "mlp").unwrap_err().to_string();
        assert!(told_nothing.contains("--command"), "{told_nothing}");
        assert_eq!(merged(None, read(), told(&["train mlp"]), "mlp").unwrap().id, "mlp");
    }
}
