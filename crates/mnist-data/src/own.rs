//! Pictures of one's own as a data set: a folder for each class, or a table with a row for each image, made into the four
//! files that [`DataSet`] reads, and a manifest beside them.
//!
//! A folder's parts `train` and `test` are taken as they are; where there are none, and of a table, each picture is on the
//! side that its own contents say (SHA-256): the same one whatever its file is called and whatever else is there, so that a
//! model that has learned from a folder is never tested on what it learned from when the folder has grown. Only where a
//! class would have none to learn from or to test, one is moved. A picture that is there twice counts once.

mod prepare;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use self::prepare::Picture;
pub use self::prepare::{prepared, prepared_from_bytes};
use crate::{
    dataset::DataSet,
    digest::sha256_hex,
    error::{DataError, Result},
    idx,
    manifest::{FILES, FileNames, MANIFEST, MOST_CLASSES, Manifest, Preparation},
    places, scan,
    set::LabelledImages,
    size::ImageSize,
    sources::{FILE_NAMES, Source},
};

/// Beside four IDX files: the names of their classes, one a line.
const NAMES: &str = "classes.txt";
/// Largest height and width of the images that are made.
const LARGEST: usize = 512;

/// Whether images may have this height and width.
fn fits(size: &[usize; 2]) -> bool {
    size.iter().all(|n| (scan::SMALLEST..=LARGEST).contains(n))
}

/// How pictures become images.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Height and width, pixels; none: that of the pictures if they all have the same, else 28 x 28.
    pub size: Option<[usize; 2]>,
    /// 1 for grey images, 3 for colour; none: colour if there is a picture with colour.
    pub channels: Option<usize>,
    /// Share of each class that tests, above 0 and below 1, where the folder has no `test`.
    pub test: f64,
    /// How pictures that are to be classified are prepared; none: as digits where the images are 28 x 28 and grey and come as
    /// numbers (IDX, .csv), else the middle of a picture as it is.
    pub preparation: Option<Preparation>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { size: None, channels: None, test: 0.15, preparation: None }
    }
}

/// A set of one's own, in memory.
#[derive(Clone, Debug)]
pub struct Own {
    /// Where it is from.
    pub source: String,
    /// Name of each class, in the order of their labels.
    pub classes: Vec<String>,
    /// What is learned from and validated on.
    pub train: LabelledImages,
    /// What tests.
    pub test: LabelledImages,
    /// How pictures became its images.
    pub preparation: Preparation,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// An example that was read.
struct Found {
    class: usize,
    /// Of the image.
    digest: String,
    /// Where its own contents put it, in 0-1: the first of these test.
    place: f64,
    /// `None`: to be chosen.
    tests: Option<bool>,
    pixels: Vec<u8>,
    from: String,
}

impl Own {
    /// Reads a folder of folders, a folder of four IDX files, or a table (`.csv`, a header line, one column `label`, the
    /// others pixels 0-255 row by row, of colour images channel by channel).
    ///
    /// Files that begin with a dot, are neither PNG nor JPEG, or are links that lead out of the folder are left out
    /// and told of in [`Own::left_out`].
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Malformed`] for a damaged picture or table; [`DataError::Invalid`] for what cannot be
    /// wanted; [`DataError::Pictures`] for the same picture in two classes or parts, fewer than two classes, a class with
    /// fewer than two pictures.
    pub fn read(path: &Path, wanted: Wanted) -> Result<Self> {
        if let Some([height, width]) = wanted.size.filter(|size| !fits(size)) {
            let wanted = format!("{0}x{0} to {LARGEST}x{LARGEST}", scan::SMALLEST);
            return Err(DataError::invalid("size of images", format!("{height}x{width}"), wanted));
        }
        if let Some(channels) = wanted.channels.filter(|channels| ![1, 3].contains(channels)) {
            return Err(DataError::invalid("channels", channels, "1 (grey) or 3 (colour)"));
        }
        if !(wanted.test > 0.0 && wanted.test < 1.0) {
            return Err(DataError::invalid("share that tests", wanted.test, "above 0 and below 1"));
        }
        let is_table = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        let found = match places::files_in(path) {
            _ if is_table => table::read(path, wanted),
            Ok(_) => files(path, wanted),
            Err(_) => folder(path, wanted),
        }?;
        let preparation = wanted.preparation.unwrap_or(found.preparation);
        if wanted.preparation == Some(Preparation::Digit) && found.train.size() != [scan::SIDE; 2].into() {
            let wanted = format!("{0}x{0} pixels, grey, as digits are", scan::SIDE);
            return Err(DataError::invalid("size of the images", found.train.size(), wanted));
        }
        Ok(Self { preparation, ..found })
    }

    /// Writes the four files and the manifest into `dir`, which is made and must not hold another set.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Invalid`] if there is a set in `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        if dir.exists() {
            return Err(DataError::invalid(
                "directory",
                dir.display(),
                "one that is not there yet: choose another name",
            ));
        }
        let parent = dir.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
        // Under another name until it is whole.
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = parent.join(format!(".{name}.{}", std::process::id()));
        fs::create_dir_all(&unfinished).map_err(DataError::io("create", &unfinished))?;
        let written = self.write_into(&unfinished);
        let renamed =
            written.and_then(|()| fs::rename(&unfinished, dir).map_err(DataError::io("rename", &unfinished)));
        if renamed.is_err() {
            fs::remove_dir_all(&unfinished).ok();
        }
        renamed
    }

    fn write_into(&self, dir: &Path) -> Result<()> {
        let parts = [&self.train, &self.test].into_iter().flat_map(|set| {
            let images: Vec<u8> = set.images().flatten().copied().collect();
            [idx(&dims(set), &images), idx(&[set.len()], set.labels())]
        });
        let parts: Vec<Vec<u8>> = parts.collect();
        let mut sha256: [String; 4] = Default::default();
        for ((name, bytes), digest) in FILE_NAMES.iter().zip(&parts).zip(&mut sha256) {
            *digest = sha256_hex(bytes);
            put(&dir.join(name), bytes)?;
        }
        let names =
            |set: &LabelledImages| (0..set.len()).filter_map(|i| set.file(i)).map(str::to_owned).collect();
        let files = FileNames { train: names(&self.train), test: names(&self.test) };
        let mut list = None;
        if !files.train.is_empty() || !files.test.is_empty() {
            let bytes = json(&files)?;
            put(&dir.join(FILES), &bytes)?;
            list = Some(sha256_hex(&bytes));
        }
        let manifest = Manifest {
            format: 1,
            source: self.source.clone(),
            classes: self.classes.clone(),
            preparation: self.preparation,
            sha256,
            files: list,
        };
        put(&dir.join(MANIFEST), &json(&manifest)?)
    }

    /// One SHA-256 over everything: examples, sizes, names of classes.
    pub fn digest(&self) -> String {
        let mut bytes = Vec::new();
        for set in [&self.train, &self.test] {
            bytes.extend(idx(&dims(set), &[]));
            set.images().for_each(|image| bytes.extend(image));
            bytes.extend(set.labels());
        }
        bytes.extend(self.classes.join("\n").bytes());
        bytes.extend(format!("{:?}", self.preparation).bytes());
        sha256_hex(&bytes)
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|e| DataError::invalid("description of the set", e, "JSON"))
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(DataError::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(DataError::io("write", path))
}

/// Dimensions of the file of a set's images.
fn dims(set: &LabelledImages) -> Vec<usize> {
    let size = set.size();
    if size.is_colour() {
        [&[set.len()], &size.dims()[..]].concat()
    } else {
        vec![set.len(), size.height, size.width]
    }
}

/// The bytes of an IDX file of bytes.
fn idx(dims: &[usize], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|&dim| u32::try_from(dim).unwrap_or(u32::MAX).to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// Where a picture is by what it is, in 0-1.
fn place_of(bytes: &[u8]) -> f64 {
    let first = sha256_hex(bytes).get(..13).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    first.unwrap_or(0) as f64 / (1u64 << 52) as f64
}

/// Entries of a directory that do not begin with a dot, by name.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(dir).map_err(DataError::io("read", dir))?;
    let mut found = read
        .map(|entry| Ok(entry.map_err(DataError::io("read", dir))?.path()))
        .collect::<Result<Vec<_>>>()?;
    found.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    found.sort();
    Ok(found)
}

/// Whether a file has a name as IDX files have.
pub fn called_like_idx(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("-ubyte"))
}

/// Folders with their names.
fn folders(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let named = |path: PathBuf| Some((path.file_name()?.to_string_lossy().into_owned(), path));
    Ok(entries(dir)?.into_iter().filter(|path| path.is_dir()).filter_map(named).collect())
}

fn folder(path: &Path, wanted: Wanted) -> Result<Own> {
    let root = path.canonicalize().map_err(DataError::io("read", path))?;
    let parts = folders(&root)?;
    let part = |name: &str| parts.iter().find(|(found, _)| found == name).map(|(_, path)| path.clone());
    let sides = match (part("train"), part("test")) {
        (Some(train), Some(test)) => vec![(Some(false), folders(&train)?), (Some(true), folders(&test)?)],
        _ => vec![(None, parts)],
    };
    let names: BTreeSet<&str> =
        sides.iter().flat_map(|(_, folders)| folders.iter().map(|(name, _)| name.as_str())).collect();
    if names.is_empty() && entries(&root)?.iter().any(|path| called_like_idx(path)) {
        return Err(DataError::Pictures {
            path: path.to_owned(),
            found: "files that look like IDX, under other names".into(),
            wanted: format!("{}, each as it is or as .gz", FILE_NAMES.join(", ")),
        });
    }
    let classes: BTreeMap<&str, usize> = names.into_iter().zip(0..).collect();
    let mut left_out = Vec::new();
    let mut pictures = Vec::new();
    for (tests, folders) in &sides {
        for (name, folder) in folders {
            for file in entries(folder)? {
                let class = classes.get(name.as_str()).copied().unwrap_or(0);
                match outside(&file, &root) {
                    Some(reason) => left_out.push(format!("{}: {reason}", file.display())),
                    None => pictures.push((class, *tests, file)),
                }
            }
        }
    }
    let mut size = wanted.size;
    if size.is_none() {
        // By their headers alone.
        let size_of = |file: &PathBuf| scan::unpanicked(|| image::image_dimensions(file).ok()).flatten();
        let mut sizes = pictures.iter().filter_map(|(_, _, file)| size_of(file));
        let same = sizes.next().filter(|first| sizes.all(|other| other == *first));
        size = same.map(|(width, height)| [height as usize, width as usize]);
    }
    let size = size.filter(fits).unwrap_or([scan::SIDE; 2]);
    let mut any_colour = wanted.channels == Some(3);
    let (mut found, mut coloured) = (Vec::new(), Vec::new());
    for (class, tests, file) in pictures {
        let wrong = |error| DataError::malformed(&file, "picture", error, "a whole PNG or JPEG");
        let picture = match Picture::open(&file) {
            Ok(picture) => picture,
            Err(error @ scan::ScanError::Format { .. }) => {
                left_out.push(error.to_string());
                continue;
            }
            Err(error) => return Err(wrong(error)),
        };
        // Of the grey picture, not of the image: at any size, in colour or not, it is on the same side.
        let place = place_of(&picture.grey());
        let pixels = picture.image(size.into()).map_err(wrong)?;
        let mut in_colour = None;
        if wanted.channels != Some(1) && picture.may_have_colour() {
            any_colour = any_colour || picture.has_colour();
            in_colour = Some(picture.image([3, size[0], size[1]].into()).map_err(wrong)?);
        }
        coloured.push(in_colour);
        // As one finds it in the folder.
        let from = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        found.push(Found { class, digest: String::new(), place, tests, pixels, from });
    }
    for (example, in_colour) in found.iter_mut().zip(coloured) {
        if any_colour {
            example.pixels = in_colour.unwrap_or_else(|| example.pixels.repeat(3));
        }
        example.digest = sha256_hex(&example.pixels);
    }
    let size = ImageSize { channels: if any_colour { 3 } else { 1 }, ..size.into() };
    let classes = classes.into_keys().map(str::to_owned).collect();
    collected(path, classes, size, found, wanted, left_out, Preparation::Middle)
}

/// Four files that are there already.
fn files(path: &Path, wanted: Wanted) -> Result<Own> {
    // A known set is checked against what was published, if the folder is called like it.
    let name =
        path.file_name().and_then(|name| Source::find(name.to_str()?).ok()).map_or("imported", |s| s.name);
    for entry in fs::read_dir(path).map_err(DataError::io("read", path))? {
        places::inside(&entry.map_err(DataError::io("read", path))?.path(), path)?;
    }
    let set = DataSet::open(name, Some(path))?;
    let (train, test) = (set.train()?, set.test()?);
    let size = train.size();
    let other = wanted.size.is_some_and(|wanted| wanted != size.sides())
        || wanted.channels.is_some_and(|wanted| wanted != size.channels);
    if size != test.size() || other {
        let found = format!("images of {size} and of {}", test.size());
        let want = if other { "what is asked for: they are taken as they are" } else { "the same in both" };
        return Err(DataError::malformed(path, "size", found, want));
    }
    let digits = size == [scan::SIDE; 2].into() && set.imported_from().is_none();
    let preparation = match set.source() {
        None if digits => Preparation::Digit,
        None if set.imported_from().is_none() => Preparation::Middle,
        _ => set.preparation(),
    };
    let source = path.display().to_string();
    let mut classes = set.class_names();
    if set.source().is_none() && set.imported_from().is_none() {
        classes = names_beside(path, classes)?;
    }
    Ok(Own { source, classes, train, test, preparation, left_out: Vec::new() })
}

/// Names of the classes of four files, one a line, if there is a file of such; else their numbers.
fn names_beside(dir: &Path, numbers: Vec<String>) -> Result<Vec<String>> {
    let file = dir.join(NAMES);
    if !file.exists() {
        return Ok(numbers);
    }
    let wrong = |what, found: String, wanted: String| Err(DataError::malformed(&file, what, found, wanted));
    let bytes = idx::read_file(&file)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return wrong("names of classes", "bytes that are not UTF-8".into(), "a name in each line".into());
    };
    let text = text.trim_start_matches('\u{feff}').trim_end(); // a mark of the byte order, as editors write it
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    visible(dir, &names)?;
    if names.len() < numbers.len() || names.len() > MOST_CLASSES {
        let wanted = format!("{} or more, at most {MOST_CLASSES}: one for each label", numbers.len());
        return wrong("names of classes", format!("{} lines", names.len()), wanted);
    }
    let twice = names.iter().enumerate().find(|(i, name)| name.is_empty() || names[..*i].contains(name));
    match twice {
        Some((i, name)) => {
            wrong("names of classes", format!("{name:?} in line {}", i + 1), "a name of its own".into())
        }
        None => Ok(names),
    }
}

/// Refuses names of classes that would garble a terminal or a table.
fn visible(path: &Path, names: &[String]) -> Result<()> {
    match names.iter().find(|name| name.contains(char::is_control)) {
        None => Ok(()),
        Some(name) => Err(DataError::Pictures {
            path: path.to_owned(),
            found: format!("a class called {name:?}"),
            wanted: "a name without line breaks and control characters".into(),
        }),
    }
}

/// Why a file of a folder is not taken.
fn outside(file: &Path, root: &Path) -> Option<&'static str> {
    match file.canonicalize() {
        Err(_) => Some("it cannot be reached"),
        Ok(real) if !real.starts_with(root) => Some("a link that leads out of the folder"),
        Ok(real) if !real.is_file() => Some("no file"),
        Ok(_) => None,
    }
}

/// A set of what was found.
fn collected(
    path: &Path,
    classes: Vec<String>,
    size: ImageSize,
    found: Vec<Found>,
    wanted: Wanted,
    mut left_out: Vec<String>,
    preparation: Preparation,
) -> Result<Own> {
    let wrong = |found: String, wanted: &str| DataError::Pictures {
        path: path.to_owned(),
        found,
        wanted: wanted.into(),
    };
    visible(path, &classes)?;
    if !(2..=MOST_CLASSES).contains(&classes.len()) {
        let found = match &classes[..] {
            [] => "no class".into(),
            [one] => format!("one class ({one})"),
            many => format!("{} classes", many.len()),
        };
        return Err(wrong(
            found,
            "2 to 256: a folder of PNG or JPEG files for each, or a table with a column `label`",
        ));
    }
    // Each contents once; by them in each class, so that the order does not depend on names.
    let mut known: BTreeMap<String, (usize, Option<bool>, String)> = BTreeMap::new();
    let mut members: Vec<Vec<Found>> = classes.iter().map(|_| Vec::new()).collect();
    for example in found {
        let same = known.get(&example.digest);
        if let Some((class, tests, from)) = same {
            if *class != example.class {
                return Err(wrong(
                    format!(
                        "the same picture as {} ({from}) and {} ({})",
                        classes[*class], classes[example.class], example.from
                    ),
                    "each picture in one class",
                ));
            }
            if *tests != example.tests {
                return Err(wrong(
                    format!("the same picture in train and test: {from}, {}", example.from),
                    "none",
                ));
            }
            left_out.push(format!("{}: the same picture as {from}", example.from));
            continue;
        }
        known.insert(example.digest.clone(), (example.class, example.tests, example.from.clone()));
        members[example.class].push(example);
    }
    let mut sides = [const { Vec::new() }; 2];
    for (class, mut examples) in members.into_iter().enumerate() {
        examples.sort_by(|a, b| a.place.total_cmp(&b.place).then(a.digest.cmp(&b.digest)));
        let count = examples.len();
        let by_place = examples.iter().filter(|e| e.place < wanted.test).count();
        let first = by_place.clamp(1, count.saturating_sub(1).max(1));
        let tests: Vec<bool> =
            examples.iter().enumerate().map(|(i, e)| e.tests.unwrap_or(i < first)).collect();
        for side in [false, true] {
            if !tests.contains(&side) {
                let name = &classes[class];
                let which = if side { "test" } else { "train" };
                return Err(wrong(
                    format!("no picture of class {name} to {which} on, of {count}"),
                    "one at least",
                ));
            }
        }
        for (example, tests) in examples.into_iter().zip(tests) {
            sides[usize::from(tests)].push(example);
        }
    }
    let [train, test] = sides.map(|mut examples: Vec<Found>| {
        // All classes mixed, in an order that is one of contents too.
        examples.sort_by(|a, b| a.digest.cmp(&b.digest));
        let (mut pixels, mut labels, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for example in examples {
            pixels.extend(example.pixels);
            labels.push(example.class as u8);
            files.push(example.from);
        }
        LabelledImages::of_size(size, classes.len(), pixels, labels)?.from_files(files)
    });
    Ok(Own { source: path.display().to_string(), classes, train: train?, test: test?, preparation, left_out })
}
