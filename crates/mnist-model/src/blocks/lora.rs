//! Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): beside a frozen weight `W` a product `A B` of rank `r` is
//! learned, so that the layer is `x W + x A B * alpha / r`. `B` starts at zero: adaptation starts at the old layer.
//!
//! `W + A B * alpha / r` is one weight of the old shape: what is trained can be merged, and costs nothing after that.
//! Departure: all products of a Transformer's layers are adapted, the paper adapts attention alone; of a cnn the layer behind
//! its maps is, of an mlp each.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Tensor, backend::Backend},
};

use super::Linear;

/// Size of what is learned.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the product, at least 1 and at most the smaller side of each weight.
    pub rank: usize,
    /// The product is multiplied by `alpha / rank`.
    pub alpha: f64,
}

/// What is learned beside a frozen weight.
#[derive(Module, Debug)]
pub struct Lora<B: Backend> {
    /// `[inputs, rank]`.
    pub a: Param<Tensor<B, 2>>,
    /// `[rank, outputs]`.
    pub b: Param<Tensor<B, 2>>,
    scale: f64,
}

impl<B: Backend> Lora<B> {
    /// What is added to the layer's result: `[..., inputs]` to `[..., outputs]`.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        cpu_ops::linear(cpu_ops::linear(x, self.a.val(), None), self.b.val(), None) * self.scale
    }
}

impl<B: Backend> Linear<B> {
    /// The layer with a [`Lora`] beside it: `a` normal with variance 1 / inputs, `b` zero.
    ///
    /// # Errors
    /// A message, if the rank is 0 or more than one of the layer's sides.
    pub fn adapted(self, lora: &LoraConfig) -> Result<Self, String> {
        let LoraConfig { rank, alpha } = *lora;
        let ([inputs, outputs], device) = (self.weight.dims(), self.weight.device());
        if rank == 0 || rank > inputs.min(outputs) {
            return Err(format!(
                "`lora_rank` is {rank}; for a layer of {inputs} x {outputs} it has to be 1 to {}",
                inputs.min(outputs)
            ));
        }
        let normal = Initializer::Normal { mean: 0.0, std: 1.0 / (inputs as f64).sqrt() };
        let lora = Lora {
            a: normal.init([inputs, rank], &device),
            b: Initializer::Zeros.init([rank, outputs], &device),
            scale: alpha / rank as f64,
        };
        Ok(Self { lora: Some(lora), ..self })
    }
}
