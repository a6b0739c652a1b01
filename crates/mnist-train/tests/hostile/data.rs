//! Targets of `mnist-data`: files of images, tables, pictures, manifests, texts, tokenisers, patches.

use std::fs;

use mnist_data::{
    DataSet, Patches, Text, Tokeniser,
    digest::sha256_hex,
    idx,
    own::{self, Own, Wanted},
    punctuation,
    scan::{self, SIDE},
    sources::FILE_NAMES,
};

use crate::runs::home;

/// An IDX file of bytes.
fn idx_file(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let head = [0, 0, 8, dims.len() as u8].into_iter().chain(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    head.chain(data.iter().copied()).collect()
}

/// Four sound files of six images of 5 x 4 pixels and two classes, for training and test.
fn four_files() -> [Vec<u8>; 4] {
    let pixels: Vec<u8> = (0..6 * 20).map(|i| (i * 7 % 251) as u8).collect();
    let (images, labels) = (idx_file(&[6, 5, 4], &pixels), idx_file(&[6], &[0, 1, 0, 1, 1, 0]));
    [images.clone(), labels.clone(), images, labels]
}

/// Reads a set in whose files one has these bytes.
fn set_with(which: usize, bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let mut files = four_files();
    files[which] = bytes.to_vec();
    for (name, bytes) in FILE_NAMES.iter().zip(&files) {
        fs::write(home.path().join(name), bytes).unwrap();
    }
    let path = home.path().join(FILE_NAMES[which]);
    let parsed = idx::parse(bytes, &path).map_err(|e| e.to_string());
    let dims = idx::read_dims(&path);
    if let Ok(array) = &parsed {
        assert_eq!(array.data.len(), array.dims.iter().product::<usize>());
        assert_eq!(dims.unwrap(), array.dims);
    }
    let set = DataSet::open("imported", Some(home.path())).map_err(|e| e.to_string())?;
    set.verify().map_err(|e| e.to_string())?;
    let read = set.train().map_err(|e| e.to_string());
    let imported = Own::read(home.path(), Wanted::default());
    assert!(imported.is_err() || read.is_ok());
    let train = read?;
    assert_eq!(train.images().count(), if train.values() == 0 { 0 } else { train.len() });
    Ok(())
}

/// Training images.
pub(crate) fn images(bytes: &[u8]) -> Result<(), String> {
    set_with(0, bytes)
}

/// Training labels.
pub(crate) fn labels(bytes: &[u8]) -> Result<(), String> {
    set_with(1, bytes)
}

/// A table as Kaggle has them, to be imported.
pub(crate) fn table(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let path = home.path().join("table.csv");
    fs::write(&path, bytes).unwrap();
    Own::read(&path, Wanted { size: Some([2, 3]), ..Wanted::default() }).ok();
    let found = Own::read(&path, Wanted::default()).map_err(|e| e.to_string())?;
    let into = home.path().join("set");
    found.write(&into).map_err(|e| e.to_string())?;
    let set = DataSet::open("imported", Some(&into)).unwrap();
    assert_eq!((set.train().unwrap(), set.test().unwrap()), (found.train, found.test));
    Ok(())
}

/// A picture of a digit, as `predict` reads it.
pub(crate) fn scan(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let path = home.path().join("picture");
    fs::write(&path, bytes).unwrap();
    let found = scan::read(&path).map_err(|e| e.to_string())?;
    assert_eq!(found.pixels.len(), SIDE * SIDE);
    // As `serve` reads it: of fewer pixels.
    scan::from_bytes(bytes, &path, 1 << 16).map(|again| assert_eq!(again, found)).ok();
    Ok(())
}

/// A picture, as `data import` reads it: in the folder of its class, among others.
pub(crate) fn picture(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let other = |grey: u8| {
        let mut png = std::io::Cursor::new(Vec::new());
        let image = image::GrayImage::from_fn(6, 6, |x, y| image::Luma([grey.wrapping_mul((x * y) as u8)]));
        image.write_to(&mut png, image::ImageFormat::Png).unwrap();
        png.into_inner()
    };
    for (i, class) in ["a", "a", "b", "b"].into_iter().enumerate() {
        let folder = home.path().join(class);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{i}.png")), other(i as u8 + 1)).unwrap();
    }
    // By its name the decoder is chosen that only looks for the size.
    for name in ["x.png", "x.jpg"] {
        fs::write(home.path().join("a").join(name), bytes).unwrap();
    }
    let path = home.path().join("a/x.png");
    let prepared = own::prepared(&path, [7, 9].into()).map_err(|e| e.to_string());
    let imported = Own::read(home.path(), Wanted::default());
    if let Ok(pixels) = &prepared {
        assert_eq!(pixels.len(), 63);
        // The same picture may be among the others.
        imported.ok();
    }
    prepared.map(|_| ())
}

/// The manifest of an imported set.
pub(crate) fn manifest(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    for (name, file) in FILE_NAMES.iter().zip(four_files()) {
        fs::write(home.path().join(name), file).unwrap();
    }
    fs::write(home.path().join("set.json"), bytes).unwrap();
    let set = DataSet::open("imported", Some(home.path())).map_err(|e| e.to_string())?;
    set.verify().map_err(|e| e.to_string())?;
    assert!(!set.class_names().is_empty());
    Own::read(home.path(), Wanted::default()).map_err(|e| e.to_string())?;
    set.train().map(|_| ()).map_err(|e| e.to_string())
}

/// The list of the files that an imported set's images are from.
pub(crate) fn files(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    for (name, file) in FILE_NAMES.iter().zip(four_files()) {
        fs::write(home.path().join(name), file).unwrap();
    }
    let sha256 = four_digests().map(|digest| format!("{digest:?}")).join(", ");
    let manifest = format!(
        r#"{{"format": 1, "source": "s", "classes": ["a", "b"], "preparation": "middle", "sha256": [{sha256}]}}"#
    );
    fs::write(home.path().join("set.json"), manifest).unwrap();
    fs::write(home.path().join("files.json"), bytes).unwrap();
    let set = DataSet::open("imported", Some(home.path())).map_err(|e| e.to_string())?;
    let train = set.train().map_err(|e| e.to_string())?;
    assert!(train.file(0).is_none() || train.file(5).is_some());
    Ok(())
}

/// The digests of [`four_files`], for the seeds.
pub(crate) fn four_digests() -> [String; 4] {
    four_files().map(|file| sha256_hex(&file))
}

/// A text of one's own: its splits, its words, its bytes as tokens.
pub(crate) fn text(bytes: &[u8]) -> Result<(), String> {
    let home = home();
    let path = home.path().join("text");
    fs::write(&path, bytes).unwrap();
    let found = Text::open(Some(&path), None).map_err(|e| e.to_string())?;
    let all: Vec<_> = [found.train, found.valid, found.test].into_iter().flatten().collect();
    assert!(all.iter().all(|passage| !passage.text.is_empty() && passage.text.len() <= 2_000));
    all.iter().for_each(|passage| drop(punctuation::words(&passage.text)));
    punctuation::Marked::new(&all, &Tokeniser::Bytes).map(|_| ()).map_err(|e| e.to_string())
}

/// tokenizer.json: every token has to be one that a model has a place for.
pub(crate) fn tokeniser(bytes: &[u8]) -> Result<(), String> {
    let tokeniser = Tokeniser::from_json(bytes).map_err(|e| e.to_string())?;
    let vocabulary = tokeniser.vocabulary() as i32;
    for text in ["In the beginning", "  \t\n\0\u{feff}", "ünïcödé 漢字 🦀", "[UNK]<s></s>", ""] {
        let tokens = tokeniser.encode(text).map_err(|e| e.to_string())?;
        assert!(tokens.iter().all(|token| (0..vocabulary).contains(token)), "{text:?}: {tokens:?}");
        tokeniser.decode(&tokens);
    }
    tokeniser.decode(&[-1, 0, i32::MAX, vocabulary]);
    assert!((0..vocabulary).all(|token| tokeniser.bytes_of(token as usize) > 0));
    assert!(tokeniser.extends(&tokeniser));
    tokeniser.to_json().map(|_| ()).map_err(|e| e.to_string())
}

/// patches.json, as a run keeps it.
pub(crate) fn patches(bytes: &[u8]) -> Result<(), String> {
    let found: Patches = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    found.check().map_err(|e| e.to_string())?;
    let (vocabulary, tokens) = (found.vocabulary(), found.tokens());
    let [height, width] = found.size();
    if height * width > 1 << 12 {
        return Ok(());
    }
    let image: Vec<f32> = (0..height * width).map(|i| (i % 3) as f32 / 2.0).collect();
    let encoded = found.encode(&image);
    assert_eq!(encoded.len(), tokens);
    assert!(encoded.iter().all(|token| (0..vocabulary as i32).contains(token)));
    assert_eq!(found.decode(&encoded).len(), image.len());
    found.decode(&[-1, 0, i32::MAX]);
    Ok(())
}
