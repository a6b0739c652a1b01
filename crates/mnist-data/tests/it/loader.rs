//! Batches: order, threads, tensors, speed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use burn_flex::Flex;
use mnist_data::{Augment, Examples, HostBatch, LabelledImages, Loader, epoch_order};

const AUGMENT: Augment = Augment {
    shift: 1.0,
    rotation: 10.0,
    scale: 0.1,
    shear: 5.0,
    elastic_alpha: 8.0,
    elastic_sigma: 3.0,
    flip: 0.0,
};

/// 103 images of 4x3; image `i` is all `i`, its label `i % 10`.
fn data() -> Arc<LabelledImages> {
    let pixels = (0..103_u8).flat_map(|i| [i; 12]).collect();
    let labels = (0..103).map(|i| i % 10).collect();
    Arc::new(LabelledImages::new(4, 3, 10, pixels, labels).unwrap())
}

fn loader() -> Loader {
    Loader::new(data(), (3..103).collect(), 8).unwrap().seed(5)
}

#[test]
fn an_order_is_a_permutation_of_its_own() {
    let order = epoch_order(1000, 1, 2);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    assert_eq!(order, epoch_order(1000, 1, 2));
    assert_ne!(order, epoch_order(1000, 1, 3));
    assert_ne!(order, epoch_order(1000, 2, 2));
    assert!(epoch_order(0, 1, 1).is_empty());
}

/// A change of `rand` that moves this order would break every resume.
#[test]
fn the_order_is_pinned() {
    assert_eq!(epoch_order(10, 1, 0), [3, 8, 7, 6, 5, 2, 0, 9, 4, 1]);
}

#[test]
fn an_epoch_shows_each_example_once() {
    let loader = loader();
    let batches: Vec<HostBatch> = loader.epoch(0, 0).collect();
    assert_eq!((loader.len(), loader.steps_per_epoch(), batches.len()), (100, 13, 13));
    assert_eq!(batches.iter().map(HostBatch::len).collect::<Vec<_>>(), [[8; 12].to_vec(), vec![4]].concat());
    for batch in &batches {
        assert_eq!(batch.pixels.len(), batch.len() * 12);
        for ((&index, &label), image) in batch.indices.iter().zip(&batch.labels).zip(batch.pixels.chunks(12))
        {
            assert_eq!(label, (index % 10) as i32);
            assert!(image.iter().all(|&pixel| pixel == index as f32 / 255.0));
        }
    }
    let seen: Vec<usize> = batches.into_iter().flat_map(|batch| batch.indices).collect();
    let wanted: Vec<usize> = epoch_order(100, 5, 0).into_iter().map(|place| place + 3).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn neither_workers_nor_the_start_change_a_bit() {
    let reference: Vec<HostBatch> = loader().augment(AUGMENT).workers(0).epoch(4, 0).collect();
    for workers in [0, 1, 2, 3, 50] {
        let loader = loader().augment(AUGMENT).workers(workers);
        for from in [0, 1, 7, 12, 13, 99] {
            let batches = loader.epoch(4, from);
            assert_eq!(batches.len(), 13_usize.saturating_sub(from));
            let batches: Vec<HostBatch> = batches.collect();
            assert_eq!(batches, reference[from.min(13)..], "{workers} workers from {from}");
        }
    }
    let other: Vec<HostBatch> = loader().augment(AUGMENT).epoch(5, 0).collect();
    assert_ne!(other, reference);
}

#[test]
fn a_samples_distortion_does_not_depend_on_its_batch() {
    let find = |batch_size| {
        let loader = Loader::new(data(), vec![40, 50, 60], batch_size).unwrap().augment(AUGMENT).seed(2);
        let batches: Vec<HostBatch> = loader.epoch(1, 0).collect();
        let images = batches.iter().flat_map(|batch| batch.indices.iter().zip(batch.pixels.chunks(12)));
        images.map(|(&index, image)| (index, image.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(find(1), find(3));
}

#[test]
fn in_order_neither_shuffles_nor_distorts() {
    let batches: Vec<HostBatch> = loader().augment(AUGMENT).workers(2).in_order().collect();
    let seen: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(seen, (3..103).collect::<Vec<_>>());
    assert_eq!(batches[0].pixels[0], 3.0 / 255.0);
}

#[test]
fn labelled_examples_come_first_in_each_batch_and_are_all_used() {
    let loader = loader().labelled(&[11, 14, 16]).labelled_first(2);
    let mut all = loader.indices().to_vec();
    all.sort_unstable();
    let mut shown = BTreeMap::new();
    for epoch in 0..3 {
        let mut rest = Vec::new();
        assert_eq!(loader.epoch(epoch, 0).len(), loader.steps_per_epoch());
        for batch in loader.epoch(epoch, 0) {
            let (first, others) = batch.indices.split_at(2);
            first.iter().for_each(|&i| *shown.entry(i).or_insert(0) += 1);
            assert!(batch.labels[..2].iter().all(|label| *label >= 0), "{:?}", batch.labels);
            rest.extend_from_slice(others);
        }
        rest.sort_unstable();
        assert_eq!(rest, all);
        let (whole, late) = (loader.epoch(epoch, 0).skip(1), loader.epoch(epoch, 1));
        assert!(whole.eq(late));
    }
    // Passes of their own: no one is drawn a second time more often than another by more than one.
    let counts: Vec<i32> = shown.into_values().collect();
    assert_eq!(counts.len(), 3);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    // Without labels there is nothing to put first.
    assert_eq!(
        self::loader().labelled(&[]).labelled_first(2).steps_per_epoch(),
        self::loader().steps_per_epoch()
    );
}

/// A labelled example comes often in an epoch, more than once in a batch too: each time it is distorted anew, and the same
/// after a resume.
#[test]
fn an_example_that_comes_again_is_distorted_anew() {
    let shifted = Augment { shift: 1.0, ..Default::default() };
    let loader = loader().augment(shifted).labelled(&[11]).labelled_first(3);
    let mut seen = Vec::new();
    for epoch in 0..2 {
        for batch in loader.epoch(epoch, 0) {
            assert_eq!(batch.indices[..3], [11; 3]);
            seen.extend(batch.pixels.chunks_exact(12).take(3).map(<[f32]>::to_vec));
        }
        let (whole, late) = (loader.epoch(epoch, 0).skip(1), loader.epoch(epoch, 1));
        assert!(whole.eq(late));
    }
    let different = |some: &[Vec<f32>]| some.iter().enumerate().all(|(i, one)| !some[..i].contains(one));
    assert!(seen.len() > 6 && different(&seen), "{seen:?}");
}

#[test]
fn dropping_the_batches_ends_their_threads() {
    let data = data();
    let loader = Loader::new(Arc::clone(&data), (0..103).collect(), 1).unwrap().workers(4);
    let mut batches = loader.epoch(0, 0);
    batches.next().unwrap();
    drop(loader);
    assert!(Arc::strong_count(&data) > 1);
    drop(batches);
    assert_eq!(Arc::strong_count(&data), 1, "a thread still holds the data");
}

#[test]
fn empty_and_wrong_loaders() {
    let empty = Loader::new(data(), vec![], 8).unwrap();
    assert_eq!((empty.steps_per_epoch(), empty.is_empty(), empty.epoch(0, 0).count()), (0, true, 0));
    assert!(Loader::new(data(), vec![0], 0).is_err());
    let error = Loader::new(data(), vec![5, 103], 8).unwrap_err().to_string();
    assert!(error.contains("103"), "{error}");
    let huge = Loader::new(data(), vec![0, 1], usize::MAX).unwrap();
    assert_eq!(huge.epoch(0, 0).map(|batch| batch.len()).collect::<Vec<_>>(), [2]);
}

#[test]
fn tensors_hold_the_same_numbers() {
    let batch = loader().in_order().last().unwrap();
    let (pixels, labels) = (batch.pixels.clone(), batch.labels.clone());
    let tensors = batch.to_device::<Flex>(&Default::default());
    assert_eq!(tensors.images.dims(), [4, 1, 4, 3]);
    assert_eq!(tensors.images.into_data().to_vec::<f32>().unwrap(), pixels);
    assert_eq!(tensors.labels.into_data().iter::<i32>().collect::<Vec<_>>(), labels);
}

/// `cargo test -p mnist-data --release -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let pixels = (0..784 * 6400).map(|i| if i % 784 / 28 % 9 < 4 { 255 } else { 0 }).collect();
    let data = Arc::new(LabelledImages::new(28, 28, 10, pixels, vec![1; 6400]).unwrap());
    let affine = Augment { shift: 2.0, rotation: 10.0, scale: 0.1, shear: 5.0, ..Augment::default() };
    let elastic = Augment { elastic_alpha: 34.0, elastic_sigma: 4.0, ..affine };
    for (name, augment) in [("plain", Augment::default()), ("affine", affine), ("elastic", elastic)] {
        for workers in [0, 1, 2] {
            let loader = Loader::new(Arc::clone(&data), (0..6400).collect(), 64).unwrap();
            let loader = loader.augment(augment.clone()).workers(workers);
            let start = Instant::now();
            let batches = loader.epoch(0, 0).map(std::hint::black_box).count();
            println!(
                "{name}, {workers} workers: {:.0} batches/s",
                batches as f64 / start.elapsed().as_secs_f64()
            );
        }
    }
}
