//! The fast path: a row at a time, which the nearest cache holds through all passes.

use rayon::prelude::*;

use crate::{
    norm::planes::{Spread, gradient_sums, map},
    operation::{Forward, Operation, Pass, Reads},
    simd::vectorised,
};

/// Layer normalisation of a tensor of these sizes.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    shape: Vec<usize>,
    width: usize,
    epsilon: f64,
}

impl Rows {
    pub(super) fn new(shape: &[usize], epsilon: f64) -> Self {
        Self { shape: shape.to_vec(), width: shape.last().copied().unwrap_or(1), epsilon }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows of a job: enough work for a thread, and no more than 64 jobs' sums for weight and bias.
    fn job(&self) -> usize {
        const VALUES: usize = 1 << 14;
        (VALUES / self.width).max((self.len() / self.width).div_ceil(64)).max(1)
    }
}

/// Inputs: values, weight, bias. Keeps mean and spread of each row.
impl Operation<3> for Rows {
    type Kept = Vec<Spread>;

    fn forward(&self, [x, weight, bias]: [&[f32]; 3], _keep: bool) -> Forward<Vec<Spread>> {
        let job = self.job() * self.width;
        let mut output = vec![0.0; self.len()];
        let spreads: Vec<_> = output
            .par_chunks_mut(job)
            .zip(x.par_chunks(job))
            .map(|(y, x)| normalise(x, [weight, bias], self.epsilon, y))
            .collect();
        Forward { output, shape: self.shape.clone(), kept: spreads.concat() }
    }

    fn reads(&self, wanted: [bool; 3]) -> Reads<3> {
        Reads { inputs: [wanted[0] || wanted[1], wanted[0], false], output: false }
    }

    fn backward(&self, Pass { inputs, kept, dy, wanted, .. }: Pass<'_, Vec<Spread>, 3>) -> [Vec<f32>; 3] {
        let [x, weight, _] = inputs;
        let x = if x.is_empty() { dy } else { x }; // read, but of no effect
        let job = self.job() * self.width;
        let mut dx = vec![0.0; if wanted[0] { dy.len() } else { 0 }];
        let jobs: Vec<_> = dx
            .chunks_mut(job)
            .chain(std::iter::repeat_with(Default::default))
            .zip(x.chunks(job).zip(dy.chunks(job)).zip(kept.chunks(self.job())))
            .collect();
        let sums: Vec<[Vec<f32>; 2]> = jobs
            .into_par_iter()
            .map(|(dx, ((x, dy), spreads))| gradients([x, dy], weight, spreads, self.width, dx))
            .collect();
        let [weight, bias] = [0, 1].map(|which| {
            let mut totals = vec![0.0_f64; self.width];
            for sums in &sums {
                for (total, &sum) in totals.iter_mut().zip(&sums[which]) {
                    *total += f64::from(sum);
                }
            }
            totals.into_iter().map(|total| total as f32).collect()
        });
        [dx, weight, bias]
    }
}

vectorised! {
    /// Normalises some rows into `y`.
    fn normalise<'a>(x: &'a [f32], affine: [&'a [f32]; 2], epsilon: f64, y: &'a mut [f32]) -> Vec<Spread> {
        let [weight, bias] = affine;
        let mut spreads = Vec::with_capacity(x.len() / weight.len());
        for (x, y) in x.chunks_exact(weight.len()).zip(y.chunks_exact_mut(weight.len())) {
            let spread = Spread::of(x, epsilon);
            map(y, [x, weight, bias], |x, weight, bias| {
                ((x - spread.mean) * spread.inverse).mul_add(weight, bias)
            });
            spreads.push(spread);
        }
        spreads
    }
}

vectorised! {
    /// The sums for weight and bias over some rows; fills `dx` if there is any.
    fn gradients<'a>(
        from: [&'a [f32]; 2],
        weight: &'a [f32],
        spreads: &'a [Spread],
        width: usize,
        dx: &'a mut [f32],
    ) -> [Vec<f32>; 2] {
        let [mut dw, mut db] = [vec![0.0_f32; width], vec![0.0_f32; width]];
        let [x, dy] = from.map(|values| values.chunks_exact(width));
        let mut dx = dx.chunks_exact_mut(width);
        for ((x, dy), &Spread { mean, inverse }) in x.zip(dy).zip(spreads) {
            for (((dw, db), &x), &dy) in dw.iter_mut().zip(&mut db).zip(x).zip(dy) {
                *dw = ((x - mean) * inverse).mul_add(dy, *dw);
                *db += dy;
            }
            if let Some(dx) = dx.next() {
                let [sum, product] = gradient_sums([x, dy, weight], mean, |_, dy, weight| dy * weight);
                let part = -f64::from(inverse) / width as f64;
                let slope = (part * product * f64::from(inverse).powi(2)) as f32;
                let offset = (part * sum) as f32;
                map(dx, [x, dy, weight], |x, dy, weight| {
                    (dy * weight).mul_add(inverse, (x - mean).mul_add(slope, offset))
                });
            }
        }
        [dw, db]
    }
}
