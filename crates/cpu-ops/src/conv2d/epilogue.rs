//! What follows the matrix product while its result is in the cache: bias, max-pooling, ReLU.

use super::geometry::Geometry;

/// In the record of winners: ReLU has made the pooled value zero, nothing gets its gradient.
pub(super) const NONE: u8 = 4;

/// From `maps[out, image, area]` to the results of the images, one after the other.
pub(super) fn finish_maps(g: &Geometry, maps: &[f32], bias: &[f32], output: &mut [f32], winners: &mut [u8]) {
    let area = g.area();
    let cols = maps.len() / g.outputs;
    let [height, width] = g.result();
    let mut winners = winners.chunks_exact_mut(height * width);
    for (index, output) in output.chunks_exact_mut(height * width).enumerate() {
        let [image, channel] = [index / g.outputs, index % g.outputs];
        let map = &maps[channel * cols + image * area..][..area];
        let bias = bias[channel];
        match winners.next() {
            Some(winners) => pool(g, map, bias, output, winners),
            None => {
                for (output, &value) in output.iter_mut().zip(map) {
                    *output = finish(value, bias, g.options.relu);
                }
            }
        }
    }
}

/// 2x2 max-pooling of one map.
fn pool(g: &Geometry, map: &[f32], bias: f32, output: &mut [f32], winners: &mut [u8]) {
    let [_, across] = g.map;
    let [_, width] = g.result();
    let relu = g.options.relu;
    let rows = output.chunks_exact_mut(width).zip(winners.chunks_exact_mut(width));
    for ((output, winners), two) in rows.zip(map.chunks_exact(2 * across)) {
        let (upper, lower) = two.split_at(across);
        let windows = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for ((output, winner), (upper, lower)) in output.iter_mut().zip(winners).zip(windows) {
            let [a, b, c, d] = [upper[0] + bias, upper[1] + bias, lower[0] + bias, lower[1] + bias];
            let (up, up_at) = if exceeds(b, a) { (b, 1) } else { (a, 0) };
            let (low, low_at) = if exceeds(d, c) { (d, 3) } else { (c, 2) };
            let (best, at) = if exceeds(low, up) { (low, low_at) } else { (up, up_at) };
            let dead = relu && best <= 0.0;
            *output = if dead { 0.0 } else { best };
            *winner = if dead { NONE } else { at };
        }
    }
}

/// Whether `later` wins over `earlier`: it is greater, or the first NaN.
fn exceeds(later: f32, earlier: f32) -> bool {
    later > earlier || (later.is_nan() && !earlier.is_nan())
}

/// Bias and, if asked for, ReLU; NaN stays NaN.
pub(super) fn finish(value: f32, bias: f32, relu: bool) -> f32 {
    let value = value + bias;
    if relu && value <= 0.0 { 0.0 } else { value }
}
