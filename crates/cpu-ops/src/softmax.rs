//! Softmax and its logarithm over the last dimension, as one operation each.
//!
//! The largest element of a row is taken off first, so that nothing overflows. A row is read from memory once:
//! maximum, sum and result are computed while it is in the cache. The backward passes need the output alone
//! (Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs").

use burn::tensor::{Tensor, activation, backend::Backend};
use rayon::prelude::*;

use crate::{
    operation::{Forward, Operation, Pass, Reads, primitive, run, tensor},
    rows::{dot, exp_and_sum, max, rows_of_a_thread, sum, sum_of_exp},
    simd::vectorised,
    special::exp,
};

/// `e^x / sum(e^x)` along the last dimension.
///
/// A row with NaN or infinity in it, or with minus infinities only, becomes NaN.
///
/// # Shapes
/// - `x`: `[..., classes]`
/// - returns: the same; each row sums to 1
pub fn softmax<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::map(x, |x| x.softmax(-1, None));
    }
    let x = match fast(x, Form::Plain) {
        Ok(y) => return y,
        Err(x) => x,
    };
    activation::softmax(x, D - 1)
}

/// `x - ln(sum(e^x))` along the last dimension: the logarithm of [`softmax`], precise where that is tiny.
///
/// # Shapes
/// - `x`: `[..., classes]`
/// - returns: the same, at most 0
pub fn log_softmax<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::map(x, |x| x.log_softmax(-1, None));
    }
    let x = match fast(x, Form::Logarithm) {
        Ok(y) => return y,
        Err(x) => x,
    };
    activation::log_softmax(x, D - 1)
}

/// Which of the two.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    Logarithm,
}

#[derive(Clone, Debug)]
struct Softmax {
    form: Form,
    shape: Vec<usize>,
}

fn fast<B: Backend, const D: usize>(x: Tensor<B, D>, form: Form) -> Result<Tensor<B, D>, Tensor<B, D>> {
    let softmax = Softmax { form, shape: x.dims().to_vec() };
    run::<B, _, 1>(&softmax, [primitive(x)]).map(|(y, _)| tensor(y)).map_err(|[x]| tensor(x))
}

impl Operation<1> for Softmax {
    type Kept = ();

    fn forward(&self, [x]: [&[f32]; 1], _keep: bool) -> Forward<()> {
        let rows = match self.form {
            Form::Plain => softmax_rows,
            Form::Logarithm => log_softmax_rows,
        };
        let len = self.row();
        let mut y = vec![0.0; x.len()];
        let part = rows_of_a_thread(len) * len;
        y.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(y, x)| rows(x, y, len));
        Forward { output: y, shape: self.shape.clone(), kept: () }
    }

    fn reads(&self, _wanted: [bool; 1]) -> Reads<1> {
        Reads { inputs: [false], output: true }
    }

    fn backward(&self, pass: Pass<'_, (), 1>) -> [Vec<f32>; 1] {
        let rows = match self.form {
            Form::Plain => softmax_slopes,
            Form::Logarithm => log_softmax_slopes,
        };
        let (y, dy, len) = (pass.output, pass.dy, self.row());
        let mut dx = vec![0.0; y.len()];
        let part = rows_of_a_thread(len) * len;
        let parts = dx.par_chunks_mut(part).zip(y.par_chunks(part)).zip(dy.par_chunks(part));
        parts.for_each(|((dx, y), dy)| rows(y, dy, dx, len));
        [dx]
    }
}

impl Softmax {
    /// Elements of a row; 1 where there are none, as there is nothing to do then.
    fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or_default().max(1)
    }
}

vectorised! {
    fn softmax_rows<'a>(x: &'a [f32], y: &'a mut [f32], len: usize) {
        for (x, y) in x.chunks_exact(len).zip(y.chunks_exact_mut(len)) {
            let scale = 1.0 / exp_and_sum(x, max(x), y);
            for y in y {
                *y *= scale;
            }
        }
    }
}

vectorised! {
    fn log_softmax_rows<'a>(x: &'a [f32], y: &'a mut [f32], len: usize) {
        for (x, y) in x.chunks_exact(len).zip(y.chunks_exact_mut(len)) {
            let max = max(x);
            let log_sum = sum_of_exp(x, max).ln();
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x - max) - log_sum;
            }
        }
    }
}

vectorised! {
    /// `dx = y * (dy - sum(y * dy))`.
    fn softmax_slopes<'a>(y: &'a [f32], dy: &'a [f32], dx: &'a mut [f32], len: usize) {
        let rows = y.chunks_exact(len).zip(dy.chunks_exact(len)).zip(dx.chunks_exact_mut(len));
        for ((y, dy), dx) in rows {
            let mean = dot(y, dy);
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = y * (dy - mean);
            }
        }
    }
}

vectorised! {
    /// `dx = dy - e^y * sum(dy)`.
    fn log_softmax_slopes<'a>(y: &'a [f32], dy: &'a [f32], dx: &'a mut [f32], len: usize) {
        let rows = y.chunks_exact(len).zip(dy.chunks_exact(len)).zip(dx.chunks_exact_mut(len));
        for ((y, dy), dx) in rows {
            let sum = sum(dy);
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = (-exp(y)).mul_add(sum, dy);
            }
        }
    }
}
