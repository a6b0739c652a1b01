//! A fully connected layer with optional bias and ReLU, as one operation.
//!
//! Burn's own is a matrix product, an addition and a maximum, each a pass over the result, in the forward pass and
//! in the backward pass. Here bias and ReLU are done to each tile of the product while it is in the cache, and
//! ReLU's gradient is taken in the pass that sums the bias's.

use burn::tensor::{Tensor, activation::relu, backend::Backend, module};
use rayon::prelude::*;

use crate::{
    gemm::{Matrix, product},
    operation::{Forward, Operation, Pass, Reads, primitive, run, tensor},
    simd::vectorised,
};

/// `x weight + bias`.
///
/// # Shapes
/// - `x`: `[..., in]`, of any rank
/// - `weight`: `[in, out]`
/// - `bias`: `[out]`
/// - returns: `[..., out]`
///
/// # Panics
/// If the shapes do not fit together.
pub fn linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    forward(x, weight, bias, false)
}

/// As [`linear`], then ReLU, which does not lose NaN on the fast path.
///
/// # Shapes
/// As [`linear`].
///
/// # Panics
/// As [`linear`].
pub fn linear_relu<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    forward(x, weight, bias, true)
}

fn forward<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    with_relu: bool,
) -> Tensor<B, D> {
    let layer = Layer::new(x.dims(), weight.dims(), bias.as_ref().map(Tensor::dims), with_relu);
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::layer(x, weight, bias, |x, weight, bias| libtorch(x, weight, bias, &layer));
    }
    let [x, weight] = [primitive(x), primitive(weight)];
    let (x, weight, bias) = match bias.map(primitive) {
        Some(bias) => match run::<B, _, 3>(&layer, [x, weight, bias]) {
            Ok((output, _)) => return tensor(output),
            Err([x, weight, bias]) => (tensor(x), tensor(weight), Some(tensor(bias))),
        },
        None => match run::<B, _, 2>(&layer, [x, weight]) {
            Ok((output, _)) => return tensor(output),
            Err([x, weight]) => (tensor(x), tensor(weight), None),
        },
    };
    let y = module::linear::<B, D>(x, weight, bias);
    if with_relu { relu(y) } else { y }
}

/// The same in libtorch's functions.
#[cfg(feature = "tch")]
fn libtorch(x: &tch::Tensor, weight: &tch::Tensor, bias: Option<&tch::Tensor>, layer: &Layer) -> tch::Tensor {
    let x = x.reshape([layer.rows as i64, layer.inputs as i64]);
    let y = match bias {
        Some(bias) => bias.addmm(&x, weight),
        None => x.mm(weight),
    };
    let mut y = y.reshape(layer.shape.iter().map(|&size| size as i64).collect::<Vec<_>>());
    if layer.relu { y.relu_() } else { y }
}

/// Sizes of one call.
#[derive(Clone, Debug)]
struct Layer {
    /// Of the result.
    shape: Vec<usize>,
    rows: usize,
    inputs: usize,
    outputs: usize,
    relu: bool,
}

impl Layer {
    fn new<const D: usize>(x: [usize; D], weight: [usize; 2], bias: Option<[usize; 1]>, relu: bool) -> Self {
        let [inputs, outputs] = weight;
        assert_eq!(
            x.last(),
            Some(&inputs),
            "{x:?} has to end with the {inputs} inputs of a layer {weight:?}"
        );
        if let Some(bias) = bias {
            assert_eq!(bias, [outputs], "a layer {weight:?} has {outputs} biases");
        }
        let mut shape = x.to_vec();
        shape[D - 1] = outputs;
        Self { shape, rows: x[..D - 1].iter().product(), inputs, outputs, relu }
    }
}

/// Inputs: rows, weights and, where there is one, the bias.
impl<const N: usize> Operation<N> for Layer {
    type Kept = ();

    fn forward(&self, inputs: [&[f32]; N], _keep: bool) -> Forward<()> {
        let x = Matrix::rows(inputs[0], [self.rows, self.inputs]);
        let weight = Matrix::rows(inputs[1], [self.inputs, self.outputs]);
        let output = match (inputs.get(2), self.relu) {
            (None, false) => product(x, weight, |_, _| ()),
            (None, true) => product(x, weight, |_, y| positive(y)),
            (Some(bias), false) => product(x, weight, |left, y| add(y, &bias[left..])),
            (Some(bias), true) => product(x, weight, |left, y| add_positive(y, &bias[left..])),
        };
        Forward { output, shape: self.shape.clone(), kept: () }
    }

    fn flops(&self) -> u64 {
        2 * [self.rows, self.inputs, self.outputs].iter().map(|&n| n as u64).product::<u64>()
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        // The gradient of the rows comes from the weights and that of the weights from the rows.
        let inputs = std::array::from_fn(|input| match input {
            0 => wanted[1],
            1 => wanted[0],
            _ => false,
        });
        Reads { inputs, output: self.relu }
    }

    fn backward(&self, pass: Pass<'_, (), N>) -> [Vec<f32>; N] {
        let with_bias = pass.wanted.get(2).is_some_and(|&wanted| wanted);
        let (gated, bias) = self.gate(pass.dy, pass.output, with_bias);
        let dy = Matrix::rows(gated.as_deref().unwrap_or(pass.dy), [self.rows, self.outputs]);
        let mut gradients = std::array::from_fn(|_| Vec::new());
        if pass.wanted[0] {
            let weight = Matrix::rows(pass.inputs[1], [self.inputs, self.outputs]);
            gradients[0] = product(dy, weight.transposed(), |_, _| ());
        }
        if pass.wanted[1] {
            let x = Matrix::rows(pass.inputs[0], [self.rows, self.inputs]);
            gradients[1] = product(x.transposed(), dy, |_, _| ());
        }
        if let Some(gradient) = gradients.get_mut(2) {
            *gradient = bias;
        }
        gradients
    }
}

impl Layer {
    /// The gradient before ReLU, where there is one, and its sum over the rows if it is wanted.
    fn gate(&self, dy: &[f32], output: &[f32], with_bias: bool) -> (Option<Vec<f32>>, Vec<f32>) {
        /// Values in a block of rows, about.
        const BLOCK: usize = 1 << 15;
        let len = self.outputs.max(1) * (BLOCK / self.outputs.max(1)).max(1);
        let sum = |dy: &[f32]| {
            let mut sum = vec![0.0; if with_bias { self.outputs } else { 0 }];
            if with_bias {
                add_rows(&mut sum, dy);
            }
            sum
        };
        let (gated, sums): (_, Vec<Vec<f32>>) = if self.relu {
            let mut gated = vec![0.0; dy.len()];
            let blocks = gated.par_chunks_mut(len).zip(dy.par_chunks(len)).zip(output.par_chunks(len));
            let sums = blocks.map(|((gated, dy), output)| {
                keep_positive(gated, dy, output);
                sum(gated)
            });
            let sums = sums.collect();
            (Some(gated), sums)
        } else {
            (None, dy.par_chunks(len).map(sum).collect())
        };
        let total = sums.into_iter().reduce(|mut total, block| {
            add(&mut total, &block);
            total
        });
        (gated, total.unwrap_or_else(|| vec![0.0; self.outputs]))
    }
}

vectorised! {
    fn add<'a>(y: &'a mut [f32], bias: &'a [f32]) {
        for (y, bias) in y.iter_mut().zip(bias) {
            *y += bias;
        }
    }
}

vectorised! {
    fn add_positive<'a>(y: &'a mut [f32], bias: &'a [f32]) {
        for (y, bias) in y.iter_mut().zip(bias) {
            let sum = *y + bias;
            *y = if sum <= 0.0 { 0.0 } else { sum };
        }
    }
}

vectorised! {
    fn positive<'a>(y: &'a mut [f32]) {
        for y in y {
            *y = if *y <= 0.0 { 0.0 } else { *y };
        }
    }
}

vectorised! {
    /// `dy` where ReLU let the value pass.
    fn keep_positive<'a>(gated: &'a mut [f32], dy: &'a [f32], output: &'a [f32]) {
        for ((gated, dy), output) in gated.iter_mut().zip(dy).zip(output) {
            *gated = if *output <= 0.0 { 0.0 } else { *dy };
        }
    }
}

vectorised! {
    fn add_rows<'a>(sum: &'a mut [f32], rows: &'a [f32]) {
        for row in rows.chunks_exact(sum.len().max(1)) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}
