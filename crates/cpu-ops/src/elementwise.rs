//! Operations that treat each element alone.

use std::{fmt::Debug, ops::Range};

use burn::tensor::{Tensor, backend::Backend};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::operation::{Forward, Operation, Pass, Reads, primitive, run, tensor};

/// A function of one number.
///
/// Both methods have to be `#[inline(always)]`, to be compiled for the instructions of the loop they are in.
pub(crate) trait Function: Copy + Debug + Send + Sync + 'static {
    fn value(self, x: f32) -> f32;

    /// The derivative at `x`.
    fn slope(self, x: f32) -> f32;
}

/// The function of each element; the tensor itself if `B` has no fast path.
///
/// The backward pass computes the slope from the input anew: that costs less than to write and read it.
pub(crate) fn map<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    function: impl Function,
) -> Result<Tensor<B, D>, Tensor<B, D>> {
    let operation = Map { function, shape: x.dims().to_vec() };
    run::<B, _, 1>(&operation, [primitive(x)]).map(|(y, _)| tensor(y)).map_err(|[x]| tensor(x))
}

#[derive(Clone, Debug)]
struct Map<F> {
    function: F,
    shape: Vec<usize>,
}

impl<F: Function> Operation<1> for Map<F> {
    type Kept = ();

    fn forward(&self, [x]: [&[f32]; 1], _keep: bool) -> Forward<()> {
        let function = self.function;
        let output =
            by_blocks(x.len(), |range, y| Arch::new().dispatch(Values { function, x: &x[range], y }));
        Forward { output, shape: self.shape.clone(), kept: () }
    }

    fn reads(&self, _wanted: [bool; 1]) -> Reads<1> {
        Reads { inputs: [true], output: false }
    }

    fn backward(&self, pass: Pass<'_, (), 1>) -> [Vec<f32>; 1] {
        let function = self.function;
        let ([x], dy) = (pass.inputs, pass.dy);
        [by_blocks(x.len(), |range, dx| {
            Arch::new().dispatch(Slopes { function, x: &x[range.clone()], dy: &dy[range], dx });
        })]
    }
}

struct Values<'a, F> {
    function: F,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<F: Function> WithSimd for Values<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = self.function.value(x);
        }
    }
}

struct Slopes<'a, F> {
    function: F,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl<F: Function> WithSimd for Slopes<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((dx, &x), &dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            *dx = self.function.slope(x) * dy;
        }
    }
}

/// Elements that are computed in one go, in the first cache.
pub(crate) const BLOCK: usize = 1 << 10;

/// Fewer than twice as many blocks are left to one thread: waking another costs more.
const BLOCKS_OF_A_THREAD: usize = 32;

/// A vector of zeros whose blocks `fill` overwrites, [`BLOCK`] by [`BLOCK`]; it is called with the range of a
/// block and its elements.
pub(crate) fn by_blocks(len: usize, fill: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Vec<f32> {
    let mut values = vec![0.0; len];
    let blocks = values.par_chunks_mut(BLOCK).with_min_len(BLOCKS_OF_A_THREAD).enumerate();
    blocks.for_each(|(index, block)| fill(index * BLOCK..index * BLOCK + block.len(), block));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_at_its_place() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 100 * BLOCK + 7] {
            let values = by_blocks(len, |range, block| {
                for (value, i) in block.iter_mut().zip(range) {
                    *value = i as f32;
                }
            });
            assert_eq!(values, (0..len).map(|i| i as f32).collect::<Vec<_>>());
        }
    }
}
