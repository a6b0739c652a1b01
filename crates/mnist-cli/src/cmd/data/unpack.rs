//! `data unpack`: the images of a set as PNG files in a folder for each class, as `data import` takes them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use mnist_data::LabelledImages;
use mnist_train::grid;

use super::{WhichSet, grouped};
use crate::{
    args::plain,
    cmd::{train::quoted, unoccupied},
};

/// `data unpack`.
#[derive(clap::Args, Debug)]
pub(crate) struct Unpack {
    #[command(flatten)]
    set: WhichSet,
    /// Directory to make, with `train` and `test` in it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only the first N images of each of the two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    first: Option<u32>,
}

impl Unpack {
    pub(super) fn run(&self, data_dir: Option<&Path>, out: &mut impl Write) -> Result<()> {
        let set = self.set.open(data_dir)?;
        unoccupied(&self.out, None)?;
        let folders = folders(&set.class_names());
        let mut empty = false;
        for (part, images) in [("train", set.train()?), ("test", set.test()?)] {
            let count = self.first.map_or(images.len(), |first| images.len().min(first as usize));
            for i in 0..count {
                let label = images.label(i).unwrap_or_default();
                let folder = folders.get(usize::from(label)).context("a label without a class")?;
                let dir = self.out.join(part).join(folder);
                fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
                let path = dir.join(format!("{i:05}.png"));
                fs::write(&path, png(&images, i)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            empty |= folders.iter().any(|folder| !self.out.join(part).join(folder).exists());
            writeln!(out, "{} images in {}", grouped(count), self.out.join(part).display())?;
        }
        if empty {
            writeln!(out, "not every class has a picture in both: to import them, take more (--first)")?;
        } else {
            let dir = quoted(&self.out);
            writeln!(
                out,
                "make a set of them, or of what you make of them: mnist-cli data import {dir} --name NAME"
            )?;
        }
        Ok(())
    }
}

/// A folder for each class. A class may be called anything: where names are no plain ones, or the same to a file system
/// that does not tell letters' cases apart, all are told by their numbers.
fn folders(classes: &[String]) -> Vec<String> {
    let mut lower: Vec<String> = classes.iter().map(|name| name.to_lowercase()).collect();
    lower.sort_unstable();
    lower.dedup();
    if lower.len() == classes.len() && classes.iter().all(|name| plain(name).is_ok()) {
        return classes.to_vec();
    }
    (0..classes.len()).map(|label| format!("class-{label}")).collect()
}

/// An image as it is: paper black, ink white; or in its colours.
fn png(images: &LabelledImages, i: usize) -> Result<Vec<u8>> {
    Ok(grid::image(images.image(i).unwrap_or_default(), images.size())?)
}
