//! Forward and backward of the fast path, on slices.
//!
//! A job takes a few channels of all images through all passes, so that memory is read once where a channel
//! fits the cache. Images are added up in their order: the number of threads changes no bit of the result.

use rayon::prelude::*;

use crate::{
    norm::planes::{Block, Planes, gradient_sums, map, sum_of},
    simd::vectorised,
};

/// What the forward pass knows of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) mean: f32,
    /// Unbiased, 0 of a single value; of no meaning where it was given.
    pub(super) variance: f32,
    /// 1 / sqrt(biased variance + epsilon).
    inverse: f32,
    /// Before shortcut and ReLU, the output is `(x - mean) * scale + bias`.
    scale: f32,
    bias: f32,
}

/// Where ReLU lets gradients through.
#[derive(Clone, Copy)]
pub(super) enum Mask<'a> {
    /// There is none: everywhere.
    None,
    /// Where the norm, found again from `x`, is above zero.
    Again,
    /// Where this, its output, is above zero.
    Output(&'a [f32]),
}

/// Output and statistics, which are the batch's where no mean and variance are `given`.
pub(super) fn forward(
    planes: &Planes,
    x: &[f32],
    [weight, bias]: [&[f32]; 2],
    given: Option<[&[f32]; 2]>,
    shortcut: Option<&[f32]>,
    epsilon: f64,
    relu: bool,
) -> (Vec<f32>, Vec<Channel>) {
    let mut output = vec![0.0; planes.len()];
    let channels: Vec<Vec<Channel>> = planes
        .blocks()
        .zip(planes.parts(&mut output))
        .map(|(block, y)| {
            let affine = weight.iter().zip(bias).skip(block.first).take(block.count);
            let channels: Vec<_> = match given {
                None => {
                    let count = (planes.batch * planes.area) as f64;
                    let moments = moments(block, x).into_iter();
                    moments.zip(affine).map(|(m, (&w, &b))| Channel::new(m, count, epsilon, w, b)).collect()
                }
                Some([mean, variance]) => {
                    let given = mean.iter().zip(variance).skip(block.first);
                    let given = given.map(|(&mean, &variance)| [mean, variance].map(f64::from));
                    given.zip(affine).map(|(m, (&w, &b))| Channel::new(m, 1.0, epsilon, w, b)).collect()
                }
            };
            transform(block, x, shortcut, &channels, relu, y);
            channels
        })
        .collect();
    (output, channels.concat())
}

impl Channel {
    /// From the mean and the sum of squares around it of `count` values.
    fn new([mean, squares]: [f64; 2], count: f64, epsilon: f64, weight: f32, bias: f32) -> Self {
        let inverse = 1.0 / (squares / count + epsilon).sqrt();
        Self {
            mean: mean as f32,
            variance: (squares / (count - 1.0).max(1.0)) as f32,
            inverse: inverse as f32,
            scale: (f64::from(weight) * inverse) as f32,
            bias,
        }
    }

    /// What the gradients of the values gain because the statistics depend on them, `(x - mean) * slope + offset`,
    /// from [`sums`] over `count` values.
    fn slope(&self, [sum, product]: &[f64; 2], count: f64) -> [f32; 2] {
        let scale = -f64::from(self.scale) / count;
        [scale * product * f64::from(self.inverse).powi(2), scale * sum].map(|value| value as f32)
    }

    /// The norm of a value of this channel.
    ///
    /// In this form, not as `x * scale + shift`, a channel of equal values becomes its bias exactly.
    #[inline(always)]
    fn norm(&self, x: f32) -> f32 {
        (x - self.mean).mul_add(self.scale, self.bias)
    }
}

vectorised! {
    /// Of each channel, the mean and the sum of squares around it.
    fn moments<'a>(block: Block, x: &'a [f32]) -> Vec<[f64; 2]> {
        let mut found = vec![[0.0; 2]; block.count];
        for image in 0..block.batch() {
            for (channel, [sum, _]) in found.iter_mut().enumerate() {
                *sum += sum_of(block.plane(x, image, channel), |x| x);
            }
        }
        for [mean, _] in &mut found {
            *mean /= (block.batch() * block.area()) as f64;
        }
        for image in 0..block.batch() {
            for (channel, [mean, squares]) in found.iter_mut().enumerate() {
                let mean = *mean as f32;
                *squares += sum_of(block.plane(x, image, channel), |x| (x - mean) * (x - mean));
            }
        }
        found
    }
}

vectorised! {
    /// The output: `y` holds the block's part of each image.
    fn transform<'a>(
        block: Block,
        x: &'a [f32],
        shortcut: Option<&'a [f32]>,
        channels: &'a [Channel],
        relu: bool,
        y: Vec<&'a mut [f32]>,
    ) {
        let floor = |y: f32| if y <= 0.0 { 0.0 } else { y };
        for (image, y) in y.into_iter().enumerate() {
            for (channel, (y, &c)) in y.chunks_exact_mut(block.area()).zip(channels).enumerate() {
                let x = block.plane(x, image, channel);
                let other = shortcut.map_or(x, |shortcut| block.plane(shortcut, image, channel));
                let from = [x, other, x];
                match (shortcut.is_some(), relu) {
                    (false, false) => map(y, from, |x, _, _| c.norm(x)),
                    (false, true) => map(y, from, |x, _, _| floor(c.norm(x))),
                    (true, false) => map(y, from, |x, other, _| c.norm(x) + other),
                    (true, true) => map(y, from, |x, other, _| floor(c.norm(x) + other)),
                }
            }
        }
    }
}

/// Gradients of values, weight, bias and shortcut from `dy`; those that are not `wanted` are empty.
///
/// `x` may be empty where neither the gradient of values or weight nor [`Mask::Again`] needs it. `normalised` says
/// whether the statistics were the batch's, so that they depend on the values.
pub(super) fn backward(
    planes: &Planes,
    x: &[f32],
    dy: &[f32],
    mask: Mask<'_>,
    channels: &[Channel],
    wanted: [bool; 4],
    normalised: bool,
) -> [Vec<f32>; 4] {
    let count = (planes.batch * planes.area) as f64;
    let [mut dx, mut ds] =
        [wanted[0], wanted[3]].map(|wanted| vec![0.0; if wanted { planes.len() } else { 0 }]);
    let x = if x.is_empty() { dy } else { x }; // read, but of no effect
    let sums: Vec<Vec<[f64; 2]>> = planes
        .blocks()
        .zip(planes.parts(&mut dx).into_par_iter().zip(planes.parts(&mut ds)))
        .map(|(block, (dx, ds))| {
            let channels = &channels[block.first..][..block.count];
            let sums = sums(block, [x, dy], mask, channels);
            let slope = |(channel, sums): (&Channel, _)| {
                if normalised { channel.slope(sums, count) } else { [0.0; 2] }
            };
            let slopes = channels.iter().zip(&sums).map(slope).collect();
            gradients(block, [x, dy], mask, channels, slopes, dx, ds);
            sums
        })
        .collect();
    let sums = sums.concat();
    let pick = |wanted: bool, value: fn((&[f64; 2], &Channel)) -> f64| {
        let all = sums.iter().zip(channels).filter(|_| wanted);
        all.map(|found| value(found) as f32).collect()
    };
    let weight = pick(wanted[1], |([_, product], channel)| product * f64::from(channel.inverse));
    let bias = pick(wanted[2], |([sum, _], _)| *sum);
    [dx, weight, bias, ds]
}

vectorised! {
    /// Of each channel, the sums of `d` and `d * (x - mean)`, where `d` is the gradient before ReLU.
    fn sums<'a>(
        block: Block,
        from: [&'a [f32]; 2],
        mask: Mask<'a>,
        channels: &'a [Channel],
    ) -> Vec<[f64; 2]> {
        let mut found = vec![[0.0; 2]; block.count];
        for image in 0..block.batch() {
            for (channel, (found, &c)) in found.iter_mut().zip(channels).enumerate() {
                let [x, dy] = from.map(|values| block.plane(values, image, channel));
                let sums = match mask {
                    Mask::None => gradient_sums([x, dy, dy], c.mean, |_, dy, _| dy),
                    Mask::Again => gradient_sums([x, dy, dy], c.mean, |x, dy, _| {
                        if c.norm(x) <= 0.0 { 0.0 } else { dy }
                    }),
                    Mask::Output(y) => gradient_sums([x, dy, block.plane(y, image, channel)], c.mean, positive),
                };
                for (found, sum) in found.iter_mut().zip(sums) {
                    *found += sum;
                }
            }
        }
        found
    }
}

vectorised! {
    /// The block's parts of the gradients of values, `d * scale + (x - mean) * slope + offset` for `[slope, offset]`
    /// of each channel, and of the shortcut, `d`; each if it is there.
    fn gradients<'a>(
        block: Block,
        from: [&'a [f32]; 2],
        mask: Mask<'a>,
        channels: &'a [Channel],
        slopes: Vec<[f32; 2]>,
        dx: Vec<&'a mut [f32]>,
        ds: Vec<&'a mut [f32]>,
    ) {
        for (image, dx) in dx.into_iter().enumerate() {
            for (channel, (dx, &c)) in dx.chunks_exact_mut(block.area()).zip(channels).enumerate() {
                let [x, dy] = from.map(|values| block.plane(values, image, channel));
                let [slope, offset] = slopes[channel];
                let finish = |x: f32, d: f32| d.mul_add(c.scale, (x - c.mean).mul_add(slope, offset));
                match mask {
                    Mask::None => map(dx, [x, dy, dy], |x, dy, _| finish(x, dy)),
                    Mask::Again => map(dx, [x, dy, dy], |x, dy, _| {
                        finish(x, if c.norm(x) <= 0.0 { 0.0 } else { dy })
                    }),
                    Mask::Output(y) => map(dx, [x, dy, block.plane(y, image, channel)], |x, dy, y| {
                        finish(x, positive(x, dy, y))
                    }),
                }
            }
        }
        for (image, ds) in ds.into_iter().enumerate() {
            for (channel, ds) in ds.chunks_exact_mut(block.area()).enumerate() {
                let dy = block.plane(from[1], image, channel);
                match mask {
                    Mask::Output(y) => map(ds, [dy, dy, block.plane(y, image, channel)], positive),
                    _ => ds.copy_from_slice(dy),
                }
            }
        }
    }
}

/// The gradient before ReLU.
#[inline(always)]
fn positive(_: f32, dy: f32, y: f32) -> f32 {
    if y <= 0.0 { 0.0 } else { dy }
}
