//! Forward and backward of the fast path, on slices.
//!
//! The forward pass cuts the work by batch element and block of queries, the backward pass, in which all queries
//! add to the gradients of the same keys and values, by batch element; both are functions of the shapes alone.

use rayon::prelude::*;

use super::{
    Geometry,
    softmax::{self, LANES},
};
use crate::{
    gemm::{Matrix, gemm_rows},
    scratch::with_scratch,
};

/// Most queries of a block: its scores for a thousand keys fill a quarter of a usual second-level cache.
const BLOCK: usize = 64;

impl Geometry {
    pub(super) fn width(&self) -> usize {
        self.heads * self.head
    }

    /// Queries of a block, but for the last: as even as blocks of at most [`BLOCK`] can be.
    fn block(&self) -> usize {
        self.queries.div_ceil(self.queries.div_ceil(BLOCK).max(1)).max(1)
    }

    /// How many keys, from the first, a query sees.
    #[inline(always)]
    pub(super) fn seen(&self, query: usize) -> usize {
        let all = if self.causal { (query + 1 + self.keys).saturating_sub(self.queries) } else { self.keys };
        all.min(self.visible)
    }

    /// Of one batch element, whose keys are real as far as its length.
    fn of(self, element: usize, lengths: Option<&[usize]>) -> Self {
        let visible = lengths.and_then(|lengths| lengths.get(element)).copied();
        Self { visible: visible.unwrap_or(self.keys), ..self }
    }

    /// Numbers in a row of scores: keys, and what fills up the last lanes.
    pub(super) fn padded(&self) -> usize {
        self.keys.next_multiple_of(LANES)
    }
}

/// Queries, keys or values: row after row of all batch elements, the first heads' columns first.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    /// Distance between rows.
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    /// `count` rows of a head from row `first` on, counted through the batch.
    fn part(self, g: &Geometry, first: usize, count: usize, head: usize) -> Matrix<'a> {
        let data = &self.data[first * self.stride + head * g.head..];
        Matrix { data, size: [count, g.head], strides: [self.stride, 1] }
    }
}

/// Where the gradients of one batch element go: zeros at first, laid out as the inputs.
pub(super) enum Gradients<'a> {
    Packed(&'a mut [f32]),
    Apart([&'a mut [f32]; 3]),
}

impl Gradients<'_> {
    /// Adds a product to rows from `first` on of a head of the queries (0), keys (1) or values (2).
    fn add(&mut self, g: &Geometry, input: usize, [first, head]: [usize; 2], a: Matrix<'_>, b: Matrix<'_>) {
        let width = g.width();
        let (data, stride) = match self {
            Self::Packed(all) => (&mut all[input * width..], 3 * width),
            Self::Apart(parts) => (&mut *parts[input], width),
        };
        gemm_rows(a, b, &mut data[first * stride + head * g.head..], stride, true);
    }
}

/// Result of the forward pass.
pub(super) struct Forward {
    /// `[batch, queries, width]`.
    pub(super) output: Vec<f32>,
    /// The logarithm of the softmax's denominator, for each batch element and block of queries `[heads, block]`;
    /// empty if not kept.
    pub(super) logs: Vec<f32>,
}

pub(super) fn forward(
    g: &Geometry,
    [query, key, value]: [Rows<'_>; 3],
    lengths: Option<&[usize]>,
    keep: bool,
) -> Forward {
    let width = g.width();
    let mut output = vec![0.0; g.batch * g.queries * width];
    let mut logs = vec![0.0; if keep { g.batch * g.queries * g.heads } else { 0 }];
    if output.is_empty() || g.keys == 0 {
        return Forward { output, logs };
    }
    let tasks: Vec<_> = output
        .chunks_mut(g.queries * width)
        .zip(logs.chunks_mut(g.queries * g.heads).chain(std::iter::repeat_with(Default::default)))
        .enumerate()
        .flat_map(|(element, (output, logs))| {
            let blocks = output.chunks_mut(g.block() * width);
            let logs = logs.chunks_mut(g.block() * g.heads).chain(std::iter::repeat_with(Default::default));
            blocks.zip(logs).enumerate().map(move |(block, task)| (element, block * g.block(), task))
        })
        .collect();
    tasks.into_par_iter().for_each(|(element, first, (output, logs))| {
        let g = &g.of(element, lengths);
        let rows = output.len() / width;
        let seen = g.seen(first + rows - 1);
        let mut logs = logs.chunks_exact_mut(rows);
        with_scratch([rows * g.padded(), rows], |[scores, sums]| {
            for head in 0..g.heads {
                let query = query.part(g, element * g.queries + first, rows, head);
                let [key, value] = [key, value].map(|all| all.part(g, element * g.keys, seen, head));
                gemm_rows(query, key.transposed(), scores, g.padded(), false);
                softmax::exponentials(g, first, scores, sums, logs.next().unwrap_or_default());
                let weights = Matrix { data: scores, size: [rows, seen], strides: [g.padded(), 1] };
                let output = &mut output[head * g.head..];
                gemm_rows(weights, value, output, width, false);
                softmax::divide(g, output, sums);
            }
        });
    });
    Forward { output, logs }
}

/// Fills the `gradients` of the batch elements, from what the forward pass kept and `dy`, the gradient of its output.
pub(super) fn backward<'a>(
    g: &Geometry,
    [query, key, value]: [Rows<'_>; 3],
    lengths: Option<&[usize]>,
    [logs, dy]: [&[f32]; 2],
    gradients: impl IndexedParallelIterator<Item = Gradients<'a>>,
) {
    if dy.is_empty() || g.keys == 0 {
        return;
    }
    let logs = logs.par_chunks(g.queries * g.heads);
    gradients.zip(logs).enumerate().for_each(|(element, (mut gradients, logs))| {
        let g = &g.of(element, lengths);
        let dy = Rows { data: dy, stride: g.width() };
        with_scratch([g.block() * g.padded(); 2], |[scores, changes]| {
            for (block, logs) in logs.chunks(g.block() * g.heads).enumerate() {
                let first = block * g.block();
                let rows = logs.len() / g.heads;
                let seen = g.seen(first + rows - 1);
                for (head, logs) in logs.chunks_exact(rows).enumerate() {
                    let [query, dy] =
                        [query, dy].map(|all| all.part(g, element * g.queries + first, rows, head));
                    let [key, value] = [key, value].map(|all| all.part(g, element * g.keys, seen, head));
                    gemm_rows(query, key.transposed(), scores, g.padded(), false);
                    gemm_rows(dy, value.transposed(), changes, g.padded(), false);
                    softmax::backward(g, first, scores, logs, changes);
                    let [weights, changes] = [&*scores, &*changes].map(|data| Matrix {
                        data,
                        size: [rows, seen],
                        strides: [g.padded(), 1],
                    });
                    gradients.add(g, 0, [first, head], changes, key);
                    gradients.add(g, 1, [0, head], changes.transposed(), query);
                    gradients.add(g, 2, [0, head], weights.transposed(), dy);
                }
            }
        });
    });
}
