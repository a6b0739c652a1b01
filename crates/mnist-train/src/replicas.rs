//! Gradients of one update, on one device or shared among several.
//!
//! Data parallelism as burn-train's multi-device learner does it with its optimizer on the main device: every
//! device has a copy of the model and a thread, each batch is cut into as many parts, weights go out and
//! gradients come back, and one optimizer makes the update. A part weighs as much as it has images, so that the
//! sum is the gradient of the mean over the whole batch. We depart in how tensors travel: as numbers through the
//! host. Burn 0.21's `to_device` is made for CUDA alone among its graphics backends (wgpu and ROCm panic), and a
//! module that Burn forks shares its running statistics with the original.
//!
//! No backward pass begins before every forward pass of the batch is done: in Burn 0.21 the end of one thread's
//! backward pass frees what another's forward pass has just recorded, and a gradient is lost without a word
//! (<https://github.com/tracel-ai/burn/issues/5573>).
//!
//! What is random in the model is drawn from the backend's generator, one for all devices of the process: with
//! several of them, dropout is not the same from run to run. Everything else is.
//!
//! BatchNorm sees the part of its device; the statistics that are kept are the main device's, as in PyTorch's
//! DistributedDataParallel.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Barrier,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use burn::{
    module::AutodiffModule,
    tensor::{
        Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};
use mnist_data::{Examples, Key};
use mnist_model::{
    objectives::{Objective, ObjectiveConfig, Progress},
    recompute,
};

use crate::{
    error::{Result, TrainError},
    optimizer::accumulate,
    tensors::{flatten, gradients, set_trained, trained, unflatten_trained},
};

/// Gradients in the order of [`flatten`], and the named losses, all on the main device.
pub(crate) struct Found<B: Backend> {
    pub(crate) gradients: Vec<Option<Tensor<B, 1>>>,
    pub(crate) parts: Parts<B>,
}

/// Named losses of one update, each `[1]`, still on the device; the first is what it minimises.
pub(crate) struct Parts<B: Backend> {
    pub(crate) names: Vec<&'static str>,
    pub(crate) values: Vec<Tensor<B, 1>>,
}

impl<B: Backend> Default for Parts<B> {
    fn default() -> Self {
        Self { names: Vec::new(), values: Vec::new() }
    }
}

impl<B: Backend> Parts<B> {
    /// Puts the losses of another phase behind these; what it minimises gets its name.
    pub(crate) fn append(&mut self, mut more: Self, loss: &'static str) {
        if let Some(first) = more.names.first_mut() {
            *first = loss;
        }
        self.names.extend(more.names);
        self.values.extend(more.values);
    }
}

impl<B: Backend> Found<B> {
    fn add(&mut self, more: Self) {
        let gradients = std::mem::take(&mut self.gradients);
        self.gradients = accumulate(Some(gradients), more.gradients);
        let values = std::mem::take(&mut self.parts.values);
        self.parts.values = values.into_iter().zip(more.parts.values).map(|(a, b)| a + b).collect();
    }
}

/// The devices that share the work; without others it is all done on the main one, in the caller's thread.
pub(crate) struct Replicas<B: AutodiffBackend, E> {
    main: B::Device,
    others: Vec<Worker<B, E>>,
    recompute: bool,
}

impl<B: AutodiffBackend, E: Examples> Replicas<B, E> {
    /// Makes a copy of the model for each of the `others`, with a thread that computes on it.
    ///
    /// `recompute`: see [`mnist_model::recompute`]; for the main device alone, whose forward passes then do not all
    /// come before its backward passes.
    pub(crate) fn start<C>(
        config: &C,
        main: &B::Device,
        others: &[B::Device],
        recompute: bool,
    ) -> Result<Self>
    where
        C: ObjectiveConfig<Input = E>,
        C::Model<B>: AutodiffModule<B, InnerModule = C::Model<B::InnerBackend>> + 'static,
    {
        if recompute && !others.is_empty() {
            return Err(TrainError::Settings("recompute works on one device only".into()));
        }
        let others = others.iter().map(|device| {
            let model = config.init::<B>(device).map_err(TrainError::Settings)?;
            Worker::start(model, device.clone(), main.clone()).map_err(|e| {
                TrainError::Settings(format!("no thread for device {device:?} can be started: {e}"))
            })
        });
        Ok(Self { main: main.clone(), others: others.collect::<Result<_>>()?, recompute })
    }

    /// Gradients of the mean loss over all examples of a group of batches, in the phase of the update that `at` names.
    ///
    /// What is random in the model is a function of (`seed`, step, batch in the group, device, phase).
    pub(crate) fn gradients<M>(
        &self,
        model: &M,
        group: Vec<E>,
        seed: u64,
        at: Progress,
    ) -> Found<B::InnerBackend>
    where
        M: Objective<B, Input = E> + AutodiffModule<B>,
    {
        let images: usize = group.iter().map(E::len).sum();
        let weights: Vec<TensorData> = match self.others.is_empty() {
            true => Vec::new(),
            false => flatten(&model.valid()).into_iter().map(Tensor::into_data).collect(),
        };
        let mut sum = Found { gradients: Vec::new(), parts: Parts::default() };
        for (i, batch) in group.into_iter().enumerate() {
            let mut key = Key::new(seed).named("step").with(at.step as u64).with(i as u64);
            if at.phase > 0 {
                key = key.named("phase").with(at.phase as u64);
            }
            let parts = batch.split(1 + self.others.len());
            let together = Arc::new(Barrier::new(parts.len()));
            let trained = if self.others.is_empty() { Vec::new() } else { trained::<B, M>(model) };
            let mut parts = parts.into_iter();
            let Some(own) = parts.next() else { continue };
            let mut busy = Vec::new();
            for (device, (worker, part)) in self.others.iter().zip(parts).enumerate() {
                let seed = key.with(1 + device as u64).seed();
                let forward = Forward(Arc::clone(&together));
                let (weights, trained) = (weights.clone(), trained.clone());
                worker.begin(Task { weights, trained, part, images, seed, at, forward });
                busy.push(worker);
            }
            let own = (own, at);
            let how = How { images, seed: key.seed(), forward: Forward(together), recompute: self.recompute };
            let own = part_gradients::<B, M>(model, own, how, &self.main);
            // In the order of the devices, whichever is done first: sums do not depend on time.
            for found in std::iter::once(own).chain(busy.into_iter().map(|worker| worker.end())) {
                if sum.gradients.is_empty() {
                    sum = found;
                } else {
                    sum.add(found);
                }
            }
        }
        sum
    }
}

/// How the gradients of a part of a batch are computed.
struct How {
    /// Images of the whole update.
    images: usize,
    /// Of what is random in the model.
    seed: u64,
    forward: Forward,
    recompute: bool,
}

/// Gradients of the loss of one part of a batch, times its share of the update's images.
fn part_gradients<B: AutodiffBackend, M: Objective<B> + AutodiffModule<B>>(
    model: &M,
    (part, at): (M::Input, Progress),
    How { images, seed, forward, recompute }: How,
    device: &B::Device,
) -> Found<B::InnerBackend> {
    let share = part.len() as f64 / images as f64;
    B::seed(device, seed);
    let losses = || model.losses(part.to_device(device), at);
    let (losses, stages) = if recompute { recompute::recording(losses) } else { (losses(), Vec::new()) };
    drop(forward);
    let total = losses.total.mul_scalar(share);
    let passes = recompute::backward::<B>(total.clone(), stages);
    let gradients = passes.iter().map(|pass| gradients::<B, _>(model, pass));
    let gradients = gradients.reduce(|sum, pass| accumulate(Some(sum), pass)).unwrap_or_default();
    let parts = losses.parts.into_iter().map(|p| (p.name, p.value.inner().mul_scalar(share)));
    let (names, values) = std::iter::once(("loss", total.inner())).chain(parts).unzip();
    Found { gradients, parts: Parts { names, values } }
}

/// What a worker is given: all of it lies on the host.
struct Task<E> {
    weights: Vec<TensorData>,
    /// Which of them are trained.
    trained: Vec<bool>,
    part: E,
    images: usize,
    seed: u64,
    at: Progress,
    forward: Forward,
}

/// The forward pass of one device. Its end, be it a panic, waits for that of all others.
struct Forward(Arc<Barrier>);

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// What comes of it, on the host as well.
struct Answer {
    gradients: Vec<Option<TensorData>>,
    names: Vec<&'static str>,
    values: Vec<TensorData>,
}

/// A thread with a copy of the model on its own device. It ends when its worker is dropped.
struct Worker<B: AutodiffBackend, E> {
    main: B::Device,
    tasks: Sender<Task<E>>,
    found: Receiver<thread::Result<Answer>>,
}

impl<B: AutodiffBackend, E: Examples> Worker<B, E> {
    fn start<M>(mut model: M, device: B::Device, main: B::Device) -> std::io::Result<Self>
    where
        M: Objective<B, Input = E> + AutodiffModule<B> + 'static,
    {
        let (tasks, inbox) = channel();
        let (outbox, found) = channel();
        let mut work = move |Task { weights, trained, part, images, seed, at, forward }: Task<E>| {
            let weights = weights.into_iter().map(|w| Tensor::from_data(w, &device)).collect();
            model = set_trained::<B, _>(unflatten_trained::<B, _>(model.clone(), weights), trained);
            let how = How { images, seed, forward, recompute: false };
            let Found { gradients, parts } = part_gradients::<B, M>(&model, (part, at), how, &device);
            Answer {
                gradients: gradients.into_iter().map(|g| g.map(Tensor::into_data)).collect(),
                names: parts.names,
                values: parts.values.into_iter().map(Tensor::into_data).collect(),
            }
        };
        thread::Builder::new().name("replica".into()).spawn(move || {
            for task in inbox {
                let found = catch_unwind(AssertUnwindSafe(|| work(task)));
                let failed = found.is_err();
                if outbox.send(found).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { main, tasks, found })
    }

    fn begin(&self, task: Task<E>) {
        if self.tasks.send(task).is_err() {
            unreachable!("a worker ends only when it has told why");
        }
    }

    /// What came of the task; a panic of the device's thread goes on in this one.
    fn end(&self) -> Found<B::InnerBackend> {
        match self.found.recv() {
            Ok(Ok(Answer { gradients, names, values })) => {
                let here = |data| Tensor::from_data(data, &self.main);
                let gradients = gradients.into_iter().map(|g| g.map(here)).collect();
                Found { gradients, parts: Parts { names, values: values.into_iter().map(here).collect() } }
            }
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => unreachable!("a worker answers every task"),
        }
    }
}
