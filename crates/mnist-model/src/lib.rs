//! Nets and objectives, generic over Burn's [`Backend`](burn::tensor::backend::Backend) trait.
//!
//! A *net* is an encoder: images `[batch, channels, height, width]` in, features `[batch, width]` out. An *objective*
//! puts something on top of a net (a linear head, a decoder) and turns a batch into named losses. Neither
//! knows of optimizers, files or clocks: training is `mnist-train`'s business.
//!
//! ```
//! use burn::tensor::{Tensor, backend::Backend};
//! use mnist_model::nets::{Encoder, NetSettings};
//!
//! fn features<B: Backend>(device: &B::Device) -> [usize; 2] {
//!     let settings = NetSettings::default();
//!     let net = settings.init::<B>("cnn", [28, 28].into(), device).expect("cnn is in the table");
//!     let images = Tensor::zeros([2, 1, 28, 28], device);
//!     net.forward(images).dims() // [2, net.width()]
//! }
//! # assert_eq!(features::<burn_flex::Flex>(&Default::default())[0], 2);
//! ```

pub mod blocks;
pub mod decoder;
pub mod generate;
pub mod nets;
pub mod objectives;
pub mod parameters;
pub mod recompute;
pub mod size;
pub mod token_net;
pub mod transformer;

pub use nets::{Encoder, Net, NetSettings};
pub use objectives::{Losses, Objective, ObjectiveConfig, Score};
