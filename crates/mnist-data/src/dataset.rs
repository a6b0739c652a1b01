//! A data set on disk: where it is looked for, and how its files are read and checked.
//!
//! Opening a set reads nothing of its test files; [`DataSet::test`] is the only way to their
//! examples, and only evaluation calls it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::digest::sha256_hex;
use crate::error::{DataError, Result};
use crate::idx;
use crate::manifest::{FILES, FileNames, Manifest, Preparation};
use crate::places::{self, Files};
use crate::set::LabelledImages;
use crate::size::ImageSize;
use crate::sources::{FILE_NAMES, Source};

/// What the dimensions of a file of images have to be.
const WANTED_DIMENSIONS: &str = "[images, rows, columns], or [images, 3, rows, columns] of colour images";

/// How many images of which size are in a file of these dimensions.
fn images_of(dims: &[usize]) -> Option<(usize, ImageSize)> {
    match *dims {
        [count, rows, cols] => Some((count, [rows, cols].into())),
        [count, channels @ (1 | 3), rows, cols] => Some((count, [channels, rows, cols].into())),
        _ => None,
    }
}

/// A data set whose four files have been found.
///
/// ```no_run
/// let mnist = mnist_data::DataSet::open("mnist", None)?;
/// let train = mnist.train()?;
/// assert_eq!((train.len(), train.rows(), train.cols()), (60_000, 28, 28));
/// # Ok::<(), mnist_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct DataSet {
    name: String,
    files: Files,
    source: Option<&'static Source>,
    manifest: Option<Manifest>,
    classes: usize,
    train_digests: OnceLock<[String; 2]>,
}

/// What [`DataSet::verify`] says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck {
    /// The file.
    pub file: PathBuf,
    /// Bytes on disk, packed or not.
    pub bytes: u64,
    /// SHA-256 of the unpacked contents; `None` if they could not be read.
    pub sha256: Option<String>,
    /// SHA-256 that the published file has, or had when it was imported; `None` for a set of which neither is known.
    pub wanted: Option<String>,
    /// Why the file could not be read.
    pub problem: Option<String>,
}

impl FileCheck {
    /// Whether the file is whole, and the published one if its set is known.
    pub fn ok(&self) -> bool {
        self.problem.is_none() && (self.wanted.is_none() || self.sha256 == self.wanted)
    }
}

impl DataSet {
    /// Finds the set `name`: in `data_dir` if given, and there only; else in `MNIST_DATA_DIR`,
    /// the repository's `datasets/`, the user's cache, then `/usr/share/datasets`. `PLACE/<name>/` of all places comes
    /// before any `PLACE` itself; a file may be gzipped.
    ///
    /// A name that is not in [`SOURCES`](crate::sources::SOURCES) is any set in the same four files.
    ///
    /// # Errors
    /// [`DataError::NotFound`] lists the places that were tried and what each lacks.
    pub fn open(name: &str, data_dir: Option<&Path>) -> Result<Self> {
        let files = places::find(name, data_dir)?;
        let source = Source::find(name).ok();
        let manifest = if source.is_none() { Manifest::read(&files.dir)? } else { None };
        let classes = match (source, &manifest) {
            (Some(source), _) => source.class_names.len(),
            (None, Some(manifest)) => manifest.classes.len(),
            (None, None) => {
                tracing::warn!(set = name, dir = %files.dir.display(), "not a known data set: its contents are not checked against published digests");
                let labels = idx::read(&files.paths[1])?;
                labels.data.iter().max().map_or(1, |&label| usize::from(label) + 1)
            }
        };
        Ok(Self { name: name.to_owned(), files, source, manifest, classes, train_digests: OnceLock::new() })
    }

    /// The set's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of the four files.
    pub fn dir(&self) -> &Path {
        &self.files.dir
    }

    /// The four files, in the order of [`FILE_NAMES`].
    pub fn paths(&self) -> &[PathBuf; 4] {
        &self.files.paths
    }

    /// The set's entry in the table of known sets.
    pub fn source(&self) -> Option<&'static Source> {
        self.source
    }

    /// How a picture becomes an image as the set has them.
    pub fn preparation(&self) -> Preparation {
        let known = self.source.map(|source| source.preparation);
        known.or(self.manifest.as_ref().map(|manifest| manifest.preparation)).unwrap_or_default()
    }

    /// Where it was imported from, if it was.
    pub fn imported_from(&self) -> Option<&str> {
        self.manifest.as_ref().map(|manifest| manifest.source.as_str())
    }

    /// A name for each class: from the table, from its import, else its number.
    pub fn class_names(&self) -> Vec<String> {
        match (self.source, &self.manifest) {
            (Some(source), _) => source.class_names.iter().map(ToString::to_string).collect(),
            (None, Some(manifest)) => manifest.classes.clone(),
            (None, None) => (0..self.classes).map(|class| class.to_string()).collect(),
        }
    }

    /// The training files: what is learned from and what is validated on (MNIST: 60,000).
    ///
    /// # Errors
    /// [`DataError::Digest`] if the set is known and a file is not the published one, and all of
    /// [`idx::read`]'s.
    pub fn train(&self) -> Result<LabelledImages> {
        let (examples, digests) = self.read(0)?;
        self.train_digests.get_or_init(|| digests);
        Ok(examples)
    }

    /// The test files (MNIST: 10,000). For evaluation only.
    ///
    /// # Errors
    /// As [`DataSet::train`].
    pub fn test(&self) -> Result<LabelledImages> {
        self.read(2).map(|(examples, _)| examples)
    }

    /// The data's identity in a run's record: one SHA-256 over those of the training files,
    /// the same as `sha256sum train-images-idx3-ubyte train-labels-idx1-ubyte | sha256sum`.
    /// Costs nothing after [`DataSet::train`].
    ///
    /// # Errors
    /// As [`DataSet::train`].
    pub fn digest(&self) -> Result<String> {
        let digests = match self.train_digests.get() {
            Some(digests) => digests,
            None => {
                let (_, digests) = self.read(0)?;
                self.train_digests.get_or_init(|| digests)
            }
        };
        let listing: String =
            digests.iter().zip(FILE_NAMES).map(|(digest, name)| format!("{digest}  {name}\n")).collect();
        Ok(sha256_hex(listing.as_bytes()))
    }

    /// How many test images there are and of which size, by the header of their file: no image is read.
    ///
    /// # Errors
    /// Those of [`idx::read_dims`]; [`DataError::Malformed`] if these are not the dimensions of images.
    pub fn test_size(&self) -> Result<(usize, ImageSize)> {
        let path = &self.files.paths[2];
        let dims = idx::read_dims(path)?;
        images_of(&dims)
            .ok_or_else(|| DataError::malformed(path, "dimensions", format!("{dims:?}"), WANTED_DIMENSIONS))
    }

    /// Reads and digests all four files; a damaged one is a finding, not an error.
    ///
    /// # Errors
    /// [`DataError::Io`] if a file's size cannot be asked for.
    pub fn verify(&self) -> Result<Vec<FileCheck>> {
        let wanted = (0..FILE_NAMES.len()).map(|i| self.wanted(i));
        let checks = self.files.paths.iter().zip(wanted).map(|(path, wanted)| check(path, wanted));
        let mut checks = checks.collect::<Result<Vec<_>>>()?;
        if let Some(wanted) = self.manifest.as_ref().and_then(|manifest| manifest.files.clone()) {
            let file = self.files.dir.join(FILES);
            let read = std::fs::read(&file);
            checks.push(FileCheck {
                bytes: read.as_ref().map_or(0, |bytes| bytes.len() as u64),
                problem: read.as_ref().err().map(ToString::to_string),
                sha256: read.ok().map(|bytes| sha256_hex(&bytes)),
                wanted: Some(wanted),
                file,
            });
        }
        Ok(checks)
    }

    /// Images and labels from files number `first` and `first + 1`.
    fn read(&self, first: usize) -> Result<(LabelledImages, [String; 2])> {
        let paths = &self.files.paths;
        let (image_path, label_path) = (&paths[first], &paths[first + 1]);
        let (images, image_digest) = idx::read_with_digest(image_path)?;
        self.check_digest(first, &image_digest)?;
        let (labels, label_digest) = idx::read_with_digest(label_path)?;
        self.check_digest(first + 1, &label_digest)?;

        let Some((count, size)) = images_of(&images.dims) else {
            let found = format!("{:?}", images.dims);
            return Err(DataError::malformed(image_path, "dimensions", found, WANTED_DIMENSIONS));
        };
        if labels.dims != [count] {
            return Err(DataError::malformed(
                label_path,
                "dimensions",
                format!("{:?}", labels.dims),
                format!("[{count}], one label for each image"),
            ));
        }
        let mut examples =
            LabelledImages::of_size(size, self.classes, images.data, labels.data).map_err(|error| {
                DataError::malformed(label_path, "images and labels", error, "a set of labelled images")
            })?;
        if let Some(manifest) = &self.manifest {
            let FileNames { train, test } = FileNames::read(&self.files.dir, manifest.files.as_deref())?;
            let files = if first == 0 { train } else { test };
            if !files.is_empty() {
                examples = examples.from_files(files)?;
            }
        }
        Ok((examples, [image_digest, label_digest]))
    }

    /// Published digest of file number `i`, or that of its import.
    fn wanted(&self, i: usize) -> Option<&str> {
        match (self.source, &self.manifest) {
            (Some(source), _) => source.sha256.get(i).copied(),
            (None, manifest) => manifest.as_ref()?.sha256.get(i).map(String::as_str),
        }
    }

    fn check_digest(&self, i: usize, found: &str) -> Result<()> {
        match self.wanted(i) {
            Some(wanted) if wanted != found && self.source.is_none() => Err(DataError::malformed(
                &self.files.paths[i],
                "SHA-256",
                found,
                format!("{wanted}, as it was imported"),
            )),
            Some(wanted) if wanted != found => Err(DataError::Digest {
                set: self.name.clone(),
                path: self.files.paths[i].clone(),
                found: found.to_owned(),
                wanted: wanted.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

fn check(path: &Path, wanted: Option<&str>) -> Result<FileCheck> {
    let bytes = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
    let (sha256, problem) = match idx::read_with_digest(path) {
        Ok((_, digest)) => (Some(digest), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(FileCheck { file: path.to_owned(), bytes, sha256, wanted: wanted.map(str::to_owned), problem })
}
