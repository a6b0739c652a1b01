//! What a run will take, told before it begins: values, multiplications, memory, time.
//!
//! Values are the model's own. Multiplications and what is kept for the backward pass are counted
//! ([`cpu_ops::counted`]) in passes over a few examples, and follow for a whole batch, as both are straight lines in the
//! number of examples. Seconds are those of the same passes on this machine as busy as it is now, over as many examples
//! as there is time for; [`Time::measured_batch`] says over how many.

use std::{fs, time::Instant};

use burn::{
    module::AutodiffModule,
    tensor::{Tensor, backend::AutodiffBackend},
};
use cpu_ops::{Work, counted};
use mnist_data::{Examples, Key};
use mnist_model::{
    objectives::{ObjectiveConfig, Progress},
    parameters::{Parameter, parameters},
};
use serde::Serialize;

use crate::{
    data::{EVALUATION_BATCH, Kind, TrainingData},
    error::Result,
    evaluate,
    optimizer::{Average, Optimizer, Rule},
    replicas::Replicas,
    run::Run,
};

/// Bytes of a value.
const VALUE: u64 = 4;

/// Passes over the largest number of examples, at most.
const MOST_REPEATS: usize = 64;

/// What a run will take.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub struct Plan {
    /// Trained values of the parts of the model, by the beginning of their names.
    pub parts: Vec<(String, u64)>,
    /// Trained values of the whole model, those that fine-tuning freezes among them.
    pub parameters: u64,
    /// Those that the first update moves.
    pub moved: u64,
    /// Multiplications and additions of an update; `None` on a backend where they are not counted.
    pub flops: Option<u64>,
    /// Examples of an update.
    pub examples: usize,
    /// Updates of an epoch.
    pub steps_per_epoch: usize,
    /// Updates of the whole run.
    pub steps: usize,
    /// Memory.
    pub memory: Memory,
    /// Time.
    pub time: Time,
}

/// Bytes.
#[derive(Serialize, Clone, Debug, PartialEq, Default)]
pub struct Memory {
    /// The process with its data and all that is not counted below, as it was when seconds were measured; 0 where the
    /// system does not tell.
    pub process: u64,
    /// Weights and running statistics.
    pub weights: u64,
    /// Gradients; twice as many where several batches make an update.
    pub gradients: u64,
    /// Moments or velocity.
    pub optimizer: u64,
    /// Moving average of the weights.
    pub average: u64,
    /// What a forward pass keeps for its backward pass; `None` on a backend where it is not counted.
    pub activations: Option<u64>,
    /// Copies that are made while a checkpoint is written, when gradients and activations are gone.
    pub saving: u64,
}

impl Memory {
    /// At most at a time, in a step.
    pub fn step(&self) -> u64 {
        self.lasting() + self.gradients + self.activations.unwrap_or(0)
    }

    /// At most at a time, in the whole run.
    pub fn peak(&self) -> u64 {
        self.step().max(self.lasting() + self.saving)
    }

    fn lasting(&self) -> u64 {
        self.process + self.weights + self.optimizer + self.average
    }
}

/// Seconds.
#[derive(Serialize, Clone, Debug, PartialEq, Default)]
pub struct Time {
    /// An update.
    pub step: f64,
    /// Validation, once an epoch.
    pub validation: f64,
    /// An epoch: its updates and validation.
    pub epoch: f64,
    /// The run, its checkpoints and the test at its end left out.
    pub run: f64,
    /// Examples of the largest batch whose seconds were measured; those of larger ones follow from it.
    pub measured_batch: usize,
}

/// What a run of these settings will take; to find out takes about `seconds`, or two passes over a few examples.
///
/// # Errors
/// [`TrainError::Settings`](crate::TrainError::Settings) for settings that make no model.
pub fn plan<B, C>(
    config: &C,
    run: &Run,
    data: &TrainingData,
    device: &B::Device,
    seconds: f64,
) -> Result<Plan>
where
    B: AutodiffBackend,
    C: ObjectiveConfig,
    C::Input: Kind,
    C::Model<B>: AutodiffModule<B, InnerModule = C::Model<B::InnerBackend>> + 'static,
{
    let [train, valid] = data.loaders::<C::Input>()?;
    B::seed(device, Key::new(run.seed).named("weights").seed());
    let model = config.init::<B>(device).map_err(crate::TrainError::Settings)?;
    let params = parameters::<B, _>(&model);
    let frozen = run.finetune.frozen(&params, 0, run.epochs);
    let moved = params.iter().zip(&frozen).filter(|(p, frozen)| p.trained && !**frozen);
    let moved: u64 = moved.map(|(p, _)| p.len() as u64).sum();
    let trained = params.iter().zip(&frozen).map(|(p, frozen)| p.trained && !frozen).collect();
    let model = crate::tensors::set_trained::<B, _>(model, trained);

    // Gradients of more and more examples.
    let begun = Instant::now();
    let batch = train.epoch(0, 0).next();
    let size = batch.as_ref().map_or(0, C::Input::len);
    let replicas = Replicas::<B, C::Input>::start(config, device, &[], run.recompute)?;
    let phases = config.phases().len();
    let pass = |part: C::Input| {
        for phase in 0..phases {
            let at = Progress { phase, step: 0, total: 1 };
            replicas.gradients(&model, vec![part.clone()], run.seed, at);
        }
    };
    let mut passes: Vec<Measured> = Vec::new();
    for examples in std::iter::successors(Some(size.min(2)), |n| (*n < size).then_some((2 * n).min(size))) {
        let left = seconds - begun.elapsed().as_secs_f64();
        if passes.len() > 1 && passes.last().is_some_and(|last| 2.5 * last.seconds > left) {
            break;
        }
        // The allocator gives back what loading took, and may do so late: the last size tells what is needed.
        forget_peak();
        let part = batch.clone().and_then(|batch| first(batch, examples));
        passes.extend(part.map(|part| {
            let (examples, lap) = (part.len(), Instant::now());
            let ((), work) = counted(|| pass(part));
            Measured { examples, seconds: lap.elapsed().as_secs_f64(), work, repeats: Vec::new() }
        }));
    }
    // The last again, as long as there is time: the first passes of a process are slow. Whole batches come from the
    // loader, as in training, which makes the next ones beside the computation, on the same cores.
    let whole = passes.last().is_some_and(|last| last.examples == size);
    let mut made = train.epoch(0, 0);
    while let Some(last) = passes.last().filter(|last| last.repeats.len() < MOST_REPEATS) {
        if begun.elapsed().as_secs_f64() + last.seconds >= seconds {
            break;
        }
        let few = batch.clone().filter(|_| !whole).and_then(|batch| first(batch, last.examples));
        let lap = Instant::now();
        let Some(part) = few.or_else(|| made.next().filter(|part| part.len() == last.examples)) else {
            break;
        };
        pass(part);
        let seconds = lap.elapsed().as_secs_f64();
        if let Some(last) = passes.last_mut() {
            last.repeats.push(seconds);
        }
    }
    drop(made);
    let line = Line::of(&passes);
    // What computing takes beside the tensors: scratch of the threads, batches made ahead, what the allocator keeps.
    let loaded = whole && passes.last().is_some_and(|last| !last.repeats.is_empty());
    let loading = if loaded { 0.0 } else { loading_seconds::<C>(train) };
    let weights = VALUE * params.iter().map(|p| p.len() as u64).sum::<u64>();
    let counted = weights + VALUE * moved + line.kept(line.examples);
    let process = status("VmHWM:").map_or(0, |peak| peak.saturating_sub(counted));
    let counts = passes.last().is_some_and(|last| last.work.flops > 0);

    // Validation, over as many examples as take about as long.
    let count =
        (EVALUATION_BATCH / 4).max(size.min(EVALUATION_BATCH)).min(line.examples.max(2) * 2).min(valid.len());
    let inner = model.valid();
    let lap = Instant::now();
    evaluate::scores::<B::InnerBackend, _>(&inner, &valid.clone().first(count), device);
    let validation = lap.elapsed().as_secs_f64() * valid.len() as f64 / count.max(1) as f64;

    let steps_per_pass = train.steps_per_epoch().div_ceil(run.accumulate);
    let (steps_per_epoch, steps) = match run.steps {
        0 => (steps_per_pass, steps_per_pass * run.epochs),
        steps => (steps.div_ceil(run.epochs), steps),
    };
    let accumulate = run.accumulate.min(train.steps_per_epoch()).max(1);
    let update = update_seconds::<B>(run, moved, device);
    let step = (line.seconds(size) + loading) * accumulate as f64 + update;
    let epoch = step * steps_per_epoch as f64 + validation;

    let slots = if run.optimizer.rule == Rule::Sgd { 1 } else { 2 };
    let average = if run.ema.decay > 0.0 { weights } else { 0 };
    let optimizer = slots * moved * VALUE;
    let memory = Memory {
        process,
        weights,
        gradients: moved * VALUE * if accumulate > 1 { 2 } else { 1 },
        optimizer,
        average,
        activations: counts.then(|| line.kept(size)),
        // Once as bytes of each tensor, once as those of the file.
        saving: 2 * (weights + optimizer + average),
    };
    Ok(Plan {
        parts: parts(&params),
        parameters: params.iter().filter(|p| p.trained).map(|p| p.len() as u64).sum(),
        moved,
        flops: counts.then(|| line.flops(size) * accumulate as u64),
        examples: size * accumulate,
        steps_per_epoch,
        steps,
        memory,
        time: Time {
            step,
            validation,
            epoch,
            run: step * steps as f64 + validation * (steps as f64 / steps_per_epoch as f64).ceil(),
            measured_batch: line.examples,
        },
    })
}

/// Has Linux look for the most memory (`VmHWM:`) anew; elsewhere, and where it is not allowed, what was before counts too.
pub fn forget_peak() {
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!("clear_refs: {error}");
    }
}

/// The first so many examples of a batch.
fn first<E: Examples>(batch: E, count: usize) -> Option<E> {
    let parts = (batch.len() / count.max(1)).max(1);
    batch.split(parts).into_iter().next()
}

/// Trained values by the first two fields of their names, in the model's order.
fn parts(params: &[Parameter]) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, u64)> = Vec::new();
    for p in params.iter().filter(|p| p.trained) {
        let fields: Vec<_> = p.path.split('.').collect();
        // One that is in no part of the model stands for itself.
        let name = fields[..fields.len().saturating_sub(1).clamp(1, 3)].join(".");
        match parts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += p.len() as u64,
            None => parts.push((name, p.len() as u64)),
        }
    }
    parts
}

/// A pass over some examples.
struct Measured {
    examples: usize,
    seconds: f64,
    work: Work,
    repeats: Vec<f64>,
}

/// What follows from passes for any number of examples.
struct Line {
    /// Of the largest pass.
    examples: usize,
    largest: f64,
    /// Of one example more.
    slope: f64,
    work: [(f64, Work); 2],
}

impl Line {
    fn of(passes: &[Measured]) -> Self {
        let at = |i: usize| passes.get(i).map_or((0.0, Work::default()), |p| (p.examples as f64, p.work));
        let last = passes.len().saturating_sub(1);
        let (examples, largest) = passes.last().map_or((0, 0.0), |last| (last.examples, last.mean()));
        // Through the origin: what does not grow with the batch is little, and small batches are slow.
        let slope = largest / (examples.max(1)) as f64;
        Self { examples, largest, slope, work: [at(last.saturating_sub(1)), at(last)] }
    }

    fn seconds(&self, examples: usize) -> f64 {
        self.largest + self.slope * (examples as f64 - self.examples as f64)
    }

    fn flops(&self, examples: usize) -> u64 {
        self.straight(examples, |work| work.flops)
    }

    fn kept(&self, examples: usize) -> u64 {
        self.straight(examples, |work| work.kept)
    }

    fn straight(&self, examples: usize, of: impl Fn(&Work) -> u64) -> u64 {
        let [(a, first), (b, second)] = &self.work;
        let (first, second) = (of(first) as f64, of(second) as f64);
        let slope = if b > a { (second - first) / (b - a) } else { second / b.max(1.0) };
        (second + slope * (examples as f64 - b)).round() as u64
    }
}

impl Measured {
    /// Without the first passes, where there are more: half of the repeats warm the process up, the others count.
    fn mean(&self) -> f64 {
        let warm = &self.repeats[self.repeats.len() / 2..];
        if warm.is_empty() { self.seconds } else { warm.iter().sum::<f64>() / warm.len() as f64 }
    }
}

/// Seconds of an update of so many values, from one of fewer.
fn update_seconds<B: AutodiffBackend>(run: &Run, moved: u64, device: &B::Device) -> f64 {
    const MOST: u64 = 1 << 22;
    let len = moved.clamp(1, MOST) as usize;
    let zeros = || Tensor::<B::InnerBackend, 1>::zeros([len], device);
    let params = [Parameter { path: String::new(), shape: vec![len], trained: true }];
    let mut optimizer = Optimizer::<B::InnerBackend>::new(&run.optimizer, &params);
    let (mut value, mut average) = (zeros(), vec![zeros()]);
    let mut seconds = 0.0;
    for _ in 0..2 {
        let gradient = vec![Some(zeros())];
        let lap = Instant::now();
        let moving = (run.ema.decay > 0.0).then_some(Average { values: &mut average, keep: run.ema.decay });
        value = optimizer.step(|_| 0.0, gradient, None, moving)(value);
        seconds = lap.elapsed().as_secs_f64();
    }
    seconds * moved as f64 / len as f64
}

/// Seconds that preparing a batch takes from the computation: it is done beside it, on the same cores.
fn loading_seconds<C: ObjectiveConfig>(train: &mnist_data::Loader<<C::Input as Examples>::Source>) -> f64 {
    const BATCHES: usize = 4;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut batches = train.epoch(0, 0);
    batches.next();
    let lap = Instant::now();
    let count = batches.by_ref().take(BATCHES).count();
    lap.elapsed().as_secs_f64() / count.max(1) as f64 / cores as f64
}

/// A line of Linux's account of this process, such as `VmHWM:`, most memory so far, in bytes.
pub fn status(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
