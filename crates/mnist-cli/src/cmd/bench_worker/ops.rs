//! Single operations, forward and backward, with gradients for inputs and parameters.
//!
//! One line an operation; xtask's peer.py has the same lines in PyTorch.

use anyhow::{Result, bail};
use burn::{
    backend::Autodiff,
    module::{AutodiffModule, Module},
    tensor::{Distribution, Tensor},
};
use mnist_model::{blocks, parameters::parameter_count};
use mnist_train::tensors::gradients;
use serde_json::Value;

use super::{Piece, feed};
use crate::device::Compute;

/// An operation that has no parameters.
#[derive(Module, Clone, Debug)]
struct Function;

/// Batch of every operation.
const BATCH: usize = 64;

/// The operation called `name`.
pub(super) fn prepare<B: Compute>(name: &str, device: &B::Device) -> Result<Piece<'static>> {
    type Auto<B> = Autodiff<B>;
    let (d, on) = (device, On::<B>(device));
    let (maps, tokens) = ([BATCH, 32, 26, 26], [BATCH, 52, 128]);
    Ok(match name {
        "conv2d" => on.layer(maps, blocks::conv2d::<Auto<B>>([32, 64], 3, 2, true, d), |m, x| m.forward(x)),
        "conv-transpose2d" => {
            on.layer([BATCH, 64, 14, 14], blocks::conv_transpose2d::<Auto<B>>([64, 32], 4, 2, d), |m, x| {
                m.forward(x)
            })
        }
        "batch-norm" => on.layer(maps, blocks::batch_norm::<Auto<B>>(32, d), |m, x| m.forward(x)),
        "group-norm" => on.layer(maps, blocks::layer_norm::<Auto<B>>(32, d), |m, x| {
            cpu_ops::group_norm(x, 8, m.gamma.val(), m.beta.val(), 1e-5)
        }),
        "layer-norm" => on.layer(tokens, blocks::layer_norm::<Auto<B>>(128, d), |m, x| m.forward(x)),
        "gelu" => on.layer([BATCH, 52, 512], Function, |_, x| cpu_ops::gelu(x)),
        "silu" => on.layer(maps, Function, |_, x| cpu_ops::silu(x)),
        "dropout" => on.layer(maps, Function, |_, x| cpu_ops::dropout(x, 0.5)),
        "linear" => on.layer(tokens, blocks::output_linear::<Auto<B>>(128, 512, d), |m, x| m.forward(x)),
        _ => bail!("there is no operation {name:?}"),
    })
}

/// A tensor with gradients.
type Tracked<B, const D: usize> = Tensor<Autodiff<B>, D>;

/// Makes pieces of work on a device.
struct On<'a, B: Compute>(&'a B::Device);

impl<B: Compute> On<'_, B> {
    /// `forward` of `module` on random inputs of a shape, and its backward from a random gradient.
    fn layer<M, const D: usize, const E: usize>(
        &self,
        shape: [usize; D],
        module: M,
        forward: fn(&M, Tracked<B, D>) -> Tracked<B, E>,
    ) -> Piece<'static>
    where
        M: AutodiffModule<Autodiff<B>> + 'static,
    {
        let normal = Distribution::Normal(0.0, 1.0);
        let x = Tracked::<B, D>::random(shape, normal, self.0).require_grad();
        let dy = Tensor::<B, E>::random(forward(&module, x.clone()).dims(), normal, self.0);
        Piece {
            parameters: parameter_count(&module),
            settings: Value::Null,
            once: Box::new(move || {
                let found = feed::backward::<B, E>(forward(&module, x.clone()), dy.clone());
                let _of_input = x.grad(&found);
                let _of_parameters = gradients::<Autodiff<B>, M>(&module, &found);
                Ok(())
            }),
        }
    }
}
