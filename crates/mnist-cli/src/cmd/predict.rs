//! `predict RUN IMAGE...`: the digit in each picture.

use std::{io::Write, path::Path, process::ExitCode, sync::Arc};

use anyhow::Result;
use mnist_data::{LabelledImages, Loader, scan};
use mnist_train::{
    TrainError,
    data::AnyLoader,
    publish::load_model,
    registry,
    rundir::{RunDir, SavedRun},
};
use serde::Serialize;

use crate::{
    args::{Common, Predict},
    device::{Compute, Job, Place},
};

/// Pictures that go through the model together.
const TOGETHER: usize = 64;

/// The answer to one picture.
#[derive(Serialize)]
struct Answer<'a> {
    path: &'a Path,
    label: &'a str,
    probabilities: Vec<f32>,
}

/// Predicts. Pictures that cannot be read are reported on stderr and make the exit code 1; the others are
/// answered all the same.
pub(crate) fn run(args: &Predict, common: &Common) -> Result<ExitCode> {
    let dir = RunDir::find(&args.run, &common.runs)?;
    let saved = dir.load()?;
    if saved.facts.tokens.is_some() {
        return Err(TrainError::Settings("this model reads token sequences, not pictures".into()).into());
    }
    if saved.facts.size != [scan::SIDE, scan::SIDE] {
        let [height, width] = saved.facts.size;
        return Err(TrainError::Settings(format!(
            "this model takes images of {height}x{width} pixels; predict prepares {0}x{0}",
            scan::SIDE
        ))
        .into());
    }
    Place::choose(common)?.run(Answers { args, dir: &dir, saved: &saved })
}

struct Answers<'a> {
    args: &'a Predict,
    dir: &'a RunDir,
    saved: &'a SavedRun,
}

impl Job for Answers<'_> {
    type Output = ExitCode;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<ExitCode> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let classes = &self.saved.facts.classes;
        let mut out = std::io::stdout().lock();
        let mut failed = false;
        for paths in self.args.images.chunks(TOGETHER) {
            let mut read = Vec::new();
            let mut pixels = Vec::new();
            for path in paths {
                match scan::read(path) {
                    Ok(scan) => {
                        read.push(path);
                        pixels.extend(scan.pixels);
                    }
                    Err(error) => {
                        failed = true;
                        eprintln!("error: {error}");
                    }
                }
            }
            if read.is_empty() {
                continue;
            }
            let unknown = vec![0; read.len()];
            let images = LabelledImages::new(scan::SIDE, scan::SIDE, 1, pixels, unknown)?;
            let all = (0..images.len()).collect();
            let loader = AnyLoader::Images(Loader::new(Arc::new(images), all, TOGETHER)?.workers(0));
            let loader = registry::prepare(&self.saved.run, loader)?;
            let Some((found, _)) = model.probabilities(&loader, main)? else {
                return Err(TrainError::Settings("this run's model does not classify".into()).into());
            };
            if found.iter().any(|p| !p.is_finite()) {
                return Err(TrainError::Damaged {
                    path: self.dir.model(),
                    reason: "its probabilities are no numbers".into(),
                }
                .into());
            }
            for (path, row) in read.iter().zip(found.chunks_exact(classes.len())) {
                answer(&mut out, path, row, classes, self.args.json)?;
            }
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn answer(out: &mut impl Write, path: &Path, row: &[f32], classes: &[String], json: bool) -> Result<()> {
    let mut ranked: Vec<(&String, f32)> = classes.iter().zip(row.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let label = ranked.first().map_or("", |(class, _)| class.as_str());
    if json {
        let answer = Answer { path, label, probabilities: row.to_vec() };
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
    } else {
        let top: Vec<_> =
            ranked.iter().take(3).map(|(class, p)| format!("{class} {:.2} %", 100.0 * p)).collect();
        writeln!(out, "{}: {label}   ({})", path.display(), top.join(", "))?;
    }
    Ok(())
}
