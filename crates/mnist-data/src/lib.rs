//! MNIST as data: files, digests, splits, statistics, batches and augmentation.
