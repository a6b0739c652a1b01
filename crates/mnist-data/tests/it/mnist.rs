//! The real files of the repository; test images are not looked at.

use mnist_data::{DataSet, Split, Statistics};

#[test]
fn the_training_files_are_what_the_books_say() {
    let mnist = DataSet::open("mnist", None).unwrap();
    let train = mnist.train().unwrap();
    assert_eq!((train.len(), train.rows(), train.cols(), train.classes()), (60_000, 28, 28, 10));
    assert_eq!(train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);

    // import gzip, numpy as np
    // x = np.frombuffer(gzip.open("train-images-idx3-ubyte.gz").read()[16:], np.uint8) / 255
    // y = np.frombuffer(gzip.open("train-labels-idx1-ubyte.gz").read()[8:], np.uint8)
    // np.bincount(y), x.mean(), x.std(), (x > 0).mean()
    // x.reshape(-1, 784)[y == 3].mean(0)[14 * 28 + 14]
    let statistics = Statistics::of(&train);
    assert_eq!(statistics.counts, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert!((statistics.mean - 0.1306604762738429).abs() < 1e-12, "{}", statistics.mean);
    assert!((statistics.std - 0.30810780385646264).abs() < 1e-12, "{}", statistics.std);
    assert!((statistics.ink - 0.19120229591836735).abs() < 1e-12, "{}", statistics.ink);
    assert_eq!((statistics.min, statistics.max), (0, 255));
    assert!((statistics.mean_images[3][14 * 28 + 14] - 0.6275751).abs() < 1e-6);

    // sha256sum train-images-idx3-ubyte train-labels-idx1-ubyte | sha256sum
    assert_eq!(mnist.digest().unwrap(), "c0e8b553748373b6d9e1340baadf9f79d3cf348bc5a4f9210a2309b6ae6f775d");
}

#[test]
fn the_validation_split_keeps_the_shares_and_stays_as_it_is() {
    let train = DataSet::open("mnist", None).unwrap().train().unwrap();
    let split = Split::stratified(train.labels(), 5_000, 1).unwrap();
    assert_eq!((split.train.len(), split.valid.len()), (55_000, 5_000));
    let mut counts = [0; 10];
    split.valid.iter().for_each(|&i| counts[usize::from(train.labels()[i])] += 1);
    // q = np.bincount(y) * 5000 / 60000; n = q.astype(int); n[np.argsort(-(q - n), kind="stable")[:5000 - n.sum()]] += 1
    assert_eq!(counts, [494, 562, 496, 511, 487, 452, 493, 522, 487, 496]);
    assert_eq!(
        split.valid[..5],
        [31, 92, 103, 110, 119],
        "another split than before: old runs no longer compare"
    );
}

#[test]
fn the_table_knows_the_repositorys_files() {
    let mnist = DataSet::open("mnist", None).unwrap();
    let checks = mnist.verify().unwrap();
    assert_eq!(checks.len(), 4);
    assert!(checks.iter().all(|check| check.ok() && check.wanted.is_some()), "{checks:?}");
}
