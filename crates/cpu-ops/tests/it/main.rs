//! Tests of the crate from outside: against Burn's own operations, PyTorch's numbers and itself.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

mod against_burn;
mod against_pytorch;
mod cross_entropy;
mod dropout;
mod elementwise;
mod paths;
mod support;
mod threads;
