//! Pictures of one's own: what is read, what is refused.

use std::{fs, path::Path};

use image::{Rgb, RgbImage};
use mnist_data::{
    DataError, DataSet, ImageSize, Preparation,
    own::{Own, Wanted, prepared},
};

/// A picture of one colour with a dot, which makes it another one.
fn picture(path: &Path, size: [u32; 2], colour: [u8; 3], dot: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut image = RgbImage::from_pixel(size[1], size[0], Rgb(colour));
    image.put_pixel(dot % size[1], dot / size[1], Rgb([255, 0, 0]));
    image.save(path).unwrap();
}

fn two_classes(dir: &Path) {
    for i in 0..10 {
        picture(&dir.join(format!("cats/{i}.png")), [6, 8], [10, 20, 30], i);
        picture(&dir.join(format!("dogs and more/{i}.jpg")), [6, 8], [200, 200, 200], 3 * i);
    }
}

fn refused(path: &Path, wanted: Wanted) -> String {
    Own::read(path, wanted).unwrap_err().to_string()
}

#[test]
fn a_folder_for_each_class_becomes_a_set() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pets");
    two_classes(&dir);
    fs::write(dir.join("cats/.hidden.png"), "no picture").unwrap();
    fs::write(dir.join("cats/notes.txt"), "no picture").unwrap();
    fs::copy(dir.join("cats/1.png"), dir.join("cats/again.png")).unwrap();
    let grey = Wanted { channels: Some(1), ..Wanted::default() };
    let own = Own::read(&dir, grey).unwrap();
    assert_eq!(own.classes, ["cats", "dogs and more"]);
    assert_eq!([own.train.rows(), own.train.cols()], [6, 8]);
    assert_eq!(own.train.len() + own.test.len(), 20);
    assert!(own.test.len() >= 2, "one of each class at least");
    assert_eq!(own.left_out.len(), 2, "{:?}", own.left_out);
    let classes: Vec<&str> =
        (0..own.train.len()).map(|i| own.train.file(i).unwrap().split('/').next().unwrap()).collect();
    let labelled =
        classes.iter().zip(own.train.labels()).all(|(name, label)| own.classes[*label as usize] == *name);
    assert!(labelled && !classes.is_sorted() && classes.contains(&"cats"), "all classes, mixed: {classes:?}");
    // Rec. 709: 0.2126 * 10 + 0.7152 * 20 + 0.0722 * 30 = 18.6
    let cat = own.train.images().zip(own.train.labels()).find(|(_, label)| **label == 0).unwrap().0;
    assert!(cat.iter().filter(|p| **p == 19 || **p == 18).count() == 47, "{cat:?}");

    let set = home.path().join("sets/pets");
    own.write(&set).unwrap();
    assert!(matches!(own.write(&set), Err(DataError::Invalid { .. })), "what is there is not written over");
    let opened = DataSet::open("pets", Some(&home.path().join("sets"))).unwrap();
    assert_eq!(opened.class_names(), ["cats", "dogs and more"]);
    assert_eq!(opened.preparation(), Preparation::Middle);
    assert_eq!((opened.train().unwrap(), opened.test().unwrap()), (own.train.clone(), own.test.clone()));
    assert!(opened.verify().unwrap().iter().all(|check| check.ok() && check.wanted.is_some()));
    // The split is one of contents: other names and another order change nothing.
    let other = home.path().join("other");
    two_classes(&other);
    fs::rename(other.join("cats/1.png"), other.join("cats/z.png")).unwrap();
    let again = Own::read(&other, grey).unwrap();
    assert_eq!(again.digest(), own.digest());
    assert!(again.test.images().eq(own.test.images()));

    // A folder that grows leaves on its side what was there, at any size.
    for i in 10..60 {
        picture(&other.join(format!("cats/{i}.png")), [6, 8], [i as u8, 20, 30], i % 48);
        picture(&other.join(format!("dogs and more/{i}.png")), [6, 8], [200, 200, i as u8], i % 48);
    }
    let few = Own::read(&other, Wanted { test: 0.5, ..grey }).unwrap();
    for i in 60..120 {
        picture(&other.join(format!("cats/{i}.png")), [6, 8], [i as u8, 20, 30], i % 48);
    }
    let more = Own::read(&other, Wanted { test: 0.5, ..grey }).unwrap();
    let known: Vec<&[u8]> = more.train.images().collect();
    assert!(few.train.images().all(|image| known.contains(&image)));
    assert!(few.test.images().all(|image| !known.contains(&image)));

    let labels = set.join("train-labels-idx1-ubyte");
    let mut bytes = fs::read(&labels).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&labels, bytes).unwrap();
    let changed = DataSet::open("pets", Some(&home.path().join("sets"))).unwrap().train().unwrap_err();
    assert!(changed.to_string().contains("as it was imported"), "{changed}");
}

#[test]
fn four_files_have_names_of_classes_beside_them() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    // Labels 0 to 2, images of 2 x 2.
    let images: Vec<u8> = (0..24).collect();
    for (part, count) in [("train", 6_u8), ("t10k", 3)] {
        let head = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 2];
        let values = &images[..4 * usize::from(count)];
        fs::write(dir.join(format!("{part}-images-idx3-ubyte")), [&head[..], values].concat()).unwrap();
        let labels: Vec<u8> = (0..count).map(|i| i % 3).collect();
        let head = [0, 0, 8, 1, 0, 0, 0, count];
        fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), [&head[..], &labels].concat()).unwrap();
    }
    let numbers = Own::read(dir, Wanted::default()).unwrap();
    assert_eq!(numbers.classes, ["0", "1", "2"]);
    fs::write(dir.join("classes.txt"), "\u{feff}ant\nbee\r\nwasp\n\n\n").unwrap();
    let named = Own::read(dir, Wanted::default()).unwrap();
    assert_eq!(named.classes, ["ant", "bee", "wasp"]);
    assert!(named.train.images().eq(numbers.train.images()));
    assert_ne!(named.digest(), numbers.digest());
    for (text, said) in [
        ("ant\nbee\n", "2 lines"),
        ("a\nb\na\n", "\"a\" in line 3"),
        ("a\n\nb\n", "\"\" in line 2"),
        ("a\u{1b}[31m\nb\nc\n", "control characters"),
    ] {
        fs::write(dir.join("classes.txt"), text).unwrap();
        assert!(refused(dir, Wanted::default()).contains(said), "{}", refused(dir, Wanted::default()));
    }
    fs::write(dir.join("classes.txt"), [0xff, b'\n']).unwrap();
    assert!(refused(dir, Wanted::default()).contains("UTF-8"));
}

#[test]
fn parts_train_and_test_are_taken_as_they_are_and_scaled() {
    let home = tempfile::tempdir().unwrap();
    for (side, count) in [("train", 3), ("test", 2)] {
        for i in 0..count {
            let seed = if side == "test" { 40 + i } else { i };
            picture(&home.path().join(format!("{side}/a/{i}.png")), [40, 30], [9, 9, 9], 450 + 7 * seed);
            picture(&home.path().join(format!("{side}/b/{i}.png")), [30, 30], [99, 99, 99], 450 + 7 * seed);
        }
    }
    let wanted = Wanted { size: Some([10, 12]), channels: Some(1), ..Wanted::default() };
    let own = Own::read(home.path(), wanted).unwrap();
    assert_eq!((own.train.len(), own.test.len(), own.train.values()), (6, 4, 120));
    let usual = Own::read(home.path(), Wanted::default()).unwrap();
    assert_eq!([usual.train.rows(), usual.train.cols()], [28, 28], "pictures of several sizes");
}

#[test]
fn pictures_with_colour_keep_it_one_channel_after_the_other() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pets");
    two_classes(&dir);
    let own = Own::read(&dir, Wanted::default()).unwrap();
    assert_eq!(own.train.size(), ImageSize::from([3, 6, 8]));
    let cat = own.train.images().zip(own.train.labels()).find(|(_, label)| **label == 0).unwrap().0;
    let count = |channel: usize, value| cat[48 * channel..][..48].iter().filter(|p| **p == value).count();
    let found = [count(0, 10), count(0, 255), count(1, 20), count(1, 0), count(2, 30), count(2, 0)];
    assert_eq!(found, [47, 1, 47, 1, 47, 1]);

    let set = home.path().join("sets/pets");
    own.write(&set).unwrap();
    let opened = DataSet::open("pets", Some(&home.path().join("sets"))).unwrap();
    assert_eq!((opened.train().unwrap(), opened.test().unwrap()), (own.train.clone(), own.test.clone()));
    assert_eq!(opened.test_size().unwrap(), (own.test.len(), own.test.size()));
    let prepared = prepared(&dir.join("cats/3.png"), own.train.size()).unwrap();
    assert!(own.train.images().chain(own.test.images()).any(|image| image == prepared));
    // Four files in colour are a set as they are.
    let again = Own::read(&set, Wanted::default()).unwrap();
    assert_eq!(again.train, own.train);
    assert!(refused(&set, Wanted { channels: Some(1), ..Wanted::default() }).contains("6x8 pixels, colour"));
    // In grey each picture is on the same side.
    let grey = Own::read(&dir, Wanted { channels: Some(1), ..Wanted::default() }).unwrap();
    assert_eq!((grey.train.len(), grey.test.len()), (own.train.len(), own.test.len()));

    // A tint is none: a picture of pencil on yellowish paper.
    let plain = home.path().join("plain");
    for i in 0..4 {
        for (class, paper) in [("a", [250, 245, 240]), ("b", [200, 200, 190])] {
            let path = plain.join(format!("{class}/{i}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut image = RgbImage::from_pixel(8, 6, Rgb(paper));
            image.put_pixel(i, 0, Rgb([30, 30, 30]));
            image.save(path).unwrap();
        }
    }
    assert_eq!(Own::read(&plain, Wanted::default()).unwrap().train.size(), ImageSize::from([6, 8]));
    let asked = Own::read(&plain, Wanted { channels: Some(3), ..Wanted::default() }).unwrap();
    assert_eq!(asked.train.size(), ImageSize::from([3, 6, 8]));

    let table = home.path().join("colours.csv");
    let rows: String =
        (0..4).map(|i| format!("{},{}\n", i % 2, [i; 12].map(|n| n.to_string()).join(","))).collect();
    fs::write(&table, format!("label{}\n{rows}", ",p".repeat(12))).unwrap();
    let own = Own::read(&table, Wanted { channels: Some(3), test: 0.5, ..Wanted::default() }).unwrap();
    assert_eq!(own.train.size(), ImageSize::from([3, 2, 2]));
    assert!(refused(&table, Wanted::default()).contains("12 numbers in a row"));
}

#[test]
fn a_table_is_read_as_kaggle_has_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("digits.csv");
    let row = |label: &str, i: u32| format!("{label},{i},1,2,3,4,5,6,7,{}\n", i % 7);
    let rows: String = (0..6).map(|i| row(if i % 2 == 0 { "10" } else { "9" }, i)).collect();
    let head = format!("label,{}\n", (0..9).map(|i| format!("pixel{i}")).collect::<Vec<_>>().join(","));
    fs::write(&path, format!("{head}{rows}\n")).unwrap();
    let own = Own::read(&path, Wanted { test: 0.5, ..Wanted::default() }).unwrap();
    assert_eq!((own.classes.clone(), own.train.values()), (vec!["9".into(), "10".into()], 9));
    assert_eq!(own.train.len() + own.test.len(), 6);
    fs::write(&path, format!("\u{feff}{head}{rows}\n")).unwrap();
    let marked = Own::read(&path, Wanted { test: 0.5, ..Wanted::default() }).unwrap();
    assert_eq!(marked.digest(), own.digest(), "a mark of the byte order is no part of a name");
    for (text, words) in [
        ("a;b\n1;2\n".to_string(), "no column `label` in the first line, `a;b`"),
        ("label,a,b\n1,2,3\n".into(), "2 numbers in a row"),
        (format!("{head}1,2,3\n"), "2 pixels and a label in line 2"),
        (format!("{head}{}1,1,2,3,4,5,6,7,8,256\n", row("1", 3)), "\"256\" in line 3"),
        (format!("{head}{}", row("1", 3)), "one class (1)"),
        (format!("{head}{}{}", row("1", 3), row("2", 4)), "no picture of class 1 to train on, of 1"),
        (format!("{head}{}{}", row("1", 3), row("2", 3)), "the same picture as 1 (line 2) and 2 (line 3)"),
    ] {
        fs::write(&path, text).unwrap();
        let error = refused(&path, Wanted::default());
        assert!(error.contains(words), "{error}, wanted {words}");
    }
}

#[test]
fn what_makes_no_set_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    assert!(refused(&dir.join("nowhere"), Wanted::default()).contains("cannot read"));
    assert!(refused(dir, Wanted::default()).contains("no class"));
    fs::write(dir.join("emnist-letters-train-images-idx3-ubyte.gz"), "").unwrap();
    assert!(refused(dir, Wanted::default()).contains("wanted train-images-idx3-ubyte, "));
    fs::remove_file(dir.join("emnist-letters-train-images-idx3-ubyte.gz")).unwrap();
    two_classes(dir);
    assert!(refused(dir, Wanted { size: Some([2, 900]), ..Wanted::default() }).contains("2x900"));
    assert!(refused(dir, Wanted { channels: Some(2), ..Wanted::default() }).contains("1 (grey) or 3"));
    let digits = Wanted { preparation: Some(Preparation::Digit), ..Wanted::default() };
    assert!(refused(dir, digits).contains("28x28 pixels, grey, as digits are"));
    assert!(refused(dir, Wanted { test: 1.0, ..Wanted::default() }).contains("share that tests"));
    fs::copy(dir.join("cats/3.png"), dir.join("dogs and more/cat.png")).unwrap();
    assert!(refused(dir, Wanted::default()).contains("the same picture"));
    fs::remove_file(dir.join("dogs and more/cat.png")).unwrap();
    let whole = fs::read(dir.join("cats/3.png")).unwrap();
    fs::write(dir.join("cats/cut.png"), &whole[..whole.len() / 2]).unwrap();
    assert!(refused(dir, Wanted::default()).contains("damaged"));
    fs::remove_file(dir.join("cats/cut.png")).unwrap();
    // A picture that declares 30,000 x 30,000 pixels.
    let mut bomb = whole;
    bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    fs::write(dir.join("cats/bomb.png"), bomb).unwrap();
    assert!(refused(dir, Wanted::default()).contains("30000"));
    fs::remove_file(dir.join("cats/bomb.png")).unwrap();
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        picture(&outside.path().join("secret.png"), [6, 8], [1, 1, 1], 0);
        std::os::unix::fs::symlink(outside.path().join("secret.png"), dir.join("cats/link.png")).unwrap();
        let own = Own::read(dir, Wanted::default()).unwrap();
        assert!(own.left_out[0].contains("leads out"), "{:?}", own.left_out);
        assert_eq!(own.train.len() + own.test.len(), 20);
        // Four files of a set, one of them elsewhere.
        let idx = tempfile::tempdir().unwrap();
        let mnist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mnist");
        for (i, name) in mnist_data::sources::FILE_NAMES.iter().enumerate() {
            let (from, to) = (mnist.join(format!("{name}.gz")), idx.path().join(format!("{name}.gz")));
            if i == 0 {
                std::os::unix::fs::symlink(from, to).unwrap()
            } else {
                fs::write(to, fs::read(from).unwrap()).unwrap()
            }
        }
        assert!(refused(idx.path(), Wanted::default()).contains("leads out of its folder"));
    }
}
