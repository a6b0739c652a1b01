//! Data sets on disk: where they are found, what is checked.

use std::fs;
use std::path::Path;

use mnist_data::sources::FILE_NAMES;
use mnist_data::{DataError, DataSet};

/// Writes an IDX file.
fn put(dir: &Path, name: &str, dims: &[u32], data: &[u8]) {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend(data);
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(name), bytes).unwrap();
}

/// A whole set: two training images and one test image of 1x2, classes 0-2.
fn put_set(dir: &Path) {
    put(dir, FILE_NAMES[0], &[2, 1, 2], &[1, 2, 3, 4]);
    put(dir, FILE_NAMES[1], &[2], &[0, 2]);
    put(dir, FILE_NAMES[2], &[1, 1, 2], &[5, 6]);
    put(dir, FILE_NAMES[3], &[1], &[1]);
}

#[test]
fn a_set_of_ones_own_is_read() {
    let dir = tempfile::tempdir().unwrap();
    put_set(&dir.path().join("mine"));
    let set = DataSet::open("mine", Some(dir.path())).unwrap();
    assert_eq!((set.name(), set.dir()), ("mine", dir.path().join("mine").as_path()));
    assert_eq!(set.class_names(), ["0", "1", "2"]);
    let (train, test) = (set.train().unwrap(), set.test().unwrap());
    assert_eq!((train.len(), train.classes(), train.image(1)), (2, 3, Some(&[3, 4][..])));
    assert_eq!((test.len(), test.label(0)), (1, Some(1)));
    assert!(set.verify().unwrap().iter().all(|check| check.ok() && check.wanted.is_none()));
}

#[test]
fn the_directory_itself_may_hold_the_files() {
    let dir = tempfile::tempdir().unwrap();
    put_set(dir.path());
    assert_eq!(DataSet::open("mine", Some(dir.path())).unwrap().dir(), dir.path());
}

#[test]
fn digests_follow_the_training_files() {
    let dir = tempfile::tempdir().unwrap();
    put_set(dir.path());
    let digest = || DataSet::open("mine", Some(dir.path())).unwrap().digest().unwrap();
    let before = digest();
    put(dir.path(), FILE_NAMES[3], &[1], &[2]);
    assert_eq!(digest(), before, "test files are not part of it");
    put(dir.path(), FILE_NAMES[1], &[2], &[1, 2]);
    assert_ne!(digest(), before);
}

#[test]
fn nothing_of_test_is_read_before_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    put_set(dir.path());
    fs::write(dir.path().join(FILE_NAMES[2]), b"rubbish").unwrap();
    fs::write(dir.path().join(FILE_NAMES[3]), b"rubbish").unwrap();
    let set = DataSet::open("mine", Some(dir.path())).unwrap();
    set.train().unwrap();
    set.digest().unwrap();
    assert!(set.test().is_err());
}

#[test]
fn a_known_name_with_other_contents_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    put_set(dir.path());
    let set = DataSet::open("mnist", Some(dir.path())).unwrap();
    let error = set.train().unwrap_err();
    assert!(matches!(error, DataError::Digest { .. }));
    let text = error.to_string();
    for part in [FILE_NAMES[0], "found ", "wanted ba891046", "data fetch mnist"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(set.verify().unwrap().iter().all(|check| !check.ok() && check.sha256.is_some()));
}

#[test]
fn verify_goes_on_after_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    put_set(dir.path());
    fs::write(dir.path().join(FILE_NAMES[2]), b"rubbish").unwrap();
    let checks = DataSet::open("mine", Some(dir.path())).unwrap().verify().unwrap();
    assert_eq!(checks.iter().map(|check| check.ok()).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!((checks[2].bytes, checks[2].sha256.as_ref()), (7, None));
    assert!(checks[2].problem.as_ref().unwrap().contains("IDX"));
}

#[test]
fn files_that_do_not_fit_together_are_refused() {
    // (file, dimensions, data, what the error says)
    let cases: [(usize, &[u32], &[u8], &str); 4] = [
        (0, &[2, 2], &[1, 2, 3, 4], "[images, rows, columns]"),
        (0, &[2, 0, 2], &[], "at least 1x1"),
        (1, &[3], &[0, 1, 2], "one label for each image"),
        (1, &[2, 1], &[0, 1], "one label for each image"),
    ];
    for (file, dims, data, wanted) in cases {
        let dir = tempfile::tempdir().unwrap();
        put_set(dir.path());
        put(dir.path(), FILE_NAMES[file], dims, data);
        let error = DataSet::open("mine", Some(dir.path())).unwrap().train().unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("ubyte"), "{error}");
    }
}

#[test]
fn what_is_nowhere_is_told_with_each_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mnist")).unwrap();
    put(&dir.path().join("mnist"), FILE_NAMES[1], &[1], &[0]);
    let given = DataSet::open("mnist", Some(dir.path())).unwrap_err().to_string();
    let inner = dir.path().join("mnist");
    for part in
        [inner.to_str().unwrap(), "lacks train-images-idx3-ubyte, t10k-images", "mnist-cli data fetch mnist"]
    {
        assert!(given.contains(part), "{given}");
    }

    let anywhere = DataSet::open("no-such-set", None).unwrap_err().to_string();
    for part in [
        "datasets/no-such-set (the repository)",
        "mnist-burn/no-such-set (the user's cache)",
        "known are: mnist, fashion-mnist",
    ] {
        assert!(anywhere.contains(part), "{anywhere}");
    }
}

#[test]
fn names_do_not_lead_elsewhere() {
    for name in ["", ".", "..", "../mnist", "/etc", "a/b", "a\\b", ".hidden"] {
        assert!(matches!(DataSet::open(name, None), Err(DataError::Invalid { .. })), "{name}");
    }
}
