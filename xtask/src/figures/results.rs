//! `docs/results/NAME.toml`: what an experiment gave. The only place where a figure of the book is kept.
//!
//! `command` is what was typed, `quoted_in` where its figures stand (a translation counts as its English original).
//! `kind = "constant"` is for facts that were not measured here: each value has its `source`, and `quoted_in` of its own.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    mean::Mean,
    quoted::{Number, Quoted},
};

/// Where result files are.
pub(super) const DIRECTORY: &str = "docs/results";

/// A result file.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Results {
    /// The file's name without `.toml`.
    pub(super) id: String,
    /// What was done, in a line.
    pub(super) what: String,
    /// `constant`, or empty for what was measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) kind: String,
    /// What was typed, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) command: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) recipe: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) seeds: Vec<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) machine: String,
    /// Of the program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) commit: String,
    /// Where the values were taken from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) origin: String,
    /// A file of `cargo xtask bench-backends` whose values belong to these.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) benchmarks: String,
    /// Documents, from the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) quoted_in: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) values: Vec<Measured>,
}

/// One quantity of it.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Measured {
    pub(super) name: String,
    /// `%`, `points`, `nats`, `bits`, `s`, `min`, `ms`, `/s`, `MiB`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) unit: String,
    /// A single value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<f64>,
    /// Mean of the seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mean: Option<f64>,
    /// Half of the 95 % interval of the mean (Student's t), or the error that the program prints behind a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) half: Option<f64>,
    /// One value for each of `seeds`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) per_seed: Vec<f64>,
    /// Values in a row: epochs, steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) list: Vec<f64>,
    /// Computed: the first of two other values minus the second (`NAME` or `FILE/NAME`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) difference: Option<[String; 2]>,
    /// Where a constant comes from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) source: String,
    /// Documents, in place of the file's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) quoted_in: Vec<String>,
}

/// A number that may be quoted.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) name: String,
    unit: String,
    value: f64,
    half: Option<f64>,
    /// Documents that may quote it.
    pub(super) quoted_in: Vec<String>,
    /// Whether these are its own, not the file's.
    pub(super) own: bool,
}

impl Entry {
    /// Whether a text's figure is this one, rounded.
    pub(super) fn is(&self, figure: &Quoted) -> bool {
        let rounds = |number: Number, value: f64| match (figure.unit, self.unit.as_str()) {
            (quoted, own) if quoted == own => number.rounds(value),
            // Shares of one are printed without a unit, with many digits.
            ("", "%") => number.rounds(value) || (number.decimals > 2 && number.rounds(value / 100.0)),
            ("", _) => number.rounds(value),
            ("min", "s") => number.rounds(value / 60.0),
            ("s", "ms") => number.rounds(value / 1000.0),
            _ => false,
        };
        match (figure.half, self.half) {
            (None, Some(half)) if figure.is_half => rounds(figure.number, half),
            (None, _) => !figure.is_half && rounds(figure.number, self.value),
            (Some(wanted), Some(half)) => rounds(figure.number, self.value) && rounds(wanted, half),
            (Some(_), None) => false,
        }
    }

    /// How far away a figure is that has the same unit.
    pub(super) fn distance(&self, figure: &Quoted) -> Option<f64> {
        (figure.unit == self.unit).then(|| (self.value.abs() - figure.number.value).abs())
    }

    pub(super) fn has_half(&self) -> bool {
        self.half.is_some()
    }

    /// What a document has to quote: this value, if it names its documents, else any of the file.
    pub(super) fn key(&self) -> (String, String) {
        (self.id.clone(), if self.own { self.name.clone() } else { String::new() })
    }

    /// For a message: `97.66 ± 0.31 % in fixmatch-100.toml`.
    pub(super) fn shown(&self) -> String {
        let half = self.half.map(|half| format!(" ± {half}")).unwrap_or_default();
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        format!("{}{half}{unit} in {}.toml", self.value, self.id)
    }
}

/// Reads all result files of the repository.
pub(super) fn read_all(root: &Path) -> Result<Vec<Results>> {
    let directory = root.join(DIRECTORY);
    let listed = fs::read_dir(&directory).with_context(|| format!("cannot list {DIRECTORY}"))?;
    let mut all = Vec::new();
    for entry in listed {
        let path = entry.with_context(|| format!("cannot list {DIRECTORY}"))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            all.push(read(&path)?);
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(all)
}

/// Reads one, whose `id` has to be its name.
pub(super) fn read(path: &Path) -> Result<Results> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let results: Results = toml::from_str(&text).with_context(|| format!("{shown} is no result file"))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    anyhow::ensure!(results.id == stem, "{shown} has id = \"{}\", not its name", results.id);
    Ok(results)
}

impl Results {
    /// What does not hold of the file itself.
    pub(super) fn faults(&self) -> Vec<String> {
        let constant = self.kind == "constant";
        let mut faults = Vec::new();
        let mut want = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        want(
            constant || self.kind.is_empty(),
            format!("kind = \"{}\" (only \"constant\" is known)", self.kind),
        );
        let told = [!self.command.is_empty(), !self.origin.is_empty(), !self.machine.is_empty()];
        want(constant || told == [true; 3], "a measurement without command, origin or machine".into());
        want(!self.values.is_empty() || !self.benchmarks.is_empty(), "no values".into());
        for value in &self.values {
            let name = &value.name;
            let kinds = [
                value.value.is_some(),
                value.mean.is_some(),
                !value.list.is_empty(),
                value.difference.is_some(),
            ];
            let one = kinds.iter().filter(|kind| **kind).count() == 1;
            want(one, format!("`{name}` has not just one of value, mean, list and difference"));
            want(!constant || !value.source.is_empty(), format!("the constant `{name}` has no source"));
            if value.per_seed.is_empty() {
                continue;
            }
            let seeds = (self.seeds.len(), value.per_seed.len());
            want(seeds.0 == seeds.1, format!("`{name}` has {} values for {} seeds", seeds.1, seeds.0));
            let mean = Mean::of(&value.per_seed);
            let agree = |kept: Option<f64>, wanted: f64| kept.is_none_or(|kept| number(kept).rounds(wanted));
            let told = format!("mean and half of `{name}` are not those of its seeds, {mean:?}");
            want(agree(value.mean, mean.mean) && agree(value.half, mean.half.unwrap_or(0.0)), told);
        }
        faults
    }

    fn find(&self, name: &str) -> Option<f64> {
        let value = self.values.iter().find(|value| value.name == name)?;
        value.value.or(value.mean)
    }
}

/// A kept value as the number that is written.
fn number(value: f64) -> Number {
    let shown = value.abs().to_string();
    Number { value: value.abs(), decimals: shown.split_once('.').map_or(0, |(_, decimals)| decimals.len()) }
}

/// A difference that cannot be computed.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    /// The file.
    pub(super) id: String,
    pub(super) told: String,
}

/// All that may be quoted, and differences of what is not there.
pub(super) fn entries(root: &Path, all: &[Results]) -> Result<(Vec<Entry>, Vec<Fault>)> {
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    for results in all {
        for value in &results.values {
            let own = !value.quoted_in.is_empty();
            let quoted_in = if own { &value.quoted_in } else { &results.quoted_in };
            let mut add = |number: f64, half: Option<f64>| {
                entries.push(Entry {
                    id: results.id.clone(),
                    name: value.name.clone(),
                    unit: value.unit.clone(),
                    value: number,
                    half,
                    quoted_in: quoted_in.clone(),
                    own,
                });
            };
            if let Some(number) = value.value.or(value.mean) {
                add(number, value.half);
            }
            value.per_seed.iter().chain(&value.list).for_each(|number| add(*number, None));
            if let Some(pair) = &value.difference {
                match difference(all, results, pair) {
                    Some(number) => add(number, value.half),
                    None => {
                        let told = format!("`{}` is of no two values", value.name);
                        faults.push(Fault { id: results.id.clone(), told });
                    }
                }
            }
        }
        if !results.benchmarks.is_empty() {
            entries.extend(benchmarks(root, results)?);
        }
    }
    Ok((entries, faults))
}

fn difference(all: &[Results], own: &Results, pair: &[String; 2]) -> Option<f64> {
    let find = |name: &str| match name.split_once('/') {
        Some((file, name)) => all.iter().find(|results| results.id == file)?.find(name),
        None => own.find(name),
    };
    Some(find(&pair[0])? - find(&pair[1])?)
}

/// The rows of a `bench.json`.
fn benchmarks(root: &Path, results: &Results) -> Result<Vec<Entry>> {
    const COLUMNS: [(&str, &str, f64); 6] = [
        ("images_per_s", "/s", 1.0),
        ("latency_ms", "ms", 1.0),
        ("peak_mib", "MiB", 1.0),
        ("ratio", "", 1.0),
        ("accuracy", "%", 100.0),
        ("seconds_to_99", "s", 1.0),
    ];
    let path = &results.benchmarks;
    let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
    let told: Json = serde_json::from_str(&text).with_context(|| format!("{path} is no JSON"))?;
    let rows = told["rows"].as_array().with_context(|| format!("{path} has no rows"))?;
    let mut entries = Vec::new();
    for row in rows {
        let said = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        for (key, unit, factor) in COLUMNS {
            if let Some(value) = row[key].as_f64() {
                entries.push(Entry {
                    id: results.id.clone(),
                    name: format!("{} of {}, {}, {}", key, said("backend"), said("net"), said("work")),
                    unit: unit.into(),
                    value: value * factor,
                    half: None,
                    quoted_in: results.quoted_in.clone(),
                    own: false,
                });
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::quoted;

    fn measured(text: &str) -> Results {
        let head = "id = \"a\"\nseeds = [1, 2]\nwhat = \"b\"\ncommand = [\"train\"]\norigin = \"run\"\nmachine = \"m\"\n";
        toml::from_str(&format!("{head}{text}")).unwrap()
    }

    fn matches(results: &Results, text: &str) -> bool {
        let (entries, faults) = entries(Path::new("."), std::slice::from_ref(results)).unwrap();
        assert_eq!(faults, []);
        let figures = quoted::of_markdown(text);
        assert_eq!(figures.len(), 1, "{text}");
        entries.iter().any(|entry| entry.is(&figures[0]))
    }

    #[test]
    fn figures_are_found_as_they_are_rounded() {
        let results = measured(
            "[[values]]\nname = \"accuracy\"\nunit = \"%\"\nmean = 97.61\nhalf = 6.48\nper_seed = [97.10, 98.12]\n\
             [[values]]\nname = \"time\"\nunit = \"s\"\nvalue = 1080.0\n\
             [[values]]\nname = \"more\"\nunit = \"points\"\ndifference = [\"accuracy\", \"scratch\"]\n\
             [[values]]\nname = \"scratch\"\nunit = \"%\"\nvalue = 93.0\n",
        );
        for text in [
            "97.61 ± 6.48 %",
            "97.6 ± 6.5 %",
            "98 %",
            "97.10 %",
            "0.976",
            "± 6.48 %",
            "1,080 s",
            "18 minutes",
        ] {
            assert!(matches(&results, text), "{text}");
        }
        assert!(
            matches(&results, "+4.61 points")
                && !matches(&results, "6.48 %")
                && matches(&results, "4.6 points")
        );
        for text in [
            "97.62 %",
            "97.61 ± 6.49 %",
            "93.0 ± 6.48 %",
            "97.61 nats",
            "4.61 %",
            "6.48 s",
            "0.98",
            "19 minutes",
        ] {
            assert!(!matches(&results, text), "{text}");
        }
    }

    #[test]
    fn faults_of_a_file_are_told() {
        let value = "[[values]]\nname = \"a\"\n";
        let cases = [
            ("value = 1.0", 0),
            ("mean = 2.0\nhalf = 12.7\nper_seed = [1.0, 3.0]", 0),
            ("mean = 2.1\nhalf = 12.7\nper_seed = [1.0, 3.0]", 1),
            ("mean = 2.0\nhalf = 1.0\nper_seed = [1.0, 3.0]", 1),
            ("mean = 2.0\nper_seed = [1.0, 2.0, 3.0]", 1),
            ("value = 1.0\nlist = [1.0]", 1),
            ("unit = \"%\"", 1),
        ];
        for (text, wanted) in cases {
            assert_eq!(measured(&format!("{value}{text}")).faults().len(), wanted, "{text}");
        }
        let constant =
            "id = \"a\"\nwhat = \"b\"\nkind = \"constant\"\n[[values]]\nname = \"a\"\nvalue = 1.0\n";
        let results: Results = toml::from_str(constant).unwrap();
        assert_eq!(results.faults(), ["the constant `a` has no source"]);
        assert_eq!(measured("").faults(), ["no values"]);
        let bare: Results = toml::from_str("id = \"a\"\nwhat = \"b\"\nbenchmarks = \"c\"").unwrap();
        assert_eq!(bare.faults(), ["a measurement without command, origin or machine"]);
    }

    #[test]
    fn a_difference_needs_two_values() {
        let text = "[[values]]\nname = \"d\"\ndifference = [\"x\", \"a/y\"]\n";
        let (_, faults) = entries(Path::new("."), &[measured(text)]).unwrap();
        assert_eq!(faults, [Fault { id: "a".into(), told: "`d` is of no two values".into() }]);
    }
}
