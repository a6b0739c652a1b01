//! Labelled images in memory, and the views of one image that textbooks use.
//!
//! A view is a way to read the same bytes: a matrix of 0-255, a vector x in R^784, a normalised
//! vector, a one-hot label. Pixels stay bytes in memory (47 MB for MNIST's training files); floats
//! are made for a batch at a time.

use burn_dataset::Dataset;

use crate::error::{DataError, Result};

/// A pixel byte as a number in 0-1.
pub(crate) fn unit(pixel: u8) -> f32 {
    f32::from(pixel) / 255.0
}

/// One image with its label, owned: the item of Burn's [`Dataset`] trait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// `rows * cols` pixels, row by row, 0 = paper, 255 = ink.
    pub image: Vec<u8>,
    /// Class, `0..classes`.
    pub label: u8,
}

/// Images of one size with labels; pixels are bytes, 0 = paper, 255 = ink.
///
/// ```
/// use mnist_data::LabelledImages;
///
/// // Two images of 2x2 pixels, classes 0 to 2.
/// let data = LabelledImages::new(2, 2, 3, vec![0, 255, 0, 51, 9, 9, 9, 9], vec![2, 0])?;
/// assert_eq!(data.matrix(0), Some(vec![&[0, 255][..], &[0, 51][..]]));
/// assert_eq!(data.vector(0), Some(vec![0.0, 1.0, 0.0, 0.2]));
/// assert_eq!(data.one_hot(0), Some(vec![0.0, 0.0, 1.0]));
/// # Ok::<(), mnist_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImages {
    rows: usize,
    cols: usize,
    classes: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl LabelledImages {
    /// Images from their parts.
    ///
    /// - `rows`, `cols`: size of an image, each at least 1
    /// - `classes`: 1-256
    /// - `pixels`: `labels.len() * rows * cols` bytes, image by image, row by row
    /// - `labels`: each below `classes`
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the part that breaks one of these rules.
    pub fn new(rows: usize, cols: usize, classes: usize, pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self> {
        if rows == 0 || cols == 0 {
            return Err(DataError::invalid("image size", format!("{rows}x{cols}"), "at least 1x1"));
        }
        if classes == 0 || classes > 256 {
            return Err(DataError::invalid("number of classes", classes, "1-256"));
        }
        let wanted = rows.checked_mul(cols).and_then(|area| area.checked_mul(labels.len()));
        if wanted != Some(pixels.len()) {
            let wanted = format!("{} images of {rows}x{cols}", labels.len());
            return Err(DataError::invalid("pixels", format!("{} bytes", pixels.len()), wanted));
        }
        if let Some((i, label)) = labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= classes)
        {
            return Err(DataError::invalid(
                "label",
                format!("{label} at example {i}"),
                format!("below {classes}"),
            ));
        }
        Ok(Self { rows, cols, classes, pixels, labels })
    }

    /// The examples at `indices`, in that order, as a set of their own.
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the first index that is no example.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let mut pixels = Vec::with_capacity(indices.len().saturating_mul(self.area()));
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let (Some(image), Some(label)) = (self.image(index), self.label(index)) else {
                return Err(DataError::invalid("example", index, format!("below {}", self.len())));
            };
            pixels.extend_from_slice(image);
            labels.push(label);
        }
        Ok(Self { pixels, labels, ..*self })
    }

    /// Height of an image in pixels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of an image in pixels.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Pixels of an image: `rows * cols`.
    pub fn area(&self) -> usize {
        self.rows * self.cols // checked in `new`
    }

    /// Number of classes; labels are below it.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// All labels, in the files' order.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// All images, in the files' order, each `rows * cols` bytes.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.area())
    }

    /// Image `i`: `rows * cols` bytes, row by row. `None` if there is no example `i`.
    pub fn image(&self, i: usize) -> Option<&[u8]> {
        let start = i.checked_mul(self.area())?;
        self.pixels.get(start..start.checked_add(self.area())?)
    }

    /// Label of example `i`. `None` if there is no example `i`.
    pub fn label(&self, i: usize) -> Option<u8> {
        self.labels.get(i).copied()
    }

    /// Image `i` as a matrix: `rows` slices of `cols` bytes.
    pub fn matrix(&self, i: usize) -> Option<Vec<&[u8]>> {
        Some(self.image(i)?.chunks_exact(self.cols).collect())
    }

    /// Image `i` as a vector: `rows * cols` numbers in 0-1, row by row (R^784 for MNIST).
    pub fn vector(&self, i: usize) -> Option<Vec<f32>> {
        Some(self.image(i)?.iter().copied().map(unit).collect())
    }

    /// Image `i` as a vector of `(x - mean) / std`, with mean and standard deviation of pixels in
    /// 0-1 (0.1307 and 0.3081 on MNIST). `None` too if `std` is not positive.
    pub fn normalised(&self, i: usize, mean: f32, std: f32) -> Option<Vec<f32>> {
        if std.is_nan() || std <= 0.0 {
            return None;
        }
        Some(self.image(i)?.iter().map(|&pixel| (unit(pixel) - mean) / std).collect())
    }

    /// Label of example `i` as a vector of `classes` numbers: 1 at the label, 0 elsewhere.
    pub fn one_hot(&self, i: usize) -> Option<Vec<f32>> {
        let label = usize::from(self.label(i)?);
        Some((0..self.classes).map(|class| f32::from(u8::from(class == label))).collect())
    }
}

impl Dataset<Example> for LabelledImages {
    fn get(&self, index: usize) -> Option<Example> {
        Some(Example { image: self.image(index)?.to_vec(), label: self.label(index)? })
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}
