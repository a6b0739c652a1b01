//! Splits, sets of labelled images and their statistics, on small made-up data.

use mnist_data::{LabelledImages, Split, Statistics};

/// `counts[c]` labels of each class `c`, mixed.
fn labels(counts: &[usize]) -> Vec<u8> {
    let mut left = counts.to_vec();
    let mut labels = Vec::new();
    while left.iter().any(|&count| count > 0) {
        for (class, count) in (0_u8..).zip(&mut left) {
            if *count > 0 {
                *count -= 1;
                labels.push(class);
            }
        }
    }
    labels
}

fn counts(labels: &[u8], indices: &[usize], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    indices.iter().for_each(|&i| counts[usize::from(labels[i])] += 1);
    counts
}

#[test]
fn shares_are_rounded_by_the_largest_remainder() {
    // (counts of the classes, examples put aside, of each class)
    let cases: [(&[usize], usize, &[usize]); 6] = [
        (&[10, 10], 4, &[2, 2]),
        (&[10, 10], 5, &[3, 2]),        // tie: the lower class
        (&[5, 3, 2], 3, &[1, 1, 1]),    // 1.5, 0.9, 0.6 -> remainders .5 .9 .6
        (&[98, 1, 1], 10, &[10, 0, 0]), // 9.8, 0.1, 0.1
        (&[4, 0, 4], 7, &[4, 0, 3]),
        (&[3], 0, &[0]),
    ];
    for (sizes, valid, wanted) in cases {
        let labels = labels(sizes);
        let split = Split::stratified(&labels, valid, 5).unwrap();
        assert_eq!(counts(&labels, &split.valid, sizes.len()), wanted, "{sizes:?}, {valid}");
    }
}

#[test]
fn no_class_is_left_out_where_there_is_room_for_all() {
    let cases: [(&[usize], usize, &[usize]); 4] = [
        (&[10, 10], 5, &[3, 2]),       // as without
        (&[98, 1, 1], 10, &[8, 1, 1]), // one each, and 7 of the other 97
        (&[98, 0, 1], 2, &[1, 0, 1]),
        (&[98, 1, 1], 2, &[2, 0, 0]), // no room
    ];
    for (sizes, count, wanted) in cases {
        let labels = labels(sizes);
        let split = Split::covering(&labels, count, 5).unwrap();
        assert_eq!(counts(&labels, &split.valid, sizes.len()), wanted, "{sizes:?}, {count}");
    }
    let labels = labels(&[40, 30, 30]);
    assert_eq!(Split::covering(&labels, 10, 1).unwrap(), Split::stratified(&labels, 10, 1).unwrap());
}

#[test]
fn the_parts_are_sorted_and_make_up_the_whole() {
    let labels = labels(&[40, 30, 30]);
    let split = Split::stratified(&labels, 17, 1).unwrap();
    assert!(split.train.is_sorted() && split.valid.is_sorted());
    let mut all = [split.train, split.valid].concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}

#[test]
fn the_seed_decides() {
    let labels = labels(&[50, 50]);
    let split = |seed| Split::stratified(&labels, 10, seed).unwrap();
    assert_eq!(split(1), split(1));
    assert_ne!(split(1), split(2));
}

#[test]
fn too_many_are_refused() {
    for (labels, valid) in [(vec![], 0), (vec![0, 1], 2), (vec![0, 1], usize::MAX)] {
        let error = Split::stratified(&labels, valid, 1).unwrap_err().to_string();
        assert!(error.contains(&valid.to_string()), "{error}");
    }
}

#[test]
fn sets_that_do_not_fit_together_are_refused() {
    let cases = [
        (0, 1, 2, vec![], vec![], "0x1"),
        (1, 1, 0, vec![], vec![], "number of classes: found 0"),
        (1, 1, 257, vec![], vec![], "257"),
        (1, 2, 2, vec![1, 2, 3], vec![0, 1], "3 bytes, wanted 2 images of 1x2"),
        (usize::MAX, 2, 2, vec![1], vec![0], "1 bytes"),
        (1, 1, 2, vec![1, 1], vec![0, 2], "2 at example 1, wanted below 2"),
    ];
    for (rows, cols, classes, pixels, labels, wanted) in cases {
        let error = LabelledImages::new(rows, cols, classes, pixels, labels).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn views_of_one_image() {
    let data = LabelledImages::new(1, 2, 3, vec![0, 51, 255, 0], vec![1, 2]).unwrap();
    assert_eq!(data.image(1), Some(&[255, 0][..]));
    assert_eq!(data.label(1), Some(2));
    assert_eq!(data.normalised(0, 0.1, 0.5), Some(vec![-0.2, 0.2]));
    assert_eq!(data.normalised(0, 0.1, 0.0), None);
    assert_eq!(data.one_hot(1), Some(vec![0.0, 0.0, 1.0]));
    assert_eq!(data.select(&[1, 1]).unwrap().labels(), [2, 2]);
    assert!(data.select(&[0, 2]).unwrap_err().to_string().contains("found 2, wanted below 2"));
    for i in [2, usize::MAX] {
        assert_eq!(data.image(i), None);
        assert_eq!(data.vector(i), None);
        assert_eq!(data.one_hot(i), None);
    }
}

#[test]
fn statistics_of_nothing_and_of_little() {
    let empty = Statistics::of(&LabelledImages::new(1, 1, 2, vec![], vec![]).unwrap());
    assert_eq!((empty.examples, empty.mean, empty.std, empty.ink), (0, 0.0, 0.0, 0.0));

    // np.array([0, 255, 51, 0]) / 255: mean 0.3, std sqrt(0.17)
    let two = Statistics::of(&LabelledImages::new(1, 2, 2, vec![0, 255, 51, 0], vec![1, 1]).unwrap());
    assert_eq!((two.counts, two.min, two.max, two.ink), (vec![0, 2], 0, 255, 0.5));
    assert!((two.mean - 0.3).abs() < 1e-15 && (two.std - 0.17_f64.sqrt()).abs() < 1e-15);
    assert_eq!(two.mean_images, [vec![0.0, 0.0], vec![0.1, 0.5]]);
}
