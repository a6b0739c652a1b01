//! Checkpoints: a directory that exists whole or not at all, and says itself whether it is sound.
//!
//! `step-00000860/tensors.safetensors` holds every tensor under its name (`model.net.layers.0.conv.weight`,
//! `average. ...`, `optimizer.first. ...`, `optimizer.second. ...`) in full precision; `state.json` holds the
//! learner's state and the SHA-256 of both. Burn's recorders are not used: they load a tensor of another shape
//! without a word, and panic on damaged bytes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use burn::tensor::{Tensor, backend::Backend};
use mnist_data::digest::sha256_hex;
use mnist_model::parameters::Parameter;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, TrainError},
    optimizer::Slot,
    rundir::write_whole,
    weights::{Taken, bytes_of, serialize},
};

const TENSORS: &str = "tensors.safetensors";
const STATE: &str = "state.json";

/// A checkpoint, or a file of weights, that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Bytes that are not what was written.
    #[error("{path} is damaged: {reason}{}", offer(.whole))]
    Damaged {
        /// The checkpoint or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// The newest older checkpoint that is sound.
        whole: Option<PathBuf>,
    },
    /// A checkpoint or weights made under other settings.
    #[error(
        "{path} was made under other settings than run.toml has now: put the run.toml it was made under back, or \
         train anew under another --name{}",
        offer(.whole)
    )]
    Foreign {
        /// The checkpoint or file.
        path: PathBuf,
        /// The newest older checkpoint that is sound.
        whole: Option<PathBuf>,
    },
    /// Weights that are infinite or not a number.
    #[error(
        "{path} was not written: {tensor} holds {value}, training has diverged. Try a smaller \
         schedule.learning_rate, a longer schedule.warmup or optimizer.clip_norm=1"
    )]
    NotFinite {
        /// The checkpoint that would have been.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The value.
        value: f32,
    },
    /// Tensors that do not fit the model.
    #[error("{path} does not fit the model: {}", .mismatches.join("; "))]
    Mismatch {
        /// The checkpoint or file.
        path: PathBuf,
        /// One entry a tensor: its name, what was found and wanted.
        mismatches: Vec<String>,
    },
}

fn offer(whole: &Option<PathBuf>) -> String {
    match whole.as_ref().and_then(|path| path.file_name()) {
        Some(name) => format!(
            ". The one before it, {0}, is sound: add `--checkpoint {0}` to go on from there",
            name.to_string_lossy()
        ),
        None => String::new(),
    }
}

/// What the learner has to know to go on as if nothing had happened.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(deny_unknown_fields)]
pub struct LearnerState {
    /// Updates made.
    pub step: usize,
    /// SHA-256 of the run's settings.
    pub settings: String,
    /// Values of the current log window, one row a step.
    pub window: Vec<Vec<f32>>,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Epochs since then.
    pub epochs_without_gain: usize,
    /// Length of metrics.jsonl, in bytes.
    pub metrics_length: u64,
    /// Seconds spent training, all sittings together.
    pub train_seconds: f64,
    /// Whether training is over (last epoch done, or stopped early).
    pub finished: bool,
}

/// The best validation so far.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Step at whose end it was.
    pub step: usize,
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Value of the score that chooses.
    pub score: f64,
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint<B: Backend> {
    /// The model's tensors.
    pub model: Vec<Tensor<B, 1>>,
    /// Their moving average, where it is on.
    pub average: Option<Vec<Tensor<B, 1>>>,
    /// The optimizer's memory.
    pub slots: Vec<Option<Slot<B>>>,
    /// The learner's state.
    pub state: LearnerState,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    state: LearnerState,
    /// Updates behind each entry of the optimizer's memory.
    optimizer_times: BTreeMap<String, usize>,
    /// SHA-256 of the tensors' file, and of the two fields above as compact JSON.
    sha256: Digests,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    tensors: String,
    state: String,
}

/// Writes a checkpoint under `dir` (the run's checkpoints/), and returns its path.
///
/// # Errors
/// [`CheckpointError::NotFinite`]; [`TrainError::Io`]; what was there before is untouched.
pub fn save<B: Backend>(dir: &Path, parameters: &[Parameter], checkpoint: &Checkpoint<B>) -> Result<PathBuf> {
    let mut named = BTreeMap::new();
    let mut optimizer_times = BTreeMap::new();
    for (i, p) in parameters.iter().enumerate() {
        if let Some(value) = checkpoint.model.get(i).and_then(not_finite) {
            let (path, tensor) = (path_of(dir, checkpoint.state.step), p.path.clone());
            return Err(CheckpointError::NotFinite { path, tensor, value }.into());
        }
        let mut put = |kind: &str, tensor: Option<&Tensor<B, 1>>| {
            if let Some(tensor) = tensor {
                named.insert(format!("{kind}.{}", p.path), (p.shape.clone(), bytes_of(tensor)));
            }
        };
        put("model", checkpoint.model.get(i));
        put("average", checkpoint.average.as_ref().and_then(|list| list.get(i)));
        if let Some(Some(slot)) = checkpoint.slots.get(i) {
            put("optimizer.first", Some(&slot.first));
            put("optimizer.second", slot.second.as_ref());
            optimizer_times.insert(p.path.clone(), slot.time);
        }
    }
    let path = path_of(dir, checkpoint.state.step);
    let tensors = serialize(&named, None, &path)?;
    let state = checkpoint.state.clone();
    let sha256 = Digests { tensors: sha256_hex(&tensors), state: state_digest(&state, &optimizer_times) };
    let state = serde_json::to_vec_pretty(&StateFile { state, optimizer_times, sha256 })
        .map_err(|e| TrainError::Io { action: "write", path: path.clone(), source: e.into() })?;

    let temporary = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempdir_in(dir)
        .map_err(TrainError::io("write into", dir))?;
    write_whole(&temporary.path().join(TENSORS), &tensors)?;
    write_whole(&temporary.path().join(STATE), &state)?;
    if path.exists() {
        remove(&path)?; // the same step, saved again after a resume from an older one
    }
    fs::rename(temporary.keep(), &path).map_err(TrainError::io("write", &path))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(TrainError::io("write", dir))?;
    Ok(path)
}

/// Loads and checks a checkpoint for a model with these tensors.
///
/// # Errors
/// [`CheckpointError`] naming what is wrong and, where there is one, the newest older checkpoint that is sound.
pub fn load<B: Backend>(
    path: &Path,
    parameters: &[Parameter],
    settings: &str,
    device: &B::Device,
) -> Result<Checkpoint<B>, CheckpointError> {
    let damaged = |reason: String| CheckpointError::Damaged {
        path: path.to_path_buf(),
        reason,
        whole: newest_whole_before(path, settings),
    };
    let (file, bytes) = verify(path).map_err(damaged)?;
    if file.state.settings != settings {
        let whole = newest_whole_before(path, settings);
        return Err(CheckpointError::Foreign { path: path.to_path_buf(), whole });
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(format!("{TENSORS}: {e}")))?;
    let mut taken = Taken::new(&tensors, path);
    let model = parameters.iter().map(|p| taken.need("model", p, device)).collect();
    let has_average = tensors.names().iter().any(|name| name.starts_with("average."));
    let average = has_average.then(|| parameters.iter().map(|p| taken.need("average", p, device)).collect());
    let slots = parameters
        .iter()
        .map(|p| {
            let time = *file.optimizer_times.get(&p.path)?;
            let first = taken.need("optimizer.first", p, device);
            Some(Slot { time, first, second: taken.find("optimizer.second", p, device) })
        })
        .collect();
    taken.finish()?;
    Ok(Checkpoint { model, average, slots, state: file.state })
}

/// The weights that a checkpoint's validation was of: the moving average where there is one, else the model.
///
/// # Errors
/// [`CheckpointError`], as [`load`].
pub fn load_chosen<B: Backend>(
    path: &Path,
    parameters: &[Parameter],
    settings: &str,
    device: &B::Device,
) -> Result<Vec<Tensor<B, 1>>, CheckpointError> {
    let checkpoint = load(path, parameters, settings, device)?;
    Ok(checkpoint.average.unwrap_or(checkpoint.model))
}

/// All checkpoints in `dir`, oldest first.
///
/// # Errors
/// [`TrainError::Io`].
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(TrainError::io("read", dir))? {
        let path = entry.map_err(TrainError::io("read", dir))?.path();
        if step_of(&path).is_some() {
            found.push(path);
        }
    }
    found.sort_by_key(|path| step_of(path));
    Ok(found)
}

/// The checkpoint of a step in `dir`.
pub fn path_of(dir: &Path, step: usize) -> PathBuf {
    dir.join(format!("step-{step:08}"))
}

/// Removes all but the `keep` newest checkpoints and the best one, and what a killed process left half-written.
///
/// # Errors
/// [`TrainError::Io`].
pub fn prune(dir: &Path, keep: usize, best: Option<usize>) -> Result<()> {
    let all = list(dir)?;
    for path in all.iter().take(all.len().saturating_sub(keep)) {
        if step_of(path) != best {
            remove(path)?;
        }
    }
    Ok(())
}

/// Removes the checkpoints after `step` (all of them for `None`): a training goes on from there, and theirs is a
/// future that will not be.
///
/// # Errors
/// [`TrainError::Io`].
pub fn discard_after(dir: &Path, step: Option<usize>) -> Result<()> {
    list(dir)?.iter().filter(|path| step_of(path) > step).try_for_each(|path| remove(path))
}

/// Removes what a killed process left half-written in `dir`. Only for the holder of the run's lock.
///
/// # Errors
/// [`TrainError::Io`].
pub fn sweep(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(TrainError::io("read", dir))? {
        let entry = entry.map_err(TrainError::io("read", dir))?;
        if entry.file_name().to_string_lossy().starts_with(".tmp-") {
            let path = entry.path();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(TrainError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Renames first, so that a half-removed directory never looks like a checkpoint.
fn remove(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let doomed = path.with_file_name(format!(".tmp-old-{name}"));
    fs::rename(path, &doomed)
        .and_then(|()| fs::remove_dir_all(&doomed))
        .map_err(TrainError::io("remove", path))
}

fn step_of(path: &Path) -> Option<usize> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

fn newest_whole_before(path: &Path, settings: &str) -> Option<PathBuf> {
    let all = list(path.parent()?).ok()?;
    let usable = |other: &PathBuf| verify(other).is_ok_and(|(file, _)| file.state.settings == settings);
    all.into_iter().rev().filter(|other| step_of(other) < step_of(path)).find(usable)
}

/// Reads a checkpoint's two files and compares their digests.
fn verify(path: &Path) -> Result<(StateFile, Vec<u8>), String> {
    let read = |name: &str| fs::read(path.join(name)).map_err(|e| format!("{name}: {e}"));
    let file: StateFile = serde_json::from_slice(&read(STATE)?).map_err(|e| format!("{STATE}: {e}"))?;
    let compare = |name: &str, found: String, wanted: &str| {
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{name}: SHA-256 is {found}, {wanted} was written"))
        }
    };
    compare(STATE, state_digest(&file.state, &file.optimizer_times), &file.sha256.state)?;
    let bytes = read(TENSORS)?;
    compare(TENSORS, sha256_hex(&bytes), &file.sha256.tensors)?;
    Ok((file, bytes))
}

fn state_digest(state: &LearnerState, optimizer_times: &BTreeMap<String, usize>) -> String {
    sha256_hex(&serde_json::to_vec(&(state, optimizer_times)).unwrap_or_default())
}

fn not_finite<B: Backend>(tensor: &Tensor<B, 1>) -> Option<f32> {
    tensor.to_data().iter::<f32>().find(|value| !value.is_finite())
}
