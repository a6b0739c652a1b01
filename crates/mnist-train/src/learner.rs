//! The learner: one loop for every objective, read from top to bottom.
//!
//! It knows no objective, net or backend by name. Everything random is a function of (seed, epoch, step), so
//! its whole memory is a checkpoint: a run that is killed and resumed writes the same bytes as one that is not.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use burn::{
    module::AutodiffModule,
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use mnist_data::{Examples, Key};
use mnist_model::{
    objectives::{ObjectiveConfig, Phase, Progress},
    parameters::{Parameter, parameters},
};

use crate::{
    checkpoint::{self, Best, Checkpoint, LearnerState},
    data::{Kind, TrainingData},
    error::{Result, TrainError},
    evaluate,
    finetune::{Method, Source},
    grid,
    log::{MetricsLine, MetricsLog, TimingLine, append_timing},
    optimizer::{Average, Optimizer, clip_factor, global_norm, kept_share},
    publish::save_pictures,
    replicas::{Parts, Replicas},
    run::Run,
    rundir::RunDir,
    tensors::{flatten, replace, set_trained, unflatten, unflatten_trained},
    weights,
};

/// What a training is given.
pub struct Session<'a> {
    /// Settings.
    pub run: &'a Run,
    /// Where everything goes; the caller holds its lock.
    pub dir: &'a RunDir,
    /// The two splits.
    pub data: &'a TrainingData,
    /// The checkpoint to go on from; `None` starts anew.
    pub resume: Option<PathBuf>,
    /// The encoder that a new training starts from; a checkpoint needs it no more.
    pub source: Option<&'a Source>,
    /// Set from outside to stop after the current step, with a checkpoint.
    pub stop: &'a AtomicBool,
    /// Told what happens, for showing it.
    pub tell: &'a mut dyn FnMut(Event<'_>),
}

/// What happens in a training.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The first step is about to be made.
    Begun {
        /// Updates made before.
        step: usize,
        /// Updates of the whole training.
        total: usize,
        /// Updates of an epoch.
        per_epoch: usize,
        /// Trained values of the model.
        parameters: usize,
    },
    /// A line of the log was written.
    Logged {
        /// The line.
        line: &'a MetricsLine,
        /// Training examples a second in this sitting.
        examples_per_second: f64,
    },
    /// Validation was done.
    Validated {
        /// The line.
        line: &'a MetricsLine,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A checkpoint was written.
    Saved {
        /// Its directory.
        path: &'a PathBuf,
    },
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All epochs done, or stopped early; the chosen weights are in model.safetensors.
    Finished(LearnerState),
    /// Stopped from outside, with a checkpoint.
    Interrupted {
        /// Updates made.
        step: usize,
    },
}

/// Trains the model of `config`, from the beginning or from a checkpoint, on the first of `devices`; where
/// there are more, they share the images of each update.
///
/// # Errors
/// [`TrainError::Settings`] without a device, or with fewer images in a batch than devices;
/// [`TrainError::NotFinite`] with step and learning rate; [`TrainError::Checkpoint`]; [`TrainError::Io`]; the last
/// good checkpoint stays as it is.
pub fn fit<B, C>(config: &C, session: Session<'_>, devices: &[B::Device]) -> Result<Outcome>
where
    B: AutodiffBackend,
    C: ObjectiveConfig,
    C::Input: Kind,
    C::Model<B>: AutodiffModule<B, InnerModule = C::Model<B::InnerBackend>> + 'static,
{
    let Session { run, dir, data, resume, source, stop, tell } = session;
    let [device, others @ ..] = devices else {
        return Err(TrainError::Settings("no device was chosen".into()));
    };
    if C::WHOLE_BATCH && !others.is_empty() {
        return Err(TrainError::Settings(format!(
            "a batch of the objective {} has to stay whole; train on one device, not on {}",
            run.objective,
            devices.len()
        )));
    }
    if run.batch_size < devices.len() {
        return Err(TrainError::Settings(format!(
            "batch_size is {}; {} devices need an image each at least",
            run.batch_size,
            devices.len()
        )));
    }
    let settings = dir.settings_digest()?;
    let [train, valid] = data.loaders::<C::Input>()?;
    let phases = config.phases();

    B::seed(device, Key::new(run.seed).named("weights").seed());
    let mut model = config.init::<B>(device).map_err(TrainError::Settings)?;
    let params = parameters::<B, _>(&model);
    if let (Some(source), None) = (source, &resume) {
        model = source.start::<B, _>(model, &params, device)?;
    }
    let mut optimizer = Optimizer::<B::InnerBackend>::new(&run.optimizer, &params);
    let mut average = (run.ema.decay > 0.0).then(|| flatten::<B::InnerBackend, _>(&model.valid()));
    let mut state = LearnerState { settings: settings.clone(), ..Default::default() };
    if let Some(path) = resume {
        let checkpoint = checkpoint::load::<B::InnerBackend>(&path, &params, &settings, device)?;
        model = unflatten_trained::<B, _>(model, checkpoint.model);
        optimizer.slots = checkpoint.slots;
        average = checkpoint.average;
        state = checkpoint.state;
    }
    let replicas = Replicas::<B, C::Input>::start(config, device, others, run.recompute)?;
    checkpoint::discard_after(&dir.checkpoints(), (state.step > 0).then_some(state.step))?;
    let mut metrics = MetricsLog::open(&dir.metrics(), state.metrics_length)?;

    // A pass reads every example once; an epoch ends in validation and is a pass, unless the steps are given.
    let steps_per_pass = train.steps_per_epoch().div_ceil(run.accumulate);
    let (steps_per_epoch, total) = match run.steps {
        0 => (steps_per_pass, steps_per_pass * run.epochs),
        steps => (steps.div_ceil(run.epochs), steps),
    };
    let rates = run.finetune.rates(&params);
    // The last epochs may not come, where the steps are given.
    let epochs = total.div_ceil(steps_per_epoch.max(1));
    let left = run.finetune.frozen(&params, epochs.saturating_sub(1), epochs);
    let left = left.iter().filter(|frozen| **frozen).count();
    if run.finetune.method == Method::Gradual && left > 0 {
        let tensors = params.len();
        tracing::warn!(
            "gradual: {epochs} epochs are too few, {left} of {tensors} tensors stay frozen to the end"
        );
    }
    let mut window = Window::new(std::mem::take(&mut state.window));
    let mut clock = Clock::new(state.train_seconds);
    tell(Event::Begun {
        step: state.step,
        total,
        per_epoch: steps_per_epoch,
        parameters: trained_values(
            &params,
            &run.finetune.frozen(&params, state.step / steps_per_epoch, epochs),
        ),
    });

    while !state.finished {
        let pass = state.step / steps_per_pass;
        let mut batches = train.epoch(pass, state.step % steps_per_pass * run.accumulate);
        let mut pass_ended = false;
        while !pass_ended && !state.finished {
            let epoch = state.step / steps_per_epoch;
            let frozen = run.finetune.frozen(&params, epoch, epochs);
            if optimizer.frozen != frozen {
                let trained = params.iter().zip(&frozen).map(|(p, frozen)| p.trained && !frozen).collect();
                model = set_trained::<B, _>(model, trained);
                optimizer.frozen = frozen;
            }

            // One update: learning rate, batches, losses, gradients, new values.
            let lr = run.schedule.lr_at(state.step, total);
            let group: Vec<C::Input> = batches.by_ref().take(run.accumulate).collect();
            let examples: usize = group.iter().map(C::Input::len).sum();
            let mut parts = Parts::default();
            for (number, phase) in phases.iter().enumerate() {
                let at = Progress { phase: number, step: state.step, total };
                let found = replicas.gradients(&model, group.clone(), run.seed, at);
                let grads = moved(phase, &params, found.gradients);
                let norm = (run.optimizer.clip_norm > 0.0).then(|| global_norm(&grads)).flatten();
                let factor = norm.map(|norm| clip_factor(norm, run.optimizer.clip_norm));
                let keep = kept_share(run.ema.decay, state.step + 1);
                let last = number + 1 == phases.len();
                let moving = average.as_mut().filter(|_| last).map(|values| Average { values, keep });
                let rate = lr * phase.learning_rate;
                model = replace::<B, _>(model, optimizer.step(|i| rate * rates[i], grads, factor, moving));
                parts.append(found.parts, phase.loss);
            }
            state.step += 1;
            window.push(lr, parts);
            clock.trained(examples);
            pass_ended = state.step.is_multiple_of(steps_per_pass);
            let epoch_ended = state.step.is_multiple_of(steps_per_epoch) || state.step == total;

            // Log: the only place where numbers leave the device.
            let stopping = stop.load(Ordering::Relaxed);
            let due = clock.due(state.step, &run.checkpoint);
            if epoch_ended || stopping || due || state.step.is_multiple_of(run.log.every_steps) {
                window.fetch(state.step, steps_per_epoch)?;
            }
            if epoch_ended || state.step.is_multiple_of(run.log.every_steps) {
                let line = window.line(state.step, epoch + 1, lr);
                metrics.write(&line)?;
                tell(Event::Logged { line: &line, examples_per_second: clock.examples_per_second() });
            }

            // Validate.
            let mut better = false;
            if epoch_ended {
                let chosen = match &average {
                    Some(average) => unflatten(model.valid(), average.clone()),
                    None => model.valid(),
                };
                let values = evaluate::scores::<B::InnerBackend, _>(&chosen, valid, device);
                let pictures = grid::of::<B::InnerBackend, _>(&chosen, valid, device)?;
                save_pictures(dir, &format!("epoch-{:04}-", epoch + 1), &pictures)?;
                let score = values.get(C::CHOSEN_BY.score).copied().unwrap_or(f64::NAN);
                if let Some(loss) = values.values().chain([&score]).find(|v| !v.is_finite()) {
                    let (step, epoch, loss) = (state.step, epoch + 1, *loss as f32);
                    return Err(TrainError::NotFinite { step, epoch, learning_rate: lr, loss });
                }
                let best = state.best.as_ref().map(|best| best.score);
                let gain = best.is_none_or(|best| C::CHOSEN_BY.better(score, best));
                state.epochs_without_gain = if gain { 0 } else { state.epochs_without_gain + 1 };
                better = gain || best == Some(score); // of equals the later one, which has seen more
                if better {
                    state.best = Some(Best { step: state.step, epoch: epoch + 1, score });
                }
                let patience = run.early_stopping.patience;
                state.finished =
                    state.step >= total || (patience > 0 && state.epochs_without_gain >= patience);
                let line = MetricsLine {
                    split: "valid".into(),
                    step: state.step,
                    epoch: epoch + 1,
                    learning_rate: lr,
                    values,
                };
                metrics.write(&line)?;
                tell(Event::Validated { line: &line, best: better });
                let timing = clock.line(if state.finished { "end" } else { "epoch" }, state.step);
                append_timing(&dir.timing(), &timing)?;
            }

            // Save. A validation takes long enough to be asked to stop in.
            let stopping = stopping || epoch_ended && stop.load(Ordering::Relaxed);
            if better || state.finished || stopping || due {
                state.metrics_length = metrics.sync()?;
                state.train_seconds = clock.train_seconds();
                state.window = window.rows.clone();
                let saved = Checkpoint {
                    model: flatten(&model.valid()),
                    average: average.clone(),
                    slots: optimizer.slots.clone(),
                    state: state.clone(),
                };
                let path = checkpoint::save(&dir.checkpoints(), &params, &saved)?;
                let best = state.best.as_ref().map(|best| best.step);
                checkpoint::prune(&dir.checkpoints(), run.checkpoint.keep, best)?;
                clock.saved();
                tell(Event::Saved { path: &path });
            }
            if stopping && !state.finished {
                return Ok(Outcome::Interrupted { step: state.step });
            }
            clock.resume_training();
        }
    }

    // The chosen weights are those of the best validation.
    let best = state.best.as_ref().map_or(state.step, |best| best.step);
    let path = checkpoint::path_of(&dir.checkpoints(), best);
    let chosen = checkpoint::load_chosen::<B::InnerBackend>(&path, &params, &settings, device)?;
    let (params, chosen) = run.finetune.merged(params, chosen);
    weights::save_weights(&dir.model(), &params, &chosen, &settings)?;
    Ok(Outcome::Finished(state))
}

/// Number of values that training moves.
fn trained_values(params: &[Parameter], frozen: &[bool]) -> usize {
    params.iter().zip(frozen).filter(|(p, frozen)| p.trained && !**frozen).map(|(p, _)| p.len()).sum()
}

/// The gradients that move something in a phase.
fn moved<B: Backend>(
    phase: &Phase,
    params: &[Parameter],
    gradients: Vec<Option<Tensor<B, 1>>>,
) -> Vec<Option<Tensor<B, 1>>> {
    params.iter().zip(gradients).map(|(p, gradient)| gradient.filter(|_| phase.moves(&p.path))).collect()
}

/// The named losses since the last line of the log: on the device until they are fetched.
struct Window<B: Backend> {
    names: Vec<&'static str>,
    waiting: Vec<(f64, Vec<Tensor<B, 1>>)>,
    rows: Vec<Vec<f32>>,
}

impl<B: Backend> Window<B> {
    fn new(rows: Vec<Vec<f32>>) -> Self {
        Self { names: Vec::new(), waiting: Vec::new(), rows }
    }

    fn push(&mut self, lr: f64, parts: Parts<B>) {
        self.names = parts.names;
        self.waiting.push((lr, parts.values));
    }

    /// Brings what is waiting to the host; `step` is the last one's. A loss that is no number stops training
    /// here, before anything of it can be saved.
    fn fetch(&mut self, step: usize, steps_per_epoch: usize) -> Result<()> {
        let first = step + 1 - self.waiting.len();
        for (i, (learning_rate, values)) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let row: Vec<f32> =
                values.into_iter().flat_map(|v| v.into_data().iter::<f32>().collect::<Vec<_>>()).collect();
            if let Some(&loss) = row.iter().find(|value| !value.is_finite()) {
                let step = first + i;
                let epoch = (step - 1) / steps_per_epoch + 1;
                return Err(TrainError::NotFinite { step, epoch, learning_rate, loss });
            }
            self.rows.push(row);
        }
        Ok(())
    }

    /// Means over the window, which is empty afterwards.
    fn line(&mut self, step: usize, epoch: usize, learning_rate: f64) -> MetricsLine {
        let rows = std::mem::take(&mut self.rows);
        let mean = |i: usize| {
            rows.iter().filter_map(|row| row.get(i)).map(|v| f64::from(*v)).sum::<f64>() / rows.len() as f64
        };
        let values = self.names.iter().enumerate().map(|(i, name)| ((*name).to_string(), mean(i))).collect();
        MetricsLine { split: "train".into(), step, epoch, learning_rate, values }
    }
}

/// Time: for showing and for deciding when to save, never for what is computed.
struct Clock {
    begun: Instant,
    before: f64,
    last_save: Instant,
    lap: Instant,
    training: Duration,
    images: usize,
}

impl Clock {
    fn new(before: f64) -> Self {
        let now = Instant::now();
        Self { begun: now, before, last_save: now, lap: now, training: Duration::ZERO, images: 0 }
    }

    fn trained(&mut self, images: usize) {
        self.training += self.lap.elapsed();
        self.lap = Instant::now();
        self.images += images;
    }

    fn resume_training(&mut self) {
        self.lap = Instant::now();
    }

    fn due(&self, step: usize, settings: &crate::run::CheckpointSettings) -> bool {
        (settings.every_steps > 0 && step.is_multiple_of(settings.every_steps))
            || (settings.every_seconds > 0
                && self.last_save.elapsed() >= Duration::from_secs(settings.every_seconds))
    }

    fn saved(&mut self) {
        self.last_save = Instant::now();
    }

    fn examples_per_second(&self) -> f64 {
        self.images as f64 / self.training.as_secs_f64().max(1e-9)
    }

    fn train_seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    fn line(&self, event: &str, step: usize) -> TimingLine {
        TimingLine {
            event: event.into(),
            step,
            examples_per_second: self.examples_per_second(),
            train_seconds: self.train_seconds(),
        }
    }
}
