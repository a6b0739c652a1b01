//! What the tests of the learner share: small runs on the real images, one at a time.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, atomic::AtomicBool},
};

use burn::{backend::Autodiff, tensor::backend::Backend};
use burn_flex::Flex;
use mnist_train::{
    TrainError, checkpoint,
    data::TrainingData,
    finetune::Source,
    learner::{Event, Outcome, Session},
    registry,
    run::Run,
    rundir::{Provenance, RunDir, SavedRun},
};

/// Burn's generator is one for the process: trainings in threads side by side would draw from each other's.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(crate) fn settings(sets: &[&str]) -> Run {
    let small = ["data.limit=192", "epochs=2", "log.every_steps=4", "checkpoint.every_seconds=0"];
    let sets: Vec<String> = small.iter().chain(sets).map(ToString::to_string).collect();
    Run::resolve(None, &sets).unwrap()
}

/// A run begun in a directory of its own.
pub(crate) struct Lab {
    pub run: Run,
    pub data: TrainingData,
    pub dir: RunDir,
    pub saved: SavedRun,
    pub source: Option<Source>,
    _home: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(run: Run) -> Self {
        let data = TrainingData::load(&run, None).unwrap();
        Self::with(run, data)
    }

    /// As [`Lab::new`], with data that have been read.
    pub(crate) fn with(run: Run, mut data: TrainingData) -> Self {
        // 5,000 validation images a test would be slow; 250 tell as much here.
        data.valid = data.valid.first(250);
        let saved = SavedRun {
            run: run.clone(),
            facts: data.facts.clone(),
            provenance: Provenance {
                version: "test".into(),
                git_commit: "test".into(),
                backend: "flex".into(),
                devices: 1,
                data_digest: data.digest.clone(),
                imported: None,
            },
        };
        let home = tempfile::tempdir().unwrap();
        let (dir, _lock) = RunDir::create(&home.path().join("run"), &saved).unwrap();
        dir.keep(&data.kept).unwrap();
        Self { run, data, dir, saved, source: None, _home: home }
    }

    pub(crate) fn newest(&self) -> Option<PathBuf> {
        checkpoint::list(&self.dir.checkpoints()).unwrap().pop()
    }

    pub(crate) fn fit(&self) -> Result<Outcome, TrainError> {
        self.fit_on::<Flex>(None, None)
    }

    /// Trains; `stop_at` asks for a stop when the log reaches that step.
    pub(crate) fn fit_on<B: Backend>(
        &self,
        resume: Option<PathBuf>,
        stop_at: Option<usize>,
    ) -> Result<Outcome, TrainError> {
        self.fit_shared::<B>(resume, stop_at, &[Default::default()])
    }

    /// As [`Lab::fit_on`], each batch shared among devices.
    pub(crate) fn fit_shared<B: Backend>(
        &self,
        resume: Option<PathBuf>,
        stop_at: Option<usize>,
        devices: &[B::Device],
    ) -> Result<Outcome, TrainError> {
        use std::sync::atomic::Ordering;
        let stop = AtomicBool::new(false);
        let session = Session {
            run: &self.run,
            dir: &self.dir,
            data: &self.data,
            resume,
            source: self.source.as_ref(),
            stop: &stop,
            tell: &mut |event| {
                if let Event::Logged { line, .. } = event
                    && stop_at.is_some_and(|at| line.step >= at)
                {
                    stop.store(true, Ordering::Relaxed);
                }
            },
        };
        registry::fit::<Autodiff<B>>(&self.data.facts, session, devices)
    }

    /// All that has to be equal between a resumed and an uninterrupted run.
    pub(crate) fn results(&self) -> (Vec<u8>, String) {
        let read = |path: &Path| std::fs::read(path).unwrap();
        (read(&self.dir.model()), String::from_utf8(read(&self.dir.metrics())).unwrap())
    }
}
