//! The fast path: an image at a time, which the cache holds through all passes.

use rayon::prelude::*;

use crate::{
    norm::planes::{Planes, Spread, gradient_sums, map},
    operation::{Forward, Operation, Pass, Reads},
    simd::vectorised,
};

/// Group normalisation of a tensor of these sizes.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    planes: Planes,
    shape: Vec<usize>,
    groups: usize,
    epsilon: f64,
}

impl Groups {
    pub(super) fn new(shape: &[usize], groups: usize, epsilon: f64) -> Self {
        Self { planes: Planes::new(shape), shape: shape.to_vec(), groups, epsilon }
    }

    /// Values of an image.
    fn image(&self) -> usize {
        self.planes.channels * self.planes.area
    }

    /// Channels of a group.
    fn channels(&self) -> usize {
        self.planes.channels / self.groups
    }
}

/// Inputs: values, weight, bias. Keeps mean and spread of each group of each image.
impl Operation<3> for Groups {
    type Kept = Vec<Spread>;

    fn forward(&self, [x, weight, bias]: [&[f32]; 3], _keep: bool) -> Forward<Vec<Spread>> {
        let mut output = vec![0.0; self.planes.len()];
        let spreads: Vec<_> = output
            .par_chunks_mut(self.image())
            .zip(x.par_chunks(self.image()))
            .map(|(y, x)| normalise(self, x, [weight, bias], y))
            .collect();
        Forward { output, shape: self.shape.clone(), kept: spreads.concat() }
    }

    fn reads(&self, wanted: [bool; 3]) -> Reads<3> {
        Reads { inputs: [wanted[0] || wanted[1], wanted[0], false], output: false }
    }

    fn backward(&self, Pass { inputs, kept, dy, wanted, .. }: Pass<'_, Vec<Spread>, 3>) -> [Vec<f32>; 3] {
        let [x, weight, _] = inputs;
        let x = if x.is_empty() { dy } else { x }; // read, but of no effect
        let mut dx = vec![0.0; if wanted[0] { dy.len() } else { 0 }];
        let images: Vec<_> = dx
            .chunks_mut(self.image())
            .chain(std::iter::repeat_with(Default::default))
            .zip(x.chunks(self.image()).zip(dy.chunks(self.image())).zip(kept.chunks(self.groups)))
            .collect();
        let sums: Vec<_> = images
            .into_par_iter()
            .map(|(dx, ((x, dy), spreads))| gradients(self, [x, dy], weight, spreads, dx))
            .collect();
        let mut totals = vec![[0.0; 2]; self.planes.channels];
        for sums in &sums {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = [total[0] + sum[0], total[1] + sum[1]];
            }
        }
        let [bias, weight] = [0, 1].map(|which| totals.iter().map(|total| total[which] as f32).collect());
        [dx, weight, bias]
    }
}

vectorised! {
    /// Normalises an image into `y`.
    fn normalise<'a>(
        of: &'a Groups,
        x: &'a [f32],
        affine: [&'a [f32]; 2],
        y: &'a mut [f32],
    ) -> Vec<Spread> {
        let [weight, bias] = affine.map(|values| values.chunks_exact(of.channels()));
        let [size, area] = [of.channels() * of.planes.area, of.planes.area];
        let mut spreads = Vec::with_capacity(of.groups);
        for ((x, y), (weight, bias)) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)).zip(weight.zip(bias)) {
            let spread = Spread::of(x, of.epsilon);
            let planes = x.chunks_exact(area).zip(y.chunks_exact_mut(area));
            for ((x, y), (&weight, &bias)) in planes.zip(weight.iter().zip(bias)) {
                let scale = weight * spread.inverse;
                map(y, [x, x, x], |x, _, _| (x - spread.mean).mul_add(scale, bias));
            }
            spreads.push(spread);
        }
        spreads
    }
}

vectorised! {
    /// Of each channel of an image, the sums of `dy` and of `dy` times the normalised values; fills `dx` if there is
    /// any.
    fn gradients<'a>(
        of: &'a Groups,
        from: [&'a [f32]; 2],
        weight: &'a [f32],
        spreads: &'a [Spread],
        dx: &'a mut [f32],
    ) -> Vec<[f64; 2]> {
        let [channels, area] = [of.channels(), of.planes.area];
        let [x, dy] = from.map(|values| values.chunks_exact(area));
        let mut sums = Vec::with_capacity(of.planes.channels);
        for (channel, (x, dy)) in x.zip(dy).enumerate() {
            let Spread { mean, inverse } = spreads[channel / channels];
            let [sum, product] = gradient_sums([x, dy, dy], mean, |_, dy, _| dy);
            sums.push([sum, product * f64::from(inverse)]);
        }
        let [x, dy] = from.map(|values| values.chunks_exact(channels * area));
        for (group, (dx, (x, dy))) in dx.chunks_exact_mut(channels * area).zip(x.zip(dy)).enumerate() {
            let Spread { mean, inverse } = spreads[group];
            let weight = &weight[group * channels..][..channels];
            let mut weighted = [0.0; 2];
            for (sums, &weight) in sums[group * channels..].iter().zip(weight) {
                weighted[0] += sums[0] * f64::from(weight);
                weighted[1] += sums[1] * f64::from(weight);
            }
            let part = -f64::from(inverse) / (channels * area) as f64;
            let offset = (part * weighted[0]) as f32;
            let slope = (part * weighted[1] * f64::from(inverse)) as f32;
            let planes = dx.chunks_exact_mut(area).zip(x.chunks_exact(area).zip(dy.chunks_exact(area)));
            for ((dx, (x, dy)), &weight) in planes.zip(weight) {
                let scale = weight * inverse;
                map(dx, [x, dy, dy], |x, dy, _| dy.mul_add(scale, (x - mean).mul_add(slope, offset)));
            }
        }
        sums
    }
}
