//! Images as tokens: one token for each patch, row by row.
//!
//! *Lossless*: the pixels are black or white (see [`Binarise`](crate::Binarise)) and a token is the number that those of
//! its patch make in base two, so that the likelihood of the tokens is that of the image. *Codebook*: a token is the
//! nearest of some patches found by k-means (Lloyd 1982; begun as k-means++, Arthur & Vassilvitskii 2007), as in
//! vector quantisation.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    error::{DataError, Result},
    rng::Key,
    set::{LabelledImages, unit},
};

/// Patches that k-means learns from.
const SAMPLE: usize = 20_000;
/// Rounds of k-means.
const ROUNDS: usize = 12;
/// A lossless token has at most this many pixels: 65,536 values are as many as a table should have.
const MOST_BITS: usize = 16;

/// Largest height and width of an image, in pixels.
const LARGEST: usize = 4096;

/// How images become tokens and back.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Patches {
    /// Height and width of an image, in pixels.
    size: [usize; 2],
    /// Height and width of a patch, in pixels; divide those of the image.
    patch: [usize; 2],
    /// `[vocabulary, height * width]` of patches, pixels in 0-1; `None` is lossless.
    codebook: Option<Vec<f32>>,
}

impl Patches {
    /// One token for each value that a patch of black and white pixels may have.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for patches that do not divide the image or have more than 16 pixels.
    pub fn lossless(size: [usize; 2], patch: [usize; 2]) -> Result<Self> {
        let found = Self { size, patch, codebook: None };
        found.check()?;
        Ok(found)
    }

    /// A codebook of `entries` patches, learned from some of these images; a function of its arguments.
    ///
    /// # Errors
    /// As [`Patches::lossless`], and for fewer than 2 entries or more than 65,536.
    pub fn learn(
        images: &LabelledImages,
        indices: &[usize],
        patch: [usize; 2],
        entries: usize,
        key: Key,
    ) -> Result<Self> {
        if !(2..=1 << 16).contains(&entries) {
            return Err(DataError::invalid("codebook", entries, "2 to 65536 patches"));
        }
        let size = images.size();
        if size.is_colour() {
            return Err(DataError::invalid("images that become tokens", size, "grey ones"));
        }
        let size = size.sides();
        let mut found = Self { size, patch, codebook: Some(Vec::new()) };
        found.codebook = Some(vec![0.0; entries * found.area()]); // for the check
        found.check()?;
        let mut rng = key.named("patches").rng();
        let mut sample = Vec::with_capacity(SAMPLE);
        if indices.is_empty() {
            return Err(DataError::invalid("images", 0, "some to learn a codebook from"));
        }
        for _ in 0..SAMPLE {
            let index = indices[rng.random_range(0..indices.len())];
            let image: Vec<f32> = images.image(index).unwrap_or_default().iter().copied().map(unit).collect();
            let at = rng.random_range(0..found.tokens());
            sample.push(found.patch_of(&image, at));
        }
        found.codebook = Some(k_means(&sample, entries, key));
        Ok(found)
    }

    /// Whether all sizes fit together, as those of a file may not.
    ///
    /// # Errors
    /// [`DataError::Invalid`].
    pub fn check(&self) -> Result<()> {
        let [[height, width], [rows, cols]] = [self.size, self.patch];
        if height > LARGEST || width > LARGEST {
            let wanted = format!("at most {LARGEST}x{LARGEST} pixels");
            return Err(DataError::invalid("image", format!("{height}x{width}"), wanted));
        }
        let divides = rows > 0 && cols > 0 && height.is_multiple_of(rows) && width.is_multiple_of(cols);
        if !divides || height == 0 || width == 0 {
            let (found, wanted) =
                (format!("{rows}x{cols}"), format!("one that divides {height}x{width} pixels"));
            return Err(DataError::invalid("patch", found, wanted));
        }
        match &self.codebook {
            None if rows * cols > MOST_BITS => Err(DataError::invalid(
                "patch",
                format!("{rows}x{cols}"),
                "at most 16 pixels without a codebook",
            )),
            Some(values) if values.is_empty() || !values.len().is_multiple_of(rows * cols) => {
                Err(DataError::invalid("codebook", format!("{} numbers", values.len()), "whole patches"))
            }
            Some(values) if !values.iter().all(|value| value.is_finite()) => {
                Err(DataError::invalid("codebook", "a number that is not finite", "pixels in 0-1"))
            }
            _ => Ok(()),
        }
    }

    /// Number of different tokens.
    pub fn vocabulary(&self) -> usize {
        match &self.codebook {
            None => 1 << self.area(),
            Some(values) => values.len() / self.area(),
        }
    }

    /// Whether no pixel is lost, where they are black or white.
    pub fn is_lossless(&self) -> bool {
        self.codebook.is_none()
    }

    /// Height and width of an image, in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Height and width of a patch, in pixels.
    pub fn patch(&self) -> [usize; 2] {
        self.patch
    }

    /// Rows and columns of patches in an image.
    pub fn grid(&self) -> [usize; 2] {
        [self.size[0] / self.patch[0], self.size[1] / self.patch[1]]
    }

    /// Tokens of an image.
    pub fn tokens(&self) -> usize {
        let [rows, cols] = self.grid();
        rows * cols
    }

    fn area(&self) -> usize {
        self.patch[0] * self.patch[1]
    }

    fn patch_of(&self, image: &[f32], at: usize) -> Vec<f32> {
        let ([rows, cols], [_, across]) = (self.patch, self.grid());
        let (top, left) = (at / across * rows, at % across * cols);
        let row = |y: usize| image.iter().skip((top + y) * self.size[1] + left).take(cols).copied();
        (0..rows).flat_map(row).collect()
    }

    /// The tokens of an image of `height * width` pixels in 0-1.
    pub fn encode(&self, image: &[f32]) -> Vec<i32> {
        let token = |at| {
            let patch = self.patch_of(image, at);
            match &self.codebook {
                None => patch.iter().fold(0, |token, &pixel| token << 1 | i32::from(pixel >= 0.5)),
                Some(values) => nearest(values, &patch).0 as i32,
            }
        };
        (0..self.tokens()).map(token).collect()
    }

    /// The image of tokens, `height * width` pixels in 0-1; grey where a token is missing or none of ours.
    pub fn decode(&self, tokens: &[i32]) -> Vec<f32> {
        let ([rows, cols], [_, across]) = (self.patch, self.grid());
        let mut image = vec![0.5; self.size[0] * self.size[1]];
        for (at, &token) in tokens.iter().take(self.tokens()).enumerate() {
            let Some(patch) = self.pixels(token) else { continue };
            let (top, left) = (at / across * rows, at % across * cols);
            for (y, row) in patch.chunks_exact(cols).enumerate() {
                let start = (top + y) * self.size[1] + left;
                image[start..start + cols].copy_from_slice(row);
            }
        }
        image
    }

    /// The pixels of a token, row by row, in 0-1; none if it is none of ours.
    pub fn pixels(&self, token: i32) -> Option<Vec<f32>> {
        let (token, area) = (usize::try_from(token).ok()?, self.area());
        match &self.codebook {
            None if token >> area > 0 => None,
            None => Some((0..area).rev().map(|bit| f32::from(token >> bit & 1 == 1)).collect()),
            Some(values) => values.chunks_exact(area).nth(token).map(<[f32]>::to_vec),
        }
    }
}

/// The nearest of `values`, which are `[any, point.len()]`, and its squared distance.
fn nearest(values: &[f32], point: &[f32]) -> (usize, f32) {
    let distance = |value: &[f32]| value.iter().zip(point).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let all = values.chunks_exact(point.len()).map(distance).enumerate();
    all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f32::INFINITY))
}

/// `[entries, area]`: centres of the points.
fn k_means(points: &[Vec<f32>], entries: usize, key: Key) -> Vec<f32> {
    let area = points.first().map_or(0, Vec::len);
    let mut rng = key.named("k-means").rng();
    let mut centres: Vec<f32> = points.first().cloned().unwrap_or_default();
    let mut distances: Vec<f32> = points.iter().map(|point| nearest(&centres, point).1).collect();
    while centres.len() < entries * area {
        // The next centre is a point with the probability of its squared distance from those there are.
        let total: f64 = distances.iter().map(|&d| f64::from(d)).sum();
        let mut left = rng.random::<f64>() * total;
        let drawn = distances.iter().position(|&d| {
            left -= f64::from(d);
            left < 0.0
        });
        let centre = points[drawn.unwrap_or(0)].clone();
        for (distance, point) in distances.iter_mut().zip(points) {
            *distance = distance.min(nearest(&centre, point).1);
        }
        centres.extend(centre);
    }
    for _ in 0..ROUNDS {
        let mut sums = vec![0.0_f64; centres.len()];
        let mut counts = vec![0_usize; entries];
        for point in points {
            let (at, _) = nearest(&centres, point);
            counts[at] += 1;
            sums[at * area..(at + 1) * area].iter_mut().zip(point).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        for ((centre, sum), &count) in
            centres.chunks_exact_mut(area).zip(sums.chunks_exact(area)).zip(&counts)
        {
            if count > 0 {
                centre.iter_mut().zip(sum).for_each(|(c, sum)| *c = (sum / count as f64) as f32);
            }
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lossless_tokens_come_back() {
        let image: Vec<f32> = (0..6 * 8).map(|i| f32::from((i * i) % 7 < 3)).collect();
        for (patch, tokens, vocabulary) in
            [([1, 1], 48, 2), ([2, 2], 12, 16), ([3, 4], 4, 4096), ([2, 8], 3, 65_536)]
        {
            let patches = Patches::lossless([6, 8], patch).unwrap();
            assert_eq!((patches.tokens(), patches.vocabulary()), (tokens, vocabulary));
            let found = patches.encode(&image);
            assert!(found.iter().all(|&t| (0..vocabulary as i32).contains(&t)));
            assert_eq!(patches.decode(&found), image);
        }
        let patches = Patches::lossless([2, 4], [2, 2]).unwrap();
        assert_eq!(patches.encode(&[0., 1., 1., 1., 1., 0., 0., 0.]), [0b0110, 0b1100]);
        assert_eq!(patches.decode(&[0b0110, 16]), [0., 1., 0.5, 0.5, 1., 0., 0.5, 0.5]);
        for (size, patch) in [
            ([6, 8], [4, 2]),
            ([6, 8], [0, 2]),
            ([0, 8], [1, 2]),
            ([6, 8], [6, 4]),
            ([1 << 40; 2], [1 << 40; 2]),
        ] {
            assert!(Patches::lossless(size, patch).is_err(), "{size:?} {patch:?}");
        }
    }

    #[test]
    fn a_codebook_has_the_patches_there_are() {
        // Images of four kinds of patches.
        let kinds = [[0, 0], [255, 0], [0, 255], [255, 255]];
        let pixels: Vec<u8> = (0..60).flat_map(|i| kinds[i * i % 7 % 4]).collect();
        let images = LabelledImages::new(2, 4, 1, pixels, vec![0; 15]).unwrap();
        let all: Vec<usize> = (0..15).collect();
        let learn = || Patches::learn(&images, &all, [1, 2], 4, Key::new(3)).unwrap();
        let patches = learn();
        assert_eq!(patches, learn());
        for image in images.images() {
            let image: Vec<f32> = image.iter().copied().map(unit).collect();
            assert_eq!(patches.decode(&patches.encode(&image)), image);
        }
        assert!(Patches::learn(&images, &all, [1, 2], 1, Key::new(3)).is_err());
        assert!(Patches::learn(&images, &[], [1, 2], 4, Key::new(3)).is_err());
    }
}
