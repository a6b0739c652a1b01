//! The geometry behind augmentation: an affine map, an elastic field, one bilinear resampling.
//!
//! Maps go from output to input pixels: each output pixel asks where it comes from. The field is
//! that of Simard et al. (ICDAR 2003): uniform numbers smoothed by a Gaussian, zero outside.

use rand::RngExt;

use crate::set::unit;

/// Standard deviations after which the Gaussian is cut off.
const TRUNCATE: f32 = 3.0;

/// The matrix `[[xx, xy], [yx, yy]]` from output to input: rotation by `turn` radians, after shear
/// by `slant` radians, after magnification by `zoom`.
pub(crate) fn affine(turn: f32, zoom: f32, slant: f32) -> [[f32; 2]; 2] {
    let (sin, cos) = turn.sin_cos();
    let tan = slant.tan();
    [[cos / zoom, (cos * tan - sin) / zoom], [sin / zoom, (sin * tan + cos) / zoom]]
}

/// Paper around the image on the left and at the top; one more on the right and at the bottom, so
/// that each place has a right and a lower neighbour.
const FRAME: usize = 1;

/// An image in a frame of paper, to take samples from without asking at each whether it is inside.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    rows: usize,
    cols: usize,
    /// `[rows + 3, cols + 3]`, in 0-1.
    pixels: Vec<f32>,
}

impl Canvas {
    /// Paper for images of `rows` x `cols` pixels.
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols, pixels: vec![0.0; (rows + 2 * FRAME + 1) * (cols + 2 * FRAME + 1)] }
    }

    /// Pixels of an image.
    pub(crate) fn area(&self) -> usize {
        self.rows * self.cols
    }

    /// Puts an image (`[rows * cols]`) on the canvas.
    pub(crate) fn load(&mut self, image: &[u8]) {
        let width = self.width();
        let lines = self.pixels.chunks_exact_mut(width).skip(FRAME);
        for (line, row) in lines.zip(image.chunks_exact(self.cols)) {
            line.iter_mut().skip(FRAME).zip(row).for_each(|(to, &pixel)| *to = unit(pixel));
        }
    }

    /// Fills `out` (`[rows * cols]`, in 0-1) with what lies at `matrix` times the place, counted
    /// from the middle, plus `shift` `[x, y]`, plus `field` `[x, y]` (empty: none), in pixels.
    pub(crate) fn resample(
        &self,
        matrix: [[f32; 2]; 2],
        shift: [f32; 2],
        field: [&[f32]; 2],
        out: &mut [f32],
    ) {
        let [[xx, xy], [yx, yy]] = matrix;
        let [middle_x, middle_y] = [self.cols, self.rows].map(|size| (size as f32 - 1.0) / 2.0);
        for (row, line) in out.chunks_exact_mut(self.cols).enumerate() {
            let start = row * self.cols;
            let [bend_x, bend_y] = field.map(|field| field.get(start..start + self.cols).unwrap_or_default());
            let y = row as f32 - middle_y;
            for (col, out) in line.iter_mut().enumerate() {
                let x = col as f32 - middle_x;
                let [bend_x, bend_y] = [bend_x, bend_y].map(|bend| bend.get(col).copied().unwrap_or(0.0));
                let from_x = middle_x + xx * x + xy * y + shift[0] + bend_x;
                let from_y = middle_y + yx * x + yy * y + shift[1] + bend_y;
                *out = self.bilinear(from_x, from_y);
            }
        }
    }

    /// Value in 0-1 at a place between pixels; paper outside, NaN and infinity included.
    fn bilinear(&self, x: f32, y: f32) -> f32 {
        let (x, left) = on_canvas(x, self.cols);
        let (y, top) = on_canvas(y, self.rows);
        let place = top * self.width() + left;
        let upper = mix(&self.pixels[place..place + 2], x);
        let lower = mix(&self.pixels[place + self.width()..][..2], x);
        (upper * (1.0 - y) + lower * y).min(1.0)
    }

    fn width(&self) -> usize {
        self.cols + 2 * FRAME + 1
    }
}

/// A coordinate as the pixel of the canvas before it and its distance from there, in 0-1.
/// Whatever is farther off than the frame lands on the frame; so does NaN, which `max` passes over.
fn on_canvas(place: f32, size: usize) -> (f32, usize) {
    let place = (place + FRAME as f32).max(0.0).min((size + FRAME) as f32);
    let whole = place as u32;
    (place - whole as f32, whole as usize)
}

fn mix(pair: &[f32], share: f32) -> f32 {
    pair[0] * (1.0 - share) + pair[1] * share
}

/// Draws displacement fields; keeps the kernel and the buffers.
#[derive(Clone, Debug)]
pub(crate) struct Elastic {
    cols: usize,
    alpha: f32,
    /// The middle of the Gaussian, then one side.
    kernel: Vec<f32>,
    /// Displacements along x and y, pixels, `[rows * cols]` each.
    fields: [Vec<f32>; 2],
    scratch: Vec<f32>,
}

impl Elastic {
    /// Fields of `alpha` pixels (what multiplies the smoothed numbers) and `sigma` pixels.
    pub(crate) fn new(alpha: f32, sigma: f32, rows: usize, cols: usize) -> Self {
        let blank = vec![0.0; rows * cols];
        let kernel = half_gaussian(sigma, rows.max(cols));
        Self { cols, alpha, kernel, fields: [blank.clone(), blank.clone()], scratch: blank }
    }

    /// A new field: displacements along x and along y.
    pub(crate) fn draw(&mut self, rng: &mut impl rand::Rng) -> [&[f32]; 2] {
        for field in &mut self.fields {
            field.iter_mut().for_each(|value| *value = 2.0 * rng.random::<f32>() - 1.0);
            blur(field, &mut self.scratch, &self.kernel, self.cols);
            field.iter_mut().for_each(|value| *value *= self.alpha);
        }
        let [x, y] = &self.fields;
        [x, y]
    }
}

/// Smooths a field of `cols` columns by the Gaussian `kernel`, along rows, then along columns
/// (it is separable).
fn blur(field: &mut [f32], scratch: &mut [f32], kernel: &[f32], cols: usize) {
    scratch.fill(0.0);
    for (to, from) in scratch.chunks_exact_mut(cols).zip(field.chunks_exact(cols)) {
        convolve(to, from, kernel, 1);
    }
    field.fill(0.0);
    convolve(field, scratch, kernel, cols);
}

/// Adds the convolution of `from` with a symmetric kernel, whose steps are `stride` apart, to
/// `to`; zero beyond the ends. Each step is one pass over the slices, which the compiler vectorises.
fn convolve(to: &mut [f32], from: &[f32], kernel: &[f32], stride: usize) {
    for (distance, &weight) in kernel.iter().enumerate() {
        let shift = (distance * stride).min(from.len());
        to.iter_mut().zip(&from[shift..]).for_each(|(to, from)| *to += weight * from);
        if distance > 0 {
            to[shift..].iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
        }
    }
}

/// A Gaussian at 0, 1, 2, ... pixels, up to [`TRUNCATE`] standard deviations or `limit`; with its
/// other side it sums to 1.
fn half_gaussian(sigma: f32, limit: usize) -> Vec<f32> {
    let radius = ((TRUNCATE * sigma).round() as usize).min(limit);
    let bell = |distance: usize| (-0.5 * (distance as f32 / sigma).powi(2)).exp();
    let mut kernel: Vec<f32> = std::iter::once(1.0).chain((1..=radius).map(bell)).collect();
    let sum: f32 = 2.0 * kernel.iter().sum::<f32>() - 1.0;
    kernel.iter_mut().for_each(|weight| *weight /= sum);
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLURRED: [f32; 30] = [
        -0.00794, 0.00765, 0.031438, 0.031566, -0.00893, -0.050871, 0.018016, 0.030152, 0.04228, 0.026913,
        -0.019984, -0.054538, 0.032851, 0.045428, 0.046839, 0.01928, -0.019905, -0.033628, 0.029939,
        0.047439, 0.045317, 0.016323, -0.007987, -0.005142, 0.02309, 0.042743, 0.040677, 0.018597, 0.006868,
        0.013073,
    ];
    const RESAMPLED: [f32; 30] = [
        0.0, 0.051308, 0.168554, 0.342695, 0.57373, 0.660163, 0.113763, 0.255221, 0.3379, 0.420579, 0.503258,
        0.585937, 0.104915, 0.130099, 0.212778, 0.295457, 0.378136, 0.460815, 0.495931, 0.281494, 0.087657,
        0.170336, 0.253015, 0.335694, 0.801099, 0.653806, 0.51159, 0.102275, 0.151533, 0.210572,
    ];

    fn canvas(rows: usize, cols: usize, image: &[u8]) -> Canvas {
        let mut canvas = Canvas::new(rows, cols);
        canvas.load(image);
        canvas
    }

    fn close(found: &[f32], wanted: &[f32], tolerance: f32) {
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() <= tolerance, "found {found}, wanted {wanted}");
        }
    }

    // import numpy as np; from scipy.ndimage import gaussian_filter
    // f = ((np.arange(30) * 7) % 11 - 5).reshape(5, 6) / 5
    // gaussian_filter(f, 1.5, mode="constant", truncate=3.0).ravel().round(6)
    #[test]
    fn blur_is_scipys_gaussian_filter() {
        let mut field: Vec<f32> = (0..30).map(|i| ((i * 7 % 11) as f32 - 5.0) / 5.0).collect();
        blur(&mut field, &mut [0.0; 30], &half_gaussian(1.5, 6), 6);
        close(&field, &BLURRED, 2e-6);
    }

    // from scipy.ndimage import affine_transform
    // p = ((np.arange(30) * 37) % 256).reshape(5, 6) / 255.0        # rows y, columns x
    // t, z, s = np.float64([0.3, 1.2, 0.2]); c = np.array([2.0, 2.5]) # middle y, x
    // m = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) @ [[1, np.tan(s)], [0, 1]] / z
    // m = m[::-1, ::-1]                                               # (x, y) -> (y, x)
    // affine_transform(p, m, c - m @ c + [-0.75, 0.4], order=1, mode="grid-constant").ravel().round(6)
    #[test]
    fn resampling_is_scipys_affine_transform() {
        let pixels: Vec<u8> = (0..30_u32).map(|i| (i * 37 % 256) as u8).collect();
        let mut out = [0.0; 30];
        canvas(5, 6, &pixels).resample(affine(0.3, 1.2, 0.2), [0.4, -0.75], [&[], &[]], &mut out);
        close(&out, &RESAMPLED, 1e-5);
    }

    #[test]
    fn the_identity_changes_nothing() {
        let pixels: Vec<u8> = (0..=255).collect();
        let mut out = [0.0; 256];
        canvas(16, 16, &pixels).resample(affine(0.0, 1.0, 0.0), [0.0; 2], [&[], &[]], &mut out);
        assert_eq!(out.to_vec(), pixels.iter().copied().map(unit).collect::<Vec<_>>());
    }

    #[test]
    fn a_field_moves_pixels_by_its_values() {
        let canvas = canvas(2, 2, &[10, 20, 30, 40]);
        let mut out = [0.0; 4];
        // Each pixel comes from one further right and, in the lower row, one further up.
        canvas.resample(affine(0.0, 1.0, 0.0), [0.0; 2], [&[1.0; 4], &[0.0, 0.0, -1.0, -1.0]], &mut out);
        assert_eq!(out, [unit(20), 0.0, unit(20), 0.0]);
    }

    #[test]
    fn numbers_that_are_no_places_give_paper() {
        let canvas = canvas(2, 2, &[255; 4]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut out = [0.5; 4];
            canvas.resample(affine(0.0, 1.0, 0.0), [bad, bad], [&[], &[]], &mut out);
            assert_eq!(out, [0.0; 4], "shift {bad}");
        }
    }

    #[test]
    fn simards_settings_displace_by_more_than_a_pixel() {
        let mut elastic = Elastic::new(34.0, 4.0, 28, 28);
        let [x, y] = elastic.draw(&mut crate::Key::new(1).rng());
        let middle = |field: &[f32]| field[28 * 10..28 * 18].iter().map(|v| v * v).sum::<f32>() / 224.0;
        let size = ((middle(x) + middle(y)) / 2.0).sqrt();
        // 34 * sqrt(1/3) / (2 * 4 * sqrt(pi)) = 1.38 pixels; one smooth field is a small sample.
        assert!((0.6..2.5).contains(&size), "root mean square {size}");
    }
}
