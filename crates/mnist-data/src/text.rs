//! Text as passages: found, checked, and split so that no passage is in two splits.
//!
//! The repository's own text (`text`: the King James Version, one verse a line, `Ge1:1 In the beginning ...`) is
//! split by books; its references are left out. Any other UTF-8 file, or folder of `.txt` files, is cut at blank
//! lines (where it has none, at every line) and split by a hash of neighbouring passages. A folder of such folders has a
//! class for each. A passage that validation or test would share with an earlier split word for word is left out there.

use std::{
    collections::HashSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use crate::{
    digest::sha256_hex,
    error::{DataError, Result},
    manifest::MOST_CLASSES,
    places,
    rng::Key,
};

/// Name of the repository's text set.
pub const NAME: &str = "text";
/// Its file, in `PLACE/text/` or `PLACE`.
pub const FILE: &str = "kjv.txt.gz";
/// SHA-256 of the unpacked file.
pub const SHA256: &str = "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d";
/// Books that validate, of both testaments.
pub const VALIDATION_BOOKS: [&str; 11] =
    ["Est", "Eccl", "Joel", "Jonah", "Mic", "Nahum", "2Cor", "Gal", "1Th", "Jas", "1Jn"];
/// Books that test, of both testaments.
pub const TEST_BOOKS: [&str; 9] = ["Ruth", "Lam", "Dan", "Hab", "Mal", "Phi", "1Tim", "Heb", "1Pet"];
/// The first book of the New Testament.
const FIRST_NEW: &str = "Mat";
/// Names of the labels of the repository's text.
pub const TESTAMENTS: [&str; 2] = ["Old Testament", "New Testament"];

/// Put behind each file of a folder: ASCII's file separator.
const FILE_END: char = '\u{1c}';
/// Larger texts are not read.
const MOST_BYTES: u64 = 1 << 30;
/// A passage is cut where it would be longer, in bytes.
const LONGEST: usize = 2_000;
/// Neighbouring passages that go into one split together, at most.
const BLOCK: usize = 16;
/// Of so many blocks
const SHARE: u64 = 20;
/// this many validate, and so many test: of a text,
const OF_TEXT: [u64; 2] = [1, 1];
/// and of a class.
const OF_CLASS: [u64; 2] = [2, 3];

/// A verse, a paragraph or a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its words, without a newline at the end; not empty.
    pub text: String,
    /// Class: the testament of a verse, the folder of a text, 0 where there is none.
    pub label: i32,
    /// Whether it follows the passage before it in the text.
    pub follows: bool,
}

/// A text in its three splits, each in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// To learn from.
    pub train: Vec<Passage>,
    /// To choose by.
    pub valid: Vec<Passage>,
    /// To measure by, once.
    pub test: Vec<Passage>,
    /// Name of each class.
    pub classes: Vec<String>,
    /// SHA-256 over what was read.
    pub digest: String,
}

impl Text {
    /// The repository's text, looked for as [`DataSet::open`](crate::DataSet::open) says, or the text at `path`.
    ///
    /// # Errors
    /// [`DataError::NotFound`]; [`DataError::Digest`]; [`DataError::Malformed`] for files that are no text, folders
    /// without any, texts and classes too short to be split, one class, more than 256.
    pub fn open(path: Option<&Path>, data_dir: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) => match class_folders(path)? {
                folders if folders.is_empty() => Self::parse(&read_any(path)?, path),
                folders => Self::labelled(path, &folders),
            },
            None => Self::kjv(&find(data_dir)?),
        }
    }

    fn kjv(path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        let digest = sha256_hex(&bytes);
        if digest != SHA256 {
            let (set, path, wanted) = (NAME.into(), path.into(), SHA256.into());
            return Err(DataError::Digest { set, path, found: digest, wanted });
        }
        let text = utf8(bytes, path)?;
        let (mut splits, mut last, mut label) = ([const { Vec::new() }; 3], "", 0);
        for line in text.lines() {
            let (reference, words) = line.split_once(' ').unwrap_or_default();
            let (chapter_on, _verse) = reference.split_once(':').unwrap_or_default();
            let book = chapter_on.trim_end_matches(|c: char| c.is_ascii_digit());
            label = if book == FIRST_NEW { 1 } else { label };
            let split = match book {
                book if VALIDATION_BOOKS.contains(&book) => 1,
                book if TEST_BOOKS.contains(&book) => 2,
                _ => 0,
            };
            splits[split].push(Passage { text: words.into(), label, follows: book == last });
            last = book;
        }
        Ok(Self::of(splits, TESTAMENTS.map(String::from).to_vec(), digest))
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let digest = sha256_hex(bytes);
        let text = utf8(bytes.to_vec(), path)?;
        let mut blocks = blocks(&text, 0);
        let count: usize = blocks.iter().map(|block| block.passages.len()).sum();
        // A block follows the one before it if both are in one split.
        let mut last = None;
        for block in &mut blocks {
            let split = split_of(block.place, OF_TEXT);
            if let Some(first) = block.passages.first_mut() {
                first.follows = last == Some(split);
            }
            last = Some(split);
        }
        let found = Self::of(share_out(blocks, OF_TEXT), vec!["text".into()], digest);
        if [&found.train, &found.valid, &found.test].iter().any(|split| split.is_empty()) {
            let found = format!("{} bytes in {count} different passages", bytes.len());
            let wanted = "lines or paragraphs enough to train, validate and test on, some hundreds";
            return Err(DataError::malformed(path, "text", found, wanted));
        }
        Ok(found)
    }

    /// A class for each folder.
    fn labelled(path: &Path, folders: &[(String, PathBuf)]) -> Result<Self> {
        let wrong =
            |found: String, wanted: &str| DataError::malformed(path, "classes of text", found, wanted);
        if !(2..=MOST_CLASSES).contains(&folders.len()) {
            return Err(wrong(
                format!("{} folders with .txt files", folders.len()),
                "2 to 256, a class each; or .txt files in the folder itself",
            ));
        }
        let (mut all, mut digests) = (Vec::new(), String::new());
        for (label, (name, folder)) in (0..).zip(folders) {
            let bytes = read_any(folder)?;
            digests += &format!("{}  {name}\n", sha256_hex(&bytes));
            all.extend(blocks(&utf8(bytes, folder)?, label));
        }
        // All classes mixed, whatever the order of their folders.
        all.sort_by_key(|block| block.place);
        let classes: Vec<String> = folders.iter().map(|(name, _)| name.clone()).collect();
        let found = Self::of(share_out(all, OF_CLASS), classes, sha256_hex(digests.as_bytes()));
        for (what, split) in [("learn from", &found.train), ("validate", &found.valid), ("test", &found.test)]
        {
            let is_there = |label: i32| split.iter().any(|passage| passage.label == label);
            if let Some((_, name)) = (0..).zip(&found.classes).find(|(label, _)| !is_there(*label)) {
                let found = format!("no passage of {name} to {what}");
                return Err(wrong(found, "some tens of lines or paragraphs of each class, different ones"));
            }
        }
        Ok(found)
    }

    /// Leaves out what an earlier split has word for word; what came after it follows nothing.
    fn of([train, valid, test]: [Vec<Passage>; 3], classes: Vec<String>, digest: String) -> Self {
        let mut seen: HashSet<String> = train.iter().map(|passage| passage.text.clone()).collect();
        let [valid, test] = [valid, test].map(|split| {
            let mut left_out = false;
            let mut kept: Vec<Passage> = Vec::with_capacity(split.len());
            for mut passage in split {
                if seen.contains(&passage.text) {
                    left_out = true;
                    continue;
                }
                passage.follows &= !std::mem::take(&mut left_out);
                kept.push(passage);
            }
            seen.extend(kept.iter().map(|passage| passage.text.clone()));
            kept
        });
        Self { train, valid, test, classes, digest }
    }
}

/// Neighbouring passages that go into one split, and where their contents put them.
struct Block {
    place: u64,
    passages: Vec<Passage>,
}

/// A text in blocks, in its order.
fn blocks(text: &str, label: i32) -> Vec<Block> {
    let text = text.replace("\r\n", "\n");
    let parts = text.split(FILE_END).flat_map(parts_of).map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.flat_map(pieces).collect();
    let block = (parts.len() / 100).clamp(1, BLOCK);
    let of = |block: &[&str]| {
        let place = block.iter().fold(Key::new(0).named("text"), |key, part| key.named(part)).seed();
        let passage = |(i, part): (usize, &&str)| Passage { text: (*part).into(), label, follows: i > 0 };
        Block { place, passages: block.iter().enumerate().map(passage).collect() }
    };
    parts.chunks(block).map(of).collect()
}

/// Shares blocks out to train, validation and test, so many of [`SHARE`] to the last two.
fn share_out(blocks: Vec<Block>, shares: [u64; 2]) -> [Vec<Passage>; 3] {
    let mut splits = [const { Vec::new() }; 3];
    for Block { place, passages } in blocks {
        splits[split_of(place, shares)].extend(passages);
    }
    splits
}

/// The split of a place.
fn split_of(place: u64, [valid, test]: [u64; 2]) -> usize {
    match place % SHARE {
        draw if draw < valid => 1,
        draw if draw < valid + test => 2,
        _ => 0,
    }
}

/// Folders with `.txt` files in a folder that has none itself, by their names.
fn class_folders(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    if !path.is_dir() || !text_files(path)?.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(DataError::io("read", path))? {
        let entry = entry.map_err(DataError::io("read", path))?;
        let (name, folder) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if !name.starts_with('.') && folder.is_dir() && !text_files(&folder)?.is_empty() {
            places::inside(&folder, path)?;
            found.push((name, folder));
        }
    }
    found.sort();
    Ok(found)
}

/// The `.txt` files of a folder in the order of their names.
///
/// # Errors
/// [`DataError::Malformed`] for a link that leads out of the folder: what it leads to was hardly meant to be learned by heart.
fn text_files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(DataError::io("read", path))? {
        let file = entry.map_err(DataError::io("read", path))?.path();
        let named = file.extension().is_some_and(|extension| extension == "txt");
        if named && file.is_file() {
            places::inside(&file, path)?;
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Where the repository's text is.
fn find(data_dir: Option<&Path>) -> Result<PathBuf> {
    let mut tried = Vec::new();
    for (what, place) in places::places(data_dir) {
        for dir in [place.join(NAME), place] {
            let path = dir.join(FILE);
            if path.is_file() {
                return Ok(path);
            }
            tried.push(format!("{} ({what}): lacks {FILE}", dir.display()));
        }
    }
    let advice = format!(
        "Fetch it with `mnist-cli data fetch {NAME}`, name the directory that holds it with `--data-dir DIR`, or a text \
         of your own with `--data PATH`."
    );
    Err(DataError::NotFound { name: NAME.into(), tried, advice })
}

/// A file, or the `.txt` files of a folder in the order of their names, [`FILE_END`] behind each.
fn read_any(path: &Path) -> Result<Vec<u8>> {
    if !path.is_dir() {
        return read(path);
    }
    let files = text_files(path)?;
    if files.is_empty() {
        let wanted = "one at least, or folders of such, a class each";
        return Err(DataError::malformed(path, "folder of texts", "no .txt file", wanted));
    }
    let mut all = Vec::new();
    for file in files {
        all.extend(utf8(read(&file)?, &file)?.into_bytes());
        all.extend(FILE_END.to_string().bytes());
        if all.len() as u64 > MOST_BYTES {
            return Err(DataError::malformed(path, "size", "more", format!("at most {MOST_BYTES} bytes")));
        }
    }
    Ok(all)
}

/// A file's bytes, unpacked where it is gzipped.
fn read(path: &Path) -> Result<Vec<u8>> {
    let file = fs::File::open(path).map_err(DataError::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        let unpack = MultiGzDecoder::new(&bytes[..]).take(MOST_BYTES + 1).read_to_end(&mut unpacked);
        unpack.map_err(DataError::io("unpack", path))?;
        bytes = unpacked;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(DataError::malformed(path, "size", "more", format!("at most {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

fn utf8(bytes: Vec<u8>, path: &Path) -> Result<String> {
    let wanted = "text in UTF-8";
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(DataError::malformed(path, "text", format!("a zero byte at {at}: binary"), wanted));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        DataError::malformed(path, "text", format!("bytes that are no UTF-8 at {at}"), wanted)
    })
}

/// A file's paragraphs; its lines where it has one paragraph.
fn parts_of(file: &str) -> Vec<&str> {
    let file = file.trim();
    if file.contains("\n\n") { file.split("\n\n").collect() } else { file.lines().collect() }
}

/// A passage in pieces of at most [`LONGEST`] bytes, cut between characters.
fn pieces(mut part: &str) -> Vec<&str> {
    let mut found = Vec::new();
    while part.len() > LONGEST {
        let (piece, rest) = part.split_at(part.floor_char_boundary(LONGEST));
        found.push(piece);
        part = rest;
    }
    found.push(part);
    found
}
