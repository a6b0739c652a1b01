//! A model card (Mitchell et al. 2018, arXiv 1810.03993) of a finished run, in Markdown: what the model is, what it was
//! made of, what was measured, and where that ends.

use std::fmt::Write;

use mnist_data::{ImageSize, Preparation, Source, text};

use crate::{
    figures::Figures,
    metrics::Evaluation,
    registry,
    rundir::{RunDir, SavedRun},
    token_data,
};

/// Expected calibration error from which probabilities are called off.
const MISCALIBRATED: f64 = 0.02;
/// Height and width of the images that `predict` makes of pictures.
const PREPARED: ImageSize = ImageSize { channels: 1, height: 28, width: 28 };
/// Objectives whose models make new examples.
const GENERATIVE: [&str; 4] = ["vae", "gan", "language-model", "masked"];

/// The card of the run in `dir`, with the figures of its test split.
pub fn markdown(dir: &RunDir, saved: &SavedRun, figures: &Figures) -> String {
    let name = &dir.name();
    let mut card = format!("# {}\n\n{}\n", plain(name), about(saved, figures));
    let mut section = |title: &str, text: String| {
        let _ = write!(card, "\n## {title}\n\n{text}");
    };
    let read = if saved.provenance.imported.is_none() { ", read once, after training" } else { "" };
    section("Use", format!("```sh\n{}\n```\n", uses(name, saved, figures).join("\n")));
    section("Data", data(saved));
    section(
        "Figures",
        match figures {
            Figures::Classification(found) => classification(found, read),
            Figures::Scores(found) => {
                let rows =
                    found.scores.iter().map(|(name, value)| (name.replace('_', " "), format!("{value:.4}")));
                format!("Test split, {} examples{}{read}.\n\n", found.examples, found.binarised())
                    + &table(["score", "mean"], rows)
            }
        },
    );
    section("Limits", limits(saved, figures).iter().map(|limit| format!("- {limit}\n")).collect());
    let again = match &saved.provenance.imported {
        None => format!(
            "All settings are in `run.toml`; it is a recipe as well. On the same backend and machine it gives the same \
             bits:\n\n```sh\nmnist-cli train {} --name {name}-again\n```\n",
            dir.run_toml().display()
        ),
        Some(imported) => format!(
            "The weights are those of a file, {} (SHA-256 `{}`): `mnist-cli import` reads it again.\n",
            plain(&imported.file),
            imported.sha256
        ),
    };
    section("Again", again);
    card
}

/// What it is.
fn about(saved: &SavedRun, figures: &Figures) -> String {
    let (run, facts) = (&saved.run, &saved.facts);
    let what = registry::TABLE.iter().find(|(known, _)| *known == run.objective).map_or("", |(_, what)| what);
    let reads = match &facts.tokens {
        Some(tokens) if tokens.images => {
            format!("images of {} as {} tokens", facts.size, tokens.length)
        }
        Some(tokens) => format!("texts of at most {} tokens", tokens.length),
        None => format!("images of {}", facts.size),
    };
    let gives = match figures {
        Figures::Classification(_) => {
            let classes: Vec<_> = facts.classes.iter().map(|class| plain(class)).collect();
            format!(" It tells {} classes apart: {}.", classes.len(), classes.join(", "))
        }
        Figures::Scores(_) => String::new(),
    };
    let provenance = &saved.provenance;
    let made = match &provenance.imported {
        Some(imported) => format!("Trained elsewhere; its weights are those of {}.", plain(&imported.file)),
        None => format!(
            "Trained by mnist-burn {} (commit {}) on backend `{}`, seed {}.",
            provenance.version, provenance.git_commit, provenance.backend, run.seed
        ),
    };
    format!("Objective `{}` ({what}), net `{}`. It reads {reads}.{gives} {made}", run.objective, saved.net())
}

/// What one does with it.
fn uses(name: &str, saved: &SavedRun, figures: &Figures) -> Vec<String> {
    let text = token_data::is_text(&saved.run) && saved.facts.tokens.is_some();
    let mut uses = match (saved.run.objective.as_str(), figures) {
        ("label-sequence", _) if !text => Vec::new(),
        (_, Figures::Classification(_)) if text => vec![format!("mnist-cli predict {name} --text TEXT")],
        ("regression", _) | (_, Figures::Classification(_))
            if saved.facts.size == PREPARED || saved.facts.preparation == Preparation::Middle =>
        {
            vec![format!("mnist-cli predict {name} picture.png")]
        }
        (objective, _) if GENERATIVE.contains(&objective) => vec![format!("mnist-cli generate {name}")],
        _ => Vec::new(),
    };
    uses.push(format!("mnist-cli evaluate {name}"));
    uses.push(format!("mnist-cli finetune --from {name}"));
    uses
}

/// What it learned from.
fn data(saved: &SavedRun) -> String {
    let (run, facts) = (&saved.run, &saved.facts);
    let known = Source::find(&run.data.name).ok().filter(|_| run.data.path.is_empty());
    let (what, licence) = match known {
        Some(source) => (source.title.to_string(), source.licence.to_string()),
        None if run.data.path.is_empty() && run.data.name == text::NAME => {
            ("the King James Version of the Bible, by verses".into(), "public domain".into())
        }
        None => {
            let own = if run.data.path.is_empty() { &run.data.name } else { &run.data.path };
            (plain(own), "that of the data, which is not known here".into())
        }
    };
    if saved.provenance.imported.is_some() {
        let rows = [
            ("learned from", "not known here".to_string()),
            ("measured on", what),
            ("terms of that", licence),
        ];
        return table(["", ""], rows.map(|(name, value)| (name.to_string(), value)));
    }
    let labels = match run.data.labels {
        _ if !registry::learns_from_labels(&run.objective) => "not used".into(),
        0 => "all".into(),
        count => {
            format!("{count}, each class in its share, drawn by the seed; validation had all of its own")
        }
    };
    let examples = match run.data.limit {
        0 => "all but those that validate".into(),
        limit => format!("the first {limit} of those that do not validate"),
    };
    let mut rows = vec![
        ("set".to_string(), what),
        ("terms".into(), licence),
        ("SHA-256 of the training data".into(), format!("`{}`", saved.provenance.data_digest)),
        ("training examples".into(), examples),
        ("labels".into(), labels),
        ("chosen by".into(), "validation, never by the test split".into()),
    ];
    if facts.tokens.is_none() {
        let &crate::rundir::Facts { mean, std, .. } = facts;
        rows.push(("pixels".into(), format!("divided by 255, less {mean:.4}, over {std:.4}")));
    }
    if !run.finetune.from.is_empty() {
        rows.push(("started from".into(), plain(&run.finetune.from)));
    }
    table(["", ""], rows)
}

fn classification(found: &Evaluation, read: &str) -> String {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let [low, high] = found.accuracy_interval;
    let rows = [
        (
            "accuracy",
            format!("{} (95 % interval {} to {})", percent(found.accuracy), percent(low), percent(high)),
        ),
        ("macro F1", format!("{:.4}", found.macro_f1)),
        ("cross-entropy", format!("{:.4} nats", found.cross_entropy)),
        ("expected calibration error", format!("{:.4}", found.ece)),
    ];
    let each = found.per_class.iter().map(|class| {
        let row = format!("{} | {} | {}", percent(class.precision), percent(class.recall), class.support);
        (plain(&class.class), row)
    });
    format!("Test split, {} examples{read}.\n\n", found.examples)
        + &table(["", ""], rows.map(|(name, value)| (name.to_string(), value)))
        + "\n| class | precision | recall | examples |\n|---|---|---|---|\n"
        + &each.map(|(class, row)| format!("| {class} | {row} |\n")).collect::<String>()
}

/// Where the figures end.
fn limits(saved: &SavedRun, figures: &Figures) -> Vec<String> {
    let mut limits = vec![
        "The figures are of the test split of these data. Of other data, made in another way, they say nothing.".into(),
        match saved.provenance.imported {
            Some(_) => "Whether it has learned from images of this test split is not known here.".into(),
            None => format!(
                "One training with seed {}: what another seed would give is not in the interval.",
                saved.run.seed
            ),
        },
    ];
    match figures {
        Figures::Classification(found) => {
            limits.push("It gives one of its classes to everything, also to what belongs to none.".into());
            let worst = found.per_class.iter().filter(|class| class.support > 0);
            if let Some(worst) = worst.min_by(|a, b| a.recall.total_cmp(&b.recall)) {
                limits.push(format!(
                    "It misses {:.1} % of the class {}, more than of any other.",
                    100.0 * (1.0 - worst.recall),
                    plain(&worst.class)
                ));
            }
            if found.ece >= MISCALIBRATED {
                limits.push(format!(
                    "Its probabilities are off by {:.3} on average (expected calibration error): do not read them as such.",
                    found.ece
                ));
            }
        }
        Figures::Scores(_) if GENERATIVE.contains(&saved.run.objective.as_str()) => {
            limits.push("What it makes may be close to examples that it learned from.".into());
        }
        Figures::Scores(_) => {}
    }
    limits
}

fn table(head: [&str; 2], rows: impl IntoIterator<Item = (String, String)>) -> String {
    let [left, right] = head;
    let rows: String = rows.into_iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("| {left} | {right} |\n|---|---|\n{rows}")
}

/// Text from outside, as it stands in a line of Markdown or a cell of a table.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '!' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        assert_eq!(plain("a|b\n<i>*c*</i> [d](e)"), r"a\|b \<i\>\*c\*\</i\> \[d\](e)");
    }
}
