//! `data import`: pictures of one's own as a data set.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};
use mnist_data::{
    DataSet, Preparation, Statistics,
    own::{Own, Wanted},
    places::{cache_dir, check_name},
    sources::Source,
    text,
};
use mnist_train::run::DataSettings;

use super::grouped;
use crate::args::{UsageError, named};

/// Files left out that are told one by one.
const TOLD: usize = 5;
/// Training images from which the usual number validates; of fewer a tenth.
const MANY: usize = 50_000;

/// `data import`.
#[derive(clap::Args, Debug)]
pub(crate) struct Import {
    /// A folder with a folder of PNG or JPEG files for each class (or such in `train` and `test`), a folder of four IDX
    /// files, or a .csv with a column `label` and one for each pixel
    from: PathBuf,
    /// Name of the data set
    #[arg(long, value_parser = set_name)]
    name: String,
    /// Height and width of the images in pixels [default: that of the pictures, if all have the same, else 28x28]
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<[usize; 2]>,
    /// 1 for grey images, 3 for colour [default: colour if there is a picture with colour]
    #[arg(long, value_name = "N", value_parser = channels)]
    channels: Option<usize>,
    /// Share of each class that tests, where the folder has no `test`
    #[arg(long, value_name = "SHARE", default_value_t = Wanted::default().test)]
    test: f64,
    /// How `predict` and `serve` prepare a picture: as MNIST's digits were (`digit`), or the middle of it as it is (`middle`)
    /// [default: digit for 28x28 grey images in IDX or .csv, else middle]
    #[arg(long, value_name = "digit|middle", value_parser = named::<Preparation>)]
    preparation: Option<Preparation>,
    /// Where to put the set's directory [default: --data-dir, else the user's cache]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// A name that a set of one's own can have.
fn set_name(name: &str) -> Result<String, String> {
    check_name(name).map_err(|error| error.to_string())?;
    if name == text::NAME || Source::find(name).is_ok() {
        return Err(format!("{name} is the name of a known data set; choose another"));
    }
    Ok(name.into())
}

fn channels(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("it is 1 (grey) or 3 (colour)".into()),
    }
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let parts = text.split_once(['x', 'X']).unwrap_or((text, text));
    match (parts.0.parse(), parts.1.parse()) {
        (Ok(height), Ok(width)) => Ok([height, width]),
        _ => Err("it has to be like 28x28".into()),
    }
}

impl Import {
    pub(super) fn run(&self, data_dir: Option<&Path>, out: &mut impl Write) -> Result<()> {
        let wanted = Wanted {
            size: self.size,
            channels: self.channels,
            test: self.test,
            preparation: self.preparation,
        };
        let own = Own::read(&self.from, wanted)?;
        let place = place(self.into.as_deref().or(data_dir))?;
        let dir = place.join(&self.name);
        own.write(&dir)?;
        tell(&own, out)?;
        writeln!(out, "in {}; use it with: --data {}", dir.display(), self.name)?;
        if self.into.is_some() {
            writeln!(out, "and --data-dir {}", place.display())?;
        }
        Ok(())
    }
}

fn place(named: Option<&Path>) -> Result<PathBuf> {
    Ok(named.map_or_else(cache_dir, |dir| Ok(dir.to_owned()))?)
}

/// What was read.
fn tell(own: &Own, out: &mut impl Write) -> Result<()> {
    let (train, test) = (&own.train, &own.test);
    let statistics = Statistics::of(train);
    writeln!(
        out,
        "{} images to train and validate on, {} to test, {}: mean {:.4}, standard deviation {:.4}",
        grouped(train.len()),
        grouped(test.len()),
        train.size(),
        statistics.mean,
        statistics.std
    )?;
    let count =
        |labels: &[u8], class: usize| labels.iter().filter(|label| usize::from(**label) == class).count();
    for (class, name) in own.classes.iter().enumerate() {
        let [trains, tests] = [train, test].map(|set| grouped(count(set.labels(), class)));
        writeln!(out, "  {class:>3}  {name}: {trains} and {tests}")?;
    }
    for reason in own.left_out.iter().take(TOLD) {
        writeln!(out, "  left out: {reason}")?;
    }
    if own.left_out.len() > TOLD {
        writeln!(out, "  left out: {} more", own.left_out.len() - TOLD)?;
    }
    Ok(())
}

/// The set that pictures at a path are kept as: read again each time, so that it is always what is there now.
///
/// # Errors
/// Those of [`Own::read`] and [`Own::write`].
pub(crate) fn kept(path: &Path, data_dir: Option<&Path>, quiet: bool) -> Result<String> {
    let own = Own::read(path, Wanted::default())?;
    let real = path.canonicalize()?;
    let stem = real.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let letters: String =
        stem.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    let digest = own.digest();
    let digest = digest.get(..8).ok_or_else(|| anyhow!("no digest"))?;
    let name = format!("own-{letters}-{digest}");
    let dir = place(data_dir)?.join(&name);
    if !dir.exists()
        && let Err(error) = own.write(&dir)
        // Another program may have been first.
        && !dir.exists()
    {
        return Err(error.into());
    }
    if !quiet {
        let mut told = Vec::new();
        tell(&own, &mut told)?;
        tell!("{}", String::from_utf8_lossy(&told).trim_end());
        tell!("kept as the data set {name} in {}", dir.display());
    }
    Ok(name)
}

/// Whether there are pictures at a path, and no text: neither in a folder nor in the folders in it.
///
/// # Errors
/// [`UsageError`] if it is not there.
pub(crate) fn are_pictures(path: &Path) -> Result<bool> {
    let read = |error: std::io::Error| UsageError(format!("cannot read {}: {error}", path.display()));
    let ends = |path: &Path, end: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(end));
    if std::fs::metadata(path).map_err(read)?.is_file() {
        return Ok(ends(path, "csv"));
    }
    let entries = |dir: &Path| {
        std::fs::read_dir(dir)
            .map(|found| found.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>())
    };
    let inside = entries(path).map_err(read)?;
    if inside.is_empty() {
        let message =
            format!("{} is an empty folder: no picture, no .txt file, no folder of such", path.display());
        return Err(UsageError(message).into());
    }
    // A class's folder, or one of `train`'s.
    let deeper = |dir: &PathBuf| entries(dir).unwrap_or_default();
    let below: Vec<PathBuf> = inside.iter().flat_map(deeper).collect();
    let picture = |entry: &PathBuf| ["png", "jpg", "jpeg"].iter().any(|end| ends(entry, end));
    let any = below.iter().any(picture) || below.iter().flat_map(deeper).any(|entry| picture(&entry));
    let any = any || inside.iter().any(|file| mnist_data::own::called_like_idx(file));
    Ok(any || !inside.iter().chain(&below).any(|entry| ends(entry, "txt")))
}

/// A setting for a set of few images: how many of them validate.
///
/// # Errors
/// Those of [`DataSet::open`].
pub(crate) fn validation(name: &str, data_dir: Option<&Path>) -> Result<Option<String>> {
    let set = DataSet::open(name, data_dir)?;
    let [_, labels, ..] = set.paths();
    let count = mnist_data::idx::read_dims(labels)?.first().copied().unwrap_or(0);
    Ok((count < MANY).then(|| format!("data.validation={}", validates(count))))
}

/// How many of so many training images validate where nothing else is said.
pub(super) fn validates(count: usize) -> usize {
    if count < MANY { (count / 10).max(1) } else { DataSettings::default().validation }
}
