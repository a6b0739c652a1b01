//! What stands beside the four files of a set that was imported: its classes, how pictures became its images, digests.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    digest::sha256_hex,
    error::{DataError, Result},
};

/// Name of the manifest beside the four files.
pub(crate) const MANIFEST: &str = "set.json";
/// Name of the list of files that the images of such a set are from.
pub(crate) const FILES: &str = "files.json";
/// Most classes: a label is one byte.
pub(crate) const MOST_CLASSES: usize = 256;

/// How a picture that is to be classified becomes an image of a set's size.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Preparation {
    /// As MNIST's digits were: the ink scaled and put into the middle (module `scan`).
    #[default]
    Digit,
    /// The middle of it, scaled, as it is (module `own`).
    Middle,
}

/// Where the images of an imported set are from, in their order.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileNames {
    pub(crate) train: Vec<String>,
    pub(crate) test: Vec<String>,
}

impl FileNames {
    /// Those of the set in `dir`, whose list has the digest `sha256` if one is known; none where there is no list.
    pub(crate) fn read(dir: &Path, sha256: Option<&str>) -> Result<Self> {
        let path = dir.join(FILES);
        if sha256.is_none() && !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).map_err(DataError::io("read", &path))?;
        let found = sha256_hex(text.as_bytes());
        if let Some(wanted) = sha256.filter(|wanted| *wanted != found) {
            return Err(DataError::malformed(
                &path,
                "SHA-256",
                found,
                format!("{wanted}, as it was imported"),
            ));
        }
        serde_json::from_str(&text)
            .map_err(|e| DataError::malformed(&path, "list of files", e, "one that `data import` wrote"))
    }
}

/// What stands beside the four files of a set that was imported.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this description.
    pub format: u32,
    /// Where it was imported from.
    pub source: String,
    /// Name of each class.
    pub classes: Vec<String>,
    /// How pictures became its images.
    pub preparation: Preparation,
    /// SHA-256 of the four files, hexadecimal, in the order of [`FILE_NAMES`](crate::sources::FILE_NAMES).
    pub sha256: [String; 4],
    /// SHA-256 of the list of the files that the images are from, where there is such a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
}

impl Manifest {
    /// That of the set in `dir`, if it has one.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Malformed`] for one that cannot be understood.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(MANIFEST);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(DataError::io("read", &path))?;
        let wrong =
            |what: &str| DataError::malformed(&path, "manifest", what, "one that `data import` wrote");
        let found: Self = serde_json::from_str(&text).map_err(|e| wrong(&e.to_string()))?;
        if found.format != 1 {
            return Err(wrong(&format!("format {}", found.format)));
        }
        if !(1..=MOST_CLASSES).contains(&found.classes.len()) {
            return Err(wrong(&format!("{} classes", found.classes.len())));
        }
        Ok(Some(found))
    }
}
