//! `train`: from a recipe to a run directory with a tested model, or on from a checkpoint.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use anyhow::{Context, Result, anyhow};
use mnist_data::{sources, text};
use mnist_model::nets::NetSettings;
use mnist_train::{
    TrainError, checkpoint,
    data::TrainingData,
    evaluate::on_other_data,
    finetune::{Method, Plan, Source, is_adapter},
    learner::{Outcome, Session},
    log::read_end,
    publish, registry,
    run::Run,
    rundir::{Provenance, RunDir, RunLock, SavedRun},
    token_data::Given,
};

use toml::{Table, Value};

use super::{
    board::Board,
    data::{import, is_path},
};
use crate::{
    args::{Chosen, Common, Finetune, Pretrain, Train, UsageError, plain},
    device::{BackendName, Compute, Job, Place},
    guard::DeviceError,
    recipes::Recipe,
    show::{self, Progress},
    stop,
};

/// Trains.
pub(crate) fn run(args: &Train, common: &Common) -> Result<ExitCode> {
    match &args.resume {
        Some(wanted) => resume(wanted, args, common),
        None => begin(args, "default", Table::new(), Vec::new(), None, common),
    }
}

/// Pretrains: as [`run`], with an objective and a recipe of its own.
pub(crate) fn pretrain(args: &Pretrain, common: &Common) -> Result<ExitCode> {
    let Pretrain { objective, train } = args;
    match (&train.resume, objective) {
        (Some(wanted), None) => resume(wanted, train, common),
        (Some(_), Some(_)) => {
            Err(UsageError("--resume goes on with the run's own objective; leave it away".into()).into())
        }
        (None, Some(objective)) => {
            let objective = &objective.replace('_', "-");
            // A text has a recipe of its own.
            let text = match &train.chosen.data {
                Some(data) if is_path(data, common.data_dir.as_deref()) => {
                    !import::are_pictures(Path::new(data))?
                }
                Some(data) => data == text::NAME,
                None => false,
            };
            let own = format!("{objective}-text");
            let recipe = if text && Recipe::find(&own).is_ok() { &own } else { objective };
            begin(train, recipe, Table::new(), vec![format!("objective={objective}")], None, common)
        }
        (None, None) => Err(UsageError("which objective? `pretrain --help` lists them".into()).into()),
    }
}

/// Fine-tunes: as [`run`], from the encoder of another model and with its net.
pub(crate) fn finetune(args: &Finetune, common: &Common) -> Result<ExitCode> {
    let Finetune { from, method, train } = args;
    match (&train.resume, from) {
        (Some(wanted), _) => resume(wanted, train, common),
        (None, Some(from)) => {
            let source = Source::find(from, &common.runs)?;
            let mut sets = source.structure();
            sets.extend(method.iter().map(|method| format!("finetune.method={method}")));
            begin(train, usual_recipe(&source, "finetune"), source.defaults()?, sets, Some(source), common)
        }
        (None, None) => Err(UsageError("from which model? Name a run or a file with --from".into()).into()),
    }
}

/// The recipe of fine-tuning where none is named; `images` for a source that reads them as they are.
pub(in crate::cmd) fn usual_recipe(source: &Source, images: &'static str) -> &'static str {
    match &source.given {
        None => images,
        Some(_) if source.reads_image_tokens() => "classify-image-tokens",
        Some(_) => "classify-tokens",
    }
}

/// The recipe and the settings of what was typed.
pub(in crate::cmd) fn resolved(
    args: &Chosen,
    seed: Option<u64>,
    recipe: &str,
    base: Table,
    sets: Vec<String>,
    common: &Common,
) -> Result<(Recipe, Run)> {
    let recipe = Recipe::find(args.recipe.as_deref().unwrap_or(recipe))?;
    let run = settings(args, seed, Some(&recipe), base, sets, common)?;
    Ok((recipe, run))
}

/// The settings of what was typed, over those of a recipe.
pub(in crate::cmd) fn settings(
    args: &Chosen,
    seed: Option<u64>,
    recipe: Option<&Recipe>,
    mut base: Table,
    mut sets: Vec<String>,
    common: &Common,
) -> Result<Run> {
    if let Some(data) = &args.data {
        sets.extend(data_sets(data, &mut base, common)?);
    }
    sets.extend(args.net.iter().map(|net| format!("net={net}")));
    sets.extend(args.labels.map(|labels| format!("data.labels={labels}")));
    // So many passes, not what a recipe makes of its steps.
    sets.extend(args.epochs.map(|_| "steps=0".into()));
    sets.extend(args.set.iter().cloned());
    sets.extend(seed.map(|seed| format!("seed={seed}")));
    sets.extend(args.epochs.map(|epochs| format!("epochs={epochs}")));
    let recipe = recipe.map(|recipe| (recipe.text.as_str(), recipe.origin.as_path()));
    let run = Run::resolve_over(base, recipe, &sets)?;
    for set in &args.set {
        let net = set.split_once('.').map(|(net, _)| net);
        let known = net.filter(|net| NetSettings::TABLE.iter().any(|(name, _)| name == net));
        if let Some(other) = known.filter(|net| *net != run.net) {
            tracing::warn!(
                "--set {set} changes nothing: the net is {}, not {other} (--net {other})",
                run.net
            );
        }
    }
    Ok(run)
}

/// What `--data` sets, over the settings that a run starts from.
pub(in crate::cmd) fn data_sets(data: &str, base: &mut Table, common: &Common) -> Result<Vec<String>> {
    let (name, path) = set_and_path(data, common)?;
    let known = base.get_mut("data").and_then(Value::as_table_mut);
    let mut sets = Vec::new();
    if known.as_ref().and_then(|known| known.get("name")?.as_str()) != Some(&name) {
        // What validates of one set says nothing of another.
        if let Some(known) = known {
            known.remove("validation");
            known.remove("split_seed");
        }
        if name != text::NAME && sources::Source::find(&name).is_err() {
            sets.extend(import::validation(&name, common.data_dir.as_deref())?);
        }
    }
    sets.push(format!("data.name='{name}'"));
    sets.push(path.map_or("data.path=".into(), |path| format!("data.path='''{path}'''")));
    Ok(sets)
}

/// A run as it is, or as if it had learned from the data that `--data` means.
pub(in crate::cmd) fn reading(
    saved: &SavedRun,
    dir: &RunDir,
    data: Option<&str>,
    common: &Common,
) -> Result<SavedRun> {
    let Some(data) = data else { return Ok(saved.clone()) };
    let sets = data_sets(data, &mut Table::new(), common)?;
    let data = Run::resolve(None, &sets)?.data;
    Ok(on_other_data(saved, &data, common.data_dir.as_deref(), dir.path())?)
}

/// What `--data` means, to be named again: a set's name, or the path of a text of one's own.
pub(in crate::cmd) fn set_or_path(data: &str, common: &Common) -> Result<String> {
    let (name, path) = set_and_path(data, common)?;
    Ok(path.unwrap_or(name))
}

/// The data set that `--data` means, and the path of a text of one's own; pictures are imported.
fn set_and_path(data: &str, common: &Common) -> Result<(String, Option<String>)> {
    if !is_path(data, common.data_dir.as_deref()) {
        // No set has a name like a file's.
        if [".txt", ".csv"].iter().any(|end| data.ends_with(end)) {
            return Err(UsageError(format!("--data {data}: there is no such file")).into());
        }
        return Ok((data.into(), None));
    }
    if import::are_pictures(Path::new(data))? {
        return Ok((import::kept(Path::new(data), common.data_dir.as_deref(), common.quiet)?, None));
    }
    let path = Path::new(data).canonicalize().with_context(|| format!("cannot read {data}"))?;
    match path.to_str() {
        Some(path) => Ok((text::NAME.into(), Some(path.into()))),
        None => Err(UsageError(format!("--data {data}: its path is not UTF-8")).into()),
    }
}

fn begin(
    args: &Train,
    recipe: &str,
    base: Table,
    sets: Vec<String>,
    source: Option<Source>,
    common: &Common,
) -> Result<ExitCode> {
    // clap lets it pass beside a recipe, with which --resume would not go.
    if args.checkpoint.is_some() {
        return Err(
            UsageError("--checkpoint is one of a run to go on with: say --resume RUN too".into()).into()
        );
    }
    let (recipe, mut run) = resolved(&args.chosen, args.seed, recipe, base, sets, common)?;
    let source = source_of(&run, source, common)?;
    if let Some(source) = &source {
        run.finetune.sha256.clone_from(&source.sha256);
    }
    let place = Place::choose(common)?;
    let given = source.as_ref().and_then(|source| source.given.as_ref());
    let data = TrainingData::load_for(&run, common.data_dir.as_deref(), given)?;
    let saved = begun(run, &data, source.as_ref(), place.name(), place.devices());
    // Settings that make no model are found before anything is written.
    registry::check(&saved.run, &saved.facts).map_err(TrainError::Settings)?;
    let name = args.name.as_deref().map(checked).transpose()?;
    let start = |source| -> Result<()> {
        let plan = place.run(Start { saved: &saved, source })?;
        if !common.quiet {
            tell!("{}", show::start(&source.from, &plan).trim_end());
        }
        Ok(())
    };
    if args.dry_run {
        source.as_ref().map(start).transpose()?;
        return place.run(DryRun { saved: &saved });
    }
    let name = match name {
        Some(name) => name,
        None => free_name(&common.runs, &format!("{}-seed{}", recipe.name, saved.run.seed)),
    };
    source.as_ref().map(start).transpose()?;
    let (dir, lock) = RunDir::create(&common.runs.join(name), &saved)?;
    dir.keep(&data.kept)?;
    train(&dir, &lock, &saved, &data, None, source.as_ref(), args.tensorboard, place, common)
}

/// A run that this program begins on so many devices of a backend, with the encoder of a source if it has one: that goes
/// on reading pixels as it did, whatever the mean of these data.
pub(in crate::cmd) fn begun(
    run: Run,
    data: &TrainingData,
    source: Option<&Source>,
    backend: &str,
    devices: usize,
) -> SavedRun {
    let mut facts = data.facts.clone();
    if let Some(from) = source.and_then(|source| source.saved.as_ref()) {
        (facts.mean, facts.std) = (from.facts.mean, from.facts.std);
    }
    SavedRun {
        run,
        facts,
        provenance: Provenance {
            version: env!("CARGO_PKG_VERSION").into(),
            git_commit: env!("MNIST_GIT_COMMIT").into(),
            backend: backend.into(),
            devices,
            data_digest: data.digest.clone(),
            imported: None,
        },
    }
}

/// The encoder that a run starts from, if it does.
///
/// `known` has been read already, and may be it.
pub(super) fn source_of(run: &Run, known: Option<Source>, common: &Common) -> Result<Option<Source>> {
    if run.finetune.method == Method::Scratch {
        return Ok(None);
    }
    let source = match known.filter(|known| known.from == run.finetune.from) {
        Some(known) => known,
        None => Source::find(&run.finetune.from, &common.runs)?,
    };
    source.check(&run.finetune)?;
    Ok(Some(source))
}

fn resume(wanted: &str, args: &Train, common: &Common) -> Result<ExitCode> {
    let dir = RunDir::find(wanted, &common.runs)?;
    let saved = dir.load()?;
    if let Some(imported) = &saved.provenance.imported {
        let run = quoted(dir.path());
        return Err(UsageError(format!(
            "the weights of this run are those of {}, there is no training to go on with; train them further: \
             mnist-cli finetune --from {run}",
            imported.file
        ))
        .into());
    }
    let begun: BackendName = saved.provenance.backend.parse().map_err(|e| TrainError::Damaged {
        path: dir.run_toml(),
        reason: format!("backend is {:?}; {e}", saved.provenance.backend),
    })?;
    if let Some(now) = common.backend.filter(|now| *now != begun) {
        return Err(TrainError::Changed {
            path: dir.path().to_path_buf(),
            what: "the backend",
            begun: begun.name().into(),
            now: now.name().into(),
            remedy: "another backend would round otherwise; leave --backend away",
        }
        .into());
    }
    let place = Place::of(Some(begun), common)?;
    if place.devices() != saved.provenance.devices {
        return Err(TrainError::Changed {
            path: dir.path().to_path_buf(),
            what: "the number of devices",
            begun: saved.provenance.devices.to_string(),
            now: place.devices().to_string(),
            remedy: "another number would round otherwise; name as many with --devices",
        }
        .into());
    }
    let lock = dir.lock()?;
    checkpoint::sweep(&dir.checkpoints())?;
    checkpoint::sweep(dir.path())?;
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("MNIST_GIT_COMMIT"));
    if (version, commit) != (&saved.provenance.version, &saved.provenance.git_commit) {
        tracing::warn!(
            "this run was begun by version {} at commit {}, this program is version {version} at {commit}: the end \
             may differ in its last bits",
            saved.provenance.version,
            saved.provenance.git_commit
        );
    }
    // What it began to read with was its source's.
    let given = match saved.run.finetune.method {
        Method::Scratch => None,
        _ => Given::of(&saved, dir.path())?,
    };
    let data = TrainingData::load_for(&saved.run, common.data_dir.as_deref(), given.as_ref())?;
    saved.check_data(dir.path(), &data.digest)?;
    dir.keep(&data.kept)?;
    let from = match &args.checkpoint {
        Some(name) => {
            let path = dir.checkpoints().join(checked(name)?);
            if !path.is_dir() {
                let all = checkpoint::list(&dir.checkpoints())?;
                let names: Vec<_> =
                    all.iter().filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect();
                return Err(UsageError(format!(
                    "there is no checkpoint {name}; there are: {}",
                    names.join(", ")
                ))
                .into());
            }
            Some(path)
        }
        None => checkpoint::list(&dir.checkpoints())?.pop(),
    };
    // A checkpoint holds all that was taken from elsewhere.
    let source = if from.is_none() { source_of(&saved.run, None, common)? } else { None };
    train(&dir, &lock, &saved, &data, from, source.as_ref(), args.tensorboard, place, common)
}

#[allow(clippy::too_many_arguments)]
fn train(
    dir: &RunDir,
    _lock: &RunLock,
    saved: &SavedRun,
    data: &TrainingData,
    from: Option<PathBuf>,
    source: Option<&Source>,
    tensorboard: bool,
    place: Place,
    common: &Common,
) -> Result<ExitCode> {
    if !common.quiet {
        tell!(
            "{} {}: {} ({}) on {}, {} training and {} validation {}, seed {}, backend {}",
            match &from {
                Some(_) if dir.model().exists() => "trained before:",
                Some(_) => "going on with",
                None => "training",
            },
            dir.path().display(),
            saved.run.objective,
            saved.net(),
            if saved.run.data.path.is_empty() { &saved.run.data.name } else { &saved.run.data.path },
            data.train.len(),
            data.valid.len(),
            data.train.kind(),
            saved.run.seed,
            place.name()
        );
    }
    let stop = stop::listen()?;
    let progress = Progress::new(common.quiet, saved.run.epochs, place.compiles_kernels());
    let board = (tensorboard || dir.tensorboard().exists()).then(|| Board::of(dir));
    let fit = Fit { dir, saved, data, from, source, stop: &stop, progress, board };
    let outcome = place.run(fit).map_err(|error| with_smaller_batch(error, saved.run.batch_size))?;
    let mut out = std::io::stdout().lock();
    let state = match outcome {
        Outcome::Finished(state) => state,
        Outcome::Interrupted { step } => {
            tell!("stopped at step {step}; go on with: mnist-cli train --resume {}", again(dir, common));
            return Ok(ExitCode::from(stop::INTERRUPTED));
        }
    };
    let (patience, without) = (saved.run.early_stopping.patience, state.epochs_without_gain);
    if let Some(best) = &state.best
        && patience > 0
        && without >= patience
        && !common.quiet
    {
        let (last, epoch) = (state.step, best.epoch);
        tell!("stopped early at step {last}: no gain for {without} epochs after epoch {epoch}");
    }
    if stop.load(Ordering::Relaxed) {
        let resume = again(dir, common);
        tell!("trained, and stopped before the test; go on with: mnist-cli train --resume {resume}");
        return Ok(ExitCode::from(stop::INTERRUPTED));
    }
    let figures = place.run(Publish { dir, saved, data_dir: common.data_dir.as_deref() })?;
    let speed = read_end(&dir.timing()).map_or(0.0, |end| end.examples_per_second);
    writeln!(out, "trained in {:.1} s, {speed:.0} examples/s", state.train_seconds)?;
    if let Some(best) = &state.best {
        let by = registry::chosen_by(&saved.run)?;
        if by.says_something() {
            let score = by.score.replace('_', " ");
            writeln!(out, "chosen by validation: epoch {}, {score} {:.4}", best.epoch, best.score)?;
        }
    }
    show::figures(&mut out, "test", &figures)?;
    writeln!(out, "{}", dir.report().display())?;
    Ok(ExitCode::SUCCESS)
}

/// What has to follow `train --resume` to go on with a run from here.
fn again(dir: &RunDir, common: &Common) -> String {
    quoted(dir.path()) + &data_dir_again(common)
}

/// `--data-dir` as it was given, with a space before it.
pub(in crate::cmd) fn data_dir_again(common: &Common) -> String {
    common.data_dir.as_ref().map_or_else(String::new, |d| format!(" --data-dir {}", quoted(d)))
}

/// Where a device had no room, says which batch did not fit and which to try.
fn with_smaller_batch(error: anyhow::Error, images: usize) -> anyhow::Error {
    match error.downcast_ref::<DeviceError>() {
        Some(failed) if failed.out_of_memory() && images > 1 => anyhow!(
            "{failed}; batches of {images} images are too large for it: try --set batch_size={}",
            images / 2
        ),
        _ => error,
    }
}

/// A path as a shell takes it.
pub(in crate::cmd) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/-_.+=:,@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A name that stays inside its directory.
pub(in crate::cmd) fn checked(name: &str) -> Result<String> {
    plain(name).map_err(|e| UsageError(e).into())
}

/// `wanted`, or `wanted-2`, `wanted-3`, ...: the first that no run has.
pub(in crate::cmd) fn free_name(runs: &Path, wanted: &str) -> String {
    let taken = |name: &str| fs::symlink_metadata(runs.join(name)).is_ok();
    if !taken(wanted) {
        return wanted.into();
    }
    let mut number = 2usize;
    while taken(&format!("{wanted}-{number}")) {
        number += 1;
    }
    format!("{wanted}-{number}")
}

/// A training.
pub(crate) struct Fit<'a> {
    /// Where everything goes.
    pub dir: &'a RunDir,
    /// Settings.
    pub saved: &'a SavedRun,
    /// The two splits.
    pub data: &'a TrainingData,
    /// The checkpoint to go on from.
    pub from: Option<PathBuf>,
    /// The encoder to start from.
    pub source: Option<&'a Source>,
    /// Set from outside to stop.
    pub stop: &'a std::sync::atomic::AtomicBool,
    /// Shows what happens.
    pub progress: Progress,
    /// Writes it for TensorBoard.
    pub board: Option<Board>,
}

impl Job for Fit<'_> {
    type Output = Outcome;

    fn run<B: Compute>(self, main: &B::Device, others: &[B::Device]) -> Result<Outcome> {
        let (mut progress, mut board) = (self.progress, self.board);
        let session = Session {
            run: &self.saved.run,
            dir: self.dir,
            data: self.data,
            resume: self.from,
            source: self.source,
            stop: self.stop,
            tell: &mut |event| {
                if let Some(board) = &mut board {
                    board.tell(&event);
                }
                progress.tell(event);
            },
        };
        let devices = [std::slice::from_ref(main), others].concat();
        let outcome = registry::fit::<B::Training>(&self.saved.facts, session, &devices);
        progress.end();
        Ok(outcome?)
    }
}

/// Finds out what of a source a run starts from, and whether it fits.
pub(in crate::cmd) struct Start<'a> {
    /// The run.
    pub saved: &'a SavedRun,
    /// What it starts from.
    pub source: &'a Source,
}

impl Job for Start<'_> {
    type Output = Plan;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Plan> {
        let run = &self.saved.run;
        let parameters = registry::trained::<B>(run, &self.saved.facts, main)?;
        if run.finetune.method == Method::Lora && !parameters.iter().any(|p| is_adapter(&p.path)) {
            let objective = &run.objective;
            let message = format!(
                "--method lora is for classifiers; the objective {objective} has nothing of low rank"
            );
            return Err(UsageError(message).into());
        }
        Ok(self.source.plan(&parameters)?)
    }
}

struct Publish<'a> {
    dir: &'a RunDir,
    saved: &'a SavedRun,
    data_dir: Option<&'a Path>,
}

impl Job for Publish<'_> {
    type Output = mnist_train::figures::Figures;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<Self::Output> {
        publish::publish::<B>(self.dir, self.saved, self.data_dir, main)
            .context("training is done, but its figures could not be written")
    }
}

struct DryRun<'a> {
    saved: &'a SavedRun,
}

impl Job for DryRun<'_> {
    type Output = ExitCode;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<ExitCode> {
        let model = registry::fresh::<B>(&self.saved.run, &self.saved.facts, main)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}\n{}", self.saved.to_toml()?, model.summary())?;
        Ok(ExitCode::SUCCESS)
    }
}
