//! `cargo xtask book-check`: every command of README and book is run, made small; code that is quoted is there; both languages
//! have the same commands.
//!
//! A reader's commands train for minutes on all of MNIST. Here the same commands get 400 images and a few steps: what is
//! checked is that they are spelled right, do what the one before left behind, and end well. What cannot be run on any
//! machine (a network, another backend, a container) is listed.

mod command;
mod quotes;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{fences, workspace};
use command::{Kind, Small};

/// The book's table of contents.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Options of `cargo xtask book-check`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The mnist-cli that is run [default: built, in the dev profile]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Print what would be run
    #[arg(long)]
    list: bool,
}

/// Checks.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let chapters = chapters(&root)?;
    let mut found = Vec::new();
    let (mut commands, mut quoted) = (Vec::new(), 0);
    for path in &chapters {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        let (count, wrong) = quotes::check(&root, path, &text);
        quoted += count;
        found.extend(wrong);
        if let Some(twin) = path.strip_prefix("docs/").filter(|_| !path.starts_with("docs/zh/")) {
            found.extend(same_commands(&root, path, &text, &format!("docs/zh/{twin}")));
            commands.extend(all_commands(path, &text));
        } else if path == "README.md" {
            commands.extend(all_commands(path, &text));
        }
    }
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    println!("{quoted} quotes of code are there");
    if args.list {
        for (place, line) in &commands {
            println!("{place}: {line}");
        }
        return Ok(());
    }
    let program = match &args.program {
        Some(program) => program.canonicalize().context("--program")?,
        None => workspace::built_cli()?,
    };
    let shelf = Shelf::new(&root, program)?;
    let (mut done, mut left) = (0, Vec::new());
    for (place, line) in &commands {
        match command::kind(line) {
            Kind::Ours(arguments) => {
                shelf.ours(&arguments).with_context(|| format!("{place}: {line}"))?;
                done += 1;
            }
            Kind::Shell => {
                shelf.shell(line).with_context(|| format!("{place}: {line}"))?;
                done += 1;
            }
            Kind::Left(why) => left.push(format!("{place}: {line} ({why})")),
        }
    }
    println!("{done} commands run, {} left out:\n  {}", left.len(), left.join("\n  "));
    Ok(())
}

/// README, then what the table of contents lists, in its order.
fn chapters(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(SUMMARY)).with_context(|| format!("cannot read {SUMMARY}"))?;
    let link = |line: &str| {
        let target = line.split_once("](")?.1.split_once(')')?.0;
        (!target.is_empty() && !target.starts_with("decisions/")).then(|| format!("docs/{target}"))
    };
    let own = text.lines().filter_map(link).filter(|path| path != "docs/README.md");
    Ok(std::iter::once("README.md".to_owned()).chain(own).collect())
}

/// The commands of a text, each with its place.
fn all_commands(path: &str, text: &str) -> Vec<(String, String)> {
    let blocks = fences::blocks(text);
    let of = |block: &fences::Block| {
        let place = format!("{path}:{}", block.line);
        fences::commands(block).unwrap_or_default().into_iter().map(move |line| (place.clone(), line))
    };
    blocks.iter().flat_map(of).collect()
}

/// What differs between the commands of a chapter and its translation, if it has one.
fn same_commands(root: &Path, path: &str, text: &str, twin: &str) -> Option<String> {
    let translated = fs::read_to_string(root.join(twin)).ok()?;
    let lines = |path: &str, text: &str| -> Vec<String> {
        all_commands(path, text).into_iter().map(|(_, line)| line).collect()
    };
    let (ours, theirs) = (lines(path, text), lines(twin, &translated));
    let other = ours.iter().zip(&theirs).find(|(a, b)| a != b);
    match other {
        Some((ours, theirs)) => Some(format!("{path} has `{ours}` where {twin} has `{theirs}`")),
        None if ours.len() != theirs.len() => {
            Some(format!("{path} has {} commands, {twin} {}", ours.len(), theirs.len()))
        }
        None => None,
    }
}

/// A directory where commands find what a reader would have.
struct Shelf {
    home: PathBuf,
    program: PathBuf,
    root: PathBuf,
}

impl Shelf {
    fn new(root: &Path, program: PathBuf) -> Result<Self> {
        let home = workspace::home("book-check")?;
        fs::create_dir_all(&home)?;
        let shelf = Self { home, program, root: root.to_owned() };
        shelf.shell(&format!("cp -r '{}' recipes", root.join("recipes").display()))?;
        // Pictures that a reader may have: a folder of them, some by themselves, and the set that trains.
        shelf.shell("\"$MNIST_CLI\" data unpack --out photos --first 400")?;
        shelf.shell(&format!("\"$MNIST_CLI\" data import photos --name {}", command::SET))?;
        for name in ["photo.png", "digit.png"] {
            shelf.shell(&format!("cp \"$(ls photos/test/7/*.png | head -n 1)\" {name}"))?;
        }
        // Weights as PyTorch makes them, of nets that are small.
        for (theirs, name) in
            [("mnist_cnn-narrow.pt", "mnist_cnn.pt"), ("resnet18-narrow.pth", "resnet18.pth")]
        {
            let theirs = root.join("crates/mnist-train/tests/data").join(theirs);
            shelf.shell(&format!("cp '{}' {name}", theirs.display()))?;
        }
        // What is called .jpg may be a PNG: the bytes tell.
        shelf.shell("cp photo.png drawing.jpg")?;
        Ok(shelf)
    }

    /// Runs a command of ours made small, after what it builds on.
    fn ours(&self, arguments: &str) -> Result<()> {
        let small = Small::of(arguments);
        for run in small.needs() {
            if !self.home.join("runs").join(&run).exists() {
                let recipe = run.trim_end_matches("-seed1");
                let text = fs::read_to_string(self.root.join("recipes").join(format!("{recipe}.toml")));
                let text = text.with_context(|| format!("no run {run} before it, and no such recipe"))?;
                let made = command::training(recipe, &text);
                self.shell(&format!("\"$MNIST_CLI\" {}", Small::of(&made).line))?;
            }
        }
        self.shell(&format!("\"$MNIST_CLI\" {}", small.line))
    }

    /// Runs a line in the directory; what it says is shown where it fails.
    fn shell(&self, line: &str) -> Result<()> {
        println!("{}", line.replace("\"$MNIST_CLI\"", "mnist-cli"));
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(&self.home)
            .env("MNIST_CLI", &self.program)
            .env("MNIST_DATA_DIR", self.root.join("datasets"))
            // What is imported stays here.
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .output()
            .context("no sh")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().count().saturating_sub(5);
        bail!(
            "`{line}` ended with {}: {}",
            output.status,
            said.lines().skip(last).collect::<Vec<_>>().join(" / ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_is_found_in_its_order() {
        let chapters = chapters(&workspace::root()).unwrap();
        let place = |path: &str| chapters.iter().position(|chapter| chapter == path).unwrap();
        assert_eq!(place("README.md"), 0);
        assert!(place("docs/mnist.md") < place("docs/methods/vae.md"));
        assert!(place("docs/methods/vae.md") < place("docs/zh/mnist.md"));
        assert!(!chapters.iter().any(|chapter| chapter.contains("decisions")));
    }

    #[test]
    fn translations_have_the_same_commands() {
        let root = workspace::root();
        let text = fs::read_to_string(root.join("docs/mnist.md")).unwrap();
        assert_eq!(same_commands(&root, "docs/mnist.md", &text, "docs/zh/mnist.md"), None);
        let other = text.replacen("data info", "data inform", 1);
        assert!(same_commands(&root, "docs/mnist.md", &other, "docs/zh/mnist.md").is_some());
    }
}
