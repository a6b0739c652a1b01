//! Targets of `mnist-train`: recipes, what is in a run's directory, weights that others made.

use std::{fs, path::Path};

use burn_flex::Flex;
use mnist_data::digest::sha256_hex;
use mnist_model::{nets::NetSettings, parameters::Parameter};
use mnist_train::{
    card, checkpoint,
    few_labels::Cell,
    finetune, foreign,
    import::Import,
    log::{read_end, read_metrics},
    plot, publish, registry,
    report::{self, Report},
    run::Run,
    rundir::{Facts, Provenance, RunDir, SavedRun},
    tune::{self, Dimension, Method, Pruning, Trial},
    weights::load_weights,
};
use tempfile::TempDir;

use crate::harness::{corpus, find};

/// What weights and checkpoints were made under.
pub(crate) const SETTINGS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A directory of its own, in memory where the system has such: on a disk it would take most of the time.
pub(crate) fn home() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A small run.
pub(crate) fn saved() -> SavedRun {
    let sets = ["net=mlp", "mlp.hidden=[3]", "data.limit=100"].map(String::from);
    SavedRun {
        run: Run::resolve(None, &sets).unwrap(),
        facts: Facts {
            size: [4, 4].into(),
            classes: vec!["a".into(), "b".into()],
            mean: 0.125,
            std: 0.25,
            preparation: Default::default(),
            tokens: None,
        },
        provenance: Provenance {
            version: "0.1.0".into(),
            git_commit: "0123456789abcdef".into(),
            backend: "flex".into(),
            devices: 1,
            data_digest: "00".into(),
            imported: None,
        },
    }
}

/// The tensors of the small run's model.
pub(crate) fn parameters() -> Vec<Parameter> {
    let SavedRun { run, facts, .. } = saved();
    registry::trained::<Flex>(&run, &facts, &Default::default()).unwrap()
}

/// A file of these bytes in a directory.
fn put(home: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = home.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A recipe; its lines as `--set`, too.
pub(crate) fn recipe(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(message)?;
    let lines: Vec<String> = text.lines().map(String::from).collect();
    let found = Run::resolve(Some((text, Path::new("recipe.toml"))), &[]).map_err(message);
    Run::resolve(None, &lines[..lines.len().min(4)]).ok();
    tune::recipe(text, &["epochs=3".into(), "schedule.learning_rate=1e-3".into()]).ok();
    let run = found?;
    let facts = saved().facts;
    registry::check(&run, &facts).ok();
    registry::chosen_by(&run).ok();
    registry::task(&run).ok();
    if let Ok(table) = run.to_table() {
        Run::from_saved(table).unwrap();
    }
    Ok(())
}

/// run.toml.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    put(&home, "run.toml", bytes);
    let dir = RunDir::find(&home.path().display().to_string(), Path::new("runs")).map_err(message)?;
    let saved = dir.load().map_err(message);
    dir.settings_digest().ok();
    finetune::Source::find(&home.path().display().to_string(), Path::new("runs")).ok();
    let saved = saved?;
    mnist_train::token_data::Coder::load(&saved, home.path()).ok();
    saved.to_toml().map_err(message).map(|_| ())
}

/// Weights that others made, as `import` and `finetune` take them.
fn foreign_weights(name: &str, bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let path = put(&home, name, bytes);
    finetune::Source::find(&path.display().to_string(), Path::new("runs")).ok();
    let named = foreign::read(&path).map_err(message)?;
    for tensor in named.values() {
        assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
    }
    let file = Import::read(&path).unwrap();
    for (net, _) in NetSettings::TABLE {
        file.settings(net);
    }
    let SavedRun { run, .. } = saved();
    file.fit(&run.net, &run.nets, &parameters(), true).ok();
    let net = foreign::torchvision_net(&named).unwrap_or("resnet50");
    foreign::from_torchvision(named, net).ok();
    Ok(())
}

/// A file of safetensors.
pub(crate) fn safetensors(bytes: &[u8]) -> Result<(), String> {
    foreign_weights("weights.safetensors", bytes)
}

/// A file of PyTorch.
pub(crate) fn pytorch(bytes: &[u8]) -> Result<(), String> {
    foreign_weights("weights.pt", bytes)
}

/// Tries it, and again with the digest that it should have had: most of a reader lies behind that.
fn with_right_digests(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<(), String>,
    digests: impl Fn(&str) -> Option<(String, String)>,
) -> Result<(), String> {
    let mut bytes = bytes.to_vec();
    let mut outcome = read(&bytes);
    for _ in 0..2 {
        let Some((found, written)) = outcome.as_ref().err().and_then(|e| digests(e)) else { break };
        let at = bytes.windows(written.len().max(1)).position(|window| window == written.as_bytes());
        let Some(at) = at else { break };
        bytes.splice(at..at + written.len(), found.bytes());
        outcome = read(&bytes);
    }
    outcome
}

/// The word before and the word after.
fn between(text: &str, before: &str, middle: &str, after: &str) -> Option<(String, String)> {
    let (_, rest) = text.split_once(before)?;
    let (found, rest) = rest.split_once(middle)?;
    let (written, _) = rest.split_once(after)?;
    Some((found.into(), written.into()))
}

/// model.safetensors of a run.
pub(crate) fn weights(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let parameters = parameters();
    let read = |bytes: &[u8]| {
        let path = put(&home, "model.safetensors", bytes);
        let found =
            load_weights::<Flex>(&path, &parameters, SETTINGS, &Default::default()).map_err(message)?;
        assert_eq!(found.len(), parameters.len());
        Ok(())
    };
    with_right_digests(bytes, read, |e| between(e, "SHA-256 of its tensors is ", ", ", " was written"))
}

/// A checkpoint of these two files.
fn load_checkpoint(state: &[u8], tensors: &[u8]) -> Result<(), String> {
    let home = home();
    let dir = home.path().join("step-00000003");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("tensors.safetensors"), tensors).unwrap();
    let read = |state: &[u8]| {
        fs::write(dir.join("state.json"), state).unwrap();
        checkpoint::load::<Flex>(&dir, &parameters(), SETTINGS, &Default::default())
            .map(|_| ())
            .map_err(message)
    };
    with_right_digests(state, read, |e| between(e, "SHA-256 is ", ", ", " was written"))
}

fn good(target: &str) -> Vec<u8> {
    corpus(find(target)).into_iter().find(|(name, _)| name == "good-ours").unwrap().1
}

/// A checkpoint's state.json.
pub(crate) fn checkpoint_state(bytes: &[u8]) -> Result<(), String> {
    load_checkpoint(bytes, &good("checkpoint_tensors"))
}

/// A checkpoint's tensors, behind the digest.
pub(crate) fn checkpoint_tensors(bytes: &[u8]) -> Result<(), String> {
    let state = String::from_utf8(good("checkpoint_state")).unwrap();
    let written = sha256_hex(&good("checkpoint_tensors"));
    assert!(state.contains(&written));
    load_checkpoint(state.replace(&written, &sha256_hex(bytes)).as_bytes(), bytes)
}

/// metrics.jsonl, and the curves that are drawn of it.
pub(crate) fn metrics(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let lines = read_metrics(&put(&home, "metrics.jsonl", bytes)).map_err(message)?;
    let charts = publish::charts(&lines);
    charts.iter().take(3).try_for_each(|chart| plot::svg(chart).map(|_| ())).map_err(message)?;
    // As many as are drawn take seconds; more are refused at once.
    assert!(charts.len() <= 32 || plot::png(&charts).is_err());
    Ok(())
}

/// timing.jsonl.
pub(crate) fn timing(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    read_end(&put(&home, "timing.jsonl", bytes)).map(|_| ()).ok_or_else(|| "no end".into())
}

/// evaluation.json, and what is made of it.
pub(crate) fn evaluation(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let saved = saved();
    put(&home, "run.toml", saved.to_toml().unwrap().as_bytes());
    put(&home, "evaluation.json", bytes);
    let dir = RunDir::find(&home.path().display().to_string(), Path::new("runs")).map_err(message)?;
    let figures = publish::read_evaluation(&dir).map_err(message)?.unwrap();
    figures.accuracy();
    card::markdown(&dir, &saved, &figures);
    if let mnist_train::figures::Figures::Classification(found) = &figures {
        let report = Report {
            title: "name",
            settings_toml: "",
            summary: &[],
            charts: &[],
            evaluation: Some(found),
            split: "test",
            mistakes: &[],
            pictures: &[],
        };
        report::html(&report).map_err(message)?;
    }
    Ok(())
}

/// A finished cell of `few-labels`.
pub(crate) fn cell(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    put(&home, &Cell::file("knn", 10, 1), bytes);
    Cell::read(home.path(), "knn", 10, 1).map_err(message)?.ok_or("none").map_err(message)?;
    Ok(())
}

/// A search: a line is a trial, a dimension in JSON, or one as it is typed.
pub(crate) fn search(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let (mut space, mut trials, mut wrong): (Vec<Dimension>, Vec<Trial>, _) = (Vec::new(), Vec::new(), None);
    for line in text.lines() {
        match (serde_json::from_str(line), serde_json::from_str(line), line.parse()) {
            (Ok(trial), ..) => trials.push(trial),
            (_, Ok(dimension), _) | (.., Ok(dimension)) => space.push(dimension),
            (.., Err(error)) => wrong = Some(error),
        }
    }
    for method in [Method::Random, Method::Tpe] {
        let places = tune::suggest(&space, &trials, method, 1, trials.len() + 1);
        assert_eq!(tune::sets(&space, &places).len(), space.len());
    }
    for trial in &trials {
        tune::sets(&space, &trial.places);
        for pruning in [Pruning::None, Pruning::Median, Pruning::Halving] {
            tune::hopeless(&trial.curve, &trials, pruning);
        }
    }
    tune::best(&trials);
    wrong.map_or(Ok(()), Err)
}
