//! Forward and backward of the fast path, on slices.
//!
//! Images are taken a tile at a time ([`Geometry::tile`]): their patches make one matrix, one product with
//! the weights gives all their maps. In the backward pass tiles belong to groups ([`Geometry::group`]); a group
//! adds up its weight gradient tile by tile, and the groups' sums are added in their order. Both are functions of
//! the shapes alone, so the number of threads changes no bit of the result.

use std::cell::RefCell;

use rayon::prelude::*;

use super::{
    epilogue::{NONE, finish, finish_maps},
    geometry::Geometry,
    patches::Planes,
};
use crate::{
    gemm::{Matrix, gemm},
    simd::sum,
};

/// Result of the forward pass.
pub(super) struct Forward {
    /// `[batch, out, height, width]`.
    pub(super) output: Vec<f32>,
    /// With max-pooling, for each output which of its window's four values it is, row by row, or [`NONE`].
    pub(super) winners: Vec<u8>,
}

/// What of the forward pass says where gradients go.
#[derive(Clone, Copy)]
pub(super) enum Route<'a> {
    /// Neither pooling nor ReLU: everywhere.
    All,
    /// ReLU's output: not where it is zero.
    Positive(&'a [f32]),
    /// Pooling's winners.
    Winners(&'a [u8]),
}

impl Route<'_> {
    fn images(self, first: usize, count: usize, len: usize) -> Self {
        let range = first * len..(first + count) * len;
        match self {
            Self::All => Self::All,
            Self::Positive(output) => Self::Positive(&output[range]),
            Self::Winners(winners) => Self::Winners(&winners[range]),
        }
    }
}

/// Gradients; those that were not asked for are empty.
#[derive(Default)]
pub(super) struct Gradients {
    pub(super) x: Vec<f32>,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Convolution, bias, max-pooling and ReLU of a whole batch.
pub(super) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Forward {
    let len = g.result_len();
    let mut output = vec![0.0; g.batch * len];
    let mut winners = vec![0; if g.options.max_pool { output.len() } else { 0 }];
    let zeros = vec![0.0; if bias.is_none() { g.outputs } else { 0 }];
    let bias = bias.unwrap_or(&zeros);
    let tiles: Vec<_> = x
        .chunks(g.tile() * g.image_len())
        .zip(output.chunks_mut(g.tile() * len))
        .zip(winners.chunks_mut(g.tile() * len).chain(std::iter::repeat_with(Default::default)))
        .collect();
    tiles.into_par_iter().for_each(|((x, output), winners)| {
        let cols = x.len() / g.image_len() * g.area();
        with_scratch(
            [g.patch() * cols, g.outputs * cols, Planes::new(g).len(g)],
            |[patches, maps, planes]| {
                gather(g, x, patches, planes);
                let in_place = cols == g.area() && !g.options.max_pool;
                let product: &mut [f32] = if in_place { output } else { maps };
                let weight = Matrix::rows(weight, [g.outputs, g.patch()]);
                gemm(weight, Matrix::rows(patches, [g.patch(), cols]), product, false);
                if in_place {
                    for (row, &bias) in output.chunks_exact_mut(g.area()).zip(bias) {
                        row.iter_mut().for_each(|value| *value = finish(*value, bias, g.options.relu));
                    }
                } else {
                    finish_maps(g, maps, bias, output, winners);
                }
            },
        );
    });
    Forward { output, winners }
}

/// Gradients from `dy`, the gradient of the output: of the weights if `x` is given, of the images if `weight` is,
/// of the bias if asked for.
pub(super) fn backward(
    g: &Geometry,
    x: Option<&[f32]>,
    weight: Option<&[f32]>,
    bias: bool,
    dy: &[f32],
    route: Route<'_>,
) -> Gradients {
    let group = g.group().max(1);
    let mut dx = vec![0.0; if weight.is_some() { g.batch * g.image_len() } else { 0 }];
    let groups: Vec<_> = dx
        .chunks_mut(group * g.image_len())
        .chain(std::iter::repeat_with(Default::default))
        .zip((0..g.batch).step_by(group))
        .collect();
    let sums: Vec<(Vec<f32>, Vec<f32>)> = groups
        .into_par_iter()
        .map(|(dx, first)| {
            let end = (first + group).min(g.batch);
            let mut dw = vec![0.0; if x.is_some() { g.outputs * g.patch() } else { 0 }];
            let mut db = vec![0.0; if bias { g.outputs } else { 0 }];
            for start in (first..end).step_by(g.tile()) {
                let count = g.tile().min(end - start);
                let dx = match weight {
                    Some(_) => &mut dx[(start - first) * g.image_len()..][..count * g.image_len()],
                    None => &mut [],
                };
                let tile = Tile {
                    x: x.map(|x| &x[start * g.image_len()..][..count * g.image_len()]),
                    dy: &dy[start * g.result_len()..][..count * g.result_len()],
                    route: route.images(start, count, g.result_len()),
                };
                tile.backward(g, weight, dx, &mut dw, &mut db);
            }
            (dw, db)
        })
        .collect();
    let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    let weight_len = if x.is_some() { g.outputs * g.patch() } else { 0 };
    Gradients { x: dx, weight: add_all(dw, weight_len), bias: add_all(db, if bias { g.outputs } else { 0 }) }
}

/// A few images of the backward pass.
struct Tile<'a> {
    x: Option<&'a [f32]>,
    dy: &'a [f32],
    route: Route<'a>,
}

impl Tile<'_> {
    /// Fills `dx`, adds to `dw` and `db`.
    fn backward(&self, g: &Geometry, weight: Option<&[f32]>, dx: &mut [f32], dw: &mut [f32], db: &mut [f32]) {
        let cols = self.dy.len() / g.result_len() * g.area();
        with_scratch(
            [g.patch() * cols, g.outputs * cols, Planes::new(g).len(g)],
            |[patches, maps, planes]| {
                self.gradient_of_maps(g, maps, cols);
                for (total, row) in db.iter_mut().zip(maps.chunks_exact(cols)) {
                    *total += sum(row);
                }
                let d = Matrix::rows(maps, [g.outputs, cols]);
                if let Some(x) = self.x {
                    gather(g, x, patches, planes);
                    gemm(d, Matrix::rows(patches, [g.patch(), cols]).transposed(), dw, true);
                }
                if let Some(weight) = weight {
                    gemm(Matrix::rows(weight, [g.outputs, g.patch()]).transposed(), d, patches, false);
                    let layout = Planes::new(g);
                    for (image, dx) in dx.chunks_exact_mut(g.image_len()).enumerate() {
                        let at = image * g.area();
                        if Planes::are_image(g) {
                            layout.scatter(g, patches, cols, at, dx); // `dx` is zero so far
                        } else {
                            planes.fill(0.0);
                            layout.scatter(g, patches, cols, at, planes);
                            layout.merge(g, planes, dx);
                        }
                    }
                }
            },
        );
    }

    /// `maps[out, image, area]`: the gradient of the convolution's own output.
    fn gradient_of_maps(&self, g: &Geometry, maps: &mut [f32], cols: usize) {
        let area = g.area();
        let [height, width] = g.result();
        if g.options.max_pool {
            maps.fill(0.0);
        }
        for (index, dy) in self.dy.chunks_exact(height * width).enumerate() {
            let [image, channel] = [index / g.outputs, index % g.outputs];
            let row = &mut maps[channel * cols + image * area..][..area];
            match self.route {
                Route::All => row.copy_from_slice(dy),
                Route::Positive(output) => {
                    let output = &output[index * area..][..area];
                    for ((row, &dy), &output) in row.iter_mut().zip(dy).zip(output) {
                        *row = if output <= 0.0 { 0.0 } else { dy };
                    }
                }
                Route::Winners(winners) => {
                    let winners = &winners[index * height * width..][..height * width];
                    for (y, (dy, winners)) in
                        dy.chunks_exact(width).zip(winners.chunks_exact(width)).enumerate()
                    {
                        let rows = &mut row[2 * y * g.map[1]..][..2 * g.map[1]];
                        for (x, (&dy, &winner)) in dy.iter().zip(winners).enumerate() {
                            if winner != NONE {
                                let [down, across] = [usize::from(winner) / 2, usize::from(winner) % 2];
                                rows[down * g.map[1] + 2 * x + across] = dy;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `patches[in * kernel, image, area]` of some images.
fn gather(g: &Geometry, x: &[f32], patches: &mut [f32], planes: &mut [f32]) {
    let layout = Planes::new(g);
    let cols = x.len() / g.image_len() * g.area();
    for (image, x) in x.chunks_exact(g.image_len()).enumerate() {
        if Planes::are_image(g) {
            layout.gather(g, x, patches, cols, image * g.area());
        } else {
            layout.split(g, x, planes);
            layout.gather(g, planes, patches, cols, image * g.area());
        }
    }
}

/// The sums of all parts, element by element, in the order of the parts.
fn add_all(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    const CHUNK: usize = 1 << 12;
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![0.0; len]);
    let parts: Vec<_> = parts.collect();
    sum.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sum)| {
        for part in &parts {
            for (sum, value) in sum.iter_mut().zip(&part[chunk * CHUNK..]) {
                *sum += value;
            }
        }
    });
    sum
}

/// Calls `work` with three buffers of this thread, of the lengths asked for and any content.
fn with_scratch<R>(lengths: [usize; 3], work: impl FnOnce([&mut [f32]; 3]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<[Vec<f32>; 3]> = const { RefCell::new([const { Vec::new() }; 3]) };
    }
    SCRATCH.with_borrow_mut(|buffers| {
        let mut lengths = lengths.into_iter();
        work(buffers.each_mut().map(|buffer| {
            let len = lengths.next().unwrap_or_default();
            if buffer.len() < len {
                buffer.resize(len, 0.0);
            }
            &mut buffer[..len]
        }))
    })
}
