//! The fast path as one operation of Burn's autodiff.

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    tensor::{Tensor, TensorPrimitive, backend::BackendTypes},
};

use super::{
    Call,
    geometry::Geometry,
    kernel::{self, Route},
};
use crate::host::Host;

type Primitive<B> = <B as BackendTypes>::FloatTensorPrimitive;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State<P> {
    geometry: Geometry,
    /// The images, if the weights have a gradient.
    x: Option<P>,
    /// The weights, if the images have a gradient.
    weight: Option<P>,
    route: Kept<P>,
}

/// [`Route`], owned.
#[derive(Clone, Debug)]
enum Kept<P> {
    All,
    Positive(P),
    Winners(Arc<Vec<u8>>),
}

/// The backward pass; its parents are images, weights and, where there is one, the bias.
#[derive(Debug)]
struct Conv2d;

impl<H: Host, const N: usize> Backward<H, N> for Conv2d {
    type State = State<Primitive<H>>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let State { geometry: g, x, weight, route } = ops.state;
        let dy = H::contiguous(grads.consume::<H>(&ops.node));
        let parent = |index: usize| ops.parents.get(index).and_then(Option::as_ref);
        let route = match &route {
            Kept::All => Route::All,
            Kept::Positive(output) => Route::Positive(H::values(output)),
            Kept::Winners(winners) => Route::Winners(winners),
        };
        let found = kernel::backward(
            &g,
            x.as_ref().map(H::values),
            weight.as_ref().map(H::values),
            parent(2).is_some(),
            H::values(&dy),
            route,
        );
        if let Some(node) = parent(0) {
            let shape = [g.batch, g.inputs, g.image[0], g.image[1]];
            grads.register::<H>(node.id, H::tensor(found.x, &shape));
        }
        if let Some(node) = parent(1) {
            let shape = [g.outputs, g.inputs, g.kernel[0], g.kernel[1]];
            grads.register::<H>(node.id, H::tensor(found.weight, &shape));
        }
        if let Some(node) = parent(2) {
            grads.register::<H>(node.id, H::tensor(found.bias, &[g.outputs]));
        }
    }
}

/// A call without gradients.
pub(super) fn untracked<H: Host>(call: Call<H>, g: &Geometry) -> Tensor<H, 4> {
    let [x, weight] = [call.x, call.weight].map(|t| H::contiguous(t.into_primitive().tensor()));
    let bias = call.bias.map(|bias| H::contiguous(bias.into_primitive().tensor()));
    let (output, _) = forward::<H>(g, &x, &weight, bias.as_ref());
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

/// A call that autodiff records.
pub(super) fn tracked<H: Host>(call: Call<Autodiff<H>>, g: &Geometry) -> Tensor<Autodiff<H>, 4> {
    let [x, weight] = [call.x, call.weight].map(|t| t.into_primitive().tensor());
    let bias = call.bias.map(|bias| bias.into_primitive().tensor());
    let [images, weights] = [&x, &weight].map(|t| H::contiguous(t.primitive.clone()));
    let biases = bias.as_ref().map(|bias| H::contiguous(bias.primitive.clone()));
    let (output, winners) = forward::<H>(g, &images, &weights, biases.as_ref());

    let state = State {
        geometry: *g,
        x: weight.node.clone_if_require_grad().map(|_| images),
        weight: x.node.clone_if_require_grad().map(|_| weights),
        route: match (g.options.max_pool, g.options.relu) {
            (true, _) => Kept::Winners(Arc::new(winners)),
            (false, true) => Kept::Positive(output.clone()),
            (false, false) => Kept::All,
        },
    };
    let output = match bias {
        Some(bias) => {
            let prepared = Conv2d.prepare::<NoCheckpointing>([x.node, weight.node, bias.node]);
            match prepared.compute_bound().stateful() {
                OpsKind::Tracked(step) => step.finish(state, output),
                OpsKind::UnTracked(step) => step.finish(output),
            }
        }
        None => {
            let prepared = Conv2d.prepare::<NoCheckpointing>([x.node, weight.node]);
            match prepared.compute_bound().stateful() {
                OpsKind::Tracked(step) => step.finish(state, output),
                OpsKind::UnTracked(step) => step.finish(output),
            }
        }
    };
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

fn forward<H: Host>(
    g: &Geometry,
    x: &Primitive<H>,
    weight: &Primitive<H>,
    bias: Option<&Primitive<H>>,
) -> (Primitive<H>, Vec<u8>) {
    let found = kernel::forward(g, H::values(x), H::values(weight), bias.map(H::values));
    let [height, width] = g.result();
    (H::tensor(found.output, &[g.batch, g.outputs, height, width]), found.winners)
}
