//! `cargo xtask walkthrough`: what CONTRIBUTING.md says of a new objective is done literally, in a copy of the repository.
//!
//! A paragraph that ends in a colon says where the block behind it goes: a new file, or behind a line of a file.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{fences, workspace};

/// What is followed.
const TEXT: &str = "CONTRIBUTING.md";
/// Title of its part.
const TITLE: &str = "## An objective in one file and one line";

/// Follows it.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let text = fs::read_to_string(root.join(TEXT)).with_context(|| format!("cannot read {TEXT}"))?;
    let steps = steps(&text)?;
    let home = workspace::home("walkthrough")?;
    copy(&root, &home)?;
    for step in &steps {
        match step {
            Step::Add { path, behind, lines } => add(&home.join(path), behind.as_deref(), lines)?,
            Step::Run(command) => run_in(&home, command)?,
        }
    }
    println!("{TEXT}: {} steps followed", steps.len());
    Ok(())
}

/// What one block asks for.
#[derive(Debug, PartialEq)]
enum Step {
    /// Lines go into a file: a new one, or behind a line.
    Add { path: String, behind: Option<String>, lines: Vec<String> },
    /// A command is run.
    Run(String),
}

/// The steps of the part.
fn steps(text: &str) -> Result<Vec<Step>> {
    let part = text.split_once(TITLE).map(|(_, rest)| rest).context("the part with the walk is gone")?;
    let end = part.lines().scan(false, |open, line| {
        *open ^= fences::is_fence(line);
        Some((!*open && line.starts_with("## ")).then_some(line))
    });
    let length = end.take_while(Option::is_none).count();
    let lines: Vec<&str> = part.lines().take(length).collect();
    let part = lines.join("\n");
    let mut steps = Vec::new();
    for block in fences::blocks(&part) {
        if let Some(commands) = fences::commands(&block) {
            steps.extend(commands.into_iter().map(Step::Run));
            continue;
        }
        let before = lines.iter().take(block.line.saturating_sub(1)).rev().find(|line| !line.is_empty());
        let before = before.context("a block without a text before it")?;
        // What stands between backticks.
        let mut named = before.split('`').skip(1).step_by(2).map(str::to_owned);
        let path = named.next().with_context(|| format!("{before:?} names no file"))?;
        steps.push(Step::Add { path, behind: named.next(), lines: block.lines });
    }
    if steps.len() < 2 {
        bail!("the walk has {} steps; wanted some", steps.len());
    }
    Ok(steps)
}

/// All files of the repository.
fn copy(root: &Path, home: &Path) -> Result<()> {
    for file in workspace::files(root)? {
        copy_file(&root.join(&file), &home.join(&file)).with_context(|| format!("cannot copy {file}"))?;
    }
    Ok(())
}

/// A file with its time, so that what has not changed since the last walk is not compiled again.
fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to)?;
    let time = fs::metadata(from)?.modified()?;
    fs::OpenOptions::new().write(true).open(to)?.set_modified(time)
}

/// Makes a file of lines, or puts them behind one of its lines.
fn add(path: &Path, behind: Option<&str>, lines: &[String]) -> Result<()> {
    let mut new = lines.join("\n") + "\n";
    if let Some(behind) = behind {
        let old = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let places: Vec<usize> =
            old.lines().enumerate().filter(|(_, line)| line.trim() == behind).map(|(i, _)| i).collect();
        let [place] = places[..] else {
            bail!("{}: the line {behind:?} is there {} times; wanted once", path.display(), places.len());
        };
        let old: Vec<&str> = old.lines().collect();
        let (before, after) = old.split_at(place + 1);
        new = format!("{}\n{new}{}\n", before.join("\n"), after.join("\n"));
    } else if path.exists() {
        bail!("{} is there already", path.display());
    }
    fs::write(path, new).with_context(|| format!("cannot write {}", path.display()))
}

/// Runs a command in the copy; what both repositories need is compiled once.
fn run_in(home: &Path, command: &str) -> Result<()> {
    println!("{command}");
    let arguments =
        command.strip_prefix("cargo ").with_context(|| format!("{command:?} is no cargo command"))?;
    let mut cargo: Command = workspace::cargo();
    cargo.current_dir(home).env("CARGO_TARGET_DIR", workspace::target_directory()?);
    cargo.args(arguments.split_whitespace()).stdin(Stdio::null());
    workspace::step(&mut cargo, "follow the walk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_say_where_blocks_go() {
        let text = format!(
            "# A\n\n{TITLE}\n\nNew file `a/b.rs`:\n\n```rust\n## not a title\n```\n\nIn `c.rs`, behind `mod x;`:\n\n\
             ```rust\nmod y;\n```\n\nThen:\n\n```sh\ncargo run # now\n```\n\n## Next\n\n```rust\nmod z;\n```\n"
        );
        let add = |path: &str, behind: Option<&str>, line: &str| Step::Add {
            path: path.into(),
            behind: behind.map(Into::into),
            lines: vec![line.into()],
        };
        let wanted = [
            add("a/b.rs", None, "## not a title"),
            add("c.rs", Some("mod x;"), "mod y;"),
            Step::Run("cargo run".into()),
        ];
        assert_eq!(steps(&text).unwrap(), wanted);
        assert!(steps("# A").is_err());
    }

    #[test]
    fn lines_go_behind_the_one_that_is_named() {
        let dir = std::env::temp_dir().join(format!("walkthrough-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.rs");
        add(&path, None, &["mod x;".into(), "mod z;".into()]).unwrap();
        add(&path, Some("mod x;"), &["mod y;".into()]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mod x;\nmod y;\nmod z;\n");
        assert!(add(&path, Some("mod w;"), &[]).is_err());
        assert!(add(&path, None, &[]).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
