//! A batch of examples, first as plain numbers, then as tensors.
//!
//! A [`HostBatch`] is one flat buffer, filled by a worker thread that knows nothing of backends;
//! the thread that trains turns it into tensors with a single copy.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::{images::Images, loader::Source, size::ImageSize};

/// Examples in host memory, of one kind: what a [`Loader`](crate::Loader) makes and an objective learns from.
pub trait Examples: Clone + Send + 'static {
    /// Where they come from.
    type Source: Source<Batch = Self>;
    /// The same as tensors.
    type OnDevice<B: Backend>: Clone;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is no example.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples cut into at most `parts` batches in their order, none empty, whose sizes differ by one at most.
    fn split(self, parts: usize) -> Vec<Self>;

    /// The examples as tensors on `device`.
    fn to_device<B: Backend>(self, device: &B::Device) -> Self::OnDevice<B>;
}

/// Images in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// `[batch * views, values]`, channel by channel, row by row, in 0-1; the views of an example one after the other.
    pub pixels: Vec<f32>,
    /// How many distorted views of each example there are, at least 1.
    pub views: usize,
    /// `[batch]`, classes.
    pub labels: Vec<i32>,
    /// `[batch]`, which examples of the data these are.
    pub indices: Vec<usize>,
    /// Size of an image.
    pub size: ImageSize,
}

impl Examples for HostBatch {
    type Source = Images;
    type OnDevice<B: Backend> = Batch<B>;

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn split(self, parts: usize) -> Vec<Self> {
        let values = self.views * self.size.values();
        pieces(self, parts, |batch, range| Self {
            pixels: batch.pixels[range.start * values..range.end * values].to_vec(),
            labels: batch.labels[range.clone()].to_vec(),
            indices: batch.indices[range].to_vec(),
            ..*batch
        })
    }

    /// # Panics
    /// If the fields disagree about the size, which no batch of a [`Loader`](crate::Loader) does.
    fn to_device<B: Backend>(self, device: &B::Device) -> Batch<B> {
        let batch = self.labels.len();
        let [channels, rows, cols] = self.size.dims();
        let images = TensorData::new(self.pixels, [batch * self.views, channels, rows, cols]);
        let labels = TensorData::new(self.labels, [batch]);
        Batch { images: Tensor::from_data(images, device), labels: Tensor::from_data(labels, device) }
    }
}

/// A batch cut into `parts` as [`Examples::split`] says, `cut` making the one of a range of examples.
pub(crate) fn pieces<E: Examples>(batch: E, parts: usize, cut: impl Fn(&E, Range<usize>) -> E) -> Vec<E> {
    let parts = parts.clamp(1, batch.len().max(1));
    if parts == 1 {
        return vec![batch];
    }
    let edge = |part: usize| part * batch.len() / parts;
    (0..parts).map(|part| cut(&batch, edge(part)..edge(part + 1))).collect()
}

/// A batch on a device.
#[derive(Clone, Debug)]
pub struct Batch<B: Backend> {
    /// `[batch * views, channels, rows, cols]`, pixels in 0-1; the views of an example one after the other.
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
            pixels: (0..28).map(|p| p as f32).collect(),
            views: 2,
            labels: (0..7).collect(),
            indices: (10..17).collect(),
            size: [1, 2].into(),
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
