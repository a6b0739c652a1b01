//! An operation on host buffers as one step of Burn's autodiff, for any of the fast backends.

use std::{any::TypeId, fmt::Debug, sync::Arc};

use burn::{
    backend::{
        Autodiff,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    tensor::{DType, Tensor, TensorMetadata, TensorPrimitive, backend::Backend},
};

use crate::{
    host::{Host, Primitive, cast},
    work::{self, Held},
};

type AutodiffTensor<H> = Primitive<Autodiff<H>>;

/// An operation with `N` inputs and a backward pass of its own.
///
/// Inputs and output are contiguous, row after row.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + 'static {
    /// What the forward pass leaves for the backward pass or the caller, besides inputs and output.
    type Kept: Debug + Send + Sync + 'static;

    /// The output; `keep` says whether a backward pass may follow.
    fn forward(&self, inputs: [&[f32]; N], keep: bool) -> Forward<Self::Kept>;

    /// What the backward pass reads if it is to give the gradients of the inputs that are `wanted`.
    fn reads(&self, wanted: [bool; N]) -> Reads<N>;

    /// Multiplications and additions of the forward pass, where it is a product of some kind; the backward pass has as
    /// many again for each of the first two inputs whose gradient is wanted. See [`crate::counted`].
    fn flops(&self) -> u64 {
        0
    }

    /// Multiplications and additions of the backward pass.
    fn flops_back(&self, wanted: [bool; N]) -> u64 {
        self.flops() * wanted.iter().take(2).filter(|wanted| **wanted).count() as u64
    }

    /// Bytes of what the forward pass keeps.
    fn kept_bytes(_kept: &Self::Kept) -> u64 {
        0
    }

    /// Gradients of the inputs; of those that are not wanted, anything (best nothing).
    fn backward(&self, pass: Pass<'_, Self::Kept, N>) -> [Vec<f32>; N];
}

/// Result of a forward pass.
pub(crate) struct Forward<K> {
    pub(crate) output: Vec<f32>,
    pub(crate) shape: Vec<usize>,
    pub(crate) kept: K,
}

/// Which tensors of the forward pass live on until the backward pass.
pub(crate) struct Reads<const N: usize> {
    pub(crate) inputs: [bool; N],
    pub(crate) output: bool,
}

/// What a backward pass has to go on.
pub(crate) struct Pass<'a, K, const N: usize> {
    /// Those that [`Operation::reads`] asked for, else empty.
    pub(crate) inputs: [&'a [f32]; N],
    /// Empty unless [`Operation::reads`] asked for it.
    pub(crate) output: &'a [f32],
    pub(crate) kept: &'a K,
    /// Gradient of the output.
    pub(crate) dy: &'a [f32],
    /// Of which inputs the gradient is wanted.
    pub(crate) wanted: [bool; N],
}

/// Output of [`run`] and what its forward pass kept.
pub(crate) type Done<B, K> = (Primitive<B>, Arc<K>);

/// Runs the operation if `B` is a fast backend, alone or inside Autodiff with its default strategy, and all inputs
/// are f32; else gives the inputs back.
pub(crate) fn run<B: Backend, O: Operation<N>, const N: usize>(
    operation: &O,
    inputs: [Primitive<B>; N],
) -> Result<Done<B, O::Kept>, [Primitive<B>; N]> {
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return Err(inputs);
    }
    #[cfg(feature = "flex")]
    let inputs = match run_on::<burn_flex::Flex, B, O, N>(operation, inputs) {
        Ok(done) => return Ok(done),
        Err(inputs) => inputs,
    };
    #[cfg(feature = "ndarray")]
    let inputs = match run_on::<burn_ndarray::NdArray, B, O, N>(operation, inputs) {
        Ok(done) => return Ok(done),
        Err(inputs) => inputs,
    };
    Err(inputs)
}

/// Whether `B` is a fast backend, alone or inside Autodiff with its default strategy.
pub(crate) fn has_fast_path<B: Backend>() -> bool {
    #[cfg(feature = "flex")]
    if is_on::<burn_flex::Flex, B>() {
        return true;
    }
    #[cfg(feature = "ndarray")]
    if is_on::<burn_ndarray::NdArray, B>() {
        return true;
    }
    false
}

fn is_on<H: Host, B: Backend>() -> bool {
    [TypeId::of::<H>(), TypeId::of::<Autodiff<H>>()].contains(&TypeId::of::<B>())
}

/// A tensor's primitive.
pub(crate) fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Primitive<B> {
    tensor.into_primitive().tensor()
}

/// A primitive's tensor.
pub(crate) fn tensor<B: Backend, const D: usize>(primitive: Primitive<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn run_on<H: Host, B: Backend, O: Operation<N>, const N: usize>(
    operation: &O,
    inputs: [Primitive<B>; N],
) -> Result<Done<B, O::Kept>, [Primitive<B>; N]> {
    if TypeId::of::<B>() == TypeId::of::<Autodiff<H>>() {
        let inputs = cast::<_, [AutodiffTensor<H>; N]>(inputs)?;
        let (output, kept) = tracked::<H, O, N>(operation, inputs);
        return Ok((same(output), kept));
    }
    if TypeId::of::<B>() == TypeId::of::<H>() {
        let inputs = cast::<_, [Primitive<H>; N]>(inputs)?.map(H::contiguous);
        work::add(operation.flops());
        let Forward { output, shape, kept } = operation.forward(inputs.each_ref().map(H::values), false);
        return Ok((same(H::tensor(output, &shape)), Arc::new(kept)));
    }
    Err(inputs)
}

/// The result under the caller's name of its type, which has been shown to be the same.
pub(crate) fn same<T: 'static, U: 'static>(output: T) -> U {
    match cast(output) {
        Ok(output) => output,
        Err(_) => unreachable!("the backend's type has been compared"),
    }
}

/// Runs the forward pass and records the operation.
fn tracked<H: Host, O: Operation<N>, const N: usize>(
    operation: &O,
    inputs: [AutodiffTensor<H>; N],
) -> Done<Autodiff<H>, O::Kept> {
    let wanted = inputs.each_ref().map(|input| input.node.clone_if_require_grad().is_some());
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    // Leaves behind the first input: they are there whether or not they are kept.
    let weights: [bool; N] = std::array::from_fn(|i| i > 0 && nodes[i].order == 0);
    let inputs = inputs.map(|input| H::contiguous(input.primitive));
    let keep = wanted.contains(&true);
    work::add(operation.flops());
    let Forward { output, shape, kept } = operation.forward(inputs.each_ref().map(H::values), keep);
    let (output, kept) = (H::tensor(output, &shape), Arc::new(kept));
    let step = Step { operation: operation.clone() };
    let output = match Backward::<H, N>::prepare::<NoCheckpointing>(step, nodes).compute_bound().stateful() {
        OpsKind::UnTracked(step) => step.finish(output),
        OpsKind::Tracked(step) => {
            let reads = operation.reads(wanted);
            let mut index = 0..N;
            let read = (0..N).filter(|&i| reads.inputs[i] && !weights[i]).map(|i| &inputs[i]);
            let read = read.chain(Some(&output).filter(|_| reads.output)).map(|buffer| {
                let values = H::values(buffer);
                (values.as_ptr().addr(), size_of_val(values) as u64)
            });
            let own = (Arc::as_ptr(&kept).addr(), O::kept_bytes(&kept));
            let held = Arc::new(Held::new(read.chain([own])));
            let state = State {
                shapes: inputs.each_ref().map(|input| input.shape().to_vec()),
                inputs: inputs.map(|input| index.next().filter(|&i| reads.inputs[i]).map(|_| input)),
                output: reads.output.then(|| output.clone()),
                kept: kept.clone(),
                held,
            };
            step.finish(state, output)
        }
    };
    (output, kept)
}

/// The backward pass of an operation.
#[derive(Debug)]
struct Step<O> {
    operation: O,
}

/// What it needs.
#[derive(Debug)]
struct State<P, K, const N: usize> {
    shapes: [Vec<usize>; N],
    inputs: [Option<P>; N],
    output: Option<P>,
    kept: Arc<K>,
    held: Arc<Held>,
}

impl<P: Clone, K, const N: usize> Clone for State<P, K, N> {
    fn clone(&self) -> Self {
        Self {
            shapes: self.shapes.clone(),
            inputs: self.inputs.clone(),
            output: self.output.clone(),
            kept: self.kept.clone(),
            held: self.held.clone(),
        }
    }
}

impl<H: Host, O: Operation<N>, const N: usize> Backward<H, N> for Step<O> {
    type State = State<Primitive<H>, O::Kept, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = H::contiguous(grads.consume::<H>(&ops.node));
        work::add(self.operation.flops_back(ops.parents.each_ref().map(Option::is_some)));
        let found = self.operation.backward(Pass {
            inputs: ops.state.inputs.each_ref().map(values_or_none::<H>),
            output: values_or_none::<H>(&ops.state.output),
            kept: &ops.state.kept,
            dy: H::values(&dy),
            wanted: ops.parents.each_ref().map(Option::is_some),
        });
        for ((parent, gradient), shape) in ops.parents.iter().zip(found).zip(&ops.state.shapes) {
            if let Some(node) = parent {
                grads.register::<H>(node.id, H::tensor(gradient, shape));
            }
        }
    }
}

fn values_or_none<H: Host>(tensor: &Option<Primitive<H>>) -> &[f32] {
    tensor.as_ref().map_or(&[], H::values)
}
