//! Kernels smaller than their stride, extended by zeros for backends that get them wrong.

use burn::tensor::{Tensor, backend::Backend, ops::PadMode};

/// Rows and columns that a kernel of weights `[.., .., height, width]` lacks to its stride.
pub(crate) fn below_stride([.., height, width]: [usize; 4], stride: [usize; 2]) -> [usize; 2] {
    [stride[0].saturating_sub(height), stride[1].saturating_sub(width)]
}

/// Zeros added below and on the right.
pub(crate) fn extended<B: Backend>(x: Tensor<B, 4>, [below, right]: [usize; 2]) -> Tensor<B, 4> {
    if [below, right] == [0, 0] { x } else { x.pad([(0, below), (0, right)], PadMode::Constant(0.0)) }
}

/// What the tests of both convolutions share.
#[cfg(all(test, feature = "flex"))]
pub(crate) mod testing {
    // Helpers of tests may unwrap as tests do.
    #![allow(clippy::unwrap_used)]

    use burn::{
        backend::Autodiff,
        tensor::{Distribution, Tolerance},
    };
    use burn_flex::Flex;

    use super::*;

    type Auto = Autodiff<Flex>;

    /// Random numbers that gradients are asked for.
    pub(crate) fn random(shape: [usize; 4]) -> Tensor<Auto, 4> {
        Tensor::random(shape, Distribution::Default, &Default::default()).require_grad()
    }

    /// Whether two outputs are the same, and the gradients of `inputs` through them.
    pub(crate) fn agree(own: Tensor<Auto, 4>, theirs: Tensor<Auto, 4>, inputs: [Tensor<Auto, 4>; 2]) {
        assert_eq!(own.dims(), theirs.dims());
        let factors = Tensor::random(own.dims(), Distribution::Default, &own.device());
        let [own, theirs] = [own, theirs].map(|y| {
            let gradients = (y.clone() * factors.clone()).sum().backward();
            let [x, weight] = inputs.each_ref().map(|input| input.grad(&gradients).unwrap());
            [y.inner(), x, weight]
        });
        for (own, theirs) in own.into_iter().zip(theirs) {
            own.into_data().assert_approx_eq::<f32>(&theirs.into_data(), Tolerance::absolute(1e-5));
        }
    }
}
