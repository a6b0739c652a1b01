//! Augmentation: a slightly different digit each time, a pure function of a key.
//!
//! Shift, rotation, scale, shear (an affine map) and the elastic distortions of P. Simard,
//! D. Steinkraus, J. Platt, "Best practices for convolutional neural networks applied to visual
//! document analysis" (ICDAR 2003). We compose all of them into one map from output to input
//! pixels and resample once, bilinearly, so nothing is blurred twice; outside is paper. The
//! bits are the same on any thread; across platforms `sin` and `exp` may differ in the last one.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rng::Key;
use crate::set::unit;

/// How much to distort: each value is the end of a range around "not at all", 0 = off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Shift along each axis, pixels, uniform in `-shift..shift`; 0-1000.
    pub shift: f32,
    /// Rotation about the middle, degrees, uniform in `-rotation..rotation`; 0-180.
    pub rotation: f32,
    /// Scale, fraction, uniform: 0.1 = 0.9 to 1.1 times as large; 0-0.9.
    pub scale: f32,
    /// Horizontal shear, degrees, uniform in `-shear..shear`; 0-80.
    pub shear: f32,
    /// Simard's alpha, pixels: what multiplies the smoothed field of uniform numbers in -1 to 1;
    /// 0-1000. His best on MNIST is 34 with sigma 4, a displacement of 1.4 pixels (root mean square).
    pub elastic_alpha: f32,
    /// Standard deviation of the Gaussian that smooths the field, pixels; 0.1-100.
    pub elastic_sigma: f32,
}

impl Augment {
    /// Whether images stay as they are.
    pub fn is_off(&self) -> bool {
        [self.shift, self.rotation, self.scale, self.shear, self.elastic_alpha]
            .iter()
            .all(|&amount| amount == 0.0)
    }

    /// Checks each value against its range.
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the first value out of its range.
    pub fn validate(&self) -> Result<()> {
        // Without elastic distortion sigma means nothing.
        let sigma = if self.elastic_alpha == 0.0 { 0.0..=f32::MAX } else { 0.1..=100.0 };
        let table = [
            ("shift (pixels)", self.shift, 0.0..=1000.0),
            ("rotation (degrees)", self.rotation, 0.0..=180.0),
            ("scale (fraction)", self.scale, 0.0..=0.9),
            ("shear (degrees)", self.shear, 0.0..=80.0),
            ("elastic_alpha (pixels)", self.elastic_alpha, 0.0..=1000.0),
            ("elastic_sigma (pixels)", self.elastic_sigma, sigma),
        ];
        match table.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((what, value, range)) => {
                Err(DataError::invalid(what, value, format!("{}-{}", range.start(), range.end())))
            }
            None => Ok(()),
        }
    }

    /// Distorts one image: `image` and `out` are `[rows * cols]`, `out` in 0-1.
    ///
    /// For many images, [`Augment::augmenter`] keeps the kernel and the buffers.
    ///
    /// ```
    /// use mnist_data::{Augment, Key};
    ///
    /// let image = [0, 0, 0, 0, 255, 0, 0, 0, 0]; // 3x3, a dot
    /// let mut out = [0.0; 9];
    /// Augment::default().apply(&image, 3, 3, Key::new(1), &mut out);
    /// assert_eq!(out[4], 1.0); // off: only divided by 255
    /// Augment { shift: 1.0, ..Augment::default() }.apply(&image, 3, 3, Key::new(1), &mut out);
    /// assert!(out[4] < 1.0);
    /// ```
    pub fn apply(&self, image: &[u8], rows: usize, cols: usize, key: Key, out: &mut [f32]) {
        self.augmenter(rows, cols).apply(image, key, out);
    }

    /// The same distortions for many images of `rows` x `cols` pixels.
    pub fn augmenter(&self, rows: usize, cols: usize) -> Augmenter {
        let elastic = (self.elastic_alpha != 0.0).then(|| Elastic::new(self, rows, cols));
        Augmenter { augment: self.clone(), rows, cols, elastic }
    }
}

/// Distorts images of one size; made by [`Augment::augmenter`].
#[derive(Clone, Debug)]
pub struct Augmenter {
    augment: Augment,
    rows: usize,
    cols: usize,
    elastic: Option<Elastic>,
}

impl Augmenter {
    /// Distorts one image: `image` and `out` are `[rows * cols]`, `out` in 0-1.
    ///
    /// The result depends on the image and the key only, not on earlier calls.
    pub fn apply(&mut self, image: &[u8], key: Key, out: &mut [f32]) {
        if self.augment.is_off() {
            out.iter_mut().zip(image).for_each(|(out, &pixel)| *out = unit(pixel));
            return;
        }
        // Everything is always drawn, so that switching one distortion off leaves the others be.
        let mut rng = key.rng();
        let mut draw = |amount: f32| amount * (2.0 * rng.random::<f32>() - 1.0);
        let [shift_x, shift_y] = [draw(self.augment.shift), draw(self.augment.shift)];
        let (sin, cos) = draw(self.augment.rotation).to_radians().sin_cos();
        let zoom = 1.0 / (1.0 + draw(self.augment.scale));
        let tan = draw(self.augment.shear).to_radians().tan();
        if let Some(elastic) = &mut self.elastic {
            elastic.draw(&mut rng, self.cols);
        }
        let (field_x, field_y) = self.elastic.as_ref().map_or((&[][..], &[][..]), |e| (&e.x, &e.y));

        // From output to input, about the middle: zoom * rotation * shear, then the shift.
        let [[xx, xy], [yx, yy]] =
            [[zoom * cos, zoom * (cos * tan - sin)], [zoom * sin, zoom * (sin * tan + cos)]];
        let (middle_x, middle_y) = ((self.cols as f32 - 1.0) / 2.0, (self.rows as f32 - 1.0) / 2.0);
        let picture = Picture { pixels: image, rows: self.rows, cols: self.cols };
        for (row, line) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            let y = row as f32 - middle_y;
            for (col, out) in line.iter_mut().enumerate() {
                let x = col as f32 - middle_x;
                let i = row * self.cols + col;
                let [bend_x, bend_y] = [field_x, field_y].map(|field| field.get(i).copied().unwrap_or(0.0));
                let from_x = middle_x + xx * x + xy * y + shift_x + bend_x;
                let from_y = middle_y + yx * x + yy * y + shift_y + bend_y;
                *out = picture.bilinear(from_x, from_y);
            }
        }
    }
}

/// Simard's displacement field: uniform numbers, smoothed by a Gaussian, times alpha.
#[derive(Clone, Debug)]
struct Elastic {
    alpha: f32,
    /// One side of the Gaussian and its middle, `[0]` = middle; both sides sum to 1.
    kernel: Vec<f32>,
    /// Displacements, pixels, `[rows * cols]`.
    x: Vec<f32>,
    y: Vec<f32>,
    scratch: Vec<f32>,
}

impl Elastic {
    fn new(augment: &Augment, rows: usize, cols: usize) -> Self {
        let field = vec![0.0; rows * cols];
        let kernel = half_gaussian(augment.elastic_sigma, rows.max(cols));
        Self { alpha: augment.elastic_alpha, kernel, x: field.clone(), y: field.clone(), scratch: field }
    }

    fn draw(&mut self, rng: &mut impl rand::Rng, cols: usize) {
        for field in [&mut self.x, &mut self.y] {
            field.iter_mut().for_each(|value| *value = 2.0 * rng.random::<f32>() - 1.0);
            // The Gaussian is separable: along rows, then along columns.
            self.scratch.fill(0.0);
            for (to, from) in self.scratch.chunks_exact_mut(cols).zip(field.chunks_exact(cols)) {
                smooth(to, from, &self.kernel, 1);
            }
            field.fill(0.0);
            smooth(field, &self.scratch, &self.kernel, cols);
            field.iter_mut().for_each(|value| *value *= self.alpha);
        }
    }
}

/// Values of a Gaussian at 0, 1, 2, ... pixels, up to three standard deviations or `limit`.
fn half_gaussian(sigma: f32, limit: usize) -> Vec<f32> {
    let radius = ((3.0 * sigma).ceil() as usize).min(limit);
    let bell = |distance: usize| (-0.5 * (distance as f32 / sigma).powi(2)).exp();
    let mut kernel: Vec<f32> = std::iter::once(1.0).chain((1..=radius).map(bell)).collect();
    let sum: f32 = 2.0 * kernel.iter().sum::<f32>() - 1.0;
    kernel.iter_mut().for_each(|weight| *weight /= sum);
    kernel
}

/// Adds the convolution of `from` with a symmetric kernel, whose steps are `stride` apart, to
/// `to`; zero beyond the ends.
fn smooth(to: &mut [f32], from: &[f32], kernel: &[f32], stride: usize) {
    for (distance, &weight) in kernel.iter().enumerate() {
        let shift = (distance * stride).min(from.len());
        let (head, tail) = (&from[..from.len() - shift], &from[shift..]);
        to.iter_mut().zip(tail).for_each(|(to, from)| *to += weight * from);
        if distance > 0 {
            to[shift..].iter_mut().zip(head).for_each(|(to, from)| *to += weight * from);
        }
    }
}

/// A grey image to take samples from.
struct Picture<'a> {
    pixels: &'a [u8],
    rows: usize,
    cols: usize,
}

impl Picture<'_> {
    /// Value in 0-1 at a place between pixels; paper outside.
    fn bilinear(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let (right_share, bottom_share) = (x - left, y - top);
        let at = |dx: f32, dy: f32| self.pixel(left + dx, top + dy);
        let upper = at(0.0, 0.0) * (1.0 - right_share) + at(1.0, 0.0) * right_share;
        let lower = at(0.0, 1.0) * (1.0 - right_share) + at(1.0, 1.0) * right_share;
        (upper * (1.0 - bottom_share) + lower * bottom_share).clamp(0.0, 1.0)
    }

    /// The pixel at whole numbers `x`, `y`; anything else than a pixel of the image, NaN too, is paper.
    fn pixel(&self, x: f32, y: f32) -> f32 {
        if (0.0..self.cols as f32).contains(&x) && (0.0..self.rows as f32).contains(&y) {
            self.pixels.get(y as usize * self.cols + x as usize).copied().map_or(0.0, unit)
        } else {
            0.0
        }
    }
}
