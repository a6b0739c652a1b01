//! The fast path as one operation of Burn's autodiff.

use super::kernel::{self, Channel, Mask};
use crate::{
    norm::planes::Planes,
    operation::{Forward, Operation, Pass, Reads},
};

/// Batch normalisation of a tensor of these sizes.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    planes: Planes,
    shape: Vec<usize>,
    /// Where the batch's statistics are taken; else `weight * x + bias` alone.
    epsilon: Option<f64>,
    relu: bool,
}

impl Norm {
    pub(super) fn new(shape: &[usize], epsilon: Option<f64>, relu: bool) -> Self {
        Self { planes: Planes::new(shape), shape: shape.to_vec(), epsilon, relu }
    }
}

/// Inputs: values, weight, bias and, where there is one, the shortcut.
impl<const N: usize> Operation<N> for Norm {
    type Kept = Vec<Channel>;

    fn forward(&self, inputs: [&[f32]; N], _keep: bool) -> Forward<Vec<Channel>> {
        let (output, kept) = kernel::forward(
            &self.planes,
            inputs[0],
            [inputs[1], inputs[2]],
            inputs.get(3).copied(),
            self.epsilon,
            self.relu,
        );
        Forward { output, shape: self.shape.clone(), kept }
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        // Without a shortcut the sign of the output is found again from the values.
        let values = wanted[0] || wanted[1] || (self.relu && N == 3);
        Reads { inputs: std::array::from_fn(|input| input == 0 && values), output: self.relu && N == 4 }
    }

    fn backward(&self, pass: Pass<'_, Vec<Channel>, N>) -> [Vec<f32>; N] {
        let mask = match (self.relu, N) {
            (false, _) => Mask::None,
            (true, 4) => Mask::Output(pass.output),
            (true, _) => Mask::Again,
        };
        let wanted = std::array::from_fn(|input| pass.wanted.get(input).is_some_and(|&wanted| wanted));
        let x = pass.inputs[0];
        let found =
            kernel::backward(&self.planes, x, pass.dy, mask, pass.kept, wanted, self.epsilon.is_some());
        let mut found = found.into_iter();
        std::array::from_fn(|_| found.next().unwrap_or_default())
    }
}
