//! Where a data set is looked for.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::sources::{FILE_NAMES, Source};

/// Name of the environment variable that names a data directory.
pub const DATA_DIR_VARIABLE: &str = "MNIST_DATA_DIR";

/// The four files of a set, found.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    /// In the order of [`FILE_NAMES`].
    pub(crate) paths: [PathBuf; 4],
}

/// The directory that fetched data sets go to: `mnist-burn` in the user's cache directory.
///
/// # Errors
/// [`DataError::Invalid`] if the system tells no cache directory.
pub fn cache_dir() -> Result<PathBuf> {
    let cache = dirs::cache_dir();
    cache.map(|dir| dir.join("mnist-burn")).ok_or_else(|| {
        DataError::invalid(
            "the user's cache directory",
            "none",
            "one: set HOME, or name a directory yourself",
        )
    })
}

/// The command that puts good files of the set `name` where those in `dir` were found.
pub fn fetch_command(name: &str, dir: &Path) -> String {
    // `dir` is PLACE/<name>/ or PLACE itself; the former comes first.
    let place = if dir.ends_with(name) { dir.parent().unwrap_or(dir) } else { dir };
    format!("mnist-cli data fetch {name} --into {}", place.display())
}

/// Finds the files of the set `name`; see [`DataSet::open`](crate::DataSet::open) for the order.
pub(crate) fn find(name: &str, data_dir: Option<&Path>) -> Result<Files> {
    check_name(name)?;
    let mut tried = Vec::new();
    let places = places(data_dir);
    // A directory of the set's name anywhere comes before one that holds some set's files.
    let named = places.iter().map(|(what, place)| (what, place.join(name)));
    for (what, dir) in named.chain(places.iter().map(|(what, place)| (what, place.clone()))) {
        match files_in(&dir) {
            Ok(files) => return Ok(files),
            Err(lack) => tried.push(format!("{} ({what}): {lack}", dir.display())),
        }
    }
    Err(DataError::NotFound { name: name.to_owned(), tried, advice: advice(name, data_dir) })
}

/// A name is one part of a path: it must not lead elsewhere.
///
/// # Errors
/// [`DataError::Invalid`].
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(DataError::invalid(
            "name of a data set",
            format!("`{name}`"),
            "letters, digits, `-`, `_`, `.`",
        ));
    }
    Ok(())
}

/// Directories to look in, each with what it is.
pub(crate) fn places(data_dir: Option<&Path>) -> Vec<(&'static str, PathBuf)> {
    if let Some(dir) = data_dir {
        return vec![("the given data directory", dir.to_owned())];
    }
    let mut places = Vec::new();
    if let Some(dir) = env::var_os(DATA_DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
        places.push((DATA_DIR_VARIABLE, PathBuf::from(dir)));
    }
    // Cargo tells `cargo run` and `cargo test` where the crate is, whatever directory they run in.
    let starts = [
        env::current_dir().ok(),
        env::current_exe().ok(),
        env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
    ];
    for start in starts.iter().flatten() {
        let found = start.ancestors().map(|dir| dir.join("datasets")).find(|dir| dir.is_dir());
        places.extend(found.map(|dir| ("the repository", dir)));
    }
    places.extend(cache_dir().ok().map(|dir| ("the user's cache", dir)));
    // Where Debian's packages dataset-* put theirs.
    let system = PathBuf::from("/usr/share/datasets");
    places.extend(system.is_dir().then_some(("the system's data sets", system)));
    let mut seen = Vec::new();
    places.retain(|(_, dir)| {
        !seen.contains(dir) && {
            seen.push(dir.clone());
            true
        }
    });
    places
}

/// Refuses a link that leads out of a folder.
///
/// # Errors
/// [`DataError::Malformed`]; reading the folder.
pub(crate) fn inside(file: &Path, folder: &Path) -> Result<()> {
    let root = folder.canonicalize().map_err(DataError::io("read", folder))?;
    let out = file.canonicalize().is_ok_and(|real| !real.starts_with(&root));
    let wanted = "files of the folder itself: copy it there, or name the folder that it is in";
    if out {
        Err(DataError::malformed(file, "file", "a link that leads out of its folder", wanted))
    } else {
        Ok(())
    }
}

/// The set's files in `dir`, or what is missing.
pub(crate) fn files_in(dir: &Path) -> Result<Files, String> {
    if !dir.is_dir() {
        return Err("no such directory".to_owned());
    }
    let found = FILE_NAMES
        .map(|name| [dir.join(name), dir.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file()));
    match found {
        [Some(a), Some(b), Some(c), Some(d)] => Ok(Files { dir: dir.to_owned(), paths: [a, b, c, d] }),
        found => {
            let missing: Vec<&str> = FILE_NAMES
                .into_iter()
                .zip(&found)
                .filter(|(_, path)| path.is_none())
                .map(|(name, _)| name)
                .collect();
            Err(format!("lacks {} (or .gz)", missing.join(", ")))
        }
    }
}

fn advice(name: &str, data_dir: Option<&Path>) -> String {
    if let Err(unknown) = Source::find(name) {
        return format!(
            "It cannot be fetched: {unknown}. Name its directory with `--data-dir DIR` or {DATA_DIR_VARIABLE}."
        );
    }
    match data_dir {
        Some(dir) => format!(
            "Fetch it into the given directory with `mnist-cli data fetch {name} --into {}`, or leave the directory \
             out to have {DATA_DIR_VARIABLE}, the repository's datasets/ and the user's cache looked at.",
            dir.display()
        ),
        None => format!(
            "Fetch it with `mnist-cli data fetch {name}`, or name its directory with `--data-dir DIR` or {DATA_DIR_VARIABLE}."
        ),
    }
}
