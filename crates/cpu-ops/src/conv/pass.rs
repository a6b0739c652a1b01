//! Forward and backward passes over a batch, a few images at a time on each thread.
//!
//! What a thread takes is a function of the shapes alone: [`Method::images`] forward, and backward a share of the
//! batch ([`Link::share`]), whose weight gradient is summed image by image; the shares' sums are added in their order.
//! So the number of threads changes no bit of the result.

use rayon::prelude::*;

use super::{
    epilogue::{add_pixels, finish, pool, unpool, where_positive},
    frame::{Frame, padded},
    link::Link,
    method::Method,
};
use crate::{
    scratch::{Buffer, with_scratch},
    simd::sum,
};

/// Result of a pass with max-pooling.
pub(crate) struct Pooled {
    /// `[batch, outputs, map / 2]`.
    pub(crate) output: Vec<f32>,
    /// `[batch, map / 2, padded(outputs)]`: see [`pool`].
    pub(crate) winners: Vec<u8>,
}

/// What of the forward pass says where gradients go.
#[derive(Clone, Copy)]
pub(crate) enum Route<'a> {
    /// Neither pooling nor ReLU: everywhere.
    All,
    /// ReLU's output: not where it is zero.
    Positive(&'a [f32]),
    /// Pooling's winners.
    Winners(&'a [u8]),
}

/// Gradients; those that were not asked for are empty.
#[derive(Default)]
pub(crate) struct Gradients {
    /// Of what the forward pass was given besides weights and bias.
    pub(crate) x: Vec<f32>,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// A bias for every place of a pixel, 0 where there is none.
fn places(bias: Option<&[f32]>, channels: usize) -> Buffer {
    let mut places = Buffer::zeros(padded(channels));
    if let Some(bias) = bias {
        places.values_mut()[..channels].copy_from_slice(bias);
    }
    places
}

/// Convolution, bias, ReLU: `[batch, outputs, map]` from `x[batch, inputs, image]`.
pub(crate) fn correlate(
    g: &Link,
    method: &dyn Method,
    x: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
) -> Vec<f32> {
    let [read, written] = [method.image_read(), method.map_written()];
    let bias = bias.is_some().then(|| places(bias, g.outputs));
    let mut output = vec![0.0; g.batch * g.map_len()];
    let chunks = x.par_chunks(method.images() * g.image_len());
    chunks.zip(output.par_chunks_mut(method.images() * g.map_len())).for_each(|(x, output)| {
        let count = x.len() / g.image_len();
        let lengths = [count * read.len(), count * written.len(), method.scratch()];
        with_scratch(lengths, |[images, maps, scratch]| {
            read.fill(x, images);
            method.correlate(images, maps, scratch);
            finish_all(maps, bias.as_ref(), relu);
            written.take(maps, output);
        });
    });
    output
}

/// Bias and ReLU, if there is anything to do.
fn finish_all(maps: &mut [f32], bias: Option<&Buffer>, relu: bool) {
    const NO_BIAS: [f32; crate::product::LANES] = [0.0; crate::product::LANES];
    match bias {
        Some(bias) => finish(maps, bias.values(), relu),
        None if relu => finish(maps, &NO_BIAS, relu),
        None => {}
    }
}

/// Convolution, 2x2 max-pooling, bias, ReLU: `[batch, outputs, map / 2]` from `x[batch, inputs, image]`.
pub(crate) fn correlate_and_pool(
    g: &Link,
    method: &dyn Method,
    x: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
) -> Pooled {
    let [read, written] = [method.image_read(), method.map_written()];
    let small = Frame::bare(g.outputs, g.map.map(|n| n / 2));
    let bias = places(bias, g.outputs);
    let mut output = vec![0.0; g.batch * small.image_len()];
    let mut winners = vec![0; g.batch * small.len()];
    let chunks = x
        .par_chunks(method.images() * g.image_len())
        .zip(output.par_chunks_mut(method.images() * small.image_len()))
        .zip(winners.par_chunks_mut(method.images() * small.len()));
    chunks.for_each(|((x, output), winners)| {
        let count = x.len() / g.image_len();
        let lengths = [count * read.len(), count * written.len(), count * small.len(), method.scratch()];
        with_scratch(lengths, |[images, maps, pooled, scratch]| {
            read.fill(x, images);
            method.correlate(images, maps, scratch);
            pool(written, maps, bias.values(), relu, pooled, winners);
            small.take(pooled, output);
        });
    });
    Pooled { output, winners }
}

/// Gradients of [`correlate`] (or with pooling) from `dy`, the gradient of its output: of the weights if `x` is
/// given, of the images if `spread`, of the bias if asked for.
pub(crate) fn correlate_back(
    g: &Link,
    method: &dyn Method,
    x: Option<&[f32]>,
    spread: bool,
    bias: bool,
    dy: &[f32],
    route: Route<'_>,
) -> Gradients {
    let share = g.share().max(1);
    let [image, written, map] = [method.image_read(), method.image_written(), method.map_read()];
    let small = Frame::bare(g.outputs, g.map.map(|n| n / 2));
    let dy_len = if let Route::Winners(_) = route { small.image_len() } else { g.map_len() };
    let mut dx = vec![0.0; if spread { g.batch * g.image_len() } else { 0 }];
    let shares: Vec<_> = dx
        .chunks_mut(share * g.image_len())
        .chain(std::iter::repeat_with(Default::default))
        .zip((0..g.batch).step_by(share))
        .collect();
    let sums: Vec<(Buffer, Buffer)> = shares
        .into_par_iter()
        .map(|(dx, first)| {
            let end = (first + share).min(g.batch);
            let mut dw = Buffer::zeros(if x.is_some() { method.gradient_len() } else { 0 });
            let mut db = Buffer::zeros(if bias { padded(g.outputs) } else { 0 });
            let most = method.images().min(end - first);
            let lengths = [
                if x.is_some() { most * image.len() } else { 0 },
                most * map.len(),
                most * g.map_len().max(small.len()),
                if spread { most * written.len() } else { 0 },
                method.scratch(),
            ];
            with_scratch(lengths, |[images, maps, masked, gradients, scratch]| {
                for start in (first..end).step_by(method.images()) {
                    let count = method.images().min(end - start);
                    let maps = &mut maps[..count * map.len()];
                    let dy = &dy[start * dy_len..][..count * dy_len];
                    match route {
                        Route::All => map.fill(dy, maps),
                        Route::Positive(output) => {
                            let masked = &mut masked[..dy.len()];
                            where_positive(dy, &output[start * dy_len..][..dy.len()], masked);
                            map.fill(masked, maps);
                        }
                        Route::Winners(winners) => {
                            let pooled = &mut masked[..count * small.len()];
                            small.fill(dy, pooled);
                            unpool(map, pooled, &winners[start * small.len()..][..pooled.len()], maps);
                        }
                    }
                    if bias {
                        add_pixels(maps, db.values_mut());
                    }
                    let gradients = spread.then(|| &mut gradients[..count * written.len()]);
                    let gradients = match (x, gradients) {
                        (Some(x), mut gradients) => {
                            let images = &mut images[..count * image.len()];
                            image.fill(&x[start * g.image_len()..][..count * g.image_len()], images);
                            method.weigh(images, maps, dw.values_mut(), gradients.as_deref_mut(), scratch);
                            gradients
                        }
                        (None, Some(gradients)) => {
                            method.spread(maps, gradients, scratch);
                            Some(gradients)
                        }
                        (None, None) => None,
                    };
                    if let Some(gradients) = gradients {
                        written.take(
                            gradients,
                            &mut dx[(start - first) * g.image_len()..][..count * g.image_len()],
                        );
                    }
                }
            });
            (dw, db)
        })
        .collect();
    let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    Gradients {
        x: dx,
        weight: weight_gradient(method, x.is_some(), dw),
        bias: if bias { add_all(db, padded(g.outputs)).values()[..g.outputs].to_vec() } else { Vec::new() },
    }
}

/// Transposed convolution, bias, ReLU: `[batch, inputs, image]` from `x[batch, outputs, map]`.
pub(crate) fn spread(g: &Link, method: &dyn Method, x: &[f32], bias: Option<&[f32]>, relu: bool) -> Vec<f32> {
    let [read, written] = [method.map_read(), method.image_written()];
    let bias = bias.is_some().then(|| places(bias, g.inputs));
    let mut output = vec![0.0; g.batch * g.image_len()];
    let chunks = x.par_chunks(method.images() * g.map_len());
    chunks.zip(output.par_chunks_mut(method.images() * g.image_len())).for_each(|(x, output)| {
        let count = x.len() / g.map_len();
        let lengths = [count * read.len(), count * written.len(), method.scratch()];
        with_scratch(lengths, |[maps, images, scratch]| {
            read.fill(x, maps);
            method.spread(maps, images, scratch);
            finish_all(images, bias.as_ref(), relu);
            written.take(images, output);
        });
    });
    output
}

/// Gradients of [`spread`] from `dy`, the gradient of its output: of the weights if `x` is given, of `x` if
/// `correlate`, of the bias if asked for. `output` is that of the forward pass if ReLU followed.
pub(crate) fn spread_back(
    g: &Link,
    method: &dyn Method,
    x: Option<&[f32]>,
    correlate: bool,
    bias: bool,
    dy: &[f32],
    output: Option<&[f32]>,
) -> Gradients {
    let share = g.share().max(1);
    let [image, written, map] = [method.image_read(), method.map_written(), method.map_read()];
    let [image_len, map_len] = [g.image_len(), g.map_len()];
    let mut dx = vec![0.0; if correlate { g.batch * map_len } else { 0 }];
    let shares: Vec<_> = dx
        .chunks_mut(share * map_len)
        .chain(std::iter::repeat_with(Default::default))
        .zip((0..g.batch).step_by(share))
        .collect();
    let sums: Vec<(Buffer, Buffer)> = shares
        .into_par_iter()
        .map(|(dx, first)| {
            let end = (first + share).min(g.batch);
            let mut dw = Buffer::zeros(if x.is_some() { method.gradient_len() } else { 0 });
            let mut db = Buffer::zeros(if bias { g.inputs } else { 0 });
            let most = method.images().min(end - first);
            let lengths = [
                most * image.len(),
                most * map.len(),
                most * image_len,
                most * written.len(),
                method.scratch(),
            ];
            with_scratch(lengths, |[images, maps, masked, gradients, scratch]| {
                for start in (first..end).step_by(method.images()) {
                    let count = method.images().min(end - start);
                    let mut dy = &dy[start * image_len..][..count * image_len];
                    if let Some(output) = output {
                        let masked = &mut masked[..dy.len()];
                        where_positive(dy, &output[start * image_len..][..dy.len()], masked);
                        dy = masked;
                    }
                    for (index, plane) in dy.chunks_exact(g.image[0] * g.image[1]).enumerate() {
                        if let Some(total) = db.values_mut().get_mut(index % g.inputs) {
                            *total += sum(plane);
                        }
                    }
                    let images = &mut images[..count * image.len()];
                    image.fill(dy, images);
                    if let Some(x) = x {
                        let maps = &mut maps[..count * map.len()];
                        map.fill(&x[start * map_len..][..count * map_len], maps);
                        method.weigh(images, maps, dw.values_mut(), None, scratch);
                    }
                    if correlate {
                        let gradients = &mut gradients[..count * written.len()];
                        method.correlate(images, gradients, scratch);
                        written.take(gradients, &mut dx[(start - first) * map_len..][..count * map_len]);
                    }
                }
            });
            (dw, db)
        })
        .collect();
    let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    Gradients {
        x: dx,
        weight: weight_gradient(method, x.is_some(), dw),
        bias: if bias { add_all(db, g.inputs).values().to_vec() } else { Vec::new() },
    }
}

/// From the sums of the shares; nothing if it is not wanted.
fn weight_gradient(method: &dyn Method, wanted: bool, sums: Vec<Buffer>) -> Vec<f32> {
    if wanted { method.gradient(add_all(sums, method.gradient_len()).values()) } else { Vec::new() }
}

/// The sums of all parts, element by element, in the order of the parts.
fn add_all(parts: Vec<Buffer>, len: usize) -> Buffer {
    const CHUNK: usize = 1 << 12;
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| Buffer::zeros(len));
    let parts: Vec<_> = parts.collect();
    sum.values_mut().par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sum)| {
        for part in &parts {
            for (sum, value) in sum.iter_mut().zip(&part.values()[chunk * CHUNK..]) {
                *sum += value;
            }
        }
    });
    sum
}
