//! `tune RECIPE`: a search for better settings, chosen on validation; the test split is not read.
//!
//! runs/NAME/ holds search.json (what was asked for), trials.jsonl (one object a finished trial), trials/0001/... (a run each),
//! trials.png, best.toml (the best settings as a recipe). A search that was stopped goes on where it was, in the middle of a
//! trial too.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mnist_model::objectives::ChosenBy;
use mnist_train::{
    TrainError, checkpoint,
    data::TrainingData,
    finetune::Source,
    learner::{Event, Outcome, Session},
    plot::{self, Chart, Series},
    registry,
    run::Run,
    rundir::{RunDir, write_whole},
    tune::{self, Dimension, Method, Pruning, Trial},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::train::{Start, begun, data_dir_again, data_sets, quoted, source_of, usual_recipe};
use crate::{
    args::{Common, Tune, UsageError},
    device::{Compute, Job, Place},
    recipes::Recipe,
    stop,
};

/// What was asked for, as search.json holds it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Search {
    recipe: String,
    set: Vec<String>,
    space: Vec<Dimension>,
    method: Method,
    pruning: Pruning,
    trials: usize,
    seed: u64,
}

/// What is searched where nothing is said: within a factor of ten about the recipe's learning rate, and so on.
fn usual(run: &Run) -> Result<Vec<Dimension>, String> {
    let rate = run.schedule.learning_rate;
    [
        format!("schedule.learning_rate={:e}..{:e}:log", rate / 10.0, rate * 10.0),
        "optimizer.weight_decay=1e-3..3e-1:log".into(),
        "batch_size=32|64|128".into(),
    ]
    .iter()
    .map(|text| text.parse())
    .collect()
}

/// Searches.
pub(crate) fn run(args: &Tune, common: &Common) -> Result<ExitCode> {
    let (home, search) = match &args.resume {
        Some(name) => resume(name, common)?,
        None => begin(args, common)?,
    };
    let _lock = lock(&home)?;
    let by =
        registry::chosen_by(&Run::resolve(Some((&search.recipe, Path::new("search.json"))), &search.set)?)?;
    let place = Place::choose(common)?;
    let limit = args.minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    let mut trials = read_trials(&home)?;
    let stop = stop::listen()?;
    let begun = Instant::now();
    let mut out = std::io::stdout().lock();
    while trials.len() < search.trials {
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            tell!("time is up after {} of {} trials", trials.len(), search.trials);
            break;
        }
        let number = trials.len() + 1;
        let places = tune::suggest(&search.space, &trials, search.method, search.seed, number);
        let sets = tune::sets(&search.space, &places);
        let trial = Trial { number, places, sets, curve: Vec::new(), pruned: false, failed: None };
        let attempt = Attempt {
            home: &home,
            search: &search,
            before: &trials,
            trial,
            common,
            stop: &stop,
            place: place.name(),
        };
        let Some(trial) = place.run(attempt)? else {
            let again = quoted(&home) + &data_dir_again(common);
            tell!("stopped in trial {number}; go on with: mnist-cli tune --resume {again}");
            return Ok(ExitCode::from(stop::INTERRUPTED));
        };
        if !common.quiet {
            tell!("{}", line(&trial, by));
        }
        trials.push(trial);
        let lines: Result<Vec<String>, _> = trials.iter().map(serde_json::to_string).collect();
        write_whole(&home.join("trials.jsonl"), (lines?.join("\n") + "\n").as_bytes())?;
    }
    finish(&home, &search, &trials, by, args.json, common, &mut out)
}

/// A trial's score as validation has it; kept is one of which a larger is better.
fn value(score: f64, by: ChosenBy) -> f64 {
    if by.larger_is_better { score } else { -score }
}

/// Table, picture and recipe of what was found.
fn finish(
    home: &Path,
    search: &Search,
    trials: &[Trial],
    by: ChosenBy,
    json: bool,
    common: &Common,
    out: &mut impl Write,
) -> Result<ExitCode> {
    let mut sorted: Vec<&Trial> = trials.iter().collect();
    sorted.sort_by(|a, b| {
        b.score().unwrap_or(f64::NEG_INFINITY).total_cmp(&a.score().unwrap_or(f64::NEG_INFINITY))
    });
    for trial in sorted.iter().filter(|_| !json) {
        writeln!(out, "{}", line(trial, by))?;
    }
    // Of what is best at 1 the rest, which tells 99.6 from 99.7 %.
    let scores = || trials.iter().filter_map(Trial::score);
    let rate = by.larger_is_better && scores().all(|score| (0.0..=1.0).contains(&score));
    let drawn = |score: f64| if rate { 1.0 - score } else { value(score, by) };
    let points = |pruned: bool| {
        let of = trials.iter().filter(|t| t.pruned == pruned);
        of.filter_map(|t| Some((t.number as f64, drawn(t.score()?)))).collect::<Vec<_>>()
    };
    let mut so_far = f64::NEG_INFINITY;
    let mut line_points: Vec<(f64, f64)> =
        trials.iter().filter_map(|t| Some((t.number as f64, t.score()?))).collect();
    for (_, score) in &mut line_points {
        so_far = so_far.max(*score);
        *score = drawn(so_far);
    }
    let name = by.score.replace('_', " ");
    let chart = Chart {
        title: "trials".into(),
        x: "trial".into(),
        y: if rate { format!("1 - {name} on validation") } else { format!("{name} on validation") },
        // What is never wrong has no place on a logarithmic axis.
        log_y: rate && scores().all(|score| score < 1.0),
        series: vec![
            Series::curve("best so far", line_points),
            Series::dots("trial", points(false)),
            Series::dots("given up", points(true)),
        ],
    };
    write_whole(&home.join("trials.png"), &plot::png(&[chart])?)?;
    let Some(best) = tune::best(trials) else {
        anyhow::bail!("no trial came to a score; {} says why", home.join("trials.jsonl").display());
    };
    let mut sets = search.set.clone();
    sets.extend(best.sets.iter().cloned());
    let text = tune::recipe(&search.recipe, &sets).map_err(TrainError::Settings)?;
    let head = format!(
        "# The best of {} trials, chosen on validation ({name} {:.4}); trial {}.\n",
        trials.len(),
        value(best.score().unwrap_or(f64::NAN), by),
        best.number
    );
    let path = home.join("best.toml");
    write_whole(&path, (head + &text).as_bytes())?;
    if json {
        let rows = sorted.iter().map(|trial| {
            let Trial { number, sets, pruned, failed, .. } = trial;
            let score = trial.score().map(|score| value(score, by));
            json!({ "trial": number, "sets": sets, "score": score, "given_up": pruned, "failed": failed })
        });
        let rows: Vec<_> = rows.collect();
        writeln!(
            out,
            "{}",
            json!({ "score": by.score, "trials": rows, "best": best.number, "recipe": path })
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let train = quoted(&path) + &data_dir_again(common);
    writeln!(out, "best: trial {}; train it with: mnist-cli train {train}", best.number)?;
    Ok(ExitCode::SUCCESS)
}

fn line(trial: &Trial, by: ChosenBy) -> String {
    let name = by.score.replace('_', " ");
    let end = match (&trial.failed, trial.score().map(|score| value(score, by))) {
        (Some(reason), _) => format!("failed: {reason}"),
        (None, Some(score)) if trial.pruned => {
            format!("{name} {score:.4} (given up after epoch {})", trial.curve.len())
        }
        (None, Some(score)) => format!("{name} {score:.4}"),
        (None, None) => "no score".into(),
    };
    format!("trial {:>3}  {end}  {}", trial.number, trial.sets.join(" "))
}

fn begin(args: &Tune, common: &Common) -> Result<(PathBuf, Search)> {
    let source = args.from.as_ref().map(|from| Source::find(from, &common.runs)).transpose()?;
    let otherwise = source.as_ref().map_or("default", |source| usual_recipe(source, "finetune"));
    let mut recipe = Recipe::find(args.recipe.as_deref().unwrap_or(otherwise))?;
    let mut base = source.as_ref().map(Source::defaults).transpose()?.unwrap_or_default();
    let data = args.data.as_ref().map(|data| data_sets(data, &mut base, common)).transpose()?;
    // So many passes, not what a recipe makes of its steps.
    let passes: Vec<String> = args.epochs.map(|_| "steps=0".into()).into_iter().collect();
    let mut set = [data.unwrap_or_default(), passes, args.set.clone()].concat();
    set.extend(args.epochs.map(|epochs| format!("epochs={epochs}")));
    if let Some(source) = &source {
        // What it starts from is part of the recipe from here on.
        let sets = [&source.structure()[..], &set].concat();
        let run = Run::resolve_over(base, Some((&recipe.text, &recipe.origin)), &sets)?;
        recipe.text = toml::to_string(&run.to_table()?)?;
    }
    let run = Run::resolve(Some((&recipe.text, &recipe.origin)), &set)?;
    if !registry::chosen_by(&run)?.says_something() {
        let objective = &run.objective;
        return Err(
            UsageError(format!("the objective {objective} has no score that a search could go by")).into()
        );
    }
    let space: Vec<Dimension> = if args.search.is_empty() {
        usual(&run).map_err(TrainError::Settings)?
    } else {
        let parsed: Result<_, String> = args.search.iter().map(|text| text.parse()).collect();
        parsed.map_err(|e| UsageError(format!("--search {e}")))?
    };
    // Both ends of the space have to make settings: a misspelt key is found now and not in the first trial.
    for place in [0.0, 1.0] {
        let mut all = set.clone();
        all.extend(tune::sets(&space, &vec![place; space.len()]));
        Run::resolve(Some((&recipe.text, &recipe.origin)), &all)?;
    }
    let search = Search {
        recipe: recipe.text,
        set,
        space,
        method: args.method,
        pruning: args.pruning,
        trials: args.trials,
        seed: args.seed.unwrap_or(1),
    };
    // As much as can be found out before the first trial, and before anything is written.
    let source = source.map_or_else(|| source_of(&run, None, common), |source| Ok(Some(source)))?;
    let given = source.as_ref().and_then(|source| source.given.as_ref());
    let data = TrainingData::load_for(&run, common.data_dir.as_deref(), given)?;
    registry::check(&run, &data.facts).map_err(TrainError::Settings)?;
    if let Some(source) = &source {
        let place = Place::choose(common)?;
        let saved = begun(run.clone(), &data, Some(source), place.name(), place.devices());
        place.run(Start { saved: &saved, source })?;
    }
    let home = common.runs.join(args.name.clone().unwrap_or_else(|| format!("tune-{}", recipe.name)));
    if home.join("search.json").exists() {
        return Err(UsageError(format!(
            "{} is there already: go on with `tune --resume {}`, or choose another --name",
            home.display(),
            quoted(&home)
        ))
        .into());
    }
    fs::create_dir_all(home.join("trials")).with_context(|| format!("cannot make {}", home.display()))?;
    write_whole(&home.join("search.json"), &serde_json::to_vec_pretty(&search)?)?;
    Ok((home, search))
}

fn resume(name: &str, common: &Common) -> Result<(PathBuf, Search)> {
    let tried = [PathBuf::from(name), common.runs.join(name)];
    let Some(home) = tried.iter().find(|path| path.join("search.json").is_file()) else {
        return Err(UsageError(format!(
            "there is no search {name}: no search.json in {}",
            common.runs.join(name).display()
        ))
        .into());
    };
    let path = home.join("search.json");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let search =
        serde_json::from_slice(&bytes).map_err(|e| TrainError::Damaged { path, reason: e.to_string() })?;
    Ok((home.clone(), search))
}

fn read_trials(home: &Path) -> Result<Vec<Trial>> {
    let path = home.join("trials.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let all: Result<Vec<Trial>, _> = text.lines().map(serde_json::from_str).collect();
    Ok(all.map_err(|e| TrainError::Damaged { path, reason: e.to_string() })?)
}

/// Keeps a second process out of this search.
fn lock(home: &Path) -> Result<fs::File> {
    let path = home.join("search.lock");
    let file = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => {
            Err(TrainError::Locked { path: home.to_path_buf(), holder: "another process".into() }.into())
        }
    }
}

/// One trial, from its beginning or from where it was stopped. `None` if it is stopped from outside.
struct Attempt<'a> {
    home: &'a Path,
    search: &'a Search,
    before: &'a [Trial],
    trial: Trial,
    common: &'a Common,
    stop: &'a AtomicBool,
    place: &'static str,
}

impl Job for Attempt<'_> {
    type Output = Option<Trial>;

    fn run<B: Compute>(self, main: &B::Device, others: &[B::Device]) -> Result<Option<Trial>> {
        let Self { home, search, before, mut trial, common, stop, place } = self;
        let mut sets = search.set.clone();
        sets.extend(trial.sets.iter().cloned());
        let run = Run::resolve(Some((&search.recipe, Path::new("search.json"))), &sets)?;
        let chosen_by = registry::chosen_by(&run)?;
        let source = source_of(&run, None, common)?;
        let given = source.as_ref().and_then(|source| source.given.as_ref());
        let data = TrainingData::load_for(&run, common.data_dir.as_deref(), given)?;
        let path = home.join("trials").join(format!("{:04}", trial.number));
        let saved = begun(run, &data, source.as_ref(), place, 1 + others.len());
        if let Err(reason) = registry::check(&saved.run, &saved.facts) {
            trial.failed = Some(reason);
            return Ok(Some(trial));
        }
        let began = path.join("run.toml").is_file();
        let (dir, _lock) = if began {
            let dir = RunDir::find(&path.to_string_lossy(), &path)?;
            let lock = dir.lock()?;
            (dir, lock)
        } else {
            let made = RunDir::create(&path, &saved)?;
            made.0.keep(&data.kept)?;
            made
        };
        let from = if began { checkpoint::list(&dir.checkpoints())?.pop() } else { None };
        // What the trial measured before it was stopped stands in its log.
        let ended = checkpoint_epochs(&dir, from.as_deref(), chosen_by.score)?;
        let sign = if chosen_by.larger_is_better { 1.0 } else { -1.0 };
        let mut curve: Vec<f64> = Vec::new();
        let mut record = |value: f64| {
            let best = curve.last().copied().unwrap_or(f64::NEG_INFINITY);
            curve.push(best.max(sign * value));
            curve.clone()
        };
        for value in ended {
            trial.curve = record(value);
        }
        let ours = AtomicBool::new(stop.load(Ordering::Relaxed));
        let mut pruned = false;
        let mut tell = |event: Event<'_>| {
            if stop.load(Ordering::Relaxed) {
                ours.store(true, Ordering::Relaxed);
            }
            if let Event::Validated { line, .. } = event {
                trial.curve = record(line.values.get(chosen_by.score).copied().unwrap_or(f64::NAN));
                if line.epoch < saved.run.epochs && tune::hopeless(&trial.curve, before, search.pruning) {
                    pruned = true;
                    ours.store(true, Ordering::Relaxed);
                }
            }
        };
        let session = Session {
            run: &saved.run,
            dir: &dir,
            data: &data,
            resume: from,
            source: source.as_ref(),
            stop: &ours,
            tell: &mut tell,
        };
        let devices = [std::slice::from_ref(main), others].concat();
        let outcome = registry::fit::<B::Training>(&saved.facts, session, &devices);
        match outcome {
            Ok(Outcome::Finished(_)) => {}
            Ok(Outcome::Interrupted { .. }) if pruned => trial.pruned = true,
            Ok(Outcome::Interrupted { .. }) => return Ok(None),
            // A trial that diverges is a finding; a full disk is not.
            Err(error @ (TrainError::NotFinite { .. } | TrainError::Checkpoint(_))) => {
                trial.failed = Some(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Some(trial))
    }
}

/// The score of each epoch that a trial had ended at its checkpoint.
fn checkpoint_epochs(dir: &RunDir, from: Option<&Path>, score: &str) -> Result<Vec<f64>> {
    let Some(from) = from else { return Ok(Vec::new()) };
    let step =
        from.file_name().and_then(|n| n.to_string_lossy().strip_prefix("step-")?.parse::<usize>().ok());
    let lines = mnist_train::log::read_metrics(&dir.metrics())?;
    let ended = lines.iter().filter(|l| l.split == "valid" && step.is_some_and(|step| l.step <= step));
    Ok(ended.filter_map(|l| l.values.get(score).copied()).collect())
}
