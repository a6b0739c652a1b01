//! Batches of an epoch, shuffled, augmented and prepared ahead on threads.
//!
//! Order and distortions are functions of (seed, epoch, sample), and the consumer takes from the
//! workers in turn (worker `w` of `n` prepares batches `w`, `w + n`, ...), so neither the number
//! of threads nor their timing changes a bit, and an epoch can be entered at any batch.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use rand::seq::SliceRandom;

use crate::augment::{Augment, Augmenter};
use crate::batch::HostBatch;
use crate::error::{DataError, Result};
use crate::rng::Key;
use crate::set::LabelledImages;

/// Batches that each worker may be ahead of the consumer.
const AHEAD: usize = 2;
/// More threads than this never help.
const MOST_WORKERS: usize = 64;

/// Order of an epoch: a permutation of `0..len`, a pure function of its arguments.
///
/// ```
/// use mnist_data::loader::epoch_order;
///
/// assert_eq!(epoch_order(100, 1, 0), epoch_order(100, 1, 0));
/// assert_ne!(epoch_order(100, 1, 0), epoch_order(100, 1, 1));
/// ```
pub fn epoch_order(len: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut Key::new(seed).named("order").with(epoch as u64).rng());
    order
}

/// Makes the batches of some of a set's examples.
///
/// ```
/// use std::sync::Arc;
/// use mnist_data::{LabelledImages, Loader};
///
/// let data = LabelledImages::new(1, 1, 2, vec![0, 255, 51], vec![0, 1, 1])?;
/// let loader = Loader::new(Arc::new(data), vec![0, 1, 2], 2)?.seed(7);
/// assert_eq!(loader.steps_per_epoch(), 2);
/// let sizes: Vec<usize> = loader.epoch(0, 0).map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [2, 1]);
/// # Ok::<(), mnist_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader {
    data: Arc<LabelledImages>,
    indices: Vec<usize>,
    batch_size: usize,
    augment: Augment,
    seed: u64,
    workers: usize,
}

impl Loader {
    /// Batches of `batch_size` (at least 1) examples out of `indices`, which count from 0 in `data`.
    ///
    /// Until told otherwise: no augmentation, seed 0, one worker.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a batch size of 0 or an index beyond `data`.
    pub fn new(data: Arc<LabelledImages>, indices: Vec<usize>, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(DataError::invalid("batch size", 0, "1 or more"));
        }
        if let Some(index) = indices.iter().find(|&&index| index >= data.len()) {
            return Err(DataError::invalid("example", index, format!("below {}", data.len())));
        }
        Ok(Self { data, indices, batch_size, augment: Augment::default(), seed: 0, workers: 1 })
    }

    /// Distorts the images of [`Loader::epoch`]; [`Augment::validate`] is the caller's to call.
    pub fn augment(self, augment: Augment) -> Self {
        Self { augment, ..self }
    }

    /// Seed of order and augmentation.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Threads that prepare batches ahead; 0 prepares each batch when it is asked for.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers: workers.min(MOST_WORKERS), ..self }
    }

    /// The set that the examples are of.
    pub fn data(&self) -> &LabelledImages {
        &self.data
    }

    /// Number of examples in an epoch.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether an epoch has no example.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Number of batches in an epoch; the last one may be smaller.
    pub fn steps_per_epoch(&self) -> usize {
        self.indices.len().div_ceil(self.batch_size)
    }

    /// Shuffled and augmented batches of one epoch, from batch number `from` on.
    pub fn epoch(&self, epoch: usize, from: usize) -> Batches {
        let order = epoch_order(self.indices.len(), self.seed, epoch);
        let plan = Plan {
            data: Arc::clone(&self.data),
            indices: order.into_iter().map(|place| self.indices[place]).collect(),
            batch_size: self.batch_size,
            augment: self.augment.clone(),
            key: Key::new(self.seed).named("augment").with(epoch as u64),
        };
        Batches::start(plan, from, self.workers)
    }

    /// The batches in the order of the indices, as they are.
    pub fn in_order(&self) -> Batches {
        let plan = Plan {
            data: Arc::clone(&self.data),
            indices: self.indices.clone(),
            batch_size: self.batch_size,
            augment: Augment::default(),
            key: Key::new(self.seed),
        };
        Batches::start(plan, 0, self.workers)
    }
}

/// All that the batches of one epoch depend on.
struct Plan {
    data: Arc<LabelledImages>,
    /// In the epoch's order.
    indices: Vec<usize>,
    batch_size: usize,
    augment: Augment,
    key: Key,
}

impl Plan {
    fn augmenter(&self) -> Augmenter {
        self.augment.augmenter(self.data.rows(), self.data.cols())
    }

    /// Batch number `step`; a function of the plan and `step` alone.
    fn batch(&self, step: usize, augmenter: &mut Augmenter) -> HostBatch {
        let start = step.saturating_mul(self.batch_size).min(self.indices.len());
        let end = start.saturating_add(self.batch_size).min(self.indices.len());
        let indices = self.indices[start..end].to_vec();
        let area = self.data.area();
        let mut pixels = vec![0.0; indices.len() * area];
        for (out, &index) in pixels.chunks_exact_mut(area).zip(&indices) {
            let image = self.data.image(index).unwrap_or_default(); // indices are checked in `Loader::new`
            augmenter.apply(image, self.key.with(index as u64), out);
        }
        let labels = indices.iter().map(|&index| self.data.label(index).map_or(0, i32::from)).collect();
        HostBatch { pixels, labels, indices, rows: self.data.rows(), cols: self.data.cols() }
    }
}

/// The batches of one epoch; dropping it ends its threads.
pub struct Batches {
    plan: Arc<Plan>,
    augmenter: Augmenter,
    first: usize,
    next: usize,
    end: usize,
    /// Empty: batches are made when they are asked for.
    workers: Vec<Worker>,
}

struct Worker {
    batches: Receiver<HostBatch>,
    thread: JoinHandle<()>,
}

impl Batches {
    fn start(plan: Plan, first: usize, workers: usize) -> Self {
        let end = plan.indices.len().div_ceil(plan.batch_size);
        let first = first.min(end);
        let plan = Arc::new(plan);
        let count = workers.min(end - first);
        let workers: std::io::Result<Vec<Worker>> =
            (0..count).map(|lane| Worker::start(&plan, (first + lane..end).step_by(count))).collect();
        let workers = workers.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot start threads to prepare batches; preparing them in the training thread");
            Vec::new()
        });
        Self { augmenter: plan.augmenter(), plan, first, next: first, end, workers }
    }
}

impl Worker {
    fn start(plan: &Arc<Plan>, steps: impl Iterator<Item = usize> + Send + 'static) -> std::io::Result<Self> {
        let plan = Arc::clone(plan);
        let (sender, batches) = sync_channel(AHEAD);
        let thread = thread::Builder::new().name("batches".to_owned()).spawn(move || {
            let mut augmenter = plan.augmenter();
            for step in steps {
                if sender.send(plan.batch(step, &mut augmenter)).is_err() {
                    return; // nobody wants the rest
                }
            }
        })?;
        Ok(Self { batches, thread })
    }
}

impl Iterator for Batches {
    type Item = HostBatch;

    fn next(&mut self) -> Option<HostBatch> {
        if self.next == self.end {
            return None;
        }
        let step = self.next;
        self.next += 1;
        if self.workers.is_empty() {
            return Some(self.plan.batch(step, &mut self.augmenter));
        }
        let turn = (step - self.first) % self.workers.len();
        match self.workers[turn].batches.recv() {
            Ok(batch) => Some(batch),
            // A worker ends early only by panicking: pass that on instead of ending the epoch early.
            Err(_) => match self.workers.swap_remove(turn).thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => unreachable!("a worker makes all its batches"),
            },
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        for Worker { batches, thread } in self.workers.drain(..) {
            drop(batches); // the worker's next send fails
            if thread.join().is_err() {
                tracing::error!("a thread that prepared batches panicked");
            }
        }
    }
}
