//! A table with a row for each image, as Kaggle has MNIST: `label,pixel0,pixel1,...`, ink high; of colour images all of
//! red, then green, then blue.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{Found, Own, Wanted, collected, place_of};
use crate::{
    digest::sha256_hex,
    error::{DataError, Result},
    manifest::Preparation,
    scan,
    size::ImageSize,
};

/// Most bytes of a line.
const MOST_LINE: u64 = 1 << 20;

/// Characters of a first line that are shown.
const SHOWN: usize = 40;

/// Reads it.
pub(super) fn read(path: &Path, wanted: Wanted) -> Result<Own> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let mut lines = BufReader::new(file);
    let mut next = |number: usize| -> Result<Option<String>> {
        let mut line = String::new();
        let read =
            lines.by_ref().take(MOST_LINE).read_line(&mut line).map_err(DataError::io("read", path))?;
        if read as u64 == MOST_LINE {
            let what = format!("line {number} of more than {MOST_LINE} bytes");
            return Err(DataError::malformed(path, "table", what, "a number for each pixel"));
        }
        Ok((read > 0).then(|| line.trim().to_owned()))
    };
    let wrong = |what: String, want: &str| DataError::malformed(path, "table", what, want);
    let header = next(1)?.unwrap_or_default();
    let header = header.trim_start_matches('\u{feff}'); // a mark of the byte order, as spreadsheets write it
    let columns: Vec<&str> = header.split(',').map(|name| name.trim().trim_matches('"')).collect();
    let Some(label) = columns.iter().position(|name| name.eq_ignore_ascii_case("label")) else {
        let begins: String = header.chars().take(SHOWN).collect();
        let found = format!("no column `label` in the first line, `{begins}`");
        return Err(wrong(found, "label,pixel0,pixel1,... with commas between"));
    };
    let values = columns.len() - 1;
    let channels = wanted.channels.unwrap_or(1);
    let area = if values.is_multiple_of(channels) { values / channels } else { 0 };
    let size = match wanted.size {
        Some(size) if size[0] * size[1] == area => size,
        Some([height, width]) => {
            return Err(wrong(
                format!("{values} numbers in a row"),
                &format!("{channels} x {height} x {width}"),
            ));
        }
        None if area > 0 && area.isqrt().pow(2) == area => [area.isqrt(); 2],
        None => {
            let want = format!("{channels} times a square number, or --size");
            return Err(wrong(format!("{values} numbers in a row"), &want));
        }
    };
    let mut rows: Vec<(String, Vec<u8>, usize)> = Vec::new();
    let mut number = 1;
    while let Some(line) = next(number + 1)? {
        number += 1;
        if line.is_empty() {
            continue;
        }
        let mut name = None;
        let mut pixels = Vec::with_capacity(values);
        for (column, value) in line.split(',').enumerate() {
            let value = value.trim().trim_matches('"');
            if column == label {
                name = Some(value.to_owned());
            } else {
                let pixel = value.parse::<u8>();
                let wanted = format!("a number from 0 to 255 in column {}", column + 1);
                pixels.push(pixel.map_err(|_| wrong(format!("{value:?} in line {number}"), &wanted))?);
            }
        }
        let Some(name) = name.filter(|name| !name.is_empty() && pixels.len() == values) else {
            return Err(wrong(
                format!("{} pixels and a label in line {number}", pixels.len()),
                &format!("{values} and one"),
            ));
        };
        rows.push((name, pixels, number));
    }
    let mut names: Vec<&String> = rows.iter().map(|(name, ..)| name).collect();
    // Numbers in their order, then words in theirs.
    names.sort_by_key(|name| (name.parse::<u64>().map_or(u64::MAX, |n| n), name.as_str().to_owned()));
    names.dedup();
    let classes: Vec<String> = names.into_iter().cloned().collect();
    let place: BTreeMap<&str, usize> = classes.iter().map(String::as_str).zip(0..).collect();
    let found = rows.iter().map(|(name, pixels, number)| Found {
        class: place.get(name.as_str()).copied().unwrap_or(0),
        digest: sha256_hex(pixels),
        place: place_of(pixels),
        tests: None,
        pixels: pixels.clone(),
        from: format!("line {number}"),
    });
    let found = found.collect();
    let size = ImageSize { channels, ..size.into() };
    let preparation = if size == [scan::SIDE; 2].into() { Preparation::Digit } else { Preparation::Middle };
    collected(path, classes.clone(), size, found, wanted, Vec::new(), preparation)
}
