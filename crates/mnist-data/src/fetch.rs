//! Fetching a known data set from its mirrors, or from a directory.
//!
//! A file takes its place only when its SHA-256 is right: it grows as `*.part`, is checked,
//! flushed to disk and renamed. A cut connection is taken up where it ended, by this process
//! or the next one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::digest::sha256_hex;
use crate::download::{Downloader, Failure};
use crate::error::{DataError, Result};
use crate::idx;
use crate::places::check_name;
use crate::sources::{FILE_NAMES, Source};

/// What [`fetch`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The file is there already, and right.
    Kept {
        /// Name of the file, unpacked.
        file: &'a str,
    },
    /// Bytes are coming in.
    Receiving {
        /// Name of the file, unpacked.
        file: &'a str,
        /// URL they come from.
        from: &'a str,
        /// Bytes so far, with those of an earlier attempt.
        bytes: u64,
        /// Bytes of the whole file, if the server tells.
        total: Option<u64>,
    },
    /// One place would not do; the next one is tried.
    Failed {
        /// Name of the file, unpacked.
        file: &'a str,
        /// The directory or URL.
        from: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// The file is in its place.
    Done {
        /// Name of the file, unpacked.
        file: &'a str,
        /// The directory or URL that had it.
        from: &'a str,
    },
}

/// Gets the four files of `source` into `into/<name>/` and returns that directory.
///
/// - `from`: a directory, a `file://` or an `http(s)://` URL of one, instead of the mirrors
/// - `progress` is called often
///
/// Files that are there already and right are kept, so it may be called again at any time.
///
/// # Errors
/// [`DataError::Fetch`] lists each place with its reason if a file cannot be had;
/// [`DataError::Io`] if this machine cannot store it.
///
/// ```no_run
/// use mnist_data::{fetch, places, sources::Source};
///
/// let source = Source::find("fashion-mnist")?;
/// let dir = fetch::fetch(source, &places::cache_dir()?, None, &mut |event| eprintln!("{event:?}"))?;
/// assert!(dir.ends_with("fashion-mnist"));
/// # Ok::<(), mnist_data::DataError>(())
/// ```
pub fn fetch(
    source: &Source,
    into: &Path,
    from: Option<&str>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<PathBuf> {
    check_name(source.name)?;
    let dir = into.join(source.name);
    fs::create_dir_all(&dir).map_err(DataError::io("create", &dir))?;
    let downloader = Downloader::new();
    for (file, sha256) in FILE_NAMES.into_iter().zip(source.sha256) {
        if is_right(&dir.join(file), sha256) || is_right(&packed(&dir, file), sha256) {
            progress(&Progress::Kept { file });
            continue;
        }
        let wanted = Wanted { set: source.name, file, sha256, dir: &dir };
        match from {
            Some(place) => wanted.fetch(&downloader, &[place], progress)?,
            None => wanted.fetch(&downloader, source.mirrors, progress)?,
        }
    }
    Ok(dir)
}

/// A file to get.
struct Wanted<'a> {
    set: &'a str,
    /// Name, unpacked.
    file: &'a str,
    /// Of the unpacked contents.
    sha256: &'a str,
    dir: &'a Path,
}

impl Wanted<'_> {
    /// Tries each place in turn.
    fn fetch(
        &self,
        downloader: &Downloader,
        places: &[&str],
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<()> {
        let mut attempts = Vec::new();
        for &from in places {
            let attempt = match local(from) {
                Some(dir) => self.copy(dir),
                None => self.download(downloader, from, progress),
            };
            match attempt {
                Ok(()) => {
                    progress(&Progress::Done { file: self.file, from });
                    return Ok(());
                }
                Err(Failure::Local(error)) => return Err(error),
                Err(Failure::Mirror(reason)) => {
                    progress(&Progress::Failed { file: self.file, from, reason: &reason });
                    attempts.push(format!("{from}: {reason}"));
                }
            }
        }
        Err(DataError::Fetch { set: self.set.to_owned(), file: self.file.to_owned(), attempts })
    }

    /// Copies the file out of a directory, or out of the set's directory inside it.
    fn copy(&self, place: &Path) -> Result<(), Failure> {
        let dirs = [place.join(self.set), place.to_owned()];
        let candidates = dirs.iter().flat_map(|dir| [packed(dir, self.file), dir.join(self.file)]);
        let Some(path) = candidates.into_iter().find(|path| path.is_file()) else {
            return Err(Failure::Mirror(format!("holds neither {0}.gz nor {0}", self.file)));
        };
        let bytes = idx::read_file(&path).map_err(|error| Failure::Mirror(error.to_string()))?;
        self.check(bytes.clone(), &path)?;
        let part = self.dir.join(format!("{}.part", self.file));
        write(&part, &bytes).map_err(Failure::Local)?;
        self.put_in_place(&part)
    }

    /// Downloads the file; what is wrong is thrown away and, if it had been begun by an earlier
    /// process, tried once more from its beginning.
    fn download(
        &self,
        downloader: &Downloader,
        base: &str,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), Failure> {
        let url = format!("{}/{}.gz", base.trim_end_matches('/'), self.file);
        // Mirrors pack differently: a part belongs to one URL.
        let tag: String = sha256_hex(url.as_bytes()).chars().take(8).collect();
        let part = self.dir.join(format!("{}.{tag}.part", self.file));
        loop {
            let resumed = part.exists();
            let mut report = |bytes, total| {
                progress(&Progress::Receiving { file: self.file, from: &url, bytes, total });
            };
            if let Err(failure) = downloader.get(&url, &part, &mut report) {
                if fs::metadata(&part).is_ok_and(|part| part.len() == 0) {
                    let _ = fs::remove_file(&part); // nothing to go on from; if it stays, no harm
                }
                return Err(failure);
            }
            let bytes = idx::read_file(&part).map_err(Failure::Local)?;
            match self.check(bytes, Path::new(&url)) {
                Ok(()) => return self.put_in_place(&part),
                Err(failure) => {
                    fs::remove_file(&part).map_err(DataError::io("remove", &part)).map_err(Failure::Local)?;
                    if !resumed {
                        return Err(failure);
                    }
                }
            }
        }
    }

    fn check(&self, bytes: Vec<u8>, name: &Path) -> Result<(), Failure> {
        let content = idx::unpack(bytes, name).map_err(|error| Failure::Mirror(error.to_string()))?;
        let found = sha256_hex(&content);
        if found == self.sha256 {
            return Ok(());
        }
        Err(Failure::Mirror(format!("wrong contents: SHA-256 found {found}, wanted {}", self.sha256)))
    }

    fn put_in_place(&self, part: &Path) -> Result<(), Failure> {
        let target = packed(self.dir, self.file);
        let unpacked = self.dir.join(self.file);
        if unpacked.exists() {
            // A wrong file under the name that is looked for first.
            let aside = self.dir.join(format!("{}.wrong", self.file));
            tracing::warn!(file = %unpacked.display(), "not the published file: moved aside");
            fs::rename(&unpacked, &aside)
                .map_err(DataError::io("rename", &unpacked))
                .map_err(Failure::Local)?;
        }
        let flushed = File::open(part).and_then(|file| file.sync_all());
        let renamed = flushed.and_then(|()| fs::rename(part, &target));
        renamed
            .and_then(|()| sync_dir(self.dir))
            .map_err(DataError::io("store", &target))
            .map_err(Failure::Local)
    }
}

/// The directory that `from` names, unless it is a URL of a server.
fn local(from: &str) -> Option<&Path> {
    match from.strip_prefix("file://") {
        Some(path) => Some(Path::new(path)),
        None => (!from.contains("://")).then_some(Path::new(from)),
    }
}

fn packed(dir: &Path, file: &str) -> PathBuf {
    dir.join(format!("{file}.gz"))
}

fn is_right(path: &Path, sha256: &str) -> bool {
    idx::read_with_digest(path).is_ok_and(|(_, digest)| digest == sha256)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    File::create(path).and_then(|mut file| file.write_all(bytes)).map_err(DataError::io("write", path))
}

/// Makes a rename durable.
#[cfg(unix)]
fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> std::io::Result<()> {
    Ok(())
}
