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
        // Where there is little to do, handing over to other threads costs more than it brings.
        const ALONE: usize = 1 << 15;
        let (of, step) = (*self, self.block());
        let jobs = of.channels.div_ceil(step);
        let least = if self.len() < ALONE { jobs } else { 1 };
        (0..jobs).into_par_iter().with_min_len(least.max(1)).map(move |job| {
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

/// Mean of some values and what they are divided by to have variance 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub(super) mean: f32,
    /// 1 / sqrt(variance + epsilon).
    pub(super) inverse: f32,
}

impl Spread {
    #[inline(always)]
    pub(super) fn of(values: &[f32], epsilon: f64) -> Self {
        let count = values.len() as f64;
        let mean = (sum_of(values, |value| value) / count) as f32;
        let variance = sum_of(values, |value| (value - mean) * (value - mean)) / count;
        Self { mean, inverse: (1.0 / (variance + epsilon).sqrt()) as f32 }
    }
}

/// How many sums a loop makes side by side: enough for the widest registers and the latency of an addition.
const STRANDS: usize = 32;

/// Values that are added up in f32 before their sum goes on in f64.
const PIECE: usize = 1 << 12;

/// The sum of `term` of all values.
#[inline(always)]
pub(super) fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    let mut sum = 0.0;
    for piece in values.chunks(PIECE) {
        let mut strands = [0.0_f32; STRANDS];
        let chunks = piece.chunks_exact(STRANDS);
        for (strand, &value) in strands.iter_mut().zip(chunks.remainder()) {
            *strand = term(value);
        }
        for chunk in chunks {
            for (strand, &value) in strands.iter_mut().zip(chunk) {
                *strand += term(value);
            }
        }
        sum += f64::from(total(strands));
    }
    sum
}

/// The sums of `d` and of `d * (x - mean)`, where `d` is made of the values at one place in `x`, `dy` and `y`.
#[inline(always)]
pub(super) fn gradient_sums(
    [x, dy, y]: [&[f32]; 3],
    mean: f32,
    d: impl Fn(f32, f32, f32) -> f32,
) -> [f64; 2] {
    let mut found = [0.0; 2];
    for ((x, dy), y) in x.chunks(PIECE).zip(dy.chunks(PIECE)).zip(y.chunks(PIECE)) {
        let (mut sums, mut products) = ([0.0_f32; STRANDS], [0.0_f32; STRANDS]);
        let [xs, dys, ys] = [x, dy, y].map(|values| values.chunks_exact(STRANDS));
        let rest = xs.remainder().iter().zip(dys.remainder()).zip(ys.remainder());
        for ((sum, product), ((&x, &dy), &y)) in sums.iter_mut().zip(&mut products).zip(rest) {
            *sum = d(x, dy, y);
            *product = (x - mean) * *sum;
        }
        for ((x, dy), y) in xs.zip(dys).zip(ys) {
            for i in 0..STRANDS {
                let d = d(x[i], dy[i], y[i]);
                sums[i] += d;
                products[i] = (x[i] - mean).mul_add(d, products[i]);
            }
        }
        found[0] += f64::from(total(sums));
        found[1] += f64::from(total(products));
    }
    found
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
