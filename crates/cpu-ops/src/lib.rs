//! Fused CPU operations for Burn.
//!
//! On CPU backends Burn 0.21 composes a layer from several tensor operations and derives its gradient from
//! theirs, which costs many passes over memory; the weight gradient of its convolution is a convolution
//! whose kernel is as large as the map. Each function of this crate is one operation with a backward pass of
//! its own, in f32, on the buffers of the backend.
//!
//! Callers keep the plain bound `B: Backend`. Which way a call goes is decided inside, by the type of the
//! backend: `Flex` (feature `flex`) and `NdArray` (feature `ndarray`), as they are or inside `Autodiff` with its
//! default strategy, take the fast path. `LibTorch` (feature `tch`) takes libtorch's own functions, forward and
//! backward. Every other backend, strategy or element type takes Burn's own operations, with the same result up to
//! rounding.
//!
//! The fast path uses the rayon pool it is called in. Work is cut and sums are ordered by the shapes alone:
//! results are the same bit for bit on any number of threads, and from run to run on one machine.
//!
//! ```
//! use burn::tensor::{Tensor, backend::Backend};
//! use cpu_ops::{Conv2dOptions, conv2d};
//!
//! /// `[batch, 1, 28, 28]` to `[batch, 32, 14, 14]`: convolution, bias, 2x2 max-pooling, ReLU.
//! fn stage<B: Backend>(x: Tensor<B, 4>, weight: Tensor<B, 4>, bias: Tensor<B, 1>) -> Tensor<B, 4> {
//!     let options = Conv2dOptions { padding: [1, 1], relu: true, max_pool: true, ..Default::default() };
//!     conv2d(x, weight, Some(bias), options)
//! }
//!
//! # #[cfg(feature = "flex")]
//! # fn main() {
//! use burn_flex::Flex;
//! let device = Default::default();
//! let x = Tensor::<Flex, 4>::ones([2, 1, 28, 28], &device);
//! let y = stage(x, Tensor::ones([32, 1, 3, 3], &device), Tensor::zeros([32], &device));
//! assert_eq!(y.dims(), [2, 32, 14, 14]);
//! assert_eq!(y.max().into_scalar(), 9.0);
//! # }
//! # #[cfg(not(feature = "flex"))]
//! # fn main() {}
//! ```

// Without a backend that has a fast path, the fast paths are built and never taken.
#![cfg_attr(
    not(any(feature = "flex", feature = "ndarray")),
    allow(dead_code, unused_variables, clippy::extra_unused_type_parameters)
)]

mod attention;
mod bernoulli;
mod conv;
mod conv2d;
mod conv_transpose2d;
mod cross_entropy;
mod dropout;
mod elementwise;
mod gelu;
mod gemm;
mod host;
#[cfg(feature = "tch")]
mod libtorch;
mod linear;
mod norm;
mod operation;
mod product;
mod rows;
mod scratch;
mod silu;
mod simd;
mod softmax;
mod special;
mod update;
mod work;

pub use attention::{AttentionOptions, attention, padded_self_attention, self_attention};
pub use bernoulli::bernoulli_log_likelihood;
pub use conv_transpose2d::{ConvTranspose2dOptions, conv_transpose2d};
pub use conv2d::{Conv2dOptions, conv2d};
pub use cross_entropy::{cross_entropy, cross_entropy_per_sample};
pub use dropout::dropout;
pub use gelu::{gelu, gelu_tanh};
pub use linear::{linear, linear_relu};
pub use norm::{BatchNorm, BatchNormOptions, batch_norm, batch_norm_eval, group_norm, layer_norm};
pub use silu::silu;
pub use softmax::{log_softmax, softmax};
pub use update::{Rule, State, Step, moving_average, update};
pub use work::{Held, Work, counted, hold};
