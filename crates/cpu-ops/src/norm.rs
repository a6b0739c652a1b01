//! Normalisations, each one operation with its textbook backward pass: over the batch, over groups of channels,
//! over the last dimension.
//!
//! All of them are `(x - mean) / sqrt(variance + epsilon) * weight + bias` and differ in what a mean is taken of.
//! The statistics are found in two passes, mean first, while the values are in the cache; sums are made in 32
//! strands and added up in f64, so that no mean, however far from zero, costs the variance its digits. The
//! backward pass finds the normalised values again from `x` and the statistics: they are never stored.

mod batch;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod planes;

pub use batch::{BatchNorm, BatchNormOptions, batch_norm, batch_norm_eval};
