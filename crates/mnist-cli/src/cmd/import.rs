//! `import FILE --net NAME`: a run of weights that another program trained.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use mnist_train::{
    TrainError,
    data::TrainingData,
    figures::Figures,
    finetune::Plan,
    import, publish, registry,
    rundir::{Imported, RunDir, SavedRun},
};
use toml::Table;

use super::train::{begun, checked, free_name, settings};
use crate::{
    args::{Chosen, Common, Import, UsageError, plain},
    device::{Compute, Job, Place},
    show,
};

/// Mean and standard deviation of MNIST's pixels as PyTorch's example has them.
const PYTORCHS_PIXELS: [f32; 2] = [0.1307, 0.3081];

/// Imports.
pub(crate) fn run(args: &Import, common: &Common) -> Result<ExitCode> {
    let file = import::Import::read(&args.file)?;
    let mut sets = vec!["objective=classify".to_string(), format!("net={}", args.net)];
    // Nothing is trained: a set of few pictures will do.
    sets.push("batch_size=1".into());
    sets.extend(file.settings(&args.net));
    let chosen = Chosen { data: args.data.clone(), set: args.set.clone(), ..Chosen::default() };
    let run = settings(&chosen, None, None, Table::new(), sets, common)?;
    let place = Place::choose(common)?;
    let data = TrainingData::load(&run, common.data_dir.as_deref())?;
    let mut saved = begun(run, &data, None, place.name(), place.devices());
    let published = if args.net == "pytorch_example_cnn" && saved.run.data.name == "mnist" {
        PYTORCHS_PIXELS
    } else {
        [saved.facts.mean, saved.facts.std]
    };
    saved.facts.mean = args.mean.unwrap_or(published[0]);
    saved.facts.std = args.std.unwrap_or(published[1]);
    saved.facts.check().map_err(UsageError)?;
    registry::check(&saved.run, &saved.facts).map_err(TrainError::Settings)?;
    // Its name alone: the rest of a path is nobody's business who gets the run.
    let named = args.file.file_name().map(|name| name.to_string_lossy().into_owned());
    saved.provenance.imported =
        Some(Imported { file: named.unwrap_or_default(), sha256: file.sha256.clone() });
    let name = match &args.name {
        Some(name) => checked(name)?,
        None => {
            let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            free_name(&common.runs, &stem.filter(|stem| plain(stem).is_ok()).unwrap_or("imported".into()))
        }
    };
    let path = common.runs.join(&name);
    let take = Take {
        saved: &saved,
        file: &file,
        path: &path,
        allow_unused: args.allow_unused,
        data_dir: common.data_dir.as_deref(),
    };
    let (plan, figures) = place.run(take)?;
    if !common.quiet {
        tell!("{}", show::start(&file.from, &plan).trim_end());
    }
    let mut out = std::io::stdout().lock();
    show::figures(&mut out, "test", &figures)?;
    writeln!(out, "{}", path.join("report.html").display())?;
    Ok(ExitCode::SUCCESS)
}

struct Take<'a> {
    saved: &'a SavedRun,
    file: &'a import::Import,
    path: &'a Path,
    allow_unused: bool,
    data_dir: Option<&'a Path>,
}

impl Job for Take<'_> {
    type Output = (Plan, Figures);

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<(Plan, Figures)> {
        let SavedRun { run, facts, .. } = self.saved;
        let parameters = registry::trained::<B>(run, facts, main)?;
        let model = self.file.fit(&run.net, &run.nets, &parameters, self.allow_unused)?;
        let plan = model.plan.clone();
        // Nothing is written before all fits.
        let (dir, _lock) = RunDir::create(self.path, self.saved)?;
        if let Err(error) = model.save::<B>(&dir, &parameters, main) {
            // A run without weights that can never have any is of no use.
            let _ = std::fs::remove_dir_all(self.path);
            return Err(error.into());
        }
        let figures = publish::publish::<B>(&dir, self.saved, self.data_dir, main)
            .context("the run is there, but its figures could not be written")?;
        Ok((plan, figures))
    }
}
