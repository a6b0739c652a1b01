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

vectorised! {
    fn fill_one<'a>(frame: Frame, image: &'a [f32], framed: &'a mut [f32]) {
        let [height, width] = rows(frame);
        let area = frame.image[0] * frame.image[1];
        let squares = if frame.copies == 1 { frame.channels / SIDE } else { 0 };
        for y in 0..height {
            let out = &mut framed[frame.at(y, 0)..];
            let row = |c: usize| &image[c * area + y * frame.image[1]..][..width];
            for square in 0..squares {
                let c = square * SIDE;
                let [a, b, d, e] = [row(c), row(c + 1), row(c + 2), row(c + 3)];
                let ([a, b, d, e], rest) = (
                    [a, b, d, e].map(|row| row.as_chunks::<SIDE>().0),
                    [a, b, d, e].map(|row| row.as_chunks::<SIDE>().1),
                );
                let mut at = c;
                for (((&a, &b), &d), &e) in a.iter().zip(b).zip(d).zip(e) {
                    for pixel in turned([a, b, d, e]) {
                        out[at..][..SIDE].copy_from_slice(&pixel);
                        at += frame.pitch;
                    }
                }
                for x in 0..rest[0].len() {
                    out[at..][..SIDE].copy_from_slice(&rest.map(|row| row[x]));
                    at += frame.pitch;
                }
            }
            for c in squares * SIDE..frame.channels {
                for (out, &value) in out.chunks_mut(frame.pitch).zip(row(c)) {
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
        for y in 0..height {
            let from = &framed[frame.at(y, 0)..];
            let begin = y * frame.image[1];
            for square in 0..squares {
                let c = square * SIDE;
                let pixel = |x: usize| {
                    let mut four = [0.0; SIDE];
                    four.copy_from_slice(&from[x * frame.pitch + c..][..SIDE]);
                    four
                };
                let mut x = 0;
                while x + SIDE <= width {
                    let four = turned([pixel(x), pixel(x + 1), pixel(x + 2), pixel(x + 3)]);
                    for (i, four) in four.iter().enumerate() {
                        image[(c + i) * area + begin + x..][..SIDE].copy_from_slice(four);
                    }
                    x += SIDE;
                }
                for x in x..width {
                    for (i, value) in pixel(x).into_iter().enumerate() {
                        image[(c + i) * area + begin + x] = value;
                    }
                }
            }
            for c in squares * SIDE..frame.channels {
                let out = &mut image[c * area + begin..][..width];
                for (out, from) in out.iter_mut().zip(from.chunks(frame.pitch)) {
                    *out = from[c * frame.copies..][..frame.copies].iter().sum();
                }
            }
        }
    }
}
