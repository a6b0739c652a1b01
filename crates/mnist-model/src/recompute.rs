//! Activation checkpointing (Chen et al. 2016, arXiv 1604.06174, section 4): of each stage of a net only its input is
//! kept; when the backward pass comes to it, the stage runs again, now with all that its gradient needs.
//!
//! Burn's own way, `BalancedCheckpointing`, does not do it: it makes elementwise operations again and keeps the inputs
//! of every product, and with another type of backend the fused operations of `cpu-ops` would not be taken. A stage
//! as one operation of autodiff cannot be built either: its backward pass would begin another one, for which Burn 0.21
//! waits forever (all graphs are locked). So stages are cut out of the graph: the forward pass runs them untracked and
//! goes on from a leaf. [`backward`] begins at the loss, then at each stage, the last first, with the gradient that its
//! leaf has got.
//!
//! The sums are the same as without, in the same order where a loss calls the net once: so are the results, bit for bit.

use std::{any::Any, cell::RefCell, fmt};

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use cpu_ops::{Held, hold};

thread_local! {
    /// Stages of the forward pass that this thread records; `None` outside of one.
    static RECORD: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// A part of a forward pass that was not tracked; it gives `[batch, tokens, width]`.
pub struct Stage<B: Backend> {
    again: Box<dyn FnOnce() -> Tensor<B, 3>>,
    output: Tensor<B, 3>,
    /// The output is kept for the next stage.
    held: Held,
}

impl<B: Backend> fmt::Debug for Stage<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("output", &self.output.dims()).finish_non_exhaustive()
    }
}

/// Runs a forward pass whose stages are to be computed again; what it gives, and the stages in their order.
pub fn recording<B: Backend, T>(forward: impl FnOnce() -> T) -> (T, Vec<Stage<B>>) {
    /// Ends the record, in a panic as well.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            RECORD.with_borrow_mut(Option::take);
        }
    }
    let end = End;
    RECORD.with_borrow_mut(|record| *record = Some(Vec::new()));
    let done = forward();
    let stages = RECORD.with_borrow_mut(Option::take).unwrap_or_default();
    drop(end);
    (done, stages.into_iter().filter_map(|stage| Some(*stage.downcast().ok()?)).collect())
}

/// Whether this thread is [`recording`].
pub fn is_recording() -> bool {
    RECORD.with_borrow(Option::is_some)
}

/// What `tracked` gives, or while [`recording`] what stands for it: `untracked` gives the same values from weights
/// without gradients, and `tracked` waits for the backward pass.
///
/// `tracked` may hold weights, data and results of other stages, all of them leaves, but nothing else of the graph:
/// Burn 0.21 does not always keep what was recorded before other backward passes, and gradients would be lost.
///
/// # Shapes
/// - returns: `[batch, tokens, width]`, as both functions
pub fn stage<B: Backend>(
    untracked: impl FnOnce() -> Tensor<B, 3>,
    tracked: impl FnOnce() -> Tensor<B, 3> + 'static,
) -> Tensor<B, 3> {
    if !is_recording() {
        return tracked();
    }
    let output = untracked().detach().require_grad();
    let held = hold(4 * output.shape().num_elements());
    let stage = Stage { again: Box::new(tracked), output: output.clone(), held };
    RECORD.with_borrow_mut(|record| {
        if let Some(record) = record {
            record.push(Box::new(stage));
        }
    });
    output
}

impl<B: AutodiffBackend> Stage<B> {
    /// Runs the stage again, from the gradient that its output has got in the backward passes so far, `[1]`: backward of
    /// it gives those of the stage's weights and of what came before it. `None` if the output has no gradient.
    fn again(self, passes: &mut [B::Gradients]) -> Option<Tensor<B, 1>> {
        let Self { again, output, held } = self;
        let gradient =
            passes.iter_mut().filter_map(|grads| output.grad_remove(grads)).reduce(|a, b| a + b)?;
        drop((output, held));
        Some((again() * Tensor::from_inner(gradient)).sum())
    }
}

/// Backward passes of a loss, `[1]`, and of the stages of its forward pass: a gradient is the sum over all of them.
///
/// The thread that calls it has to be the only one that computes on `B`: see `replicas.rs` of mnist-train.
pub fn backward<B: AutodiffBackend>(loss: Tensor<B, 1>, stages: Vec<Stage<B>>) -> Vec<B::Gradients> {
    let mut passes = vec![loss.backward()];
    for stage in stages.into_iter().rev() {
        if let Some(loss) = stage.again(&mut passes) {
            passes.push(loss.backward());
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use burn::{
        backend::Autodiff,
        module::{Module, ModuleVisitor, Param},
        tensor::Distribution,
    };
    use burn_flex::Flex;

    use super::*;
    use crate::{
        nets::{Encoder, Vit, VitConfig},
        transformer::{Sight, Transformer, TransformerConfig},
    };

    type B = Autodiff<Flex>;

    /// All values of all gradients, summed over passes.
    struct Take<'a>(&'a [<B as AutodiffBackend>::Gradients], Vec<Option<Vec<f32>>>);

    impl ModuleVisitor<B> for Take<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let found = self.0.iter().filter_map(|grads| param.val().grad(grads)).reduce(|a, b| a + b);
            self.1.push(found.map(|found| found.into_data().to_vec().unwrap()));
        }
    }

    fn both<M: Module<B>>(model: &M, loss: impl Fn(&M) -> Tensor<B, 1>) -> [(f32, Vec<Option<Vec<f32>>>); 2] {
        let found = |loss: Tensor<B, 1>, stages| {
            let value = loss.clone().into_scalar();
            let passes = backward(loss, stages);
            let mut take = Take(&passes, Vec::new());
            model.visit(&mut take);
            (value, take.1)
        };
        let plain = found(loss(model), Vec::new());
        let (again, stages) = recording::<B, _>(|| loss(model));
        assert!(!stages.is_empty());
        [plain, found(again, stages)]
    }

    fn vit() -> Vit<B> {
        let config = VitConfig { patch: 7, width: 16, heads: 2, layers: 3, hidden: 24, ..Default::default() };
        config.init([28, 28].into(), &Default::default())
    }

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Default::default())
    }

    #[test]
    fn gradients_are_the_same_bit_for_bit() {
        let images = random([3, 1, 28, 28]);
        let [plain, again] = both(&vit(), |net| net.forward(images.clone()).powi_scalar(2).sum());
        assert!(
            plain.1.iter().all(|gradient| gradient.as_ref().is_some_and(|g| g.iter().any(|v| *v != 0.0)))
        );
        assert!(plain == again);
    }

    #[test]
    fn a_net_that_is_called_twice_gets_both_gradients() {
        let net = TransformerConfig { width: 8, heads: 2, layers: 2, hidden: 12, dropout: 0.0 };
        let net: Transformer<B> = net.init(&Default::default());
        let [x, y] = [random([2, 5, 8]), random([2, 5, 8])];
        let loss = |net: &Transformer<B>| {
            (net.forward(x.clone(), Sight::Past) * net.forward(y.clone(), Sight::All)).sum()
        };
        let [plain, again] = both(&net, loss);
        assert_eq!(plain.0, again.0);
        for (a, b) in plain.1.iter().flatten().zip(again.1.iter().flatten()) {
            let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_is_frozen_or_drops_out_is_no_stage() {
        let images = random([1, 1, 28, 28]);
        let stages = |net: Vit<B>| recording::<B, _>(|| net.forward(images.clone())).1.len();
        assert_eq!(stages(vit()), 4);
        assert_eq!(stages(vit().no_grad()), 0);
        let config = VitConfig { dropout: 0.1, layers: 2, ..Default::default() };
        assert_eq!(stages(config.init([28, 28].into(), &Default::default())), 0);
        assert!(!is_recording());
    }
}
