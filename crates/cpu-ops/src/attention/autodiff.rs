//! The fast path as one operation of Burn's autodiff: on one packed tensor, or on three.

use std::sync::Arc;

use rayon::prelude::*;

use super::{
    Geometry,
    kernel::{self, Gradients, Rows},
};
use crate::operation::{Forward, Operation, Pass, Reads};

/// Queries, keys and values side by side in one tensor.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) geometry: Geometry,
    /// How many tokens of each sequence are real; `None`: all.
    pub(super) lengths: Option<Arc<[usize]>>,
}

/// Queries, keys and values, each a tensor of its own.
#[derive(Clone, Debug)]
pub(super) struct Apart(pub(super) Geometry);

impl Packed {
    fn rows<'a>(&self, qkv: &'a [f32]) -> [Rows<'a>; 3] {
        let width = self.geometry.width();
        [0, 1, 2].map(|part| Rows { data: qkv.get(part * width..).unwrap_or_default(), stride: 3 * width })
    }
}

impl Apart {
    fn rows<'a>(&self, inputs: [&'a [f32]; 3]) -> [Rows<'a>; 3] {
        inputs.map(|data| Rows { data, stride: self.0.width() })
    }
}

/// Keeps [`kernel::Forward::logs`].
impl Operation<1> for Packed {
    type Kept = Vec<f32>;

    fn forward(&self, [qkv]: [&[f32]; 1], keep: bool) -> Forward<Vec<f32>> {
        forward(&self.geometry, self.rows(qkv), self.lengths.as_deref(), keep)
    }

    fn flops(&self) -> u64 {
        self.geometry.flops()
    }

    fn flops_back(&self, _wanted: [bool; 1]) -> u64 {
        // Products of the scores, again, and of the gradients of scores, queries, keys and values.
        self.geometry.flops() / 2 * 5
    }

    fn kept_bytes(logs: &Vec<f32>) -> u64 {
        size_of_val(&logs[..]) as u64
    }

    fn reads(&self, _wanted: [bool; 1]) -> Reads<1> {
        Reads { inputs: [true], output: false }
    }

    fn backward(&self, pass: Pass<'_, Vec<f32>, 1>) -> [Vec<f32>; 1] {
        let [qkv] = pass.inputs;
        let mut gradient = vec![0.0; qkv.len()];
        let one = self.geometry.keys * 3 * self.geometry.width();
        let gradients = gradient.par_chunks_mut(one.max(1)).map(Gradients::Packed);
        kernel::backward(
            &self.geometry,
            self.rows(qkv),
            self.lengths.as_deref(),
            [pass.kept, pass.dy],
            gradients,
        );
        [gradient]
    }
}

/// Keeps [`kernel::Forward::logs`].
impl Operation<3> for Apart {
    type Kept = Vec<f32>;

    fn forward(&self, inputs: [&[f32]; 3], keep: bool) -> Forward<Vec<f32>> {
        forward(&self.0, self.rows(inputs), None, keep)
    }

    fn flops(&self) -> u64 {
        self.0.flops()
    }

    fn flops_back(&self, _wanted: [bool; 3]) -> u64 {
        // Products of the scores, again, and of the gradients of scores, queries, keys and values.
        self.0.flops() / 2 * 5
    }

    fn kept_bytes(logs: &Vec<f32>) -> u64 {
        size_of_val(&logs[..]) as u64
    }

    fn reads(&self, _wanted: [bool; 3]) -> Reads<3> {
        Reads { inputs: [true; 3], output: false }
    }

    fn backward(&self, pass: Pass<'_, Vec<f32>, 3>) -> [Vec<f32>; 3] {
        let mut found = pass.inputs.map(|input| vec![0.0; input.len()]);
        let one = [self.0.queries, self.0.keys, self.0.keys].map(|tokens| (tokens * self.0.width()).max(1));
        let [query, key, value] = &mut found;
        let gradients = query
            .par_chunks_mut(one[0])
            .zip(key.par_chunks_mut(one[1]).zip(value.par_chunks_mut(one[2])))
            .map(|(query, (key, value))| Gradients::Apart([query, key, value]));
        kernel::backward(&self.0, self.rows(pass.inputs), None, [pass.kept, pass.dy], gradients);
        found
    }
}

fn forward(g: &Geometry, rows: [Rows<'_>; 3], lengths: Option<&[usize]>, keep: bool) -> Forward<Vec<f32>> {
    let kernel::Forward { output, logs } = kernel::forward(g, rows, lengths, keep);
    Forward { output, shape: vec![g.batch, g.queries, g.width()], kept: logs }
}
