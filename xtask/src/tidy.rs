//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md, checked on the text of the repository.
//!
//! The idea is rust-lang/rust's `tidy`: rules too particular for a linter, each with a message that
//! says where, what was found and what is wanted. Rust files are read without their comments and
//! literals ([`rust_text`]) as a list of the paths they name ([`mentions`]).

mod arrows;
mod documents;
mod mentions;
mod rules;
mod rust_text;

use std::fmt;

use anyhow::{Context, Result, bail};

use crate::{figures, workspace};

/// Something that a rule does not allow.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    /// File, relative to the root.
    path: String,
    /// Line, from 1.
    line: usize,
    found: String,
    wanted: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, found: found.into(), wanted: wanted.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: found {}; wanted: {}", self.path, self.line, self.found, self.wanted)
    }
}

/// A text file of the repository.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// Checks every rule; an error when one does not hold.
pub(crate) fn run() -> Result<()> {
    let files = read_files()?;
    let mut findings = arrows::check(&workspace::metadata()?, &workspace::root())?;
    let mut questions = Vec::new();
    for file in &files {
        if file.path.ends_with(".rs") {
            findings.extend(rules::check(&file.path, &file.text));
            questions.extend(rules::question(&file.path, &file.text));
        }
        findings.extend(documents::check_machine_paths(&file.path, &file.text));
        if file.path.starts_with("recipes/") && file.path.ends_with(".toml") {
            findings.extend(documents::check_recipe(&file.path, &file.text));
        }
        let documented = !file.path.contains('/') || file.path.starts_with("docs/");
        if documented && file.path.ends_with(".md") {
            let exists = |path: &str| workspace::root().join(path).exists();
            findings.extend(documents::check_links(&file.path, &file.text, exists));
        }
    }
    let text_of = |path| files.iter().find(|f| f.path == path).map(|f| f.text.as_str());
    findings.extend(documents::check_readmes(text_of("README.md"), text_of("README.zh-CN.md")));
    let figures = figures::check(&workspace::root())?;
    let summary = figures.summary();
    findings.extend(figures.findings);

    for question in &questions {
        println!("question: {question}");
    }
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {} files hold to the rules, {summary}", files.len()),
        count => bail!("tidy: {count} found (listed above)"),
    }
    Ok(())
}

/// The repository's text files, without Cargo.lock.
fn read_files() -> Result<Vec<File>> {
    let root = workspace::root();
    let mut files = Vec::new();
    for path in workspace::files(&root)? {
        if path == "Cargo.lock" {
            continue;
        }
        let bytes = std::fs::read(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        if !bytes.contains(&0)
            && let Ok(text) = String::from_utf8(bytes)
        {
            files.push(File { path, text });
        }
    }
    Ok(files)
}
