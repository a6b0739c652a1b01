//! `export RUN --format safetensors|pytorch|onnx`: a trained classifier for other programs.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::{Result, anyhow};
use mnist_train::{
    data::AnyLoader,
    evaluate::{SplitName, load_split},
    export::{Export, Reference},
    publish::load_model,
    rundir::{RunDir, SavedRun},
};

use super::{finite, unoccupied};
use crate::{
    args::{self, Common},
    device::{Compute, Job, Place},
};

/// Test images whose probabilities go along.
const IMAGES: usize = 16;

/// Exports.
pub(crate) fn run(args: &args::Export, common: &Common) -> Result<ExitCode> {
    let dir = RunDir::find(&args.run, &common.runs)?;
    let saved = dir.load()?;
    let export = Export::of(&dir, &saved)?;
    let out = args.out.clone().unwrap_or_else(|| dir.path().join(format!("export-{}", args.format.name())));
    unoccupied(&out, Some("reference.json"))?;
    let asked = Ask { dir: &dir, saved: &saved, data_dir: common.data_dir.as_deref() };
    let reference = Place::choose(common)?.run(asked)?;
    let format = args.format.format();
    export.write(format, &reference, &out)?;
    writeln!(std::io::stdout().lock(), "{}", out.display())?;
    Ok(ExitCode::SUCCESS)
}

struct Ask<'a> {
    dir: &'a RunDir,
    saved: &'a SavedRun,
    data_dir: Option<&'a Path>,
}

impl Job for Ask<'_> {
    type Output = Reference;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Reference> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let data = load_split(self.saved, SplitName::Test, self.data_dir, self.dir.path())?.first(IMAGES);
        let (AnyLoader::Images(loader), Some(found)) = (&data, model.probabilities(&data, main)?) else {
            return Err(anyhow!("this run's model does not classify images"));
        };
        let found = found.values;
        finite(&found, self.dir)?;
        let classes = self.saved.facts.classes.len().max(1);
        let image = |i| Some(loader.data().image(i)?.iter().map(|&byte| f32::from(byte) / 255.0).collect());
        Ok(Reference {
            images: (0..found.len() / classes).filter_map(image).collect(),
            log_probabilities: found
                .chunks_exact(classes)
                .map(|row| row.iter().map(|p| p.max(f32::MIN_POSITIVE).ln()).collect())
                .collect(),
        })
    }
}
