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
use crate::warp::{Canvas, Elastic, affine};

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
    /// Probability that left and right are exchanged, 0-1. Not for digits; for clothes 0.5.
    pub flip: f32,
}

impl Augment {
    /// Whether images stay as they are.
    pub fn is_off(&self) -> bool {
        [self.shift, self.rotation, self.scale, self.shear, self.elastic_alpha, self.flip]
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
            ("flip (probability)", self.flip, 0.0..=1.0),
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
        let elastic = (self.elastic_alpha != 0.0)
            .then(|| Elastic::new(self.elastic_alpha, self.elastic_sigma, rows, cols));
        Augmenter { augment: self.clone(), canvas: Canvas::new(rows, cols), elastic }
    }
}

/// Distorts images of one size; made by [`Augment::augmenter`].
#[derive(Clone, Debug)]
pub struct Augmenter {
    augment: Augment,
    canvas: Canvas,
    elastic: Option<Elastic>,
}

impl Augmenter {
    /// Distorts one image: `image` and `out` are `[channels, rows * cols]`, `out` in 0-1; all channels in the same way.
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
        let shift = [draw(self.augment.shift), draw(self.augment.shift)];
        let turn = draw(self.augment.rotation).to_radians();
        let zoom = 1.0 + draw(self.augment.scale);
        let slant = draw(self.augment.shear).to_radians();
        let field = match &mut self.elastic {
            Some(elastic) => elastic.draw(&mut rng),
            None => [&[][..], &[][..]],
        };
        let [[xx, xy], y] = affine(turn, zoom, slant);
        // From a generator of its own: the other draws stay what they are without it.
        let flips = self.augment.flip > 0.0 && key.named("flip").rng().random::<f32>() < self.augment.flip;
        let side = if flips { -1.0 } else { 1.0 };
        let area = self.canvas.area().max(1);
        for (channel, out) in image.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
            self.canvas.load(channel);
            self.canvas.resample([[side * xx, side * xy], y], shift, field, out);
        }
    }
}
