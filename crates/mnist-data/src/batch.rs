//! A batch of examples, first as plain numbers, then as tensors.
//!
//! A [`HostBatch`] is one flat buffer, filled by a worker thread that knows nothing of backends;
//! the thread that trains turns it into tensors with a single copy.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

/// A batch in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// `[batch, rows * cols]`, row by row, in 0-1.
    pub pixels: Vec<f32>,
    /// `[batch]`, classes.
    pub labels: Vec<i32>,
    /// `[batch]`, which examples of the data these are.
    pub indices: Vec<usize>,
    /// Height of an image in pixels.
    pub rows: usize,
    /// Width of an image in pixels.
    pub cols: usize,
}

impl HostBatch {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The batch cut into at most `parts` batches in its order, none empty, whose sizes differ by one at most.
    pub fn split(self, parts: usize) -> Vec<Self> {
        let parts = parts.clamp(1, self.len().max(1));
        if parts == 1 {
            return vec![self];
        }
        let area = self.rows * self.cols;
        let cut = |part: usize| part * self.len() / parts;
        let part = |part: usize| {
            let range = cut(part)..cut(part + 1);
            Self {
                pixels: self.pixels[range.start * area..range.end * area].to_vec(),
                labels: self.labels[range.clone()].to_vec(),
                indices: self.indices[range].to_vec(),
                rows: self.rows,
                cols: self.cols,
            }
        };
        (0..parts).map(part).collect()
    }

    /// The batch as tensors on `device`.
    ///
    /// # Panics
    /// If the fields disagree about the size, which no batch of a [`Loader`](crate::Loader) does.
    pub fn to_device<B: Backend>(self, device: &B::Device) -> Batch<B> {
        let batch = self.labels.len();
        let images = TensorData::new(self.pixels, [batch, 1, self.rows, self.cols]);
        let labels = TensorData::new(self.labels, [batch]);
        Batch { images: Tensor::from_data(images, device), labels: Tensor::from_data(labels, device) }
    }
}

/// A batch on a device.
#[derive(Clone, Debug)]
pub struct Batch<B: Backend> {
    /// `[batch, 1, rows, cols]`, pixels in 0-1.
    pub images: Tensor<B, 4>,
    /// `[batch]`, classes.
    pub labels: Tensor<B, 1, Int>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_put_together_are_the_batch() {
        let batch = HostBatch {
            pixels: (0..14).map(|p| p as f32).collect(),
            labels: (0..7).collect(),
            indices: (10..17).collect(),
            rows: 1,
            cols: 2,
        };
        for (parts, sizes) in [
            (0, vec![7]),
            (1, vec![7]),
            (2, vec![3, 4]),
            (3, vec![2, 2, 3]),
            (7, vec![1; 7]),
            (9, vec![1; 7]),
        ] {
            let cut = batch.clone().split(parts);
            assert_eq!(cut.iter().map(HostBatch::len).collect::<Vec<_>>(), sizes);
            assert_eq!(cut.iter().flat_map(|b| b.pixels.clone()).collect::<Vec<_>>(), batch.pixels);
            assert_eq!(cut.iter().flat_map(|b| b.labels.clone()).collect::<Vec<_>>(), batch.labels);
            assert_eq!(cut.iter().flat_map(|b| b.indices.clone()).collect::<Vec<_>>(), batch.indices);
        }
    }
}
