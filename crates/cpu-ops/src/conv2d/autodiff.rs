//! The fast path as one operation of Burn's autodiff.

use std::rc::Rc;

use super::geometry::Geometry;
use crate::{
    conv::{
        method::{Asked, Method, method},
        pass::{Pooled, Route, correlate, correlate_and_pool, correlate_back},
        prepared::{FEW_IMAGES, prepared},
    },
    operation::{Forward, Operation, Pass, Reads},
};

/// Inputs: images, weights and, where there is one, the bias. Keeps the winners of max-pooling.
impl<const N: usize> Operation<N> for Geometry {
    type Kept = Vec<u8>;

    fn forward(&self, inputs: [&[f32]; N], keep: bool) -> Forward<Vec<u8>> {
        let Self { link, options } = self;
        let [x, weight] = [inputs[0], inputs[1]];
        let bias = inputs.get(2).copied();
        let asked = Asked { correlate: true, pooled: options.max_pool, ..Default::default() };
        let few = !keep && link.batch <= FEW_IMAGES;
        let method: Rc<dyn Method> =
            if few { prepared(link, weight, asked) } else { method(link, weight, asked).into() };
        let [height, width] = self.result();
        let shape = vec![link.batch, link.outputs, height, width];
        if options.max_pool {
            let Pooled { output, winners } = correlate_and_pool(link, &*method, x, bias, options.relu);
            Forward { output, shape, kept: winners }
        } else {
            let output = correlate(link, &*method, x, bias, options.relu);
            Forward { output, shape, kept: Vec::new() }
        }
    }

    fn flops(&self) -> u64 {
        self.link.flops()
    }

    fn kept_bytes(kept: &Vec<u8>) -> u64 {
        kept.len() as u64
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
        let Self { link, options } = self;
        let route = match (options.max_pool, options.relu) {
            (true, _) => Route::Winners(pass.kept),
            (false, true) => Route::Positive(pass.output),
            (false, false) => Route::All,
        };
        let asked = Asked { spread: pass.wanted[0], pooled: options.max_pool, ..Default::default() };
        let method = method(link, pass.inputs[1], asked);
        let x = pass.wanted[1].then_some(pass.inputs[0]);
        let bias = pass.wanted.get(2).is_some_and(|&wanted| wanted);
        let found = correlate_back(link, &*method, x, pass.wanted[0], bias, pass.dy, route);
        let mut found = [found.x, found.weight, found.bias].into_iter();
        std::array::from_fn(|_| found.next().unwrap_or_default())
    }
}
