//! Convolution as one matrix product whose rows are patches, read where they lie (no im2col).
//!
//! With the channels last, a patch is a few pieces of memory, one for each weight of the kernel, at the same
//! distances for every patch. The gradient of the images splits by the pixel's row and column modulo the stride:
//! the pixels of one remainder see one part of the kernel, as a convolution of stride 1 (Shi et al. 2016,
//! arXiv 1609.07009).

use super::{
    frame::{Frame, padded},
    link::Link,
    method::{Asked, Method},
};
use crate::{
    product::{Outer, Patches, Row},
    scratch::Buffer,
};

/// Tables and weights of one call.
pub(crate) struct Direct {
    link: Link,
    images: usize,
    image_read: Frame,
    map_read: Frame,
    /// `[kernel height, kernel width, inputs, padded(outputs)]`; empty if not asked for.
    forward: Buffer,
    /// Where each patch and its map's pixel begin.
    patches: Vec<Row>,
    taps: Vec<usize>,
    phases: Vec<Phase>,
    steps: Vec<Row>,
    runs: Vec<Row>,
}

/// Pixels with the same row and column modulo the stride.
struct Phase {
    rows: Vec<Row>,
    taps: Vec<usize>,
    /// `[taps, outputs, padded(inputs)]`.
    weights: Buffer,
}

impl Direct {
    pub(crate) fn new(link: &Link, weight: &[f32], asked: Asked) -> Self {
        let g = *link;
        let images = images(&g);
        let image_read = Frame {
            channels: g.inputs,
            copies: 1,
            image: g.image,
            size: [0, 1].map(|i| (g.map[i] - 1) * g.stride[i] + g.kernel[i]),
            origin: g.padding,
            pitch: g.inputs,
        };
        let reach = [0, 1].map(|i| g.kernel[i].div_ceil(g.stride[i]));
        let map_read = Frame {
            channels: g.outputs,
            copies: 1,
            image: g.map,
            size: [0, 1].map(|i| {
                let last = (g.image[i] - 1 + g.padding[i]) / g.stride[i];
                (last + reach[i]).max(g.map[i] + reach[i] - 1)
            }),
            origin: reach.map(|n| n - 1),
            pitch: padded(g.outputs),
        };
        let mut direct = Self {
            link: g,
            images,
            image_read,
            map_read,
            forward: Buffer::default(),
            patches: Vec::new(),
            taps: Vec::new(),
            phases: Vec::new(),
            steps: Vec::new(),
            runs: Vec::new(),
        };
        direct.patches = direct.rows(|y, x| direct.map_written().at(y, x), direct.map_written().len());
        direct.steps = direct.rows(|y, x| map_read.at(y, x), map_read.len());
        let corner = |i: usize, j: usize| (i * image_read.size[1] + j) * image_read.pitch;
        // The pieces of one row of the kernel are neighbours.
        direct.taps = (0..g.kernel[0]).map(|i| corner(i, 0)).collect();
        let line = g.kernel[1] * g.inputs;
        let row = |(i, &from): (usize, &usize)| Row { from, to: i * line * padded(g.outputs) };
        direct.runs = direct.taps.iter().enumerate().map(row).collect();
        if asked.correlate {
            direct.forward = direct.forward_weights(weight);
        }
        if asked.spread {
            direct.phases = (0..g.stride[0])
                .flat_map(|a| (0..g.stride[1]).map(move |b| [a, b]))
                .map(|at| direct.phase(at, weight, reach))
                .collect();
        }
        direct
    }

    /// For each pixel of the maps where its patch begins, and where `to` says.
    fn rows(&self, to: impl Fn(usize, usize) -> usize, len: usize) -> Vec<Row> {
        let [height, width] = self.link.map;
        let [down, across] = self.link.stride;
        let frame = self.image_read;
        let mut rows = Vec::with_capacity(self.images * height * width);
        for image in 0..self.images {
            for y in 0..height {
                for x in 0..width {
                    let from = (y * down * frame.size[1] + x * across) * frame.pitch;
                    rows.push(Row { from: image * frame.len() + from, to: image * len + to(y, x) });
                }
            }
        }
        rows
    }

    fn forward_weights(&self, weight: &[f32]) -> Buffer {
        let g = &self.link;
        let [width, area] = [padded(g.outputs), g.kernel[0] * g.kernel[1]];
        let mut packed = Buffer::zeros(area * g.inputs * width);
        let values = packed.values_mut();
        for (o, weight) in weight.chunks_exact(g.inputs * area).enumerate() {
            for (c, weight) in weight.chunks_exact(area).enumerate() {
                for (tap, &value) in weight.iter().enumerate() {
                    values[(tap * g.inputs + c) * width + o] = value;
                }
            }
        }
        packed
    }

    fn phase(&self, at: [usize; 2], weight: &[f32], reach: [usize; 2]) -> Phase {
        let g = &self.link;
        let [frame, written] = [self.map_read, self.image_written()];
        let count = [0, 1].map(|i| g.kernel[i].saturating_sub(at[i]).div_ceil(g.stride[i]));
        let pixels = |i: usize| {
            let (padding, stride) = (g.padding[i], g.stride[i]);
            (0..g.image[i]).filter(move |pixel| (pixel + padding) % stride == at[i])
        };
        // Where the kernel has nothing for this remainder there is no tap, and the pixel becomes 0.
        let first =
            |i: usize, pixel: usize| (pixel + g.padding[i]) / g.stride[i] + reach[i] - count[i].max(1);
        let mut rows = Vec::new();
        for image in 0..self.images {
            for y in pixels(0) {
                for x in pixels(1) {
                    let from = (first(0, y) * frame.size[1] + first(1, x)) * frame.pitch;
                    rows.push(Row {
                        from: image * frame.len() + from,
                        to: image * written.len() + written.at(y, x),
                    });
                }
            }
        }
        let [width, area] = [padded(g.inputs), g.kernel[0] * g.kernel[1]];
        let mut weights = Buffer::zeros(count[0] * count[1] * g.outputs * width);
        let mut taps = Vec::new();
        for i in 0..count[0] {
            for j in 0..count[1] {
                let steps_back = [count[0] - 1 - i, count[1] - 1 - j];
                let tap = [0, 1].map(|k| at[k] + steps_back[k] * g.stride[k]);
                let tap = tap[0] * g.kernel[1] + tap[1];
                let values = &mut weights.values_mut()[taps.len() * g.outputs * width..];
                for (o, row) in values.chunks_exact_mut(width).take(g.outputs).enumerate() {
                    for (c, value) in row.iter_mut().take(g.inputs).enumerate() {
                        *value = weight[(o * g.inputs + c) * area + tap];
                    }
                }
                taps.push((i * frame.size[1] + j) * frame.pitch);
            }
        }
        Phase { rows, taps, weights }
    }
}

/// Images a call takes: enough for long sums where maps are small.
fn images(g: &Link) -> usize {
    const MANY: usize = 192;
    [1, 2, 4].into_iter().find(|n| n * g.map[0] * g.map[1] >= MANY).unwrap_or(8)
}

impl Method for Direct {
    fn images(&self) -> usize {
        self.images
    }

    fn image_read(&self) -> Frame {
        self.image_read
    }

    fn image_written(&self) -> Frame {
        Frame::bare(self.link.inputs, self.link.image)
    }

    fn map_read(&self) -> Frame {
        self.map_read
    }

    fn map_written(&self) -> Frame {
        Frame::bare(self.link.outputs, self.link.map)
    }

    fn scratch(&self) -> usize {
        0
    }

    fn correlate(&self, images: &[f32], maps: &mut [f32], _: &mut [f32]) {
        let count = images.len() / self.image_read.len();
        pulp::Arch::new().dispatch(Patches {
            a: images,
            rows: &self.patches[..count * self.link.map[0] * self.link.map[1]],
            taps: &self.taps,
            run: self.link.kernel[1] * self.link.inputs,
            b: self.forward.values(),
            width: padded(self.link.outputs),
            out: maps,
        });
    }

    fn spread(&self, maps: &[f32], images: &mut [f32], _: &mut [f32]) {
        let count = maps.len() / self.map_read.len();
        for Phase { rows, taps, weights } in &self.phases {
            pulp::Arch::new().dispatch(Patches {
                a: maps,
                rows: &rows[..rows.len() / self.images * count],
                taps,
                run: self.link.outputs,
                b: weights.values(),
                width: padded(self.link.inputs),
                out: images,
            });
        }
    }

    fn gradient_len(&self) -> usize {
        self.link.kernel[0] * self.link.kernel[1] * self.link.inputs * padded(self.link.outputs)
    }

    fn weigh(
        &self,
        images: &[f32],
        maps: &[f32],
        sum: &mut [f32],
        into: Option<&mut [f32]>,
        scratch: &mut [f32],
    ) {
        let count = images.len() / self.image_read.len();
        pulp::Arch::new().dispatch(Outer {
            a: images,
            b: maps,
            steps: &self.steps[..count * self.link.map[0] * self.link.map[1]],
            runs: &self.runs,
            run: self.link.kernel[1] * self.link.inputs,
            width: padded(self.link.outputs),
            out: sum,
        });
        if let Some(into) = into {
            self.spread(maps, into, scratch);
        }
    }

    fn gradient(&self, sum: &[f32]) -> Vec<f32> {
        let g = &self.link;
        let [width, area] = [padded(g.outputs), g.kernel[0] * g.kernel[1]];
        let mut gradient = Vec::with_capacity(g.weights());
        for o in 0..g.outputs {
            for c in 0..g.inputs {
                gradient.extend((0..area).map(|tap| sum[(tap * g.inputs + c) * width + o]));
            }
        }
        gradient
    }
}
