//! Search for settings: which values to try next, and which trials to give up early. Knows nothing of training.
//!
//! Random search (Bergstra & Bengio 2012) draws each value by itself. TPE (Bergstra et al. 2011, "Algorithms for
//! hyper-parameter optimization") models the better quarter of the trials and the rest by a Parzen window each and takes
//! the candidate that is likeliest under the first in proportion to the second; here, as in Optuna's default, one
//! dimension at a time. Median stopping is that of Golovin et al. 2017 (Vizier); successive halving the asynchronous form of Li et
//! al. 2018, arXiv 1810.05934. Every draw is a function of (seed, trial).

use std::str::FromStr;

use mnist_data::Key;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use toml::Value;

/// Trials that are drawn at random before TPE has enough to go by.
const STARTUP: usize = 8;
/// Share of the trials that TPE takes for good ones.
const GOOD: f64 = 0.25;
/// Candidates that TPE chooses among.
const CANDIDATES: usize = 24;
/// Successive halving goes on with one in so many.
const ETA: usize = 3;
/// Trials that have to have come as far before one is given up.
const ENOUGH: usize = 3;

/// What values a setting may take.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// Numbers between two, both included.
    Range {
        /// Smallest.
        low: f64,
        /// Largest.
        high: f64,
        /// Whether ratios count and not differences.
        log: bool,
        /// Whether they are whole.
        whole: bool,
    },
    /// One of these, as TOML.
    Choice(Vec<String>),
}

/// A setting to search over.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Dimension {
    /// Key of the setting, as for `--set`.
    pub key: String,
    /// What it may be.
    pub values: Values,
}

/// `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log`, `KEY=A|B|C`.
impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "write KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A|B|C";
        let (key, values) = text.split_once('=').ok_or_else(|| format!("{text:?}: {wanted}"))?;
        let (key, values) = (key.trim().to_string(), values.trim());
        let (range, log) = match values.strip_suffix(":log") {
            Some(range) => (range, true),
            None => (values, false),
        };
        let values = match range.split_once("..") {
            Some((low, high)) => {
                let number = |text: &str| {
                    text.trim().parse::<f64>().map_err(|_| format!("{key}: {text:?} is no number; {wanted}"))
                };
                let whole =
                    !range.contains(['e', 'E']) && low.parse::<i64>().is_ok() && high.parse::<i64>().is_ok();
                let (low, high) = (number(low)?, number(high)?);
                let finite = low.is_finite() && high.is_finite() && (high - low).is_finite();
                if !finite || low >= high || (log && low <= 0.0) {
                    return Err(format!(
                        "{key}: {range} is no range; the first number has to be smaller{}",
                        if log { ", and above 0 for log" } else { "" }
                    ));
                }
                Values::Range { low, high, log, whole }
            }
            None => {
                let all: Vec<String> = values.split('|').map(|v| v.trim().to_string()).collect();
                if all.len() < 2 || all.iter().any(String::is_empty) {
                    return Err(format!("{key}: {values:?} leaves no choice; {wanted}"));
                }
                Values::Choice(all)
            }
        };
        Ok(Self { key, values })
    }
}

impl Values {
    /// The value at a place in 0-1.
    fn at(&self, place: f64) -> String {
        match self {
            Self::Range { low, high, log, whole } => {
                let value = if *log {
                    // Not `clamp`: a file may have them the wrong way round.
                    (low.ln() + place * (high.ln() - low.ln())).exp().max(*low).min(*high)
                } else {
                    low + place * (high - low)
                };
                // Four digits say all that a search can know.
                if *whole { format!("{value:.0}") } else { format!("{value:.3e}") }
            }
            Self::Choice(all) => {
                let i = (place * all.len() as f64) as usize;
                all.get(i.min(all.len().saturating_sub(1))).cloned().unwrap_or_default()
            }
        }
    }
}

/// How the next values are chosen.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Each by itself.
    Random,
    /// By what the trials before have shown.
    Tpe,
}

/// Which trials are given up early.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Pruning {
    /// None.
    None,
    /// Those below the median of all others at the same epoch.
    Median,
    /// At epochs 1, 3, 9, ...: those that are not among the best third there.
    Halving,
}

/// One trial.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Number, from 1.
    pub number: usize,
    /// Places in 0-1, one for each dimension.
    pub places: Vec<f64>,
    /// `KEY=VALUE` of each dimension.
    pub sets: Vec<String>,
    /// The score that chooses, best so far after each epoch, larger being better.
    pub curve: Vec<f64>,
    /// Whether it was given up early.
    pub pruned: bool,
    /// Why it came to nothing, if it did.
    pub failed: Option<String>,
}

impl Trial {
    /// The best score, if there is one.
    pub fn score(&self) -> Option<f64> {
        self.curve.last().copied().filter(|_| self.failed.is_none())
    }
}

/// What to try as trial number `number`: places in 0-1.
pub fn suggest(space: &[Dimension], trials: &[Trial], method: Method, seed: u64, number: usize) -> Vec<f64> {
    let key = Key::new(seed).named("tune").with(number as u64);
    let mut scored: Vec<(f64, &[f64])> =
        trials.iter().filter_map(|t| Some((t.score()?, t.places.as_slice()))).collect();
    let place = |i: usize| key.with(i as u64).rng().random::<f64>();
    if method == Method::Random || scored.len() < STARTUP {
        return (0..space.len()).map(place).collect();
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let good = ((scored.len() as f64 * GOOD).ceil() as usize).max(2);
    let of = |range: &[(f64, &[f64])], i: usize| -> Vec<f64> {
        range.iter().filter_map(|(_, places)| places.get(i).copied()).collect()
    };
    (0..space.len())
        .map(|i| {
            let (good, bad) = (of(&scored[..good], i), of(&scored[good..], i));
            if good.is_empty() {
                return place(i); // trials of another space
            }
            let mut rng = key.with(i as u64).named("tpe").rng();
            let candidates = (0..CANDIDATES).map(|_| {
                let middle = good.get(rng.random_range(0..good.len())).copied().unwrap_or(0.5);
                let (a, b): (f64, f64) = (rng.random(), rng.random());
                // Box and Muller's normal draw, folded back into 0-1.
                let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
                let moved = (middle + bandwidth(good.len()) * normal).rem_euclid(2.0);
                if moved > 1.0 { 2.0 - moved } else { moved }
            });
            let promise = |x: f64| density(x, &good).ln() - density(x, &bad).ln();
            candidates.max_by(|a, b| promise(*a).total_cmp(&promise(*b))).unwrap_or(0.5)
        })
        .collect()
}

/// Width of a Parzen window over `count` points in 0-1.
fn bandwidth(count: usize) -> f64 {
    (0.5 * (count.max(1) as f64).powf(-0.4)).clamp(0.05, 0.5)
}

/// Density at `x` of a Parzen window over points in 0-1, mixed with one point's worth of the uniform one.
fn density(x: f64, points: &[f64]) -> f64 {
    let width = bandwidth(points.len());
    let bump = |p: &f64| (-0.5 * ((x - p) / width).powi(2)).exp() / (width * std::f64::consts::TAU.sqrt());
    (1.0 + points.iter().map(bump).sum::<f64>()) / (1 + points.len()) as f64
}

/// `KEY=VALUE` of each dimension at these places.
pub fn sets(space: &[Dimension], places: &[f64]) -> Vec<String> {
    space.iter().zip(places).map(|(d, place)| format!("{}={}", d.key, d.values.at(*place))).collect()
}

/// Whether a trial with this curve (best so far after each epoch, larger being better) is to be given up.
pub fn hopeless(curve: &[f64], others: &[Trial], pruning: Pruning) -> bool {
    let Some((&score, epoch)) = curve.last().zip(curve.len().checked_sub(1)) else { return false };
    let mut there: Vec<f64> =
        others.iter().filter(|t| t.failed.is_none()).filter_map(|t| t.curve.get(epoch).copied()).collect();
    if there.len() < ENOUGH {
        return false;
    }
    there.sort_by(|a, b| b.total_cmp(a));
    match pruning {
        Pruning::None => false,
        Pruning::Median => there.get(there.len() / 2).is_some_and(|median| score < *median),
        Pruning::Halving => {
            let rung = std::iter::successors(Some(1usize), |r| r.checked_mul(ETA)).find(|r| *r > epoch);
            rung == Some(epoch + 1)
                && there.get((there.len() / ETA).max(1) - 1).is_some_and(|last| score < *last)
        }
    }
}

/// The best trial so far; of equals the earlier one.
pub fn best(trials: &[Trial]) -> Option<&Trial> {
    trials
        .iter()
        .filter(|t| t.score().is_some())
        .reduce(|best, t| if t.score() > best.score() { t } else { best })
}

/// `sets` over the text of a recipe, as a recipe of its own.
///
/// # Errors
/// A message: the recipe does not parse, a key goes through a value.
pub fn recipe(text: &str, sets: &[String]) -> Result<String, String> {
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    for set in sets {
        let (key, value) = set.split_once('=').ok_or_else(|| format!("{set:?} is no KEY=VALUE"))?;
        let parsed: Option<toml::Table> = format!("v = {value}").parse().ok();
        let value = parsed.and_then(|mut t| t.remove("v")).unwrap_or_else(|| Value::String(value.into()));
        let mut at = &mut table;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                at.insert(part.into(), value);
                break;
            }
            let next = at.entry(part).or_insert_with(|| Value::Table(toml::Table::new()));
            at = next.as_table_mut().ok_or_else(|| format!("{key}: {part} is a value, not a group"))?;
        }
    }
    toml::to_string(&table).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Vec<Dimension> {
        ["schedule.learning_rate=1e-4..1e-1:log", "cnn.dropout=0.0..0.5", "batch_size=16..256", "net=mlp|cnn"]
            .map(|text| text.parse().unwrap())
            .into()
    }

    fn trial(number: usize, places: Vec<f64>, curve: &[f64]) -> Trial {
        Trial { number, places, sets: Vec::new(), curve: curve.into(), pruned: false, failed: None }
    }

    #[test]
    fn dimensions_are_read_and_give_values_of_their_kind() {
        let at = |place| sets(&space(), &[place; 4]);
        assert_eq!(
            at(0.0),
            ["schedule.learning_rate=1.000e-4", "cnn.dropout=0.000e0", "batch_size=16", "net=mlp"]
        );
        assert_eq!(
            at(1.0),
            ["schedule.learning_rate=1.000e-1", "cnn.dropout=5.000e-1", "batch_size=256", "net=cnn"]
        );
        assert_eq!(at(0.5)[0], "schedule.learning_rate=3.162e-3");
        for (text, wanted) in [
            ("a", "write KEY="),
            ("a=1..x", "\"x\" is no number"),
            ("a=2..1", "has to be smaller"),
            ("a=0..1:log", "above 0"),
            ("a=inf..nan", "no range"),
            ("a=b", "leaves no choice"),
            ("a=b||c", "leaves no choice"),
        ] {
            let error = text.parse::<Dimension>().unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    /// On a smooth function TPE comes nearer than chance: mean over 20 seeds of the best of 40 trials.
    #[test]
    fn tpe_finds_more_than_chance() {
        let space = &space()[..2];
        let found = |method, seed| {
            let mut trials = Vec::new();
            for number in 1..=40 {
                let places = suggest(space, &trials, method, seed, number);
                assert!(places.iter().all(|p| (0.0..=1.0).contains(p)));
                let score = -(places[0] - 0.7).powi(2) - (places[1] - 0.2).powi(2);
                trials.push(trial(number, places, &[score]));
            }
            best(&trials).unwrap().score().unwrap()
        };
        let mean = |method| (0..20).map(|seed| found(method, seed)).sum::<f64>() / 20.0;
        let (random, tpe) = (mean(Method::Random), mean(Method::Tpe));
        assert!(tpe > 0.5 * random, "{tpe} {random}");
        assert_eq!(suggest(space, &[], Method::Tpe, 1, 1), suggest(space, &[], Method::Random, 1, 1));
    }

    #[test]
    fn hopeless_trials_are_given_up_when_there_is_something_to_compare_with() {
        let others: Vec<Trial> =
            (1..=5).map(|i| trial(i, vec![], &[i as f64, 10.0 * i as f64, 10.0 * i as f64])).collect();
        let given_up = |curve: &[f64], pruning| hopeless(curve, &others, pruning);
        assert!(given_up(&[2.5], Pruning::Median) && !given_up(&[3.0], Pruning::Median));
        assert!(given_up(&[9.0, 29.0], Pruning::Median) && !given_up(&[0.0, 30.0], Pruning::Median));
        assert!(given_up(&[4.5], Pruning::Halving) && !given_up(&[5.0], Pruning::Halving));
        assert!(!given_up(&[9.0, 0.0], Pruning::Halving), "epoch 2 is no rung");
        assert!(given_up(&[9.0, 9.0, 9.0], Pruning::Halving), "epoch 3 is one");
        assert!(!given_up(&[0.0], Pruning::None));
        assert!(!hopeless(&[0.0], &others[..2], Pruning::Median));
        assert!(!hopeless(&[0.0, 0.0, 0.0, 0.0], &others, Pruning::Median), "nobody has come as far");
    }

    #[test]
    fn the_best_is_a_recipe_of_its_own() {
        let text = "net = \"cnn\"\nepochs = 3\n[cnn]\nwidth = 64\n";
        let sets = ["cnn.dropout=2.500e-1", "epochs=5", "schedule.kind=cosine"].map(String::from);
        let found: toml::Table = recipe(text, &sets).unwrap().parse().unwrap();
        let wanted: toml::Table =
            "net = \"cnn\"\nepochs = 5\n[cnn]\nwidth = 64\ndropout = 0.25\n[schedule]\nkind = \"cosine\"\n"
                .parse()
                .unwrap();
        assert_eq!(found, wanted);
        assert!(recipe(text, &["net.x=1".into()]).unwrap_err().contains("net is a value"));
    }

    #[test]
    fn the_best_has_the_largest_score_and_has_not_failed() {
        let mut trials = vec![trial(1, vec![], &[1.0]), trial(2, vec![], &[3.0]), trial(3, vec![], &[3.0])];
        assert_eq!(best(&trials).unwrap().number, 2);
        trials[1].failed = Some("diverged".into());
        assert_eq!(best(&trials).unwrap().number, 3);
        assert!(best(&[trial(1, vec![], &[])]).is_none());
    }
}
