//! `cargo xtask figures`: every measured figure of READMEs, book and recipes stands in a result file.
//!
//! A figure is typed once, into `docs/results/NAME.toml` (or by `--add` from a run), and quoted from there. [`quoted`] says
//! which numbers of a text are figures, [`results`] what a file may hold. A figure has to be, rounded as it is quoted, a
//! value of a file that names the document in `quoted_in`; a document that is named has to quote something.
//! `cargo xtask tidy` checks the same.

mod add;
mod mean;
mod prose;
mod quoted;
mod results;
mod runs;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{tidy::Finding, workspace};
use quoted::Quoted;
use results::{DIRECTORY, Entry};

/// Options of `cargo xtask figures`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write docs/results/NAME.toml from what the directories hold: runs with different seeds, or one of few-labels
    #[arg(long, value_name = "NAME", requires = "directories")]
    add: Option<String>,
    /// Directories of runs, or the one of a table of few-labels
    #[arg(value_name = "RUN_DIR", requires = "add")]
    directories: Vec<std::path::PathBuf>,
    /// What was typed, for a new file; may be given again for the next command
    #[arg(long, value_name = "COMMAND", requires = "add")]
    command: Vec<String>,
    /// The machine that computed it [default: this one]
    #[arg(long, value_name = "MACHINE", requires = "add")]
    machine: Option<String>,
    /// The program's commit, where the directory does not say (few-labels)
    #[arg(long, value_name = "COMMIT", requires = "add")]
    commit: Option<String>,
    /// Print each figure with the file that has it
    #[arg(long, conflicts_with = "add")]
    list: bool,
}

/// What a check has seen.
#[derive(Default)]
pub(crate) struct Checked {
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// Figures that are in a file, with their place and the value.
    found: Vec<String>,
    /// Number of result files.
    files: usize,
}

impl Checked {
    /// `1,234 figures are in 56 result files`, for the last line.
    pub(crate) fn summary(&self) -> String {
        format!("{} figures are in {} result files", self.found.len(), self.files)
    }
}

/// Checks, lists or adds.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    if let Some(name) = &args.add {
        return add::run(&root, name, args);
    }
    let checked = check(&root)?;
    if args.list {
        checked.found.iter().for_each(|line| println!("{line}"));
    }
    checked.findings.iter().for_each(|finding| println!("{finding}"));
    match checked.findings.len() {
        0 => println!("figures: {}", checked.summary()),
        count => {
            bail!("figures: {count} found (listed above); CONTRIBUTING.md says how a figure gets into a text")
        }
    }
    Ok(())
}

/// Looks for the figures of all documents in the result files.
pub(crate) fn check(root: &Path) -> Result<Checked> {
    let all = results::read_all(root)?;
    let mut findings = Vec::new();
    for results in &all {
        for fault in results.faults() {
            findings.push(Finding::new(
                &file(&results.id),
                1,
                fault,
                "what `xtask/src/figures/results.rs` says",
            ));
        }
    }
    let (entries, faults) = results::entries(root, &all)?;
    for fault in faults {
        findings.push(Finding::new(&file(&fault.id), 1, fault.told, "names of values, or FILE/NAME"));
    }
    let mut found = Vec::new();
    let mut quoting: Vec<((String, String), String)> = Vec::new();
    for path in documents(root)? {
        let text = fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        let figures =
            if path.ends_with(".md") { quoted::of_markdown(&text) } else { quoted::of_recipe(&text) };
        let original = original(&path);
        for figure in figures {
            let may = |entry: &&Entry| entry.quoted_in.contains(&original) && entry.is(&figure);
            let holders: Vec<&Entry> = entries.iter().filter(may).collect();
            // It may be meant by any of them, the nearest is the likeliest.
            let far = |entry: &Entry| entry.distance(&figure).unwrap_or(f64::INFINITY);
            match holders.iter().min_by(|a, b| far(a).total_cmp(&far(b))) {
                Some(nearest) => {
                    let place = format!("{path}:{}: {}", figure.line, figure.text);
                    found.push(format!("{place}    {}: {}", nearest.id, nearest.name));
                    quoting.extend(holders.iter().map(|entry| (entry.key(), original.clone())));
                }
                None => findings.push(missing(&path, &original, &figure, &entries)),
            }
        }
    }
    let mut named: Vec<((String, String), &str)> = Vec::new();
    for entry in &entries {
        named.extend(entry.quoted_in.iter().map(|document| (entry.key(), document.as_str())));
    }
    named.sort_unstable();
    named.dedup();
    for ((id, name), document) in named {
        if !quoting
            .iter()
            .any(|((holder, value), quoter)| *holder == id && *value == name && quoter == document)
        {
            let of = if name.is_empty() { "none of its values".to_owned() } else { format!("no `{name}`") };
            let told = format!("{document} in quoted_in, which quotes {of}");
            findings.push(Finding::new(&file(&id), 1, told, "only documents that quote them"));
        }
    }
    Ok(Checked { findings, found, files: all.len() })
}

fn file(id: &str) -> String {
    format!("{DIRECTORY}/{id}.toml")
}

/// READMEs, the book and the recipes.
fn documents(root: &Path) -> Result<Vec<String>> {
    let is_document = |path: &String| match path.rsplit_once('.') {
        Some((name, "md")) => name.starts_with("docs/") || name.starts_with("README"),
        Some((name, "toml")) => name.starts_with("recipes/"),
        _ => false,
    };
    Ok(workspace::files(root)?.into_iter().filter(is_document).collect())
}

/// The English document that a path is the translation of, or the path.
fn original(path: &str) -> String {
    match path.strip_prefix("docs/zh/") {
        Some(name) => format!("docs/{name}"),
        None => path.replace(".zh-CN.md", ".md"),
    }
}

/// A figure that no file has, or none that names the document.
fn missing(path: &str, document: &str, figure: &Quoted, entries: &[Entry]) -> Finding {
    let found = format!("the figure `{}`, which is in no result file that names {document}", figure.text);
    // A number of few digits is anywhere.
    let telling = figure.half.is_some() || (figure.number.decimals > 1 && figure.number.value >= 10.0);
    let elsewhere = entries.iter().find(|entry| telling && entry.is(figure));
    let wanted = match elsewhere {
        Some(entry) => format!("{document} in quoted_in of {}, if it is that one's", file(&entry.id)),
        None => {
            let here = entries.iter().filter(|entry| entry.quoted_in.iter().any(|named| named == document));
            let here = here.filter(|entry| figure.half.is_none() || entry.has_half());
            let near = here.filter_map(|entry| Some((entry.distance(figure)?, entry)));
            let nearest = near.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, entry)| entry.shown());
            let nearest = nearest.map(|shown| format!(" (the nearest is {shown})")).unwrap_or_default();
            format!(
                "a value of {DIRECTORY}/*.toml{nearest}: `cargo xtask figures --add NAME RUN_DIR`, or a constant with its source"
            )
        }
    };
    Finding::new(path, figure.line, found, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translations_count_as_their_originals() {
        assert_eq!(original("README.zh-CN.md"), "README.md");
        assert_eq!(original("docs/zh/mnist.md"), "docs/mnist.md");
        assert_eq!(original("docs/methods/vae.md"), "docs/methods/vae.md");
    }

    /// A repository of a README and a result file.
    fn check_of(name: &str, readme: &str, results: &str) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("figures-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join(DIRECTORY)).unwrap();
        fs::write(root.join("README.md"), readme).unwrap();
        fs::write(root.join(DIRECTORY).join("mlp.toml"), results).unwrap();
        let findings = check(&root).unwrap().findings;
        fs::remove_dir_all(root).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    const MLP: &str = "id = \"mlp\"\nwhat = \"MLP\"\ncommand = [\"train mlp\"]\norigin = \"run\"\nmachine = \"m\"\n\
                       quoted_in = [\"README.md\"]\n[[values]]\nname = \"test accuracy\"\nunit = \"%\"\nvalue = 98.88\n";

    #[test]
    fn a_figure_is_in_a_file_or_is_told() {
        assert_eq!(check_of("good", "98.88 %, about 99 %", MLP), [""; 0]);
        let told = check_of("typo", "Good:\n98.88 %, or 98.98 %", MLP).remove(0);
        assert!(told.starts_with("README.md:2: found the figure `98.98 %`"), "{told}");
        assert!(
            told.contains("the nearest is 98.88 % in mlp.toml") && told.contains("--add NAME RUN_DIR"),
            "{told}"
        );
    }

    #[test]
    fn a_file_names_the_documents_that_quote_it_and_no_others() {
        let unnamed = MLP.replace("README.md", "docs/a.md");
        let told = check_of("unnamed", "98.88 %", &unnamed).remove(0);
        assert!(told.contains("wanted: README.md in quoted_in of docs/results/mlp.toml"), "{told}");
        let told = check_of("stale", "No figure.", MLP).remove(0);
        assert!(told.contains("README.md in quoted_in, which quotes none"), "{told}");
    }

    #[test]
    fn the_repository_holds_to_it() {
        let findings = check(&workspace::root()).unwrap().findings;
        let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{}", told.join("\n"));
    }
}
