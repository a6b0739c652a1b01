//! A tensor `[batch, channels, ...]` as planes, one for each image and channel, and the loops over a plane.

use rayon::prelude::*;

/// Sizes of the tensor; `area` is the length of a plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) area: usize,
}

/// Some neighbouring channels of all images: what one job works on.
#[derive(Clone, Copy)]
pub(super) struct Block {
    of: Planes,
    /// First channel.
    pub(super) first: usize,
    /// How many.
    pub(super) count: usize,
}

impl Planes {
    pub(super) fn new(dims: &[usize]) -> Self {
        let [batch, channels, ref plane @ ..] = *dims else { panic!("{dims:?} has no channels") };
        Self { batch, channels, area: plane.iter().product() }
    }

    pub(super) fn len(&self) -> usize {
        self.batch * self.channels * self.area
    }

    /// Channels of a job: so many that small planes are read in runs, and still sixteen jobs where possible.
    fn block(&self) -> usize {
        const VALUES: usize = 1 << 14;
        (VALUES / (self.batch * self.area).max(1)).clamp(1, self.channels.div_ceil(16).max(1))
    }

    /// The channels of all jobs.
    pub(super) fn blocks(&self) -> impl IndexedParallelIterator<Item = Block> + use<> {
        let (of, step) = (*self, self.block());
        (0..of.channels.div_ceil(step)).into_par_iter().map(move |job| {
            let first = job * step;
            Block { of, first, count: step.min(of.channels - first) }
        })
    }

    /// For each of [`Self::blocks`], its part of each image.
    pub(super) fn parts<'a>(&self, values: &'a mut [f32]) -> Vec<Vec<&'a mut [f32]>> {
        let step = self.block();
        let jobs = self.channels.div_ceil(step);
        let mut parts: Vec<_> = (0..jobs).map(|_| Vec::with_capacity(self.batch)).collect();
        if !values.is_empty() {
            for image in values.chunks_mut(self.channels * self.area) {
                for (parts, part) in parts.iter_mut().zip(image.chunks_mut(step * self.area)) {
                    parts.push(part);
                }
            }
        }
        parts
    }
}

impl Block {
    pub(super) fn batch(&self) -> usize {
        self.of.batch
    }

    pub(super) fn area(&self) -> usize {
        self.of.area
    }

    /// The plane of an image and a channel of this block.
    #[inline(always)]
    pub(super) fn plane<'a>(&self, values: &'a [f32], image: usize, channel: usize) -> &'a [f32] {
        &values[(image * self.of.channels + self.first + channel) * self.of.area..][..self.of.area]
    }
}

/// How many sums a loop makes side by side: enough for the widest registers and the latency of an addition.
const STRANDS: usize = 32;

/// The sum of `term` of all values.
#[inline(always)]
pub(super) fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    let mut strands = [0.0_f32; STRANDS];
    let chunks = values.chunks_exact(STRANDS);
    let rest: f32 = chunks.remainder().iter().map(|&value| term(value)).sum();
    for chunk in chunks {
        for (strand, &value) in strands.iter_mut().zip(chunk) {
            *strand += term(value);
        }
    }
    f64::from(total(strands) + rest)
}

/// The sums of `d` and of `d * (x - mean)`, where `d` is made of the values at one place in `x`, `dy` and `y`.
#[inline(always)]
pub(super) fn gradient_sums(
    [x, dy, y]: [&[f32]; 3],
    mean: f32,
    d: impl Fn(f32, f32, f32) -> f32,
) -> [f64; 2] {
    let (mut sums, mut products) = ([0.0_f32; STRANDS], [0.0_f32; STRANDS]);
    let [xs, dys, ys] = [x, dy, y].map(|values| values.chunks_exact(STRANDS));
    let mut rest = [0.0_f32; 2];
    for ((&x, &dy), &y) in xs.remainder().iter().zip(dys.remainder()).zip(ys.remainder()) {
        let d = d(x, dy, y);
        rest[0] += d;
        rest[1] = (x - mean).mul_add(d, rest[1]);
    }
    for ((x, dy), y) in xs.zip(dys).zip(ys) {
        for i in 0..STRANDS {
            let d = d(x[i], dy[i], y[i]);
            sums[i] += d;
            products[i] = (x[i] - mean).mul_add(d, products[i]);
        }
    }
    [total(sums) + rest[0], total(products) + rest[1]].map(f64::from)
}

/// `out = f(x, dy, y)`, place by place.
#[inline(always)]
pub(super) fn map(out: &mut [f32], [x, dy, y]: [&[f32]; 3], f: impl Fn(f32, f32, f32) -> f32) {
    for (((out, &x), &dy), &y) in out.iter_mut().zip(x).zip(dy).zip(y) {
        *out = f(x, dy, y);
    }
}

/// The sum of all strands, by halves.
#[inline(always)]
fn total(mut strands: [f32; STRANDS]) -> f32 {
    let mut half = STRANDS / 2;
    while half > 0 {
        for i in 0..half {
            strands[i] += strands[i + half];
        }
        half /= 2;
    }
    strands[0]
}
