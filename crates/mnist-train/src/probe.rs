//! Probes of frozen features: how far classes can be told apart by what an encoder gives, without training it.
//!
//! The nearest neighbours vote (cosine similarity, as Wu et al. 2018, arXiv 1805.01978, without their weights); the
//! logistic regression is multinomial with an L2 penalty on its weights, minimised over all examples at once by L-BFGS
//! (Liu & Nocedal 1989) in double precision. Features are standardised by the labelled examples for the latter. The
//! number of neighbours and the penalty are chosen on validation.

use burn::tensor::backend::Backend;

use crate::{
    data::{AnyLoader, draw},
    error::{Result, TrainError},
    registry::Trained,
};

/// Numbers of neighbours to choose from.
const NEIGHBOURS: &[usize] = &[1, 3, 5, 10, 20];
/// Penalties to choose from: half of this times the sum of squared weights is added to the mean loss in nats.
const PENALTIES: &[f64] = &[1e-3, 1e-2, 1e-1, 1.0];
/// Iterations of L-BFGS; fewer where the gradient vanishes before.
const ITERATIONS: usize = 100;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;

/// Features of examples and their classes.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// `[examples, width]`, row after row.
    pub values: Vec<f32>,
    /// Numbers of an example, at least 1.
    pub width: usize,
    /// Class of each example.
    pub labels: Vec<u8>,
}

impl Features {
    /// What a model's encoder gives for a split.
    ///
    /// # Errors
    /// [`TrainError::Settings`] if the model has no encoder.
    pub fn of<B: Backend>(model: &dyn Trained<B>, data: &AnyLoader, device: &B::Device) -> Result<Self> {
        let labels = match data {
            AnyLoader::Images(images) => {
                images.indices().iter().filter_map(|&i| images.data().label(i)).collect()
            }
            AnyLoader::Tokens(sequences) => {
                let labels = sequences.source().labels();
                sequences.indices().iter().filter_map(|&i| labels.get(i).copied()).collect()
            }
        };
        let none = || TrainError::Settings("no probe is possible: the model gives no features".into());
        let (values, width) = model.features(data, device)?.ok_or_else(none)?;
        Ok(Self { values, width: width.max(1), labels })
    }

    /// Those at some places.
    fn some(&self, places: &[usize]) -> Self {
        let labels = places.iter().filter_map(|&i| self.labels.get(i).copied()).collect();
        let values = places.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { values, width: self.width, labels }
    }

    fn row(&self, i: usize) -> &[f32] {
        self.values.get(i * self.width..(i + 1) * self.width).unwrap_or_default()
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// `count` of them with labels, drawn as `data.labels` draws them with this seed; 0 is all.
    ///
    /// # Errors
    /// [`TrainError::Settings`] for more than there are, or fewer than classes.
    pub fn drawn(&self, count: usize, classes: usize, seed: u64) -> Result<Self> {
        if count == 0 || count == self.labels.len() {
            return Ok(self.clone());
        }
        if count < classes || count > self.labels.len() {
            return Err(TrainError::Settings(format!(
                "{count} labels cannot be drawn: at least {classes}, one for each class, and at most the {} images",
                self.labels.len()
            )));
        }
        Ok(self.some(&draw(&self.labels, count, seed)?))
    }

    fn scaled(&self, scale: impl Fn(&[f32]) -> Vec<f32>) -> Self {
        Self { values: self.rows().flat_map(scale).collect(), width: self.width, labels: self.labels.clone() }
    }
}

/// The score by which validation chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// By accuracy.
    Accuracy,
    /// By macro F1.
    MacroF1,
}

/// What a probe is right of, and what was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// The score that chose on validation, 0-1.
    pub valid: f64,
    /// Accuracy on the test split, 0-1.
    pub test: f64,
    /// Macro F1 on the test split, 0-1.
    pub test_f1: f64,
    /// Number of neighbours or penalty.
    pub chosen: f64,
}

/// The splits that a probe needs: what has labels, what chooses, what measures.
#[derive(Clone, Copy, Debug)]
pub struct Splits<'a> {
    /// Labelled.
    pub train: &'a Features,
    /// For choosing.
    pub valid: &'a Features,
    /// For measuring.
    pub test: &'a Features,
}

/// Lets the nearest neighbours vote.
pub fn neighbours(splits: Splits<'_>, classes: usize, by: Chosen) -> Probed {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        row.iter().map(|v| v / norm).collect()
    };
    let train = splits.train.scaled(unit);
    let [valid, test] = [splits.valid, splits.test].map(|split| ranked(&train, &split.scaled(unit)));
    let answers = |ranked: &[Vec<u8>], k: usize| -> Vec<u8> {
        ranked.iter().map(|labels| vote(labels.get(..k).unwrap_or(labels), classes)).collect()
    };
    choose(
        NEIGHBOURS.iter().map(|&k| (k as f64, answers(&valid, k))),
        |k| answers(&test, k as usize),
        splits,
        by,
    )
}

/// Labels of the nearest examples for each query, the nearest first.
fn ranked(train: &Features, queries: &Features) -> Vec<Vec<u8>> {
    let most = NEIGHBOURS.iter().copied().max().unwrap_or(1);
    let nearest = |query: &[f32]| {
        let mut best: Vec<(f32, u8)> = Vec::with_capacity(most + 1);
        for (row, &label) in train.rows().zip(&train.labels) {
            let likeness = dot(row, query);
            if best.len() == most && best.last().is_some_and(|(least, _)| likeness <= *least) {
                continue;
            }
            let place = best.partition_point(|(other, _)| *other >= likeness);
            best.insert(place, (likeness, label));
            best.truncate(most);
        }
        best.into_iter().map(|(_, label)| label).collect()
    };
    queries.rows().map(nearest).collect()
}

/// In lanes, so that the compiler may use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The commonest label; of equal ones that whose first is nearest.
fn vote(labels: &[u8], classes: usize) -> u8 {
    let mut counts = vec![0usize; classes.max(256)];
    labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    let most = counts.iter().copied().max().unwrap_or(0);
    labels.iter().copied().find(|&label| counts[usize::from(label)] == most).unwrap_or(0)
}

/// Fits a logistic regression for each penalty.
pub fn logistic(splits: Splits<'_>, classes: usize, by: Chosen) -> Probed {
    let width = splits.train.width;
    let count = splits.train.labels.len().max(1) as f64;
    let mut mean = vec![0.0f64; width];
    let mut square = vec![0.0f64; width];
    for row in splits.train.rows() {
        for ((mean, square), &v) in mean.iter_mut().zip(&mut square).zip(row) {
            *mean += f64::from(v) / count;
            *square += f64::from(v).powi(2) / count;
        }
    }
    // A feature that never changes tells nothing, and is not blown up.
    let scale: Vec<f64> = mean
        .iter()
        .zip(&square)
        .map(|(mean, square)| {
            let variance = square - mean * mean;
            if variance > 1e-12 { variance.sqrt().recip() } else { 0.0 }
        })
        .collect();
    let standard = |row: &[f32]| {
        row.iter()
            .zip(&mean)
            .zip(&scale)
            .map(|((v, mean), scale)| ((f64::from(*v) - mean) * scale) as f32)
            .collect()
    };
    let [train, valid, test] = [splits.train, splits.valid, splits.test].map(|split| split.scaled(standard));
    let fitted: Vec<_> = PENALTIES.iter().map(|&penalty| (penalty, fit(&train, classes, penalty))).collect();
    let answers = |split: &Features, penalty: f64| {
        let found = fitted.iter().find(|(other, _)| *other == penalty);
        found.map_or_else(Vec::new, |(_, weights)| answers(weights, split, classes))
    };
    choose(PENALTIES.iter().map(|&p| (p, answers(&valid, p))), |p| answers(&test, p), splits, by)
}

/// The candidate that validation likes best, of equals the first, measured once on the test split.
fn choose(
    candidates: impl Iterator<Item = (f64, Vec<u8>)>,
    test: impl Fn(f64) -> Vec<u8>,
    splits: Splits<'_>,
    by: Chosen,
) -> Probed {
    let share = |answers: &[u8], labels: &[u8]| {
        answers.iter().zip(labels).filter(|(a, b)| a == b).count() as f64 / labels.len().max(1) as f64
    };
    let macro_f1 = |answers: &[u8], labels: &[u8]| {
        let pairs: Vec<_> =
            labels.iter().zip(answers).map(|(a, b)| (usize::from(*a), usize::from(*b))).collect();
        crate::metrics::macro_f1(&pairs)
    };
    let (mut chosen, mut valid) = (0.0, -1.0);
    for (candidate, answers) in candidates {
        let found = match by {
            Chosen::Accuracy => share(&answers, &splits.valid.labels),
            Chosen::MacroF1 => macro_f1(&answers, &splits.valid.labels),
        };
        if found > valid {
            (chosen, valid) = (candidate, found);
        }
    }
    let (answers, labels) = (test(chosen), &splits.test.labels);
    Probed { valid, test: share(&answers, labels), test_f1: macro_f1(&answers, labels), chosen }
}

/// The class with the largest score for each example; of equals the first.
fn answers(weights: &[f64], data: &Features, classes: usize) -> Vec<u8> {
    let mut scores = vec![0.0; classes];
    let answer = |row| {
        logits(weights, row, &mut scores);
        let best =
            (1..classes).fold(0, |best, class| if scores[class] > scores[best] { class } else { best });
        best as u8
    };
    data.rows().map(answer).collect()
}

/// `weights` are `[width + 1, classes]`, the last row for the constant.
fn logits(weights: &[f64], row: &[f32], out: &mut [f64]) {
    let classes = out.len();
    let rows = weights.chunks_exact(classes);
    out.copy_from_slice(weights.get(row.len() * classes..).unwrap_or_default());
    for (&x, weights) in row.iter().zip(rows) {
        let x = f64::from(x);
        out.iter_mut().zip(weights).for_each(|(out, w)| *out += x * w);
    }
}

/// Mean cross-entropy in nats with penalty, and its gradient.
fn loss(weights: &[f64], data: &Features, classes: usize, penalty: f64) -> (f64, Vec<f64>) {
    let count = data.labels.len().max(1) as f64;
    let free = data.width * classes; // the constants are not pulled
    let mut gradient: Vec<f64> =
        weights.iter().enumerate().map(|(i, w)| if i < free { penalty * w } else { 0.0 }).collect();
    let mut total = weights.iter().take(free).map(|w| penalty * w * w / 2.0).sum::<f64>();
    let mut scores = vec![0.0; classes];
    for (row, &label) in data.rows().zip(&data.labels) {
        logits(weights, row, &mut scores);
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        let own = scores.get(usize::from(label)).copied().unwrap_or(largest);
        total += (sum.ln() + largest - own) / count;
        for (class, score) in scores.iter_mut().enumerate() {
            let target = if class == usize::from(label) { 1.0 } else { 0.0 };
            *score = ((*score - largest).exp() / sum - target) / count;
        }
        let one = std::iter::once(1.0);
        for (x, gradient) in
            row.iter().map(|&x| f64::from(x)).chain(one).zip(gradient.chunks_exact_mut(classes))
        {
            gradient.iter_mut().zip(&scores).for_each(|(g, s)| *g += x * s);
        }
    }
    (total, gradient)
}

/// Weights of the least loss.
fn fit(data: &Features, classes: usize, penalty: f64) -> Vec<f64> {
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let moved = |from: &[f64], along: &[f64], by: f64| -> Vec<f64> {
        from.iter().zip(along).map(|(a, b)| a + by * b).collect()
    };
    let mut weights = vec![0.0; (data.width + 1) * classes];
    let (mut value, mut gradient) = loss(&weights, data, classes, penalty);
    let mut memory: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    for _ in 0..ITERATIONS {
        if inner(&gradient, &gradient).sqrt() < 1e-7 {
            break;
        }
        // The two loops of L-BFGS.
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(memory.len());
        for (step, change) in memory.iter().rev() {
            let share = inner(step, &direction) / inner(step, change);
            direction = moved(&direction, change, -share);
            shares.push(share);
        }
        if let Some((step, change)) = memory.last() {
            let size = inner(step, change) / inner(change, change);
            direction.iter_mut().for_each(|d| *d *= size);
        }
        for ((step, change), share) in memory.iter().zip(shares.into_iter().rev()) {
            let back = inner(change, &direction) / inner(step, change);
            direction = moved(&direction, step, share - back);
        }
        // Armijo's rule: the loss is convex, halving finds a lower one.
        let slope = inner(&gradient, &direction);
        let mut size = 1.0;
        let mut found = None;
        while size > 1e-12 {
            let next = moved(&weights, &direction, size);
            let (next_value, next_gradient) = loss(&next, data, classes, penalty);
            if next_value <= value + 1e-4 * size * slope {
                found = Some((next, next_value, next_gradient));
                break;
            }
            size /= 2.0;
        }
        let Some((next, next_value, next_gradient)) = found else { break };
        let step = moved(&next, &weights, -1.0);
        let change = moved(&next_gradient, &gradient, -1.0);
        if inner(&step, &change) > 1e-300 {
            memory.push((step, change));
            if memory.len() > MEMORY {
                memory.remove(0);
            }
        }
        (weights, value, gradient) = (next, next_value, next_gradient);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// import torch
    /// x = torch.tensor([[((i * 7 + j * 3) % 11) / 5 - 1 for j in range(2)] for i in range(12)]).double()
    /// y = torch.tensor([i % 3 if i < 9 else i * 2 % 3 for i in range(12)])
    /// W, b = (torch.zeros(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3), (3,)))
    /// f = lambda: torch.nn.functional.cross_entropy(x @ W + b, y) + 0.05 * (W ** 2).sum()
    /// # torch.optim.LBFGS to a gradient of 1e-14: f() and the softmax of examples 0 and 5
    /// ```
    #[test]
    fn the_regression_is_that_of_pytorch() {
        let values = (0..24).map(|n| ((n / 2 * 7 + n % 2 * 3) % 11) as f32 / 5.0 - 1.0).collect();
        let labels = (0..12).map(|i| if i < 9 { i % 3 } else { i * 2 % 3 }).collect();
        let data = Features { values, width: 2, labels };
        let weights = fit(&data, 3, 0.1);
        let (value, _) = loss(&weights, &data, 3, 0.1);
        assert!((value - 0.847_279_250_542_478_2).abs() < 1e-7, "{value}");
        for (example, wanted) in [
            (0, [0.273_087_362_795_234_1, 0.234_996_415_275_891_16, 0.491_916_221_928_874_8]),
            (5, [0.226_892_739_479_672_53, 0.330_797_667_705_999_7, 0.442_309_592_814_327_5]),
        ] {
            let mut found = [0.0; 3];
            logits(&weights, data.row(example), &mut found);
            let sum: f64 = found.iter().map(|s| s.exp()).sum();
            assert!(found.iter().zip(wanted).all(|(s, p)| (s.exp() / sum - p).abs() < 1e-5), "{found:?}");
        }
    }

    #[test]
    fn neighbours_are_by_angle_and_votes_of_equals_go_to_the_nearest() {
        let train = Features { values: vec![1.0, 0.0, 0.0, 2.0, -3.0, 0.1], width: 2, labels: vec![4, 5, 6] };
        let queries = Features { values: vec![9.0, 1.0, -0.1, 0.5], width: 2, labels: vec![4, 5] };
        assert_eq!(ranked(&train, &train)[1][0], 5);
        let found =
            neighbours(Splits { train: &train, valid: &queries, test: &queries }, 10, Chosen::Accuracy);
        assert_eq!((found.valid, found.test, found.chosen), (1.0, 1.0, 1.0));
        assert_eq!(vote(&[3, 1, 1, 3], 10), 3);
    }

    /// ```python
    /// from sklearn.metrics import f1_score
    /// truth = [0] * 8 + [1] * 2
    /// f1_score(truth, [0] * 10, average="macro")              # 0.4444444444444444
    /// f1_score(truth, [0] * 5 + [1] * 5, average="macro")     # 0.6703296703296704
    /// ```
    #[test]
    fn what_is_rare_counts_where_macro_f1_chooses() {
        let some =
            Features { values: vec![0.0; 10], width: 1, labels: [[0; 8].as_slice(), &[1; 2]].concat() };
        let splits = Splits { train: &some, valid: &some, test: &some };
        let answers = |ones: f64| [vec![0; 10 - ones as usize], vec![1; ones as usize]].concat();
        let by = |by| choose([0.0, 5.0].map(|ones| (ones, answers(ones))).into_iter(), answers, splits, by);
        let found = by(Chosen::Accuracy);
        assert_eq!((found.valid, found.chosen), (0.8, 0.0));
        let found = by(Chosen::MacroF1);
        assert!((found.valid - 0.670_329_670_329_670_4).abs() < 1e-12, "{found:?}");
        assert_eq!((found.test, found.test_f1, found.chosen), (0.7, found.valid, 5.0));
    }
}
