//! An objective that the repository does not have, through its learner: checkpoints, exact resume, metrics and all.
//!
//!     cargo run -- runs/rotation        (stop it with Ctrl-C and start it again: it goes on)
//!
//! `mnist-cli finetune --from runs/rotation/model.safetensors` reuses the encoder.

mod rotation;

use std::{error::Error, path::Path, sync::atomic::AtomicBool};

use burn::backend::Autodiff;
use burn_flex::Flex;
use mnist_model::nets::EncoderConfig;
use mnist_train::{
    checkpoint,
    data::TrainingData,
    learner::{self, Event, Outcome, Session},
    run::Run,
    rundir::{Provenance, RunDir, SavedRun},
};
use rotation::RotationConfig;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or("runs/rotation".into());
    let sets = ["net=cnn", "epochs=2", "data.limit=6000", "checkpoint.every_seconds=5"].map(String::from);
    let mut run = Run::resolve(None, &sets)?;
    run.objective = "rotation".into();
    let data = TrainingData::images(&run, None)?;
    let provenance = Provenance {
        version: env!("CARGO_PKG_VERSION").into(),
        git_commit: "unknown".into(),
        backend: "flex".into(),
        devices: 1,
        data_digest: data.digest.clone(),
        imported: None,
    };
    let facts = data.facts.clone();
    let encoder = EncoderConfig::new(&run.net, run.nets.clone(), facts.size);
    let config = RotationConfig { encoder: EncoderConfig { mean: facts.mean, std: facts.std, ..encoder } };

    let (dir, _lock) = match RunDir::find(&path, Path::new(".")) {
        Ok(dir) => {
            let lock = dir.lock()?;
            (dir, lock)
        }
        Err(_) => RunDir::create(Path::new(&path), &SavedRun { run: run.clone(), facts, provenance })?,
    };
    let session = Session {
        run: &run,
        dir: &dir,
        data: &data,
        resume: checkpoint::list(&dir.checkpoints())?.pop(),
        source: None,
        stop: &AtomicBool::new(false),
        tell: &mut |event| {
            if let Event::Logged { line, .. } | Event::Validated { line, .. } = event {
                println!("step {} {} {:.4?}", line.step, line.split, line.values);
            }
        },
    };
    let outcome = learner::fit::<Autodiff<Flex>, _>(&config, session, &[Default::default()])?;
    if let Outcome::Finished(_) = outcome {
        println!("{}", dir.model().display());
    }
    Ok(())
}
