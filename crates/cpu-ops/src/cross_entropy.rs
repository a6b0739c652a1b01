//! Cross-entropy of logits against class indices, with label smoothing (Szegedy et al. 2015, arXiv 1512.00567,
//! section 7), as one operation.
//!
//! Log-softmax, the choice of the target's column and the smoothing are one pass over the logits; of it two
//! numbers a row are kept, from which the backward pass computes `softmax - target` in another.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, activation, backend::Backend};
use rayon::prelude::*;

use crate::{
    elementwise::by_blocks,
    operation::{Forward, Operation, Pass, Reads, has_fast_path, primitive, run, tensor},
    rows::{max, rows_of_a_thread, sum, sum_of_exp},
    simd::vectorised,
    special::exp,
};

/// Cross-entropy of each sample, in nats.
///
/// With `smoothing` = e the target is `(1 - e) * one_hot + e / classes`, as in the paper and in PyTorch.
///
/// # Shapes
/// - `logits`: `[batch, classes]`, not normalised
/// - `targets`: `[batch]`, each in `0..classes`
/// - `smoothing`: in `[0, 1)`; 0 is plain cross-entropy
/// - returns: `[batch]`, nats, at least 0
///
/// # Panics
/// If the shapes do not fit or a target is not one of the classes (other backends may not notice the latter).
pub fn cross_entropy_per_sample<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f32,
) -> Tensor<B, 1> {
    let [batch, _classes] = check(&logits, &targets);
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return libtorch(logits, targets, smoothing, tch::Reduction::None);
    }
    let (logits, targets) = match fast(logits, targets, smoothing, false) {
        Ok(losses) => return losses,
        Err(inputs) => inputs,
    };
    let log_p = activation::log_softmax(logits, 1); // [batch, classes]
    let of_target = log_p.clone().gather(1, targets.reshape([batch, 1])).reshape([batch]); // [batch]
    if smoothing == 0.0 {
        return of_target.neg();
    }
    let of_uniform = log_p.mean_dim(1).reshape([batch]); // [batch]
    (of_target.mul_scalar(1.0 - smoothing) + of_uniform.mul_scalar(smoothing)).neg()
}

/// Mean cross-entropy over the batch, in nats: see [`cross_entropy_per_sample`].
///
/// # Shapes
/// - returns: `[1]`; NaN if the batch is empty
///
/// # Panics
/// As [`cross_entropy_per_sample`].
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f32,
) -> Tensor<B, 1> {
    check(&logits, &targets);
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return libtorch(logits, targets, smoothing, tch::Reduction::Mean);
    }
    let (logits, targets) = match fast(logits, targets, smoothing, true) {
        Ok(mean) => return mean,
        Err(inputs) => inputs,
    };
    cross_entropy_per_sample(logits, targets, smoothing).mean()
}

/// The same in libtorch's function.
#[cfg(feature = "tch")]
fn libtorch<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f32,
    reduction: tch::Reduction,
) -> Tensor<B, 1> {
    use crate::{
        libtorch::{integers, run},
        operation::{primitive, tensor},
    };

    let (targets, count) = (integers(targets), if reduction == tch::Reduction::Mean { 1 } else { -1 });
    tensor(run::<B, 1>([primitive(logits)], |[logits]| {
        // No target is to be ignored: not even -100, as libtorch would.
        let none = None::<tch::Tensor>;
        logits.cross_entropy_loss(&targets, none, reduction, i64::MIN, smoothing.into()).reshape([count])
    }))
}

fn check<B: Backend>(logits: &Tensor<B, 2>, targets: &Tensor<B, 1, Int>) -> [usize; 2] {
    let ([batch, classes], [labels]) = (logits.dims(), targets.dims());
    assert!(batch == labels, "{batch} rows of logits and {labels} targets");
    [batch, classes]
}

/// Logits and targets of a call.
type Inputs<B> = (Tensor<B, 2>, Tensor<B, 1, Int>);

fn fast<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    smoothing: f32,
    mean: bool,
) -> Result<Tensor<B, 1>, Inputs<B>> {
    if !has_fast_path::<B>() {
        return Err((logits, targets));
    }
    let [_batch, classes] = logits.dims();
    let indices = targets.to_data().iter::<i64>().map(|target| index(target, classes)).collect();
    let operation = CrossEntropy { targets: indices, classes, smoothing, mean };
    run::<B, _, 1>(&operation, [primitive(logits)])
        .map(|(losses, _)| tensor(losses))
        .map_err(|[logits]| (tensor(logits), targets))
}

fn index(target: i64, classes: usize) -> usize {
    match usize::try_from(target) {
        Ok(index) if index < classes => index,
        _ => panic!("the target {target} is not one of {classes} classes"),
    }
}

#[derive(Clone, Debug)]
struct CrossEntropy {
    targets: Arc<[usize]>,
    classes: usize,
    smoothing: f32,
    /// Whether the output is the mean instead of each sample's loss.
    mean: bool,
}

/// Of one row: what to take off its logits to have logarithms of probabilities, in two parts that are taken off
/// one after the other, because their sum would be rounded.
#[derive(Clone, Copy, Debug)]
struct Shift {
    max: f32,
    log_sum: f32,
}

impl Operation<1> for CrossEntropy {
    type Kept = Vec<Shift>;

    fn forward(&self, [x]: [&[f32]; 1], _keep: bool) -> Forward<Vec<Shift>> {
        let (shifts, losses): (Vec<Shift>, Vec<f32>) = (x.par_chunks_exact(self.classes.max(1)))
            .zip(&self.targets[..])
            .with_min_len(rows_of_a_thread(self.classes))
            .map(|(row, &target)| row_loss(row, target, self.smoothing))
            .unzip();
        let output = if self.mean { vec![mean(&losses)] } else { losses };
        Forward { shape: vec![output.len()], output, kept: shifts }
    }

    fn reads(&self, _wanted: [bool; 1]) -> Reads<1> {
        Reads { inputs: [true], output: false }
    }

    fn backward(&self, pass: Pass<'_, Vec<Shift>, 1>) -> [Vec<f32>; 1] {
        let ([x], classes) = (pass.inputs, self.classes);
        let share = 1.0 / self.targets.len() as f32;
        let uniform = self.smoothing / classes as f32;
        [by_blocks(x.len(), |range, mut dx| {
            let mut at = range.start;
            // Rows and parts of rows in this block.
            while !dx.is_empty() {
                let (row, column) = (at / classes, at % classes);
                let count = (classes - column).min(dx.len());
                let part;
                (part, dx) = dx.split_at_mut(count);
                let dy = if self.mean { pass.dy[0] * share } else { pass.dy[row] };
                row_slopes(&x[at..][..count], pass.kept[row], uniform, dy, part);
                if let Some(dx) =
                    self.targets[row].checked_sub(column).and_then(|target| part.get_mut(target))
                {
                    *dx -= (1.0 - self.smoothing) * dy;
                }
                at += count;
            }
        })]
    }
}

/// In the order of the samples.
fn mean(losses: &[f32]) -> f32 {
    (losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64) as f32
}

vectorised! {
    fn row_loss<'a>(row: &'a [f32], target: usize, smoothing: f32) -> (Shift, f32) {
        let max = max(row);
        let log_sum = sum_of_exp(row, max).ln();
        let of_target = (row[target] - max) - log_sum;
        if smoothing == 0.0 {
            return (Shift { max, log_sum }, -of_target);
        }
        let of_uniform = (sum(row) / row.len() as f32 - max) - log_sum;
        (Shift { max, log_sum }, -((1.0 - smoothing) * of_target + smoothing * of_uniform))
    }
}

vectorised! {
    /// `dy * (softmax - uniform)`.
    fn row_slopes<'a>(x: &'a [f32], shift: Shift, uniform: f32, dy: f32, dx: &'a mut [f32]) {
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = (exp((x - shift.max) - shift.log_sum) - uniform) * dy;
        }
    }
}
