//! What follows the product while its result is in the cache: bias, max-pooling, ReLU; and the way back.

use super::frame::Frame;
use crate::{product::LANES, simd::vectorised};

/// In the record of winners: ReLU has made the pooled value zero, nothing gets its gradient.
pub(crate) const NONE: u8 = 4;

vectorised! {
    /// Adds the bias (one for each place of a pixel) to all pixels, then ReLU if asked for; NaN stays NaN.
    pub(crate) fn finish<'a>(maps: &'a mut [f32], bias: &'a [f32], relu: bool) {
        for pixel in maps.chunks_exact_mut(bias.len()) {
            for (value, bias) in pixel.iter_mut().zip(bias) {
                let sum = *value + bias;
                *value = if relu && sum <= 0.0 { 0.0 } else { sum };
            }
        }
    }
}

vectorised! {
    /// 2x2 max-pooling of framed maps into maps half as large without a frame, then bias and ReLU.
    ///
    /// `winners` says which of a window's four values the result is, row by row, or [`NONE`].
    pub(crate) fn pool<'a>(
        frame: Frame,
        maps: &'a [f32],
        bias: &'a [f32],
        relu: bool,
        pooled: &'a mut [f32],
        winners: &'a mut [u8],
    ) {
        let [height, width] = frame.image.map(|n| n / 2);
        let line = frame.size[1] * frame.pitch;
        let len = height * width * frame.pitch;
        let images = pooled.chunks_exact_mut(len).zip(winners.chunks_exact_mut(len));
        for ((pooled, winners), maps) in images.zip(maps.chunks_exact(frame.len())) {
            let windows = pooled.chunks_exact_mut(frame.pitch).zip(winners.chunks_exact_mut(frame.pitch));
            for (window, (pooled, winners)) in windows.enumerate() {
                let corner = frame.at(2 * (window / width), 2 * (window % width));
                let [upper, lower] =
                    [corner, corner + line].map(|from| maps[from..][..2 * frame.pitch].split_at(frame.pitch));
                let four = [upper.0, upper.1, lower.0, lower.1].map(|values| values.as_chunks::<LANES>().0);
                let out = pooled.as_chunks_mut::<LANES>().0.iter_mut();
                let out = out.zip(winners.as_chunks_mut::<LANES>().0).zip(bias.as_chunks::<LANES>().0);
                for (i, ((pooled, winners), bias)) in out.enumerate() {
                    let four = [&four[0][i], &four[1][i], &four[2][i], &four[3][i]];
                    for lane in 0..LANES {
                        let [a, b, c, d] = four.map(|values| values[lane]);
                        let (up, up_at) = if exceeds(b, a) { (b, 1) } else { (a, 0) };
                        let (low, low_at) = if exceeds(d, c) { (d, 3) } else { (c, 2) };
                        let (best, at) = if exceeds(low, up) { (low, low_at) } else { (up, up_at) };
                        let best = best + bias[lane];
                        let dead = relu && best <= 0.0;
                        pooled[lane] = if dead { 0.0 } else { best };
                        winners[lane] = if dead { NONE } else { at };
                    }
                }
            }
        }
    }
}

vectorised! {
    /// The reverse for gradients: each goes to its window's winner, the rest of the frames becomes 0.
    pub(crate) fn unpool<'a>(frame: Frame, pooled: &'a [f32], winners: &'a [u8], maps: &'a mut [f32]) {
        let [height, width] = frame.image.map(|n| n / 2);
        let line = frame.size[1] * frame.pitch;
        let len = height * width * frame.pitch;
        if frame.size != [height, width].map(|n| 2 * n) {
            maps.fill(0.0);
        }
        let images = pooled.chunks_exact(len).zip(winners.chunks_exact(len));
        for ((pooled, winners), maps) in images.zip(maps.chunks_exact_mut(frame.len())) {
            let windows = pooled.chunks_exact(frame.pitch).zip(winners.chunks_exact(frame.pitch));
            for (window, (pooled, winners)) in windows.enumerate() {
                let corner = frame.at(2 * (window / width), 2 * (window % width));
                for place in 0..4_u8 {
                    let from = corner + usize::from(place / 2) * line + usize::from(place % 2) * frame.pitch;
                    let out = maps[from..][..frame.pitch].iter_mut();
                    for ((out, &value), &winner) in out.zip(pooled).zip(winners) {
                        *out = if winner == place { value } else { 0.0 };
                    }
                }
            }
        }
    }
}

vectorised! {
    /// Gradients where the output is not zero (or NaN), 0 elsewhere.
    pub(crate) fn where_positive<'a>(dy: &'a [f32], output: &'a [f32], masked: &'a mut [f32]) {
        for ((masked, &dy), &output) in masked.iter_mut().zip(dy).zip(output) {
            *masked = if output <= 0.0 { 0.0 } else { dy };
        }
    }
}

vectorised! {
    /// Adds all pixels up, place by place.
    pub(crate) fn add_pixels<'a>(maps: &'a [f32], sum: &'a mut [f32]) {
        for pixel in maps.chunks_exact(sum.len()) {
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += value;
            }
        }
    }
}

/// Whether `later` wins over `earlier`: it is greater, or the first NaN.
#[inline(always)]
fn exceeds(later: f32, earlier: f32) -> bool {
    later > earlier || (later.is_nan() && !earlier.is_nan())
}
