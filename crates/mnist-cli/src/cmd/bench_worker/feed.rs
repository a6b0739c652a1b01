//! A gradient given from outside, as PyTorch's `y.backward(dy)` takes one.
//!
//! Burn starts a backward pass at a tensor of ones only. `(y * dy).sum()` would give `y` the same gradient, for
//! four more passes over memory that an operation's time is to be measured without.

use burn::{
    backend::{
        Autodiff,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    tensor::{
        Tensor, TensorPrimitive,
        backend::{Backend, BackendTypes},
    },
};

/// The step whose parent gets the given gradient.
#[derive(Debug)]
struct Feed;

impl<B: Backend> Backward<B, 1> for Feed {
    type State = <B as BackendTypes>::FloatTensorPrimitive;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        grads.consume::<B>(&ops.node);
        if let [Some(parent)] = &ops.parents {
            grads.register::<B>(parent.id, ops.state);
        }
    }
}

/// The gradients of everything that `y` depends on where `y`'s own is `dy`, of the same shape.
pub(super) fn backward<B: Backend, const D: usize>(y: Tensor<Autodiff<B>, D>, dy: Tensor<B, D>) -> Gradients {
    let device = y.device();
    let y = y.into_primitive().tensor();
    let root = Tensor::<B, 1>::zeros([1], &device).into_primitive().tensor();
    let dy = dy.into_primitive().tensor();
    let root = match Feed.prepare::<NoCheckpointing>([y.node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(dy, root),
        OpsKind::UnTracked(step) => step.finish(root),
    };
    Tensor::<Autodiff<B>, 1>::from_primitive(TensorPrimitive::Float(root)).backward()
}
