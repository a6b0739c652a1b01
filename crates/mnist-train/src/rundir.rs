//! A run directory: what is in it, who may write to it, how files get into it whole.
//!
//! ```text
//! runs/NAME/run.toml           every resolved setting, the model's facts, where it came from
//!           metrics.jsonl      one object a line; equal bit for bit between a resumed and an uninterrupted run
//!           timing.jsonl       speed; not comparable between runs
//!           checkpoints/       step-00000860/{tensors.safetensors, state.json}
//!           model.safetensors  the chosen weights
//!           evaluation.json    figures of the test split
//!           curves.png  report.html  model-card.md
//!           tokenizer.json, patches.json   how tokens are made, where the objective learns from such
//!           pictures/          where the objective draws: NAME.png, of texts NAME.txt, at the end, epoch-0003-NAME.png on the way
//!           tensorboard/       event files, where they were asked for
//!           run.lock           held while a process trains
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use mnist_data::{ImageSize, Preparation, digest::sha256_hex};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    checkpoint,
    error::{Result, TrainError},
    registry,
    run::Run,
    token_data::{Kept, TokenFacts},
};

/// The chosen weights of a run.
pub(crate) const MODEL: &str = "model.safetensors";
/// What the directory of a pipeline holds beside the runs of its stages: its text.
pub const PIPELINE: &str = "pipeline.toml";

/// What a model is made for; found out from the data once, kept with the run so that prediction needs no data.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Size of the images.
    pub size: ImageSize,
    /// Name of each class.
    pub classes: Vec<String>,
    /// Mean of the training pixels (in 0-1).
    pub mean: f32,
    /// Standard deviation of the training pixels (in 0-1).
    pub std: f32,
    /// How a picture becomes an image as the data are.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub preparation: Preparation,
    /// Of the token sequences that the data are made into, if the objective learns from such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenFacts>,
}

fn is_usual(preparation: &Preparation) -> bool {
    *preparation == Preparation::default()
}

impl Facts {
    /// Whether a model can be made for such data.
    ///
    /// # Errors
    /// A message that says what was found and wanted.
    pub fn check(&self) -> Result<(), String> {
        if !self.mean.is_finite() || !self.std.is_finite() || self.std <= 0.0 {
            let Self { mean, std, .. } = self;
            let wanted = "both have to be numbers, and the pixels have to differ (a deviation above 0)";
            return Err(format!("pixels have mean {mean} and standard deviation {std}; {wanted}"));
        }
        if self.size.sides().iter().any(|&n| n == 0 || n > 4096) || ![1, 3].contains(&self.size.channels) {
            let wanted = "each side has to be 1 to 4096, in grey or colour";
            return Err(format!("images are {}; {wanted}", self.size));
        }
        if self.classes.len() < 2 && self.tokens.is_none() {
            return Err(format!("there are {} classes; it takes two to tell apart", self.classes.len()));
        }
        Ok(())
    }
}

/// Where a run came from.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of this crate.
    pub version: String,
    /// Commit of the sources, or "unknown".
    pub git_commit: String,
    /// Backend the run began on.
    pub backend: String,
    /// Devices that share each batch: their number decides in which order is summed.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub devices: usize,
    /// SHA-256 over the training data.
    pub data_digest: String,
    /// The file that the weights are from, where they were not trained here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// A file of weights that others made.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// Its name.
    pub file: String,
    /// Its SHA-256.
    pub sha256: String,
}

fn one() -> usize {
    1
}

fn is_one(devices: &usize) -> bool {
    *devices == 1
}

/// A run as run.toml holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedRun {
    /// Settings.
    pub run: Run,
    /// What the model is made for.
    pub facts: Facts,
    /// Where it came from.
    pub provenance: Provenance,
}

impl SavedRun {
    /// The text of run.toml.
    ///
    /// # Errors
    /// [`TrainError::Settings`] where a number does not fit into TOML.
    pub fn to_toml(&self) -> Result<String> {
        let text = |table: &Table| toml::to_string(table).map_err(|e| TrainError::Settings(e.to_string()));
        let mut table = self.run.to_table()?;
        for (key, part) in
            [("model", Table::try_from(&self.facts)), ("provenance", Table::try_from(&self.provenance))]
        {
            let part = part.map_err(|e| TrainError::Settings(e.to_string()))?;
            table.insert(key.into(), Value::Table(part));
        }
        text(&table)
    }

    /// Name of the net: objectives on tokens have one of their own.
    pub fn net(&self) -> &str {
        if self.facts.tokens.is_some() { "transformer" } else { &self.run.net }
    }

    /// Whether data with this digest are those that the run at `path` began with.
    ///
    /// # Errors
    /// [`TrainError::Changed`].
    pub fn check_data(&self, path: &Path, now: &str) -> Result<()> {
        let begun = &self.provenance.data_digest;
        if now == begun {
            return Ok(());
        }
        Err(TrainError::Changed {
            path: path.to_path_buf(),
            what: "the training data (SHA-256)",
            begun: begun.clone(),
            now: now.into(),
            remedy: match self.run.data.path.is_empty() {
                true => "name the run's data with --data-dir",
                false => {
                    "put the text back as it was, or name another with --data where the command takes it"
                }
            },
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut table: Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
        let facts: Facts = take(&mut table, "model")?;
        let provenance = take(&mut table, "provenance")?;
        facts.check().map_err(|e| format!("[model]: {e}"))?;
        let run = Run::from_saved(table)?;
        registry::check(&run, &facts)?;
        Ok(Self { run, facts, provenance })
    }
}

/// Directories in one that hold a file, by name. None where it is not there.
fn holding(file: &str, home: &Path) -> Result<Vec<PathBuf>> {
    if !home.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(home).map_err(TrainError::io("read", home))? {
        let path = entry.map_err(TrainError::io("read", home))?.path();
        if path.join(file).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn take<T: serde::de::DeserializeOwned>(table: &mut Table, key: &str) -> Result<T, String> {
    let part = table.remove(key).ok_or_else(|| format!("it has no [{key}]"))?;
    part.try_into().map_err(|e: toml::de::Error| format!("[{key}]: {e}"))
}

/// A run directory on disk.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the directory of a new run, locks it and writes its run.toml.
    ///
    /// # Errors
    /// [`TrainError::Exists`] if there is one already; [`TrainError::Locked`]; [`TrainError::Io`].
    pub fn create(path: &Path, saved: &SavedRun) -> Result<(Self, RunLock)> {
        let dir = Self { path: path.to_path_buf() };
        if dir.run_toml().exists() {
            return Err(TrainError::Exists { path: dir.path });
        }
        fs::create_dir_all(dir.checkpoints())
            .map_err(TrainError::io("make the directory", &dir.checkpoints()))?;
        let lock = dir.lock()?;
        if !checkpoint::list(&dir.checkpoints())?.is_empty() {
            let reason = "it is gone, but its checkpoints are there; choose another --name".into();
            return Err(TrainError::Damaged { path: dir.run_toml(), reason });
        }
        write_whole(&dir.run_toml(), saved.to_toml()?.as_bytes())?;
        Ok((dir, lock))
    }

    /// Writes files that a model is of no use without; what is there already has to be the same.
    ///
    /// # Errors
    /// [`TrainError::Changed`]; [`TrainError::Io`].
    pub fn keep(&self, files: &[Kept]) -> Result<()> {
        for (name, bytes) in files {
            let path = self.path.join(name);
            if !path.exists() {
                write_whole(&path, bytes)?;
                continue;
            }
            let begun = fs::read(&path).map_err(TrainError::io("read", &path))?;
            if begun != *bytes {
                return Err(TrainError::Changed {
                    path,
                    what: "what was learned from the data (SHA-256)",
                    begun: sha256_hex(&begun),
                    now: sha256_hex(bytes),
                    remedy: "go on with the program and data that it began with",
                });
            }
        }
        Ok(())
    }

    /// Finds a run by its directory, or by its name under `runs`.
    ///
    /// # Errors
    /// [`TrainError::NoRun`] naming the places that were tried.
    pub fn find(wanted: &str, runs: &Path) -> Result<Self> {
        let mut tried = vec![PathBuf::from(wanted), runs.join(wanted)];
        tried.dedup();
        match tried.iter().find(|path| path.join("run.toml").is_file()) {
            Some(path) => Ok(Self { path: path.clone() }),
            None => {
                let within =
                    |dir: &PathBuf| Self::all(dir).unwrap_or_default().into_iter().map(|run| run.path);
                let within = tried.iter().filter(|_| !wanted.is_empty()).flat_map(within).collect();
                Err(TrainError::NoRun { wanted: wanted.into(), tried, within })
            }
        }
    }

    /// All runs under `runs`, and those of pipelines there, one directory deeper.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn all_and_stages(runs: &Path) -> Result<Vec<Self>> {
        let mut found = Self::all(runs)?;
        for pipeline in holding(PIPELINE, runs)? {
            found.extend(Self::all(&pipeline)?);
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// All runs under `runs`, by name. None where the directory is not there.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn all(runs: &Path) -> Result<Vec<Self>> {
        Ok(holding("run.toml", runs)?.into_iter().map(|path| Self { path }).collect())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Last part of the path.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into())
    }

    /// run.toml: every resolved setting.
    pub fn run_toml(&self) -> PathBuf {
        self.path.join("run.toml")
    }

    /// metrics.jsonl.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// timing.jsonl.
    pub fn timing(&self) -> PathBuf {
        self.path.join("timing.jsonl")
    }

    /// tensorboard/.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// checkpoints/.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// model.safetensors: the chosen weights.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// evaluation.json: figures of the test split.
    pub fn evaluation(&self) -> PathBuf {
        self.path.join("evaluation.json")
    }

    /// pictures/: what the model does, drawn after each epoch and at the end.
    pub fn pictures(&self) -> PathBuf {
        self.path.join("pictures")
    }

    /// report.html.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// model-card.md.
    pub fn card(&self) -> PathBuf {
        self.path.join("model-card.md")
    }

    /// curves.png.
    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.png")
    }

    /// Reads run.toml.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Damaged`].
    pub fn load(&self) -> Result<SavedRun> {
        let path = self.run_toml();
        let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        SavedRun::parse(&text).map_err(|reason| TrainError::Damaged { path, reason })
    }

    /// SHA-256 of what run.toml says, whatever its comments and spaces: a checkpoint belongs to the run that has
    /// these settings.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Damaged`].
    pub fn settings_digest(&self) -> Result<String> {
        let path = self.run_toml();
        let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        let damaged = |reason: String| TrainError::Damaged { path: path.clone(), reason };
        let table: Table = text.parse().map_err(|e: toml::de::Error| damaged(e.to_string()))?;
        let plain = toml::to_string(&table).map_err(|e| damaged(e.to_string()))?;
        Ok(sha256_hex(plain.as_bytes()))
    }

    /// Keeps every other process from writing to this run as long as the returned value lives; the system
    /// gives the lock back when the process ends, however it ends.
    ///
    /// # Errors
    /// [`TrainError::Locked`] naming the holder's process; [`TrainError::Io`].
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.path.join("run.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(TrainError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(TrainError::Locked { path: self.path.clone(), holder: holder.trim().into() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(TrainError::Io { action: "lock", path, source });
            }
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "process {}", std::process::id())
        };
        write(&mut file).map_err(TrainError::io("write", &path))?;
        Ok(RunLock { _file: file })
    }
}

/// Proof that no other process writes to a run: see [`RunDir::lock`].
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Writes a file so that it exists whole or not at all: temporary name, fsync, rename, fsync of the directory.
///
/// # Errors
/// [`TrainError::Io`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut builder = tempfile::Builder::new();
        readable(builder.prefix(".tmp-"));
        let mut file = builder.tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(TrainError::io("write", path))
}

/// Temporary files are private; results are as readable as the user's umask says.
#[cfg(unix)]
fn readable(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
fn readable(_builder: &mut tempfile::Builder<'_, '_>) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> SavedRun {
        SavedRun {
            run: Run::default(),
            facts: Facts {
                size: [28, 28].into(),
                classes: vec!["0".into(), "1".into()],
                mean: 0.1307,
                std: 0.3081,
                preparation: Preparation::default(),
                tokens: None,
            },
            provenance: Provenance {
                version: "0.1.0".into(),
                git_commit: "unknown".into(),
                backend: "flex".into(),
                devices: 1,
                data_digest: "00".into(),
                imported: None,
            },
        }
    }

    #[test]
    fn a_run_reads_back_as_written() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, _lock) = RunDir::create(&tmp.path().join("a"), &saved()).unwrap();
        assert_eq!(dir.load().unwrap(), saved());
        assert!(matches!(RunDir::create(dir.path(), &saved()), Err(TrainError::Exists { .. })));
        assert_eq!(RunDir::find("a", tmp.path()).unwrap().path(), dir.path());
        assert_eq!(RunDir::all(tmp.path()).unwrap().len(), 1);
        let error = RunDir::find("b", tmp.path()).unwrap_err().to_string();
        assert!(error.contains("\"b\" is not a run"), "{error}");
    }

    #[test]
    fn a_damaged_run_file_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, _lock) = RunDir::create(&tmp.path().join("a"), &saved()).unwrap();
        let whole = fs::read_to_string(dir.run_toml()).unwrap();
        for (damage, wanted) in [
            (whole.replace("[model]", "[modle]"), "it has no [model]"),
            (whole.replace("epochs", "epocks"), "epochs"),
            (whole.replace("std = ", "std = -"), "[model]: pixels have mean"),
            ("]".into(), "run.toml is damaged"),
        ] {
            fs::write(dir.run_toml(), damage).unwrap();
            let error = dir.load().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_gone() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, first) = RunDir::create(&tmp.path().join("a"), &saved()).unwrap();
        let error = dir.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        dir.lock().unwrap();
    }
}
