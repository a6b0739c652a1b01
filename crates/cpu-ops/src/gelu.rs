//! GELU (Hendrycks and Gimpel 2016, "Gaussian error linear units", arXiv 1606.08415), as one operation.

use burn::tensor::{Tensor, activation, backend::Backend};

use crate::{
    elementwise::{Function, map},
    special::{normal, sigmoid},
};

/// `x * P(X <= x)` of each element, with `X` from the standard normal distribution: PyTorch's default form.
///
/// The relative error of the fast path is at most 6e-7, also far out on the negative side; minus infinity gives
/// NaN, as in PyTorch.
///
/// # Shapes
/// - `x`: any
/// - returns: the same
pub fn gelu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::map(x, |x| x.gelu("none"));
    }
    let x = match map(x, Gelu) {
        Ok(y) => return y,
        Err(x) => x,
    };
    activation::gelu(x)
}

/// The paper's approximation `0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`, with which GPT-2 and
/// BERT were trained; up to 5e-4 off [`gelu`].
///
/// # Shapes
/// - `x`: any
/// - returns: the same
pub fn gelu_tanh<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::map(x, |x| x.gelu("tanh"));
    }
    let x = match map(x, GeluTanh) {
        Ok(y) => return y,
        Err(x) => x,
    };
    activation::gelu_approximate(x)
}

#[derive(Clone, Copy, Debug)]
struct Gelu;

impl Function for Gelu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * normal(x).0
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let (distribution, density) = normal(x);
        x.mul_add(density, distribution)
    }
}

/// As `0.5 * (1 + tanh(z))` is the logistic function of `2 z`, this is `x * sigmoid(2 z)`.
#[derive(Clone, Copy, Debug)]
struct GeluTanh;

/// `2 * sqrt(2 / pi)`.
const LINEAR: f32 = 1.595_769;
const CUBIC: f32 = LINEAR * 0.044_715;

impl Function for GeluTanh {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(x * (x * x).mul_add(CUBIC, LINEAR))
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        // Outside, where the slope is 0 or 1, the square would overflow.
        let x = if x > 20.0 { 20.0 } else { x };
        let x = if x < -20.0 { -20.0 } else { x };
        let square = x * x;
        let s = sigmoid(x * square.mul_add(CUBIC, LINEAR));
        let inner = square.mul_add(3.0 * CUBIC, LINEAR);
        (x * inner).mul_add(s * (1.0 - s), s)
    }
}
