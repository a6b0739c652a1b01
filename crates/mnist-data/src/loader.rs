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

use crate::augment::Augment;
use crate::batch::Examples;
use crate::error::{DataError, Result};
use crate::images::{Binarise, Images};
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

/// Where examples come from: a set of them, and how each is prepared.
pub trait Source: Clone + Send + Sync + 'static {
    /// A batch of them.
    type Batch: Examples;
    /// Buffers that one thread uses again and again; no result depends on them.
    type Scratch: Send;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Buffers for one thread.
    fn scratch(&self) -> Self::Scratch;

    /// The examples with these numbers, each below [`Source::len`]; a function of its arguments alone.
    fn batch(&self, indices: &[usize], purpose: Purpose, scratch: &mut Self::Scratch) -> Self::Batch;
}

/// What examples are prepared for. What is drawn of an example is drawn from the key, its number and, where a batch has it
/// more than once, how often it has come before.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Training: distorted as the settings say, each epoch under a key of its own.
    Train(Key),
    /// Measuring: as they are. What has to be drawn all the same is drawn under this key, always the same.
    Measure(Key),
}

impl Purpose {
    /// The key to draw from.
    pub fn key(self) -> Key {
        match self {
            Self::Train(key) | Self::Measure(key) => key,
        }
    }
}

/// Makes the batches of some of a set's examples.
///
/// ```
/// use std::sync::Arc;
/// use mnist_data::{Examples, LabelledImages, Loader};
///
/// let data = LabelledImages::new(1, 1, 2, vec![0, 255, 51], vec![0, 1, 1])?;
/// let loader = Loader::new(Arc::new(data), vec![0, 1, 2], 2)?.seed(7);
/// assert_eq!(loader.steps_per_epoch(), 2);
/// let sizes: Vec<usize> = loader.epoch(0, 0).map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [2, 1]);
/// # Ok::<(), mnist_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader<S = Images> {
    source: Arc<S>,
    indices: Vec<usize>,
    batch_size: usize,
    seed: u64,
    workers: usize,
    /// Labelled examples that come before the others in each batch of an epoch, and which there are.
    labelled: Option<(usize, Arc<[usize]>)>,
}

impl Loader {
    /// Batches of `batch_size` (at least 1) images out of `indices`, which count from 0 in `data`.
    ///
    /// Until told otherwise: no augmentation, seed 0, one worker.
    ///
    /// # Errors
    /// As [`Loader::of`].
    pub fn new(data: Arc<LabelledImages>, indices: Vec<usize>, batch_size: usize) -> Result<Self> {
        Self::of(Images::new(data), indices, batch_size)
    }

    /// Distorts the images of [`Loader::epoch`]; [`Augment::validate`] is the caller's to call.
    pub fn augment(self, augment: Augment) -> Self {
        self.views(vec![augment])
    }

    /// Makes a view of each image under each of these, at least one. More than one are distorted when measuring
    /// too: they would be equal else.
    pub fn views(self, augments: Vec<Augment>) -> Self {
        Self { source: Arc::new(self.source.as_ref().clone().views(augments)), ..self }
    }

    /// Makes pixels black or white.
    pub fn binarise(self, how: Binarise) -> Self {
        Self { source: Arc::new(self.source.as_ref().clone().binarise(how)), ..self }
    }

    /// Shows the labels of these examples only.
    pub fn labelled(self, examples: &[usize]) -> Self {
        Self { source: Arc::new(self.source.as_ref().clone().labelled(examples)), ..self }
    }

    /// The examples with labels only; a batch has as many of them at most as there are.
    pub fn only_labelled(mut self) -> Self {
        self.indices.retain(|&index| self.source.is_labelled(index));
        self.batch_size = self.batch_size.min(self.indices.len()).max(1);
        self
    }

    /// So many labelled examples first in each batch of [`Loader::epoch`], in turn from shuffled passes of their own;
    /// the rest of a batch is drawn from all, and an epoch is a pass over these. An example that comes again is distorted
    /// anew.
    pub fn labelled_first(self, count: usize) -> Self {
        let those: Vec<usize> =
            self.indices.iter().copied().filter(|&i| self.source.is_labelled(i)).collect();
        let count = if those.is_empty() { 0 } else { count.min(self.batch_size - 1) };
        Self { labelled: (count > 0).then(|| (count, those.into())), ..self }
    }

    /// The set that the examples are of.
    pub fn data(&self) -> &LabelledImages {
        self.source.data()
    }
}

impl<S: Source> Loader<S> {
    /// Batches of `batch_size` (at least 1) examples out of `indices`, which count from 0 in `source`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a batch size of 0 or an index beyond the examples.
    pub fn of(source: S, indices: Vec<usize>, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(DataError::invalid("batch size", 0, "1 or more"));
        }
        if let Some(index) = indices.iter().find(|&&index| index >= source.len()) {
            return Err(DataError::invalid("example", index, format!("below {}", source.len())));
        }
        Ok(Self { source: Arc::new(source), indices, batch_size, seed: 0, workers: 1, labelled: None })
    }

    /// Seed of order and augmentation.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Threads that prepare batches ahead; 0 prepares each batch when it is asked for.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers: workers.min(MOST_WORKERS), ..self }
    }

    /// Where the examples come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Which examples of the source there are, in their order.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The first `count` examples only.
    pub fn first(mut self, count: usize) -> Self {
        self.indices.truncate(count);
        self
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
        let first = self.labelled.as_ref().map_or(0, |(count, _)| *count);
        self.indices.len().div_ceil(self.batch_size - first)
    }

    /// Shuffled and augmented batches of one epoch, from batch number `from` on.
    pub fn epoch(&self, epoch: usize, from: usize) -> Batches<S> {
        let order = epoch_order(self.indices.len(), self.seed, epoch);
        let indices: Vec<usize> = order.into_iter().map(|place| self.indices[place]).collect();
        let indices = match &self.labelled {
            Some((first, those)) => self.interleaved(&indices, epoch, *first, those),
            None => indices,
        };
        let key = Key::new(self.seed).named("augment").with(epoch as u64);
        let repeats = self.labelled.is_some();
        Batches::start(Plan { repeats, ..self.plan(indices, Purpose::Train(key)) }, from, self.workers)
    }

    /// Before each part of `rest` that fills a batch, the `first` labelled examples that are next.
    fn interleaved(&self, rest: &[usize], epoch: usize, first: usize, labelled: &[usize]) -> Vec<usize> {
        let steps = self.steps_per_epoch();
        let mut indices = Vec::with_capacity(rest.len() + steps * first);
        let seed = Key::new(self.seed).named("labelled").seed();
        let (mut pass, mut order) = (usize::MAX, Vec::new());
        for (step, rest) in rest.chunks(self.batch_size - first).enumerate() {
            for draw in (0..first).map(|i| (epoch * steps + step) * first + i) {
                if draw / labelled.len() != pass {
                    pass = draw / labelled.len();
                    order = epoch_order(labelled.len(), seed, pass);
                }
                indices.push(labelled[order[draw % labelled.len()]]);
            }
            indices.extend(rest);
        }
        indices
    }

    /// The batches in the order of the indices, as they are.
    pub fn in_order(&self) -> Batches<S> {
        let purpose = Purpose::Measure(Key::new(0).named("measure"));
        Batches::start(self.plan(self.indices.clone(), purpose), 0, self.workers)
    }

    fn plan(&self, indices: Vec<usize>, purpose: Purpose) -> Plan<S> {
        Plan {
            source: Arc::clone(&self.source),
            indices,
            batch_size: self.batch_size,
            purpose,
            repeats: false,
        }
    }
}

/// All that the batches of one epoch depend on.
struct Plan<S> {
    source: Arc<S>,
    /// In the epoch's order.
    indices: Vec<usize>,
    batch_size: usize,
    purpose: Purpose,
    /// Whether an example may come more than once, so that each batch needs draws of its own.
    repeats: bool,
}

impl<S: Source> Plan<S> {
    /// Batch number `step`; a function of the plan and `step` alone.
    fn batch(&self, step: usize, scratch: &mut S::Scratch) -> S::Batch {
        let start = step.saturating_mul(self.batch_size).min(self.indices.len());
        let end = start.saturating_add(self.batch_size).min(self.indices.len());
        let purpose = match self.purpose {
            Purpose::Train(key) if self.repeats => Purpose::Train(key.named("step").with(step as u64)),
            purpose => purpose,
        };
        self.source.batch(&self.indices[start..end], purpose, scratch)
    }
}

/// The batches of one epoch; dropping it ends its threads.
pub struct Batches<S: Source = Images> {
    plan: Arc<Plan<S>>,
    scratch: S::Scratch,
    first: usize,
    next: usize,
    end: usize,
    /// Empty: batches are made when they are asked for.
    workers: Vec<Worker<S::Batch>>,
}

struct Worker<E> {
    batches: Receiver<E>,
    thread: JoinHandle<()>,
}

impl<S: Source> Batches<S> {
    fn start(plan: Plan<S>, first: usize, workers: usize) -> Self {
        let end = plan.indices.len().div_ceil(plan.batch_size);
        let first = first.min(end);
        let plan = Arc::new(plan);
        let count = workers.min(end - first);
        let workers: std::io::Result<Vec<_>> =
            (0..count).map(|lane| Worker::start(&plan, (first + lane..end).step_by(count))).collect();
        let workers = workers.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot start threads to prepare batches; preparing them in the training thread");
            Vec::new()
        });
        Self { scratch: plan.source.scratch(), plan, first, next: first, end, workers }
    }
}

impl<E: Examples> Worker<E> {
    fn start<S: Source<Batch = E>>(
        plan: &Arc<Plan<S>>,
        steps: impl Iterator<Item = usize> + Send + 'static,
    ) -> std::io::Result<Self> {
        let plan = Arc::clone(plan);
        let (sender, batches) = sync_channel(AHEAD);
        let thread = thread::Builder::new().name("batches".to_owned()).spawn(move || {
            let mut scratch = plan.source.scratch();
            for step in steps {
                if sender.send(plan.batch(step, &mut scratch)).is_err() {
                    return; // nobody wants the rest
                }
            }
        })?;
        Ok(Self { batches, thread })
    }
}

impl<S: Source> Iterator for Batches<S> {
    type Item = S::Batch;

    fn next(&mut self) -> Option<S::Batch> {
        if self.next == self.end {
            return None;
        }
        let step = self.next;
        self.next += 1;
        if self.workers.is_empty() {
            return Some(self.plan.batch(step, &mut self.scratch));
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

impl<S: Source> ExactSizeIterator for Batches<S> {}

impl<S: Source> Drop for Batches<S> {
    fn drop(&mut self) {
        for Worker { batches, thread } in self.workers.drain(..) {
            drop(batches); // the worker's next send fails
            if thread.join().is_err() {
                tracing::error!("a thread that prepared batches panicked");
            }
        }
    }
}
