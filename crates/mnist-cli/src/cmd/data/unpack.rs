//! `data unpack`: the images of a set as PNG files in a folder for each class, as `data import` takes them.

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use image::{GrayImage, ImageFormat};
use mnist_data::LabelledImages;

use super::{WhichSet, grouped};
use crate::args::UsageError;

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
        let full = fs::read_dir(&self.out).is_ok_and(|mut entries| entries.next().is_some());
        if full {
            bail!(UsageError(format!("{} is there and not empty; choose another --out", self.out.display())));
        }
        let classes = set.class_names();
        // A class may be called anything: what is no plain name of a folder is told by its number.
        let folder = |label: u8| match classes.get(usize::from(label)) {
            Some(name) if crate::args::plain(name).is_ok() => name.clone(),
            _ => format!("class-{label}"),
        };
        for (part, images) in [("train", set.train()?), ("test", set.test()?)] {
            let count = self.first.map_or(images.len(), |first| images.len().min(first as usize));
            for i in 0..count {
                let label = images.label(i).unwrap_or_default();
                let dir = self.out.join(part).join(folder(label));
                fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
                let path = dir.join(format!("{i:05}.png"));
                fs::write(&path, png(&images, i)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            writeln!(out, "{} images in {}", grouped(count), self.out.join(part).display())?;
        }
        writeln!(
            out,
            "make a set of them, or of what you make of them: mnist-cli data import {}",
            self.out.display()
        )?;
        Ok(())
    }
}

/// An image as it is: paper black, ink white.
fn png(images: &LabelledImages, i: usize) -> Result<Vec<u8>> {
    let (width, height) = (u32::try_from(images.cols())?, u32::try_from(images.rows())?);
    let pixels = images.image(i).unwrap_or_default().to_vec();
    let picture = GrayImage::from_raw(width, height, pixels).context("an image has too few pixels")?;
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}
