//! Kernels to the space of Winograd's F(2x2, 3x3), and sums of that space back to gradients of kernels.
//!
//! A cache line of each of the 16 planes at a time, and one line more between planes: else they often lie a multiple
//! of 4 KiB apart, and evict each other.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::tiles::{SPACE, both};
use crate::{conv::frame::padded, product::LANES, scratch::Buffer};

/// `G w Gt` of all kernels, as [`SPACE`] planes `[rows, padded(run)]` of `sizes = [rows, run]`, [`pitch`] apart; `steps`
/// says how far apart neighbouring kernels are, by row and within one.
pub(super) fn filters(weight: &[f32], sizes: [usize; 2], steps: [usize; 2]) -> Buffer {
    let mut filters = Buffer::zeros(SPACE * pitch(sizes));
    let (weight, _) = weight.as_chunks();
    pulp::Arch::new().dispatch(Filters { weight, sizes, steps, filters: filters.values_mut() });
    filters
}

/// How far apart the planes of [`filters`] begin.
pub(super) fn pitch([rows, run]: [usize; 2]) -> usize {
    rows * padded(run) + LANES
}

struct Filters<'a> {
    weight: &'a [[f32; 9]],
    sizes: [usize; 2],
    steps: [usize; 2],
    filters: &'a mut [f32],
}

impl WithSimd for Filters<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [rows, run] = self.sizes;
        let (width, pitch) = (padded(run), pitch(self.sizes));
        let half = simd.splat_f32s(0.5);
        for row in 0..rows {
            for first in (0..run).step_by(LANES) {
                let mut w = [[0.0; LANES]; 9];
                for i in 0..LANES.min(run - first) {
                    let kernel = &self.weight[row * self.steps[0] + (first + i) * self.steps[1]];
                    for (line, value) in w.iter_mut().zip(kernel) {
                        line[i] = *value;
                    }
                }
                for part in 0..LANES / S::F32_LANES {
                    let vector = |i: usize, j: usize| S::as_simd_f32s(&w[3 * i + j]).0[part];
                    let w: [[S::f32s; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| vector(i, j)));
                    let moved = both(w, |[a, b, c]| {
                        let ends = simd.add_f32s(a, c);
                        let sum = simd.mul_f32s(simd.add_f32s(ends, b), half);
                        let difference = simd.mul_f32s(simd.sub_f32s(ends, b), half);
                        [a, sum, difference, c]
                    });
                    for (number, value) in moved.into_iter().flatten().enumerate() {
                        let line = &mut self.filters[number * pitch + row * width + first..][..LANES];
                        S::as_mut_simd_f32s(line).0[part] = value;
                    }
                }
            }
        }
    }
}

/// `Gt m G` of a sum over tiles: `[outputs, inputs, 3, 3]` from `[SPACE, inputs, padded(outputs)]`.
pub(super) fn unfilter(sum: &[f32], [inputs, outputs]: [usize; 2]) -> Vec<f32> {
    let mut gradient = vec![0.0; outputs * inputs * 9];
    gradient.par_chunks_mut(LANES * inputs * 9).enumerate().for_each(|(block, gradient)| {
        let first = block * LANES;
        pulp::Arch::new().dispatch(Unfilter { sum, inputs, width: padded(outputs), first, gradient });
    });
    gradient
}

/// Of up to [`LANES`] outputs from `first` on.
struct Unfilter<'a> {
    sum: &'a [f32],
    inputs: usize,
    width: usize,
    first: usize,
    gradient: &'a mut [f32],
}

impl WithSimd for Unfilter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let half = simd.splat_f32s(0.5);
        for c in 0..self.inputs {
            let mut w = [[0.0; LANES]; 9];
            for part in 0..LANES / S::F32_LANES {
                let vector = |number: usize| {
                    let line = &self.sum[(number * self.inputs + c) * self.width + self.first..][..LANES];
                    S::as_simd_f32s(line).0[part]
                };
                let m: [[S::f32s; 4]; 4] =
                    std::array::from_fn(|i| std::array::from_fn(|j| vector(4 * i + j)));
                let moved: [[S::f32s; 3]; 3] = both(m, |[a, b, c, d]| {
                    let sum = simd.mul_f32s(simd.add_f32s(b, c), half);
                    let difference = simd.mul_f32s(simd.sub_f32s(b, c), half);
                    [simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d)]
                });
                for (line, value) in w.iter_mut().zip(moved.into_iter().flatten()) {
                    S::as_mut_simd_f32s(line).0[part] = value;
                }
            }
            for (o, gradient) in self.gradient.chunks_exact_mut(self.inputs * 9).enumerate() {
                for (value, line) in gradient[c * 9..][..9].iter_mut().zip(&w) {
                    *value = line[o];
                }
            }
        }
    }
}
