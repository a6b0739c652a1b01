//! `compare RUN RUN...`: whether classifiers differ by more than chance on the same test images.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use mnist_train::{
    compare::Difference,
    evaluate::{SplitName, load_split, predictions},
    metrics::Evaluation,
    publish::load_model,
    rundir::{RunDir, SavedRun},
};
use serde_json::json;

use super::train::{reading, set_or_path};
use crate::{
    args::{Common, Compare, UsageError},
    device::{Compute, Job, Place},
};

/// A classifier, and the data on whose test images it is compared.
pub(in crate::cmd) struct Compared {
    /// The run.
    pub dir: RunDir,
    /// Its settings.
    pub saved: SavedRun,
    /// The same, or those with the data of another set.
    pub read: SavedRun,
    /// What tells these data from others.
    pub digest: String,
}

/// Compares every pair.
pub(crate) fn run(args: &Compare, common: &Common) -> Result<ExitCode> {
    let mut found = Vec::new();
    // Once: a folder of pictures is read and kept.
    let data = args.data.as_deref().map(|data| set_or_path(data, common)).transpose()?;
    for wanted in &args.runs_to_compare {
        let dir = RunDir::find(wanted, &common.runs)?;
        let saved = dir.load()?;
        let read = reading(&saved, &dir, data.as_deref(), common)?;
        let [wanted, classes] = [&saved, &read].map(|saved| saved.facts.classes.join(", "));
        if wanted != classes {
            let name = dir.name();
            let message = format!("--data: its classes are {classes}; the run {name} tells apart {wanted}");
            return Err(UsageError(message).into());
        }
        // All read the same where that is said, each in its own way.
        let digest = data.clone().unwrap_or_else(|| read.provenance.data_digest.clone());
        found.push(Compared { dir, saved, read, digest });
    }
    if let Some((first, other)) = found
        .iter()
        .zip(found.iter().skip(1))
        .find_map(|(a, b)| (a.digest != b.digest).then(|| (a.read.run.data.name.clone(), b.dir.name())))
    {
        return Err(UsageError(format!(
            "the run {other} was trained on other data than the first ({first}): a paired test needs the same images; \
             name some with --data"
        ))
        .into());
    }
    let answers = Place::choose(common)?.run(Ask { runs: &found, common })?;
    let mut out = std::io::stdout().lock();
    let names: Vec<String> = found.iter().map(|run| run.dir.name()).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    if let Some((name, _)) = names.iter().zip(&answers).find(|(_, answers)| answers.several) {
        return Err(UsageError(format!(
            "the run {name} tells a class at each place, and places of one example go together: the test is of examples \
             that were drawn one by one"
        ))
        .into());
    }
    if answers.iter().any(|other| other.labels != answers[0].labels) {
        let message = "the runs do not tell the same classes of the same examples; a paired test needs both";
        return Err(UsageError(message.into()).into());
    }
    let pairs = pairs_of(&found, &answers);
    if args.json {
        let figures = |(name, Answers { evaluation: e, .. }): (&String, &Answers)| {
            let (accuracy, interval, macro_f1) = (e.accuracy, e.accuracy_interval, e.macro_f1);
            json!({ "run": name, "accuracy": accuracy, "accuracy_interval": interval, "macro_f1": macro_f1 })
        };
        let runs: Vec<_> = names.iter().zip(&answers).map(figures).collect();
        let pairs: Vec<_> = pairs.iter().map(Pair::json).collect();
        writeln!(out, "{}", json!({ "runs": runs, "pairs": pairs }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, Answers { evaluation, .. }) in names.iter().zip(&answers) {
        let [low, high] = evaluation.accuracy_interval;
        writeln!(
            out,
            "{name:<wide$}  test accuracy {:.2} % (95 % interval {:.2}-{:.2}), macro F1 {:.4}",
            100.0 * evaluation.accuracy,
            100.0 * low,
            100.0 * high,
            evaluation.macro_f1
        )?;
    }
    for pair in pairs {
        let Difference { first_only, second_only, exact, statistic, corrected, .. } = pair.difference;
        writeln!(out, "\n{} - {}: {}", pair.first, pair.second, pair.points())?;
        writeln!(out, "  right alone: {first_only} and {second_only} of {} images", pair.images)?;
        writeln!(
            out,
            "  McNemar: exact {}; with continuity correction {statistic:.3}, {}",
            probability(exact),
            probability(corrected)
        )?;
        writeln!(out, "  they differ by {} (at 0.05; training seeds are another chance)", pair.verdict())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `p = 0.0312`, or that it is below what four digits show.
fn probability(p: f64) -> String {
    if p < 1e-4 { "p < 0.0001".into() } else { format!("p = {p:.4}") }
}

/// Two runs on the same images.
pub(in crate::cmd) struct Pair {
    /// Name of the one.
    pub first: String,
    /// Name of the other.
    pub second: String,
    images: usize,
    difference: Difference,
}

impl Pair {
    /// The whole comparison in a line.
    pub(in crate::cmd) fn sentence(&self) -> String {
        format!("{}, exact McNemar {}: {}", self.points(), probability(self.difference.exact), self.verdict())
    }

    fn json(&self) -> serde_json::Value {
        let Difference { first_only, second_only, difference, interval, exact, statistic, corrected } =
            self.difference;
        json!({
            "first": self.first,
            "second": self.second,
            "examples": self.images,
            "right_alone": [first_only, second_only],
            "difference": difference,
            "interval": interval,
            "exact_p": exact,
            "statistic": statistic,
            "corrected_p": corrected,
        })
    }

    fn points(&self) -> String {
        let Difference { difference, interval: [low, high], .. } = self.difference;
        let [difference, low, high] = [difference, low, high].map(|share| 100.0 * share);
        format!("{difference:+.2} points (95 % interval {low:+.2} to {high:+.2})")
    }

    fn verdict(&self) -> &'static str {
        let Difference { exact, interval: [low, high], .. } = self.difference;
        match (exact < 0.05, low > 0.0 || high < 0.0) {
            (true, _) => "more than chance explains",
            (false, false) => "no more than chance explains",
            // The interval is an approximation, and a little short where few images tell.
            (false, true) => {
                "no more than chance explains, by the exact test (the interval is an approximate one)"
            }
        }
    }
}

/// Every pair of runs that have the same test images.
pub(in crate::cmd) fn pairs(runs: &[Compared], common: &Common) -> Result<Vec<Pair>> {
    let answers = Place::choose(common)?.run(Ask { runs, common })?;
    Ok(pairs_of(runs, &answers))
}

fn pairs_of(runs: &[Compared], answers: &[Answers]) -> Vec<Pair> {
    let all: Vec<_> = runs.iter().zip(answers).collect();
    let mut pairs = Vec::new();
    for (i, (a, one)) in all.iter().enumerate() {
        for (b, other) in all.iter().skip(i + 1) {
            let same = a.digest == b.digest && one.labels == other.labels;
            if same && !one.several && !other.several {
                pairs.push(Pair {
                    first: a.dir.name(),
                    second: b.dir.name(),
                    images: one.right.len(),
                    difference: Difference::of(&one.right, &other.right),
                });
            }
        }
    }
    pairs
}

/// What a run says of the test split.
struct Answers {
    evaluation: Evaluation,
    labels: Vec<usize>,
    /// Which it got right.
    right: Vec<bool>,
    /// Whether several are of one example.
    several: bool,
}

struct Ask<'a> {
    runs: &'a [Compared],
    common: &'a Common,
}

impl Job for Ask<'_> {
    type Output = Vec<Answers>;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Self::Output> {
        let of = |Compared { dir, saved, read, .. }: &Compared| {
            let model = load_model::<B>(dir, saved, main)?;
            let data = load_split(read, SplitName::Test, self.common.data_dir.as_deref(), dir.path())?;
            let classes = &saved.facts.classes;
            let found = predictions(&*model, &data, classes.len(), main)
                .with_context(|| format!("the run {}", dir.name()))?;
            let right =
                found.labels.iter().enumerate().map(|(i, label)| found.predicted(i) == *label).collect();
            let evaluation = Evaluation::of(&found, classes)?;
            Ok(Answers { evaluation, right, several: !found.sequences.is_empty(), labels: found.labels })
        };
        self.runs.iter().map(of).collect()
    }
}
