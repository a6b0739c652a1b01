//! Softmax of blocks of scores, one row a query, and its backward pass.

use super::Geometry;
use crate::{simd::vectorised, special::exp};

/// Numbers that a loop takes at once; rows are filled up to a multiple of it.
pub(super) const LANES: usize = 16;

vectorised! {
    /// Turns each row of scores into exp(scale * score - the greatest of the row), 0 where the query sees no key,
    /// and gives the rows' sums and, if `logs` has room, the logarithms of the softmax's denominators.
    ///
    /// The rows are those of the queries from `first` on, of [`Geometry::padded`] numbers each.
    pub(super) fn exponentials<'a>(
        g: &'a Geometry,
        first: usize,
        scores: &'a mut [f32],
        sums: &'a mut [f32],
        logs: &'a mut [f32],
    ) {
        let width = g.seen(first + sums.len() - 1).next_multiple_of(LANES);
        for (index, (row, total)) in scores.chunks_exact_mut(g.padded()).zip(sums.iter_mut()).enumerate() {
            let seen = g.seen(first + index);
            row[seen..width].fill(f32::NEG_INFINITY);
            let (lanes, _) = row[..width].as_chunks_mut::<LANES>();
            let mut greatest = [f32::NEG_INFINITY; LANES];
            for lane in lanes.iter() {
                for (greatest, &score) in greatest.iter_mut().zip(lane) {
                    let score = g.scale * score;
                    *greatest = if score > *greatest { score } else { *greatest };
                }
            }
            // A row of NaN or minus infinity has no greatest, and becomes NaN; one of no keys becomes 0.
            let greatest =
                if seen == 0 { 0.0 } else { greatest.into_iter().fold(f32::NEG_INFINITY, f32::max) };
            let mut strands = [0.0; LANES];
            for lane in lanes {
                for (strand, score) in strands.iter_mut().zip(lane) {
                    *score = exp(g.scale.mul_add(*score, -greatest));
                    *strand += *score;
                }
            }
            *total = if seen == 0 { 1.0 } else { strands.iter().sum() };
            if let Some(log) = logs.get_mut(index) {
                *log = greatest + total.ln();
            }
        }
    }
}

vectorised! {
    /// Divides each query's row of one head's output, the first `g.head` numbers of a row, by its sum.
    pub(super) fn divide<'a>(g: &'a Geometry, output: &'a mut [f32], sums: &'a [f32]) {
        for (row, sum) in output.chunks_mut(g.width()).zip(sums) {
            let share = 1.0 / sum;
            row[..g.head].iter_mut().for_each(|value| *value *= share);
        }
    }
}

vectorised! {
    /// Turns scores into the softmax's weights, with the help of its logarithms, and the gradients of the weights
    /// into those of the products of queries and keys: `scale * weight * (change - sum of weight * change)`.
    pub(super) fn backward<'a>(
        g: &'a Geometry,
        first: usize,
        scores: &'a mut [f32],
        logs: &'a [f32],
        changes: &'a mut [f32],
    ) {
        let width = g.seen(first + logs.len() - 1).next_multiple_of(LANES);
        let rows = scores.chunks_exact_mut(g.padded()).zip(changes.chunks_exact_mut(g.padded()));
        for (index, ((weights, changes), log)) in rows.zip(logs).enumerate() {
            let seen = g.seen(first + index);
            weights[seen..width].fill(f32::NEG_INFINITY);
            changes[seen..width].fill(0.0);
            let (weights, _) = weights[..width].as_chunks_mut::<LANES>();
            let (changes, _) = changes[..width].as_chunks_mut::<LANES>();
            let mut strands = [0.0; LANES];
            for (weights, changes) in weights.iter_mut().zip(changes.iter()) {
                for ((strand, weight), change) in strands.iter_mut().zip(weights).zip(changes) {
                    *weight = exp(g.scale.mul_add(*weight, -log));
                    *strand = weight.mul_add(*change, *strand);
                }
            }
            let mean: f32 = strands.iter().sum();
            for (weights, changes) in weights.iter().zip(changes) {
                for (weight, change) in weights.iter().zip(changes) {
                    *change = g.scale * weight * (*change - mean);
                }
            }
        }
    }
}
