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
