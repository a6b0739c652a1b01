//! From images to the matrix of their patches (im2col) and back (col2im).
//!
//! In two steps, so that every inner loop runs over neighbours. First an image becomes *planes*: padded, and
//! split by the remainder of row and column modulo the stride. Then each weight of the kernel sees one plane,
//! shifted: a row of the matrix is rows cut out of a plane.

use super::geometry::Geometry;

/// How the planes of one image lie in memory: `[channels, phases[0], phases[1], size[0], size[1]]`.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    phases: [usize; 2],
    size: [usize; 2],
}

impl Planes {
    pub(super) fn new(g: &Geometry) -> Self {
        let axis = |i: usize| (g.image[i] + 2 * g.options.padding[i]).div_ceil(g.options.stride[i]);
        let phases = |i: usize| g.options.stride[i].min(g.kernel[i]);
        Self { phases: [phases(0), phases(1)], size: [axis(0), axis(1)] }
    }

    fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    fn channel(&self) -> usize {
        self.phases[0] * self.phases[1] * self.plane()
    }

    /// Elements of one image's planes.
    pub(super) fn len(&self, g: &Geometry) -> usize {
        g.inputs * self.channel()
    }

    /// Whether the planes of an image are the image.
    pub(super) fn are_image(g: &Geometry) -> bool {
        g.options.stride == [1, 1] && g.options.padding == [0, 0]
    }

    /// Fills `planes` from `image`, zeros where there is padding.
    pub(super) fn split(&self, g: &Geometry, image: &[f32], planes: &mut [f32]) {
        let [height, width] = g.image;
        let stride = g.options.stride[1];
        for (channel, planes) in
            image.chunks_exact(height * width).zip(planes.chunks_exact_mut(self.channel()))
        {
            for (phase, plane) in planes.chunks_exact_mut(self.plane()).enumerate() {
                let [down, across] = [phase / self.phases[1], phase % self.phases[1]];
                let (first, count, skip) = self.inside(g, 1, across);
                for (row, out) in plane.chunks_exact_mut(self.size[1]).enumerate() {
                    let Some(y) = source(g, 0, row, down) else {
                        out.fill(0.0);
                        continue;
                    };
                    let pixels = &channel[y * width..][..width];
                    out[..first].fill(0.0);
                    out[first + count..].fill(0.0);
                    let out = &mut out[first..][..count];
                    match stride {
                        1 => out.copy_from_slice(&pixels[skip..][..count]),
                        2 => pick(out, &pixels[skip.min(width)..], 2),
                        _ => pick(out, &pixels[skip.min(width)..], stride),
                    }
                }
            }
        }
    }

    /// The reverse of [`Self::split`] for gradients: fills the pixels that a plane has, leaves the others.
    pub(super) fn merge(&self, g: &Geometry, planes: &[f32], image: &mut [f32]) {
        let [height, width] = g.image;
        let stride = g.options.stride[1];
        for (channel, planes) in
            image.chunks_exact_mut(height * width).zip(planes.chunks_exact(self.channel()))
        {
            for (phase, plane) in planes.chunks_exact(self.plane()).enumerate() {
                let [down, across] = [phase / self.phases[1], phase % self.phases[1]];
                let (first, count, skip) = self.inside(g, 1, across);
                for (row, values) in plane.chunks_exact(self.size[1]).enumerate() {
                    let Some(y) = source(g, 0, row, down) else { continue };
                    let pixels = &mut channel[y * width..][..width];
                    let values = &values[first..][..count];
                    match stride {
                        1 => pixels[skip..][..count].copy_from_slice(values),
                        2 => put(&mut pixels[skip.min(width)..], values, 2),
                        _ => put(&mut pixels[skip.min(width)..], values, stride),
                    }
                }
            }
        }
    }

    /// Which positions of a plane's axis lie inside the image: the first, how many, the first one's pixel.
    fn inside(&self, g: &Geometry, axis: usize, phase: usize) -> (usize, usize, usize) {
        let [stride, padding, size] = [g.options.stride[axis], g.options.padding[axis], g.image[axis]];
        let first = padding.saturating_sub(phase).div_ceil(stride).min(self.size[axis]);
        let skip = first * stride + phase - padding.min(first * stride + phase);
        let count = size.saturating_sub(skip).div_ceil(stride).min(self.size[axis] - first);
        (first, count, skip)
    }

    /// Where the part of an image's planes begins that the weight `(channel, i, j)` sees.
    fn start(&self, g: &Geometry, channel: usize, i: usize, j: usize) -> usize {
        let [down, across] = g.options.stride;
        let phase = (i % down) * self.phases[1] + j % across;
        channel * self.channel() + phase * self.plane() + (i / down) * self.size[1] + j / across
    }

    /// Writes the patches of one image into a matrix with `cols` columns, from column `at` on.
    pub(super) fn gather(&self, g: &Geometry, planes: &[f32], matrix: &mut [f32], cols: usize, at: usize) {
        let area = g.area();
        for (row, (channel, i, j)) in taps(g).enumerate() {
            let out = &mut matrix[row * cols + at..][..area];
            let seen = &planes[self.start(g, channel, i, j)..];
            match g.map[1] {
                4 => copy_rows::<4>(out, seen, 4, self.size[1]),
                7 => copy_rows::<7>(out, seen, 7, self.size[1]),
                14 => copy_rows::<14>(out, seen, 14, self.size[1]),
                28 => copy_rows::<28>(out, seen, 28, self.size[1]),
                width => copy_rows::<0>(out, seen, width, self.size[1]),
            }
        }
    }

    /// The reverse of [`Self::gather`] for gradients: adds each column's patch to the image's planes.
    pub(super) fn scatter(&self, g: &Geometry, matrix: &[f32], cols: usize, at: usize, planes: &mut [f32]) {
        let area = g.area();
        for (row, (channel, i, j)) in taps(g).enumerate() {
            let values = &matrix[row * cols + at..][..area];
            let seen = &mut planes[self.start(g, channel, i, j)..];
            match g.map[1] {
                4 => add_rows::<4>(seen, values, 4, self.size[1]),
                7 => add_rows::<7>(seen, values, 7, self.size[1]),
                14 => add_rows::<14>(seen, values, 14, self.size[1]),
                28 => add_rows::<28>(seen, values, 28, self.size[1]),
                width => add_rows::<0>(seen, values, width, self.size[1]),
            }
        }
    }
}

/// The image's row or column at position `at` of a plane's axis, unless that is padding.
fn source(g: &Geometry, axis: usize, at: usize, phase: usize) -> Option<usize> {
    let padded = at * g.options.stride[axis] + phase;
    padded.checked_sub(g.options.padding[axis]).filter(|&pixel| pixel < g.image[axis])
}

/// The weights of one output channel in order: channel, row, column.
fn taps(g: &Geometry) -> impl Iterator<Item = (usize, usize, usize)> {
    let [channels, height, width] = [g.inputs, g.kernel[0], g.kernel[1]];
    (0..channels).flat_map(move |c| (0..height).flat_map(move |i| (0..width).map(move |j| (c, i, j))))
}

#[inline(always)]
fn pick(out: &mut [f32], from: &[f32], stride: usize) {
    for (out, value) in out.iter_mut().zip(from.iter().step_by(stride)) {
        *out = *value;
    }
}

#[inline(always)]
fn put(to: &mut [f32], values: &[f32], stride: usize) {
    for (to, value) in to.iter_mut().step_by(stride).zip(values) {
        *to = *value;
    }
}

/// Packs rows of `width` that lie `pitch` apart; `WIDTH` is the same where it is known, else 0.
fn copy_rows<const WIDTH: usize>(out: &mut [f32], from: &[f32], width: usize, pitch: usize) {
    let width = if WIDTH == 0 { width } else { WIDTH };
    if width == pitch {
        out.copy_from_slice(&from[..out.len()]);
        return;
    }
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        out.copy_from_slice(&from[row * pitch..][..width]);
    }
}

/// Adds packed rows of `width` to rows that lie `pitch` apart.
fn add_rows<const WIDTH: usize>(to: &mut [f32], values: &[f32], width: usize, pitch: usize) {
    let width = if WIDTH == 0 { width } else { WIDTH };
    for (row, values) in values.chunks_exact(width).enumerate() {
        for (to, value) in to[row * pitch..][..width].iter_mut().zip(values) {
            *to += *value;
        }
    }
}
