//! One error type for the whole crate.
//!
//! Every variant says where (the file or the setting), what was found, what was wanted and
//! what to do next, so that a caller may print it as it stands.

use std::io;
use std::path::{Path, PathBuf};

use crate::places::fetch_command;

/// `Result` with [`DataError`].
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// Why data could not be found, read, checked, fetched or prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: "read", "create", ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's own reason.
        source: io::Error,
    },

    /// A file's content is not what its format or its companions demand.
    #[error(
        "{}: {what}: found {found}, wanted {wanted}{}",
        path.display(),
        remedy(what)
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The part of the format that is wrong.
        what: &'static str,
        /// What the file has there.
        found: String,
        /// What belongs there.
        wanted: String,
    },

    /// Pictures of one's own that make no data set.
    #[error("{}: found {found}, wanted {wanted}; change that and import it again", path.display())]
    Pictures {
        /// The folder or table.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What belongs there.
        wanted: String,
    },

    /// A known data set's file has other contents than the published ones.
    #[error(
        "{}: SHA-256 of the unpacked contents: found {found}, wanted {wanted}; this is not the published `{set}`: \
         fetch it again with `{}`, or, if it is a data set of your own, give it another name",
        path.display(),
        fetch_command(set, path.parent().unwrap_or(path))
    )]
    Digest {
        /// The data set's name in the table of sources.
        set: String,
        /// The file.
        path: PathBuf,
        /// SHA-256 of what is there, hexadecimal.
        found: String,
        /// SHA-256 of the published contents, hexadecimal.
        wanted: String,
    },

    /// The data set is in none of the places where it is looked for.
    #[error("data set `{name}` not found; looked in:{}\n{advice}", lines(tried))]
    NotFound {
        /// The data set's name.
        name: String,
        /// Each place that was tried, with what it lacks.
        tried: Vec<String>,
        /// What to do about it.
        advice: String,
    },

    /// A name that is no name of a known data set.
    #[error("no data set `{name}` is known; known are: {known}")]
    UnknownSet {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },

    /// No mirror gave the file.
    #[error(
        "cannot fetch {file} of `{set}`; tried:{}\nIf this machine has no network, \
             copy the files by hand and name their directory: `mnist-cli data fetch {set} --from DIR`",
        lines(attempts)
    )]
    Fetch {
        /// The data set's name.
        set: String,
        /// The file that is missing.
        file: String,
        /// Each mirror with the reason why it did not do.
        attempts: Vec<String>,
    },

    /// A setting or argument out of its range.
    #[error("{what}: found {found}, wanted {wanted}")]
    Invalid {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// The values it may have.
        wanted: String,
    },
}

impl DataError {
    /// Wraps an I/O error: `map_err(DataError::io("read", path))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn malformed(
        path: &Path,
        what: &'static str,
        found: impl ToString,
        wanted: impl ToString,
    ) -> Self {
        Self::Malformed { path: path.to_owned(), what, found: found.to_string(), wanted: wanted.to_string() }
    }

    pub(crate) fn invalid(what: &'static str, found: impl ToString, wanted: impl ToString) -> Self {
        Self::Invalid { what, found: found.to_string(), wanted: wanted.to_string() }
    }
}

/// What to do about a malformed file: those of formats that no one writes by hand.
fn remedy(what: &str) -> &'static str {
    if what.starts_with("IDX") || what.starts_with("gzip") {
        "; the file is damaged or of another kind: put a good copy in its place"
    } else {
        ""
    }
}

/// One indented line for each item.
fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}
