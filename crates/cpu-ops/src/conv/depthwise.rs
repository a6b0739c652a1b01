//! Convolution of each channel by itself: every place of a pixel goes with the same place of its neighbours.

use super::{
    frame::{Frame, padded},
    link::Link,
    method::Method,
};
use crate::{product::LANES, scratch::Buffer, simd::vectorised};

/// Sizes and weights of one call.
pub(crate) struct Depthwise {
    link: Link,
    /// `[kernel height, kernel width, padded(outputs)]`.
    weights: Buffer,
}

impl Depthwise {
    pub(crate) fn new(link: &Link, weight: &[f32]) -> Self {
        let g = *link;
        let [area, width] = [g.kernel[0] * g.kernel[1], padded(g.outputs)];
        let mut weights = Buffer::zeros(area * width);
        for (index, &value) in weight.iter().enumerate() {
            weights.values_mut()[index % area * width + index / area] = value;
        }
        Self { link: g, weights }
    }

    /// What the loops need to know.
    fn walk(&self) -> Walk {
        let g = &self.link;
        let [image, map] = [self.image_read(), self.map_read()];
        Walk {
            pitch: map.pitch,
            map: g.map,
            kernel: g.kernel,
            line: image.size[1] * image.pitch,
            step: [g.stride[0] * image.size[1] * image.pitch, g.stride[1] * image.pitch],
        }
    }
}

/// Sizes of one image's loops; distances in elements.
#[derive(Clone, Copy)]
struct Walk {
    pitch: usize,
    map: [usize; 2],
    kernel: [usize; 2],
    /// Between rows of the framed image.
    line: usize,
    /// Between patches, down and across.
    step: [usize; 2],
}

impl Method for Depthwise {
    fn images(&self) -> usize {
        1
    }

    fn image_read(&self) -> Frame {
        let g = &self.link;
        Frame {
            channels: g.inputs,
            copies: g.outputs / g.inputs,
            image: g.image,
            // All patches, and the whole image: a transposed convolution writes pixels that no patch has.
            size: [0, 1].map(|i| ((g.map[i] - 1) * g.stride[i] + g.kernel[i]).max(g.padding[i] + g.image[i])),
            origin: g.padding,
            pitch: padded(g.outputs),
        }
    }

    fn image_written(&self) -> Frame {
        self.image_read()
    }

    fn map_read(&self) -> Frame {
        Frame::bare(self.link.outputs, self.link.map)
    }

    fn map_written(&self) -> Frame {
        self.map_read()
    }

    fn scratch(&self) -> usize {
        0
    }

    fn correlate(&self, images: &[f32], maps: &mut [f32], _: &mut [f32]) {
        let [image, map] = [self.image_read().len(), self.map_read().len()];
        for (image, map) in images.chunks_exact(image).zip(maps.chunks_exact_mut(map)) {
            gather(self.walk(), image, self.weights.values(), map);
        }
    }

    fn spread(&self, maps: &[f32], images: &mut [f32], _: &mut [f32]) {
        let [image, map] = [self.image_read().len(), self.map_read().len()];
        images.fill(0.0);
        for (image, map) in images.chunks_exact_mut(image).zip(maps.chunks_exact(map)) {
            scatter(self.walk(), map, self.weights.values(), image);
        }
    }

    fn gradient_len(&self) -> usize {
        self.weights.values().len()
    }

    fn weigh(
        &self,
        images: &[f32],
        maps: &[f32],
        sum: &mut [f32],
        into: Option<&mut [f32]>,
        scratch: &mut [f32],
    ) {
        let [image, map] = [self.image_read().len(), self.map_read().len()];
        for (image, map) in images.chunks_exact(image).zip(maps.chunks_exact(map)) {
            add_products(self.walk(), image, map, sum);
        }
        if let Some(into) = into {
            self.spread(maps, into, scratch);
        }
    }

    fn gradient(&self, sum: &[f32]) -> Vec<f32> {
        let [area, width] = [self.link.kernel[0] * self.link.kernel[1], padded(self.link.outputs)];
        (0..self.link.weights()).map(|index| sum[index % area * width + index / area]).collect()
    }
}

vectorised! {
    fn gather<'a>(walk: Walk, image: &'a [f32], weights: &'a [f32], map: &'a mut [f32]) {
        let width = walk.map[1];
        for (index, pixel) in map.chunks_exact_mut(walk.pitch).enumerate() {
            let patch = &image[index / width * walk.step[0] + index % width * walk.step[1]..];
            for (block, pixel) in pixel.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let mut sums = [0.0_f32; LANES];
                for i in 0..walk.kernel[0] {
                    for j in 0..walk.kernel[1] {
                        let at = block * LANES;
                        let values = &patch[i * walk.line + j * walk.pitch + at..][..LANES];
                        let weights = &weights[(i * walk.kernel[1] + j) * walk.pitch + at..][..LANES];
                        for lane in 0..LANES {
                            sums[lane] = values[lane].mul_add(weights[lane], sums[lane]);
                        }
                    }
                }
                *pixel = sums;
            }
        }
    }
}

vectorised! {
    fn scatter<'a>(walk: Walk, map: &'a [f32], weights: &'a [f32], image: &'a mut [f32]) {
        let width = walk.map[1];
        for (index, pixel) in map.chunks_exact(walk.pitch).enumerate() {
            let patch = &mut image[index / width * walk.step[0] + index % width * walk.step[1]..];
            for (tap, weights) in weights.chunks_exact(walk.pitch).enumerate() {
                let at = tap / walk.kernel[1] * walk.line + tap % walk.kernel[1] * walk.pitch;
                for ((sum, &value), &weight) in patch[at..].iter_mut().zip(pixel).zip(weights) {
                    *sum = value.mul_add(weight, *sum);
                }
            }
        }
    }
}

vectorised! {
    fn add_products<'a>(walk: Walk, image: &'a [f32], map: &'a [f32], sum: &'a mut [f32]) {
        let width = walk.map[1];
        for (tap, sum) in sum.chunks_exact_mut(walk.pitch).enumerate() {
            let corner = tap / walk.kernel[1] * walk.line + tap % walk.kernel[1] * walk.pitch;
            for (block, sum) in sum.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let mut sums = *sum;
                for (index, pixel) in map.chunks_exact(walk.pitch).enumerate() {
                    let patch = index / width * walk.step[0] + index % width * walk.step[1];
                    let values = &image[corner + patch + block * LANES..][..LANES];
                    let pixel = &pixel[block * LANES..][..LANES];
                    for lane in 0..LANES {
                        sums[lane] = values[lane].mul_add(pixel[lane], sums[lane]);
                    }
                }
                *sum = sums;
            }
        }
    }
}
