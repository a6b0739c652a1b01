//! `predict RUN IMAGE...`: the digit in each picture. `predict RUN --text TEXT`: the class of a text, or the punctuation
//! that belongs into it.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use mnist_data::{punctuation::MARKS, scan};
use mnist_train::{
    TrainError,
    data::AnyLoader,
    publish::load_model,
    questions::{Cut, Pictures, Read, Texts},
    registry::Trained,
    rundir::{RunDir, SavedRun},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{finite, likeliest, picture};
use crate::{
    args::{Common, Predict, UsageError},
    device::{Compute, Job, Place},
};

/// Pictures that go through the model together.
const TOGETHER: usize = 64;

/// The answer to one picture or text.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    label: &'a str,
    probabilities: &'a [f32],
}

/// A text with its punctuation.
#[derive(Serialize, Debug, ToSchema)]
pub(crate) struct Punctuated {
    /// The text.
    text: String,
    /// Its words.
    words: Vec<Word>,
}

/// A word and what belongs behind it.
#[derive(Serialize, Debug, ToSchema)]
struct Word {
    /// The word.
    word: String,
    /// The mark; empty if there is none.
    mark: &'static str,
    /// Of that, 0-1.
    probability: f32,
}

impl Punctuated {
    /// Words with the likeliest marks, of rows of probabilities for each.
    pub(crate) fn of<'r>(words: &[String], rows: impl Iterator<Item = &'r [f32]>) -> Self {
        let word = |(word, row): (&String, &[f32])| {
            let (class, probability) = likeliest(row);
            let mark = MARKS.get(class).filter(|_| class > 0).copied().unwrap_or("");
            Word { word: word.clone(), mark, probability }
        };
        let words: Vec<Word> = words.iter().zip(rows).map(word).collect();
        let text = words.iter().map(|w| format!("{}{}", w.word, w.mark)).collect::<Vec<_>>().join(" ");
        Self { text, words }
    }
}

/// Predicts. Pictures that cannot be read are reported on stderr and make the exit code 1; the others are
/// answered all the same.
pub(crate) fn run(args: &Predict, common: &Common) -> Result<ExitCode> {
    let dir = RunDir::find(&args.run, &common.runs)?;
    let saved = dir.load()?;
    Place::choose(common)?.run(Answers { args, dir: &dir, saved: &saved })
}

/// The pictures of a folder in the order of their names; a file stands for itself.
fn pictures_in(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let read = |error| TrainError::io("read", path)(error);
    let entries = std::fs::read_dir(path).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    let picture = |path: &PathBuf| {
        let end = path.extension().unwrap_or_default().to_ascii_lowercase();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        ["png", "jpg", "jpeg"].iter().any(|wanted| end == *wanted) && path.is_file() && !hidden
    };
    let mut found: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(picture).collect();
    if found.is_empty() {
        return Err(UsageError(format!(
            "{}: a folder without PNG or JPEG files of its own (folders in it are not looked into)",
            path.display()
        ))
        .into());
    }
    found.sort();
    Ok(found)
}

struct Answers<'a> {
    args: &'a Predict,
    dir: &'a RunDir,
    saved: &'a SavedRun,
}

impl Job for Answers<'_> {
    type Output = ExitCode;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<ExitCode> {
        let Self { args, dir, saved } = self;
        let mut out = std::io::stdout().lock();
        let mut failed = false;
        let classes = saved.facts.classes.len().max(1);
        if !args.text.is_empty() {
            let texts = Texts::of(saved, dir.path())?.read(&args.text)?;
            for Cut { text, tokens, read } in &texts.cut {
                tell!(
                    "warning: text {} has {tokens} tokens; its class is that of the first {read}, the model's context",
                    text + 1
                );
            }
            let model = load_model::<B>(dir, saved, main)?;
            let found = self.probabilities(&*model, &texts.loader, main)?;
            self.texts(&mut out, &texts, found.chunks_exact(classes))?;
            return Ok(ExitCode::SUCCESS);
        }
        let pictures = Pictures::of(saved, dir.path(), scan::SIDE)?;
        let model = load_model::<B>(dir, saved, main)?;
        let images = args.images.iter().map(|path| pictures_in(path)).collect::<Result<Vec<_>>>()?.concat();
        for paths in images.chunks(TOGETHER) {
            let mut read = Vec::new();
            let mut pixels = Vec::new();
            for path in paths {
                match picture(path, &saved.facts) {
                    Ok(found) => {
                        read.push(path);
                        pixels.extend(found);
                    }
                    Err(error) => {
                        failed = true;
                        tell!("error: {error}");
                    }
                }
            }
            if read.is_empty() {
                continue;
            }
            let loader = pictures.loader(pixels)?;
            if let Some(values) = model.values(&loader, main)? {
                finite(&values, dir)?;
                for (path, value) in read.iter().zip(values) {
                    if args.json {
                        writeln!(out, "{}", serde_json::to_string(&Value { path, value })?)?;
                    } else {
                        writeln!(out, "{}: {value:.2}", path.display())?;
                    }
                }
                continue;
            }
            let found = self.probabilities(&*model, &loader, main)?;
            for (path, row) in read.iter().zip(found.chunks_exact(classes)) {
                self.answer(&mut out, Ok(path), row)?;
            }
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The number that a picture shows, by regression.
#[derive(Serialize)]
struct Value<'a> {
    path: &'a Path,
    value: f32,
}

impl Answers<'_> {
    /// Class probabilities, row after row.
    fn probabilities<B: Compute>(
        &self,
        model: &dyn Trained<B>,
        loader: &AnyLoader,
        device: &B::Device,
    ) -> Result<Vec<f32>> {
        let Some(found) = model.probabilities(loader, device)? else {
            return Err(TrainError::Settings("this run's model does not classify".into()).into());
        };
        finite(&found.values, self.dir)?;
        Ok(found.values)
    }

    /// The answers to all texts, of rows of probabilities for each text or each word.
    fn texts<'r>(
        &self,
        out: &mut impl Write,
        texts: &Read,
        mut rows: impl Iterator<Item = &'r [f32]>,
    ) -> Result<()> {
        let Some(words) = &texts.words else {
            return self
                .args
                .text
                .iter()
                .zip(rows)
                .try_for_each(|(text, row)| self.answer(out, Err(text), row));
        };
        for words in words {
            let found = Punctuated::of(words, &mut rows);
            if self.args.json {
                writeln!(out, "{}", serde_json::to_string(&found)?)?;
            } else {
                writeln!(out, "{}", found.text)?;
            }
        }
        Ok(())
    }

    /// The answer to a picture or a text.
    fn answer(&self, out: &mut impl Write, asked: Result<&Path, &str>, row: &[f32]) -> Result<()> {
        let classes = &self.saved.facts.classes;
        let mut ranked: Vec<(&String, f32)> = classes.iter().zip(row.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let label = ranked.first().map_or("", |(class, _)| class.as_str());
        if self.args.json {
            let (path, text) = (asked.ok(), asked.err());
            let answer = Answer { path, text, label, probabilities: row };
            writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        } else {
            let asked = asked.map_or_else(|text| format!("{text:?}"), |path| path.display().to_string());
            let top: Vec<_> =
                ranked.iter().take(3).map(|(class, p)| format!("{class} {:.2} %", 100.0 * p)).collect();
            writeln!(out, "{asked}: {label}   ({})", top.join(", "))?;
        }
        Ok(())
    }
}
