//! Labelled images in memory, and the views of one image that textbooks use.
//!
//! A view is a way to read the same bytes: a matrix of 0-255, a vector x in R^784, a normalised
//! vector, a one-hot label. Pixels stay bytes in memory (47 MB for MNIST's training files); floats
//! are made for a batch at a time.

use burn_dataset::Dataset;

use crate::{
    error::{DataError, Result},
    size::ImageSize,
};

/// A pixel byte as a number in 0-1.
pub(crate) fn unit(pixel: u8) -> f32 {
    f32::from(pixel) / 255.0
}

/// One image with its label, owned: the item of Burn's [`Dataset`] trait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The bytes of the image, channel by channel, row by row.
    pub image: Vec<u8>,
    /// Class, `0..classes`.
    pub label: u8,
}

/// Images of one size with labels; pixels are bytes, 0 = paper, 255 = ink; of colour images red, green and blue each, one
/// channel after the other.
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
    size: ImageSize,
    classes: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
    /// Where each is from; empty where that is not known.
    files: Vec<String>,
}

impl LabelledImages {
    /// Grey images from their parts, as [`LabelledImages::of_size`].
    ///
    /// - `rows`, `cols`: height and width of an image, each at least 1
    ///
    /// # Errors
    /// As [`LabelledImages::of_size`].
    pub fn new(rows: usize, cols: usize, classes: usize, pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self> {
        Self::of_size([rows, cols].into(), classes, pixels, labels)
    }

    /// Images from their parts.
    ///
    /// - `size`: of an image, each part at least 1
    /// - `classes`: 1-256
    /// - `pixels`: `labels.len() * size.values()` bytes, image by image, channel by channel, row by row
    /// - `labels`: each below `classes`
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the part that breaks one of these rules.
    pub fn of_size(size: ImageSize, classes: usize, pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self> {
        if size.dims().contains(&0) {
            return Err(DataError::invalid("image size", size, "at least 1x1"));
        }
        if classes == 0 || classes > 256 {
            return Err(DataError::invalid("number of classes", classes, "1-256"));
        }
        let one = size.dims().iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        if one.and_then(|one| one.checked_mul(labels.len())) != Some(pixels.len()) {
            let wanted = format!("{} images of {size}", labels.len());
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
        Ok(Self { size, classes, pixels, labels, files: Vec::new() })
    }

    /// The same, each with the name of the file that it is from.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for another number of names than there are examples.
    pub fn from_files(self, files: Vec<String>) -> Result<Self> {
        if files.len() != self.len() {
            return Err(DataError::invalid(
                "names of files",
                files.len(),
                format!("{}, one an image", self.len()),
            ));
        }
        Ok(Self { files, ..self })
    }

    /// The examples at `indices`, in that order, as a set of their own.
    ///
    /// # Errors
    /// [`DataError::Invalid`] names the first index that is no example.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let mut pixels = Vec::with_capacity(indices.len().saturating_mul(self.values()));
        let mut labels = Vec::with_capacity(indices.len());
        let mut files = Vec::new();
        for &index in indices {
            let (Some(image), Some(label)) = (self.image(index), self.label(index)) else {
                return Err(DataError::invalid("example", index, format!("below {}", self.len())));
            };
            pixels.extend_from_slice(image);
            labels.push(label);
            files.extend(self.file(index).map(str::to_owned));
        }
        Ok(Self { pixels, labels, files, ..*self })
    }

    /// Size of an image.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// Height of an image in pixels.
    pub fn rows(&self) -> usize {
        self.size.height
    }

    /// Width of an image in pixels.
    pub fn cols(&self) -> usize {
        self.size.width
    }

    /// Bytes of an image: one for each channel of each pixel.
    pub fn values(&self) -> usize {
        self.size.values() // checked in `of_size`
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

    /// All images, in the files' order, each [`LabelledImages::values`] bytes.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.values())
    }

    /// Image `i`: its bytes, channel by channel, row by row. `None` if there is no example `i`.
    pub fn image(&self, i: usize) -> Option<&[u8]> {
        let start = i.checked_mul(self.values())?;
        self.pixels.get(start..start.checked_add(self.values())?)
    }

    /// Label of example `i`. `None` if there is no example `i`.
    pub fn label(&self, i: usize) -> Option<u8> {
        self.labels.get(i).copied()
    }

    /// Name of the file that image `i` is from, where that is known.
    pub fn file(&self, i: usize) -> Option<&str> {
        self.files.get(i).map(String::as_str)
    }

    /// Image `i` as a matrix: `rows` slices of `cols` bytes; of a colour image one channel's matrix below the other.
    pub fn matrix(&self, i: usize) -> Option<Vec<&[u8]>> {
        Some(self.image(i)?.chunks_exact(self.cols()).collect())
    }

    /// Image `i` as a vector: its bytes as numbers in 0-1 (R^784 for MNIST).
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
