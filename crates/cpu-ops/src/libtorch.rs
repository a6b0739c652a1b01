//! An operation in libtorch's own functions, as one step of Burn's autodiff.
//!
//! Only the forward pass is written down: libtorch records it, as it does for PyTorch, and its autograd gives the
//! gradients. Burn's autodiff sees one operation and none of what libtorch records.

mod archive;
mod script;

use std::any::TypeId;

use burn::{
    backend::{
        Autodiff,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    tensor::{Tensor, backend::Backend},
};
use burn_tch::{LibTorch, TchTensor};

use crate::{
    host::{Primitive, cast},
    operation::{primitive, same, tensor},
};

type AutodiffTensor = Primitive<Autodiff<LibTorch>>;

/// Whether `B` is libtorch, alone or inside Autodiff with its default strategy.
pub(crate) fn is<B: Backend>() -> bool {
    [TypeId::of::<LibTorch>(), TypeId::of::<Autodiff<LibTorch>>()].contains(&TypeId::of::<B>())
}

/// `forward` of the inputs. It has to make a tensor of its own, not a view of an input.
///
/// # Panics
/// If `B` [`is`] not libtorch.
pub(crate) fn run<B: Backend, const N: usize>(
    inputs: [Primitive<B>; N],
    forward: impl FnOnce([&tch::Tensor; N]) -> tch::Tensor,
) -> Primitive<B> {
    match cast::<_, [AutodiffTensor; N]>(inputs) {
        Ok(inputs) => same(tracked(inputs, forward)),
        Err(inputs) => {
            let inputs: [TchTensor; N] = same(inputs);
            same(TchTensor::new(forward(inputs.each_ref().map(|input| &input.tensor))))
        }
    }
}

/// [`run`] for one input and an output of as many dimensions.
pub(crate) fn map<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    forward: impl FnOnce(&tch::Tensor) -> tch::Tensor,
) -> Tensor<B, D> {
    tensor(run::<B, 1>([primitive(x)], |[x]| forward(x)))
}

/// Runs the forward pass and records it, with libtorch and with Burn.
fn tracked<const N: usize>(
    inputs: [AutodiffTensor; N],
    forward: impl FnOnce([&tch::Tensor; N]) -> tch::Tensor,
) -> AutodiffTensor {
    // The same values as leaves of a graph of libtorch. Burn's handle of their storage goes with them: as long as
    // the graph lives, Burn will not write over them.
    let leaves = inputs.each_ref().map(|input| TchTensor {
        tensor: input
            .primitive
            .tensor
            .detach()
            .set_requires_grad(input.node.clone_if_require_grad().is_some()),
        storage: input.primitive.storage.clone(),
    });
    let recorded = tch::with_grad(|| forward(leaves.each_ref().map(|leaf| &leaf.tensor)));
    let output = TchTensor::new(recorded.detach());
    let nodes = inputs.map(|input| input.node);
    match Backward::<LibTorch, N>::prepare::<NoCheckpointing>(Step, nodes).compute_bound().stateful() {
        OpsKind::UnTracked(step) => step.finish(output),
        OpsKind::Tracked(step) => {
            let recorded = TchTensor { tensor: recorded, storage: output.storage.clone() };
            step.finish(Graph { leaves, output: recorded }, output)
        }
    }
}

/// The backward pass of an operation.
#[derive(Debug)]
struct Step;

/// Both ends of what libtorch recorded.
#[derive(Clone, Debug)]
struct Graph<const N: usize> {
    leaves: [TchTensor; N],
    output: TchTensor,
}

impl<const N: usize> Backward<LibTorch, N> for Step {
    type State = Graph<N>;

    fn backward(self, ops: Ops<Graph<N>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<LibTorch>(&ops.node);
        let Graph { leaves, output } = ops.state;
        let wanted = ops.parents.into_iter().zip(leaves);
        let (nodes, leaves): (Vec<_>, Vec<_>) =
            wanted.filter_map(|(node, leaf)| Some((node?, leaf.tensor))).unzip();
        let found = script::gradients(output.tensor, leaves, dy.tensor);
        for (node, gradient) in nodes.into_iter().zip(found) {
            // Where the gradient is `dy` itself, Burn has to know.
            grads.register::<LibTorch>(node.id, TchTensor::from_existing(gradient, dy.storage.clone()));
        }
    }
}
