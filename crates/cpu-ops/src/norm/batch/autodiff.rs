//! The fast path as one operation of Burn's autodiff.

use super::{
    BatchNormOptions,
    kernel::{self, Channel, Mask},
};
use crate::{
    norm::planes::Planes,
    operation::{Forward, Operation, Pass, Reads},
};

/// Batch normalisation of a tensor of these sizes.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    planes: Planes,
    shape: Vec<usize>,
    epsilon: f64,
    relu: bool,
    /// Whether mean and variance are given; else they are the batch's.
    given: bool,
}

impl Norm {
    pub(super) fn new(shape: &[usize], options: BatchNormOptions, given: bool) -> Self {
        let BatchNormOptions { epsilon, relu } = options;
        Self { planes: Planes::new(shape), shape: shape.to_vec(), epsilon, relu, given }
    }

    /// Which of the inputs is the shortcut.
    fn shortcut(&self) -> usize {
        if self.given { 5 } else { 3 }
    }
}

/// Inputs: values, weight, bias; mean and variance where they are given, through which no gradient flows; the shortcut
/// where there is one.
impl<const N: usize> Operation<N> for Norm {
    type Kept = Vec<Channel>;

    fn forward(&self, inputs: [&[f32]; N], _keep: bool) -> Forward<Vec<Channel>> {
        let (output, kept) = kernel::forward(
            &self.planes,
            inputs[0],
            [inputs[1], inputs[2]],
            self.given.then(|| [inputs[3], inputs[4]]),
            inputs.get(self.shortcut()).copied(),
            self.epsilon,
            self.relu,
        );
        Forward { output, shape: self.shape.clone(), kept }
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        let shortcut = self.shortcut() < N;
        // Without a shortcut the sign of the output is found again from the values.
        let values = wanted[0] || wanted[1] || (self.relu && !shortcut);
        Reads { inputs: std::array::from_fn(|input| input == 0 && values), output: self.relu && shortcut }
    }

    fn backward(&self, pass: Pass<'_, Vec<Channel>, N>) -> [Vec<f32>; N] {
        let mask = match (self.relu, self.shortcut() < N) {
            (false, _) => Mask::None,
            (true, true) => Mask::Output(pass.output),
            (true, false) => Mask::Again,
        };
        let places = [0, 1, 2, self.shortcut()];
        let wanted = places.map(|input| pass.wanted.get(input).is_some_and(|&wanted| wanted));
        let x = pass.inputs[0];
        let found = kernel::backward(&self.planes, x, pass.dy, mask, pass.kept, wanted, !self.given);
        let mut gradients = std::array::from_fn(|_| Vec::new());
        for (place, found) in places.into_iter().zip(found) {
            if let Some(gradient) = gradients.get_mut(place) {
                *gradient = found;
            }
        }
        gradients
    }
}
