//! Normalisations, each one operation with its textbook backward pass: over the batch, over groups of channels,
//! over the last dimension.
//!
//! All of them are `(x - mean) / sqrt(variance + epsilon) * weight + bias` and differ in what a mean is taken of.
//! The statistics are found in two passes, mean first, while the values are in the cache; sums are made in 32
//! strands and added up in f64, so that no mean, however far from zero, costs the variance its digits. The
//! backward pass finds the normalised values again from `x` and the statistics: they are never stored.

mod batch;
mod group;
mod layer;
mod planes;

pub use batch::{BatchNorm, BatchNormOptions, batch_norm, batch_norm_eval};
pub use group::group_norm;
pub use layer::layer_norm;

use burn::tensor::{Tensor, backend::Backend};

/// That each vector has one value for each channel of `x`.
fn check<B: Backend, const D: usize, const N: usize>(x: &Tensor<B, D>, vectors: [&Tensor<B, 1>; N]) {
    let dims = x.dims();
    assert!(D >= 2 && !dims[1..].contains(&0), "a norm of [batch, channels, ...] got {dims:?}");
    for vector in vectors {
        assert_eq!(vector.dims(), [dims[1]], "a norm of {dims:?} needs one value for each channel");
    }
}

/// The shape of a vector of channels beside `x`.
fn per_channel<B: Backend, const D: usize>(x: &Tensor<B, D>) -> [usize; D] {
    std::array::from_fn(|dim| if dim == 1 { x.dims()[1] } else { 1 })
}
