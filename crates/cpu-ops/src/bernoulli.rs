//! Logarithm of the likelihood of black and white pixels under independent Bernoulli distributions, given by logits,
//! as one operation: the reconstruction term of a variational autoencoder (Kingma & Welling 2013, arXiv 1312.6114,
//! appendix C.1).
//!
//! With pixel `x` and logit `l` a term is `x * l - softplus(l)`, and `softplus(l) = max(l, 0) + ln(1 + e^-|l|)`
//! overflows nowhere. The logarithms of a row are taken together: a product of 64 factors between 1 and 2 fits into
//! an f32, so that one logarithm does for 64 pixels.

use burn::tensor::{Tensor, activation, backend::Backend};
use rayon::prelude::*;

use crate::{
    operation::{Forward, Operation, Pass, Reads, primitive, run, tensor},
    rows::rows_of_a_thread,
    simd::vectorised,
    special::{exp, sigmoid},
};

/// Log-likelihood of each image, in nats: the sum over its pixels of `x * l - softplus(l)`.
///
/// Several logits may be of one image: with `k` times as many rows of logits as of targets, the first `k` are of the
/// first target, and so on. Targets are data: no gradient goes to them.
///
/// # Shapes
/// - `logits`: `[batch * k, pixels]`
/// - `targets`: `[batch, pixels]`, 0 or 1; in between, it is minus the cross-entropy and no likelihood
/// - returns: `[batch * k]`, nats, at most 0
///
/// # Panics
/// If the shapes do not fit.
pub fn bernoulli_log_likelihood<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
    let ([rows, pixels], [batch, of_target]) = (logits.dims(), targets.dims());
    assert!(
        pixels == of_target && rows.checked_rem(batch).unwrap_or(rows) == 0,
        "logits are {rows}x{pixels}, targets {batch}x{of_target}"
    );
    let targets = targets.detach();
    let operation = Bernoulli { rows, pixels, repeats: rows.checked_div(batch).unwrap_or(1) };
    let [logits, targets] = match run::<B, _, 2>(&operation, [primitive(logits), primitive(targets)]) {
        Ok((sums, _)) => return tensor(sums),
        Err(inputs) => inputs,
    };
    let (logits, targets): (Tensor<B, 2>, Tensor<B, 2>) = (tensor(logits), tensor(targets));
    let targets = match operation.repeats {
        1 => targets,
        repeats => targets.unsqueeze_dim::<3>(1).repeat_dim(1, repeats).reshape([rows, pixels]),
    };
    // Burn's softplus overflows, its logarithm of the sigmoid does not: softplus(l) = -log_sigmoid(-l).
    let terms = targets * logits.clone() + activation::log_sigmoid(logits.neg());
    terms.sum_dim(1).reshape([rows])
}

#[derive(Clone, Debug)]
struct Bernoulli {
    rows: usize,
    pixels: usize,
    /// Rows of logits of each target.
    repeats: usize,
}

impl Bernoulli {
    /// The target of a row of logits.
    fn target<'a>(&self, targets: &'a [f32], row: usize) -> &'a [f32] {
        &targets[row / self.repeats * self.pixels..][..self.pixels]
    }
}

impl Operation<2> for Bernoulli {
    type Kept = ();

    fn forward(&self, [logits, targets]: [&[f32]; 2], _keep: bool) -> Forward<()> {
        let pixels = self.pixels.max(1);
        let sum = |(row, logits): (usize, &[f32])| row_sum(logits, self.target(targets, row));
        let output = match self.pixels {
            0 => vec![0.0; self.rows],
            _ => (logits.par_chunks_exact(pixels).enumerate().with_min_len(rows_of_a_thread(pixels)))
                .map(sum)
                .collect(),
        };
        Forward { output, shape: vec![self.rows], kept: () }
    }

    fn reads(&self, _wanted: [bool; 2]) -> Reads<2> {
        Reads { inputs: [true, true], output: false }
    }

    fn backward(&self, pass: Pass<'_, (), 2>) -> [Vec<f32>; 2] {
        let ([logits, targets], pixels) = (pass.inputs, self.pixels.max(1));
        let mut slopes = vec![0.0; logits.len()];
        (slopes.par_chunks_exact_mut(pixels).enumerate().with_min_len(rows_of_a_thread(pixels))).for_each(
            |(row, slopes)| {
                let logits = &logits[row * pixels..][..pixels];
                row_slopes(logits, self.target(targets, row), pass.dy[row], slopes);
            },
        );
        [slopes, Vec::new()]
    }
}

const LANES: usize = 16;
/// Factors between 1 and 2 whose product is far below what an f32 holds.
const FACTORS: usize = 64;

vectorised! {
    /// The sum over a row.
    fn row_sum<'a>(logits: &'a [f32], targets: &'a [f32]) -> f32 {
        let mut total = 0.0_f64;
        for (logits, targets) in logits.chunks(LANES * FACTORS).zip(targets.chunks(LANES * FACTORS)) {
            let (mut sums, mut products) = ([0.0_f32; LANES], [1.0_f32; LANES]);
            let (wide, rest) = logits.as_chunks::<LANES>();
            let (wide_targets, rest_targets) = targets.as_chunks::<LANES>();
            for (logits, targets) in wide.iter().zip(wide_targets) {
                for lane in 0..LANES {
                    let (l, x) = (logits[lane], targets[lane]);
                    sums[lane] += x * l - if l > 0.0 { l } else { 0.0 };
                    products[lane] *= 1.0 + exp(-l.abs());
                }
            }
            for (lane, (&l, &x)) in rest.iter().zip(rest_targets).enumerate() {
                sums[lane] += x * l - if l > 0.0 { l } else { 0.0 };
                products[lane] *= 1.0 + exp(-l.abs());
            }
            for (sum, product) in sums.into_iter().zip(products) {
                total += f64::from(sum) - f64::from(product).ln();
            }
        }
        total as f32
    }
}

vectorised! {
    /// `dy * (x - sigmoid(l))` of each pixel of a row.
    fn row_slopes<'a>(logits: &'a [f32], targets: &'a [f32], dy: f32, slopes: &'a mut [f32]) {
        for ((slope, &l), &x) in slopes.iter_mut().zip(logits).zip(targets) {
            *slope = dy * (x - sigmoid(l));
        }
    }
}
