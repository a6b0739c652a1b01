//! Tests of the crate from outside: against Burn's own operations, PyTorch's numbers and itself.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

mod against_burn;
mod against_pytorch;
mod attention;
mod batch_norm;
mod bernoulli;
mod conv_transpose2d;
mod cross_entropy;
mod dropout;
mod elementwise;
mod group_norm;
mod layer_norm;
mod linear;
mod paths;
mod support;
mod threads;
mod update;
