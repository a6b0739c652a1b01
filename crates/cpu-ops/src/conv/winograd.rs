//! Convolution of 3x3 kernels at stride 1 by Winograd's minimal filtering F(2x2, 3x3).
//!
//! Lavin & Gray 2015, arXiv 1509.09308: a tile of 2x2 outputs sees 4x4 pixels; both are moved by fixed matrices
//! into a space of 16 numbers where the convolution is 16 products, in place of 36: `y = At [(G w Gt) * (Bt x B)] A`.
//! The gradients here are those of this formula, so they work in the same space and on the same tiles (the paper
//! has other tiles for them): with `u = A dy At`, the weights' is `Gt [sum of u * (Bt x B)] G`, the images'
//! `B [(G w Gt) * u] Bt`, added up where tiles overlap.

mod filters;
mod tiles;

use self::{
    filters::{filters, pitch, unfilter},
    tiles::{Enter, Leave, SPACE, Tiles},
};
use super::{
    frame::{Frame, padded},
    link::Link,
    method::{Asked, Method},
};
use crate::{
    product::{Outer, Patches, Row},
    scratch::Buffer,
};

/// Sizes and weights of one call.
pub(crate) struct Winograd {
    link: Link,
    /// Tiles of an image, down and across.
    tiles: [usize; 2],
    /// Images taken at a time.
    images: usize,
    /// Tiles whose numbers are in memory at a time.
    block: usize,
    /// `[SPACE, inputs, padded(outputs)]`; empty if not asked for.
    forward: Buffer,
    /// `[SPACE, outputs, padded(inputs)]`; empty if not asked for.
    backward: Buffer,
    /// For each tile of a block where its numbers begin: those of images, those of maps.
    rows: Vec<Row>,
    /// The reverse.
    rows_back: Vec<Row>,
    /// Where the tiles of all images begin in their frames: images', maps'.
    corners: [Vec<usize>; 2],
}

impl Winograd {
    /// Whether this way is open and pays.
    pub(crate) fn fits(g: &Link) -> bool {
        g.kernel == [3, 3] && g.stride == [1, 1] && g.groups == 1 && g.inputs >= 8 && g.outputs >= 8
    }

    pub(crate) fn new(link: &Link, weight: &[f32], asked: Asked) -> Self {
        let g = *link;
        let tiles = g.map.map(|n| if asked.pooled { n / 2 } else { n.div_ceil(2) });
        let [wide, deep] = [padded(g.inputs), padded(g.outputs)];
        // A block's numbers, images' and maps', fill half of a level-2 cache of 1 MiB.
        const CACHED: usize = 1 << 17;
        let fitting = (CACHED / SPACE / (wide + deep)).clamp(16, 128);
        let area = tiles[0] * tiles[1];
        let images = (fitting / area).clamp(1, 8);
        let blocks = (images * area).div_ceil(fitting);
        let block = (images * area).div_ceil(blocks).next_multiple_of(8);
        let [mut forward, mut backward] = [Buffer::default(), Buffer::default()];
        if asked.correlate {
            forward = filters(weight, [g.inputs, g.outputs], [1, g.inputs]);
        }
        if asked.spread {
            backward = filters(weight, [g.outputs, g.inputs], [g.inputs, 1]);
        }
        let mut winograd = Self {
            link: g,
            tiles,
            images,
            block,
            forward,
            backward,
            rows: (0..block).map(|tile| Row { from: tile * wide, to: tile * deep }).collect(),
            rows_back: (0..block).map(|tile| Row { from: tile * deep, to: tile * wide }).collect(),
            corners: Default::default(),
        };
        winograd.corners = [winograd.image_read(), winograd.map_read()].map(|frame| winograd.corners(&frame));
        winograd
    }

    fn corners(&self, frame: &Frame) -> Vec<usize> {
        let [down, across] = self.tiles;
        let mut corners = Vec::with_capacity(self.images * down * across);
        for image in 0..self.images {
            for y in 0..down {
                for x in 0..across {
                    corners.push(image * frame.len() + (2 * y * frame.size[1] + 2 * x) * frame.pitch);
                }
            }
        }
        corners
    }

    /// The blocks of `count` images: tiles of the images, tiles of the maps.
    fn blocks(&self, count: usize) -> impl Iterator<Item = [Tiles<'_>; 2]> {
        let tiles = count * self.tiles[0] * self.tiles[1];
        let [images, maps] = self.corners.each_ref().map(|corners| corners[..tiles].chunks(self.block));
        let (image, map, block) = (self.image_read(), self.map_read(), self.block);
        images.zip(maps).map(move |(images, maps)| {
            [(images, image), (maps, map)].map(|(corners, frame)| Tiles { corners, frame, block })
        })
    }

    /// Numbers of a block: of images, of maps.
    fn numbers(&self) -> [usize; 2] {
        [self.link.inputs, self.link.outputs].map(|channels| SPACE * self.block * padded(channels))
    }

    /// The 16 products of a block of `tiles` with the weights: `from[number, tile, run]` to `to[number, tile, width]`.
    fn products(&self, from: &[f32], to: &mut [f32], back: bool, tiles: usize) {
        let [inputs, outputs] = [self.link.inputs, self.link.outputs];
        let (sizes, weights, rows) = match back {
            false => ([inputs, outputs], &self.forward, &self.rows),
            true => ([outputs, inputs], &self.backward, &self.rows_back),
        };
        let (run, width) = (sizes[0], padded(sizes[1]));
        let numbers = to
            .chunks_exact_mut(self.block * width)
            .zip(from.chunks_exact(self.block * padded(run)))
            .zip(weights.values().chunks_exact(pitch(sizes)));
        for ((out, a), b) in numbers {
            let b = &b[..run * width];
            pulp::Arch::new().dispatch(Patches { a, rows: &rows[..tiles], taps: &[0], run, b, width, out });
        }
    }

    /// Adds a block's gradients of pixels, from the numbers of its maps.
    fn spread_block(&self, tiles: Tiles<'_>, u: &[f32], v: &mut [f32], images: &mut [f32]) {
        self.products(u, v, true, tiles.corners.len());
        tiles.leave(Leave::PixelGradients, v, images);
    }
}

impl Method for Winograd {
    fn images(&self) -> usize {
        self.images
    }

    fn image_read(&self) -> Frame {
        Frame {
            channels: self.link.inputs,
            copies: 1,
            image: self.link.image,
            size: self.tiles.map(|n| 2 * n + 2),
            origin: self.link.padding,
            pitch: padded(self.link.inputs),
        }
    }

    fn image_written(&self) -> Frame {
        self.image_read()
    }

    fn map_read(&self) -> Frame {
        Frame { size: self.tiles.map(|n| 2 * n), ..Frame::bare(self.link.outputs, self.link.map) }
    }

    fn map_written(&self) -> Frame {
        self.map_read()
    }

    fn scratch(&self) -> usize {
        self.numbers().iter().sum()
    }

    fn correlate(&self, images: &[f32], maps: &mut [f32], scratch: &mut [f32]) {
        let (v, m) = scratch.split_at_mut(self.numbers()[0]);
        for [image_tiles, map_tiles] in self.blocks(images.len() / self.image_read().len()) {
            image_tiles.enter(Enter::Pixels, images, v);
            self.products(v, m, false, image_tiles.corners.len());
            map_tiles.leave(Leave::Outputs, m, maps);
        }
    }

    fn spread(&self, maps: &[f32], images: &mut [f32], scratch: &mut [f32]) {
        let (v, u) = scratch.split_at_mut(self.numbers()[0]);
        images.fill(0.0);
        for [image_tiles, map_tiles] in self.blocks(maps.len() / self.map_read().len()) {
            map_tiles.enter(Enter::OutputGradients, maps, u);
            self.spread_block(image_tiles, u, v, images);
        }
    }

    fn gradient_len(&self) -> usize {
        SPACE * self.link.inputs * padded(self.link.outputs)
    }

    fn weigh(
        &self,
        images: &[f32],
        maps: &[f32],
        sum: &mut [f32],
        mut into: Option<&mut [f32]>,
        scratch: &mut [f32],
    ) {
        let [inputs, width] = [self.link.inputs, padded(self.link.outputs)];
        let (v, u) = scratch.split_at_mut(self.numbers()[0]);
        if let Some(into) = &mut into {
            into.fill(0.0);
        }
        for [image_tiles, map_tiles] in self.blocks(images.len() / self.image_read().len()) {
            image_tiles.enter(Enter::Pixels, images, v);
            map_tiles.enter(Enter::OutputGradients, maps, u);
            let numbers = sum
                .chunks_exact_mut(inputs * width)
                .zip(v.chunks_exact(self.block * padded(inputs)))
                .zip(u.chunks_exact(self.block * width));
            for ((out, a), b) in numbers {
                pulp::Arch::new().dispatch(Outer {
                    a,
                    b,
                    steps: &self.rows[..image_tiles.corners.len()],
                    runs: &[Row { from: 0, to: 0 }],
                    run: inputs,
                    width,
                    out,
                });
            }
            if let Some(into) = &mut into {
                self.spread_block(image_tiles, u, v, into);
            }
        }
    }

    fn gradient(&self, sum: &[f32]) -> Vec<f32> {
        unfilter(sum, [self.link.inputs, self.link.outputs])
    }
}
