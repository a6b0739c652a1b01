//! Images with their channels last, inside a frame of zeros.

use crate::{product::LANES, simd::vectorised};

/// How images lie in a buffer: `[image, height, width, pitch]`, the pixels of each from `origin` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Channels of an image as the caller has them.
    pub(crate) channels: usize,
    /// Places for each channel, one after the other: read into all of them, written as their sum.
    pub(crate) copies: usize,
    /// Height and width of the image.
    pub(crate) image: [usize; 2],
    /// Height and width of the frame; what of the image does not fit is left out.
    pub(crate) size: [usize; 2],
    /// Where the image's first pixel lies.
    pub(crate) origin: [usize; 2],
    /// Distance between pixels, in elements.
    pub(crate) pitch: usize,
}

/// `n` rounded up to whole vectors.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

impl Frame {
    /// No border: the image alone, `pitch` elements for each pixel.
    pub(crate) fn bare(channels: usize, image: [usize; 2]) -> Self {
        Self { channels, copies: 1, image, size: image, origin: [0, 0], pitch: padded(channels) }
    }

    /// Elements of one image as the caller has it.
    pub(crate) fn image_len(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    /// Elements of one framed image.
    pub(crate) fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.pitch
    }

    /// Where a pixel of the image begins.
    pub(crate) fn at(&self, y: usize, x: usize) -> usize {
        ((self.origin[0] + y) * self.size[1] + self.origin[1] + x) * self.pitch
    }

    /// Rows and columns of the image that the frame holds.
    fn held(&self) -> [usize; 2] {
        [0, 1].map(|i| self.image[i].min(self.size[i] - self.origin[i]))
    }

    /// Frames images `[count, channels, height, width]`.
    pub(crate) fn fill(&self, images: &[f32], framed: &mut [f32]) {
        if self.held() != self.size || self.pitch != self.channels * self.copies {
            framed.fill(0.0);
        }
        for (image, framed) in images.chunks_exact(self.image_len()).zip(framed.chunks_exact_mut(self.len()))
        {
            touch(image);
            fill_one(*self, image, framed);
        }
    }

    /// The reverse: `images[count, channels, height, width]`, zeros where the frame holds no pixel.
    pub(crate) fn take(&self, framed: &[f32], images: &mut [f32]) {
        if self.held() != self.image {
            images.fill(0.0);
        }
        for (image, framed) in images.chunks_exact_mut(self.image_len()).zip(framed.chunks_exact(self.len()))
        {
            take_one(*self, framed, image);
        }
    }
}

/// Brings values into the cache in the order in which they lie, which the processor foresees; the turning of squares
/// jumps between channels, which it does not.
fn touch(values: &[f32]) {
    const LINE: usize = 16;
    std::hint::black_box(values.iter().step_by(LINE).map(|value| value.to_bits()).fold(0, |a, b| a | b));
}

/// Channels and pixels that are turned together.
const SIDE: usize = 4;

/// A square of channels by pixels as one of pixels by channels, and back.
#[inline(always)]
fn turned(rows: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    let mut columns = [[0.0; SIDE]; SIDE];
    for (i, column) in columns.iter_mut().enumerate() {
        for (value, row) in column.iter_mut().zip(rows) {
            *value = row[i];
        }
    }
    columns
}

/// Rows of pixels that can be moved in one go: how many, how long.
fn rows(frame: Frame) -> [usize; 2] {
    let [height, width] = frame.held();
    let whole = width == frame.image[1] && width == frame.size[1];
    if whole { [1, height * width] } else { [height, width] }
}

// Channels outside, rows inside: the image is the larger and the farther memory, and so is read and written along
// few lines.

vectorised! {
    fn fill_one<'a>(frame: Frame, image: &'a [f32], framed: &'a mut [f32]) {
        let [height, width] = rows(frame);
        let area = frame.image[0] * frame.image[1];
        let squares = if frame.copies == 1 { frame.channels / SIDE } else { 0 };
        for c in (0..squares * SIDE).step_by(SIDE) {
            for y in 0..height {
                let begin = c * area + y * frame.image[1];
                let row = |i: usize| image[begin + i * area..][..width].as_chunks::<SIDE>();
                let [(a, a_rest), (b, b_rest), (d, d_rest), (e, e_rest)] = [row(0), row(1), row(2), row(3)];
                let mut at = frame.at(y, 0) + c;
                for (((&a, &b), &d), &e) in a.iter().zip(b).zip(d).zip(e) {
                    for pixel in turned([a, b, d, e]) {
                        framed[at..][..SIDE].copy_from_slice(&pixel);
                        at += frame.pitch;
                    }
                }
                for (((&a, &b), &d), &e) in a_rest.iter().zip(b_rest).zip(d_rest).zip(e_rest) {
                    framed[at..][..SIDE].copy_from_slice(&[a, b, d, e]);
                    at += frame.pitch;
                }
            }
        }
        for c in squares * SIDE..frame.channels {
            for y in 0..height {
                let row = &image[c * area + y * frame.image[1]..][..width];
                for (out, &value) in framed[frame.at(y, 0)..].chunks_mut(frame.pitch).zip(row) {
                    out[c * frame.copies..][..frame.copies].fill(value);
                }
            }
        }
    }
}

vectorised! {
    fn take_one<'a>(frame: Frame, framed: &'a [f32], image: &'a mut [f32]) {
        let [height, width] = rows(frame);
        let area = frame.image[0] * frame.image[1];
        let squares = if frame.copies == 1 { frame.channels / SIDE } else { 0 };
        for (four, planes) in image.chunks_exact_mut(SIDE * area).take(squares).enumerate() {
            for y in 0..height {
                let from = &framed[frame.at(y, 0) + four * SIDE..];
                let pixel = |x: usize| {
                    let mut pixel = [0.0; SIDE];
                    pixel.copy_from_slice(&from[x * frame.pitch..][..SIDE]);
                    pixel
                };
                let begin = y * frame.image[1];
                let mut x = 0;
                while x + SIDE <= width {
                    let rows = turned([pixel(x), pixel(x + 1), pixel(x + 2), pixel(x + 3)]);
                    for (plane, row) in planes.chunks_exact_mut(area).zip(rows) {
                        plane[begin + x..][..SIDE].copy_from_slice(&row);
                    }
                    x += SIDE;
                }
                for x in x..width {
                    for (plane, value) in planes.chunks_exact_mut(area).zip(pixel(x)) {
                        plane[begin + x] = value;
                    }
                }
            }
        }
        for (c, plane) in image.chunks_exact_mut(area).enumerate().skip(squares * SIDE) {
            for y in 0..height {
                let out = &mut plane[y * frame.image[1]..][..width];
                for (out, from) in out.iter_mut().zip(framed[frame.at(y, 0)..].chunks(frame.pitch)) {
                    *out = from[c * frame.copies..][..frame.copies].iter().sum();
                }
            }
        }
    }
}
