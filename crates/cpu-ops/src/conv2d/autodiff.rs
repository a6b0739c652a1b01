//! The fast path as one operation of Burn's autodiff.

use super::{
    geometry::Geometry,
    kernel::{self, Route},
};
use crate::operation::{Forward, Operation, Pass, Reads};

/// Inputs: images, weights and, where there is one, the bias. Keeps the winners of max-pooling.
impl<const N: usize> Operation<N> for Geometry {
    type Kept = Vec<u8>;

    fn forward(&self, inputs: [&[f32]; N], _keep: bool) -> Forward<Vec<u8>> {
        let kernel::Forward { output, winners } =
            kernel::forward(self, inputs[0], inputs[1], inputs.get(2).copied());
        let [height, width] = self.result();
        Forward { output, shape: vec![self.batch, self.outputs, height, width], kept: winners }
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        // The gradient of the images comes from the weights and that of the weights from the images.
        let inputs = std::array::from_fn(|input| match input {
            0 => wanted[1],
            1 => wanted[0],
            _ => false,
        });
        Reads { inputs, output: self.options.relu && !self.options.max_pool }
    }

    fn backward(&self, pass: Pass<'_, Vec<u8>, N>) -> [Vec<f32>; N] {
        let route = match (self.options.max_pool, self.options.relu) {
            (true, _) => Route::Winners(pass.kept),
            (false, true) => Route::Positive(pass.output),
            (false, false) => Route::All,
        };
        let x = pass.wanted[1].then_some(pass.inputs[0]);
        let weight = pass.wanted[0].then_some(pass.inputs[1]);
        let bias = pass.wanted.get(2).is_some_and(|&wanted| wanted);
        let found = kernel::backward(self, x, weight, bias, pass.dy, route);
        let mut found = [found.x, found.weight, found.bias].into_iter();
        std::array::from_fn(|_| found.next().unwrap_or_default())
    }
}
