//! An operation in libtorch's own functions, as one step of Burn's autodiff.
//!
//! Only the forward pass is written down: libtorch records it, as it does for PyTorch, and its autograd gives the
//! gradients. Burn's autodiff sees one operation and none of what libtorch records.

mod archive;
pub(crate) mod script;

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
    tensor::{Int, Tensor, backend::Backend},
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

/// Whether `B` is libtorch without Autodiff.
pub(crate) fn is_alone<B: Backend>() -> bool {
    TypeId::of::<B>() == TypeId::of::<LibTorch>()
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

/// [`run`] for a layer: an input, weights and maybe a bias.
pub(crate) fn layer<B: Backend, const D: usize, const W: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, W>,
    bias: Option<Tensor<B, 1>>,
    forward: impl FnOnce(&tch::Tensor, &tch::Tensor, Option<&tch::Tensor>) -> tch::Tensor,
) -> Tensor<B, D> {
    let [x, weight] = [primitive(x), primitive(weight)];
    tensor(match bias.map(primitive) {
        Some(bias) => run::<B, 3>([x, weight, bias], |[x, weight, bias]| forward(x, weight, Some(bias))),
        None => run::<B, 2>([x, weight], |[x, weight]| forward(x, weight, None)),
    })
}

/// Whole numbers in libtorch's own type, 64 bits each as it wants indices.
pub(crate) fn integers<B: Backend, const D: usize>(numbers: Tensor<B, D, Int>) -> tch::Tensor {
    same::<_, TchTensor>(numbers.into_primitive()).tensor.to_kind(tch::Kind::Int64)
}

/// A tensor in libtorch's own type that may be written over: a copy where somebody else holds it.
///
/// # Panics
/// If `B` [`is_alone`] not.
pub(crate) fn own<B: Backend, const D: usize>(x: Tensor<B, D>) -> TchTensor {
    let x: TchTensor = same(primitive(x));
    if x.can_mut() { x } else { TchTensor::new(x.tensor.copy()) }
}

/// What [`own`] took.
///
/// # Panics
/// As [`own`].
pub(crate) fn disown<B: Backend, const D: usize>(x: TchTensor) -> Tensor<B, D> {
    tensor(same(x))
}

/// A copy of a tensor in libtorch's own type, without what autodiff knows of it.
pub(crate) fn values<B: Backend, const D: usize>(x: Tensor<B, D>) -> tch::Tensor {
    match cast::<_, AutodiffTensor>(primitive(x)) {
        Ok(x) => x.primitive.tensor.copy(),
        Err(x) => same::<_, TchTensor>(x).tensor.copy(),
    }
}

/// A copy of a tensor of libtorch, through which no gradient flows. It is a copy because Burn may write over what it
/// holds alone, and what libtorch recorded may hold it too.
pub(crate) fn constant<B: Backend, const D: usize>(values: &tch::Tensor) -> Tensor<B, D> {
    let values = TchTensor::new(values.copy());
    if is_alone::<B>() { tensor(same(values)) } else { tensor(same(AutodiffTensor::new(values))) }
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
