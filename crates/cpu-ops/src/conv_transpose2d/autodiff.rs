//! The fast path as one operation of Burn's autodiff.

use super::Call;
use crate::{
    conv::{
        method::{Asked, method},
        pass::{spread, spread_back},
    },
    operation::{Forward, Operation, Pass, Reads},
};

/// Inputs: images, weights and, where there is one, the bias.
impl<const N: usize> Operation<N> for Call {
    type Kept = ();

    fn forward(&self, inputs: [&[f32]; N], _keep: bool) -> Forward<()> {
        let link = &self.link;
        let method = method(link, inputs[1], Asked { spread: true, ..Default::default() });
        let output = spread(link, &*method, inputs[0], inputs.get(2).copied(), self.relu);
        Forward { output, shape: vec![link.batch, link.inputs, link.image[0], link.image[1]], kept: () }
    }

    fn flops(&self) -> u64 {
        self.link.flops()
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        let inputs = std::array::from_fn(|input| match input {
            0 => wanted[1],
            1 => wanted[0],
            _ => false,
        });
        Reads { inputs, output: self.relu }
    }

    fn backward(&self, pass: Pass<'_, (), N>) -> [Vec<f32>; N] {
        let asked = Asked { correlate: pass.wanted[0], ..Default::default() };
        let method = method(&self.link, pass.inputs[1], asked);
        let x = pass.wanted[1].then_some(pass.inputs[0]);
        let bias = pass.wanted.get(2).is_some_and(|&wanted| wanted);
        let output = self.relu.then_some(pass.output);
        let found = spread_back(&self.link, &*method, x, pass.wanted[0], bias, pass.dy, output);
        let mut found = [found.x, found.weight, found.bias].into_iter();
        std::array::from_fn(|_| found.next().unwrap_or_default())
    }
}
