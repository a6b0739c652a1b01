//! `data show`: examples of a split, or the mean image of each class.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mnist_data::{DataSet, LabelledImages, Split, Statistics};
use mnist_train::run::DataSettings;

use super::picture::Tiles;
use super::{WhichSet, grouped, import::validates};
use crate::args;

/// Examples in a PNG if their number is not given.
const PNG_COUNT: usize = 64;

/// `data show`.
#[derive(clap::Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    set: WhichSet,
    /// Part of the data to show
    #[arg(long, value_enum, default_value = "train")]
    split: args::Split,
    /// How many examples [default: one line in the terminal, 64 in a PNG]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: Option<u16>,
    /// Skip this many examples first
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: usize,
    /// Only examples of this class: its number
    #[arg(long, value_name = "K")]
    class: Option<u8>,
    /// Show the mean image of each class
    #[arg(long, conflicts_with_all = ["count", "from"])]
    mean: bool,
    /// Seed that draws the validation examples
    #[arg(long, value_name = "N", default_value_t = DataSettings::default().split_seed)]
    split_seed: u64,
    /// Write a grid to this PNG file
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,
}

impl Show {
    pub(super) fn run(&self, data_dir: Option<&Path>, out: &mut impl Write) -> Result<()> {
        let set = self.set.open(data_dir)?;
        let (data, mut indices) = self.examples(&set)?;
        let names = set.class_names();
        if let Some(class) = self.class {
            if usize::from(class) >= names.len() {
                let last = names.len().saturating_sub(1);
                bail!(args::UsageError(format!("class {class}: `{}` has classes 0-{last}", set.name())));
            }
            indices.retain(|&i| data.label(i) == Some(class));
        }
        let name = |label: u8| names.get(usize::from(label)).map_or("?", String::as_str);

        let total = indices.len();
        let mut tiles = Vec::new();
        if self.mean {
            let statistics = Statistics::of(&data.select(&indices)?);
            for ((class, mean), &count) in (0..).zip(&statistics.mean_images).zip(&statistics.counts) {
                if count > 0 {
                    let pixels = mean.iter().map(|value| (value * 255.0).round() as u8).collect();
                    tiles.push((format!("{}: mean of {}", name(class), grouped(count)), pixels));
                }
            }
        } else {
            let count = match (self.count, &self.out) {
                (Some(count), _) => usize::from(count),
                (None, Some(_)) => PNG_COUNT,
                (None, None) => Tiles::per_line(data.cols()),
            };
            for &i in indices.iter().skip(self.from).take(count) {
                let (image, label) = (data.image(i), data.label(i));
                tiles
                    .push((format!("#{i}: {}", label.map_or("?", name)), image.unwrap_or_default().to_vec()));
            }
        }
        ensure!(
            !tiles.is_empty(),
            "there is no such example: {} fit, --from {} skips them",
            grouped(total),
            self.from
        );
        let mut tiles = Tiles { size: data.size(), tiles };

        if let Some(path) = &self.out {
            tiles.save(path)?;
            writeln!(out, "{} images in {}, row by row; the first ones:", tiles.tiles.len(), path.display())?;
            tiles.tiles.truncate(Tiles::per_line(tiles.size.width));
        }
        tiles.print(out)?;
        Ok(())
    }

    /// A set of images and which of them are in the split.
    fn examples(&self, set: &DataSet) -> Result<(LabelledImages, Vec<usize>)> {
        if let args::Split::Test = self.split {
            let test = set.test()?;
            let all = (0..test.len()).collect();
            return Ok((test, all));
        }
        let train = set.train()?;
        let Split { train: learn, valid } =
            Split::stratified(train.labels(), validates(train.len()), self.split_seed)
                .context("cannot put validation examples aside")?;
        Ok((train, if let args::Split::Valid = self.split { valid } else { learn }))
    }
}
