//! `data info`: what features and labels are, explained with the set's own numbers.
//!
//! Statistics are of the training files; of the test files only the headers are read.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use mnist_data::{DataSet, LabelledImages, Split, Statistics, idx};
use mnist_train::run::DataSettings;

use super::{WhichSet, grouped, import::validates, texts};

/// Characters of the longest bar.
const BAR: usize = 40;
/// Values of a vector that are shown.
const VALUES: usize = 6;

/// `data info`.
#[derive(clap::Args, Debug)]
pub(crate) struct Info {
    #[command(flatten)]
    set: WhichSet,
    /// Which example of the training files to take apart
    #[arg(long, value_name = "N", default_value_t = 0)]
    example: usize,
}

impl Info {
    pub(super) fn run(&self, data_dir: Option<&Path>, out: &mut impl Write) -> Result<()> {
        if let Some(text) = self.set.text(data_dir)? {
            return texts::info(&text, &self.set.name, self.example, out);
        }
        let set = self.set.open(data_dir)?;
        let train = set.train()?;
        let statistics = Statistics::of(&train);
        writeln!(out, "{}", set.source().map_or(set.name(), |source| source.title))?;
        if let Some(source) = set.source() {
            writeln!(out, "licence {}", source.licence)?;
        }
        files(&set, out)?;
        labels(&set, &statistics, out)?;
        features(&train, &statistics, out)?;
        splits(&set, &train, out)?;
        example(&set, &train, &statistics, self.example, out)
    }
}

fn files(set: &DataSet, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\nFILES in {} (IDX format)", set.dir().display())?;
    for path in set.paths() {
        let dims: Vec<String> = idx::read_dims(path)?.iter().map(ToString::to_string).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(out, "  {name:<26}  [{}], one byte each", dims.join(", "))?;
    }
    writeln!(out, "  digest of the training files: {}", set.digest()?)?;
    Ok(())
}

fn labels(set: &DataSet, statistics: &Statistics, out: &mut impl Write) -> Result<()> {
    let names = set.class_names();
    writeln!(out, "\nLABELS: what is to be predicted, y in {{0, ..., {}}}", names.len().saturating_sub(1))?;
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let most = statistics.counts.iter().copied().max().unwrap_or(0).max(1);
    for (class, (name, &count)) in names.iter().zip(&statistics.counts).enumerate() {
        let share = 100.0 * count as f64 / statistics.examples.max(1) as f64;
        let bar = "█".repeat(count * BAR / most);
        writeln!(out, "  {class:>3}  {name:<width$}  {:>7}  {share:>5.2} %  {bar}", grouped(count))?;
    }
    let largest = 100.0 * most as f64 / statistics.examples.max(1) as f64;
    writeln!(out, "  always naming the most frequent class would be right in {largest:.2} % of these")?;
    Ok(())
}

fn features(data: &LabelledImages, statistics: &Statistics, out: &mut impl Write) -> Result<()> {
    let (size, values) = (data.size(), data.values());
    let [channels, rows, cols] = size.dims();
    let Statistics { min, max, ink, .. } = statistics;
    let [mean, std] = [statistics.mean, statistics.std].map(four_digits);
    if size.is_colour() {
        writeln!(
            out,
            "\nFEATURES: what it is predicted from, {channels} channels x {rows} x {cols} pixels = {values} numbers"
        )?;
        writeln!(
            out,
            "  in the file      one byte each, all of red, then green, then blue; found {min} to {max}"
        )?;
    } else {
        writeln!(out, "\nFEATURES: what it is predicted from, {rows} x {cols} = {values} pixels")?;
        writeln!(out, "  in the file      one byte a pixel, 0 = paper, 255 = ink; found {min} to {max}")?;
        writeln!(out, "  not paper        {:.2} % of the pixels", 100.0 * ink)?;
    }
    writeln!(out, "  divided by 255   x in 0-1: mean {mean:.4}, standard deviation {std:.4}")?;
    if std > 0.0 {
        let [low, high] = [-mean / std, (1.0 - mean) / std];
        let [zero, one] = if size.is_colour() { ["0", "1"] } else { ["paper", "ink"] };
        writeln!(
            out,
            "  normalised       (x - {mean:.4}) / {std:.4}: {zero} is {low:.4}, {one} is {high:.4}"
        )?;
    }
    writeln!(
        out,
        "  a batch of 64    tensors [64, {channels}, {rows}, {cols}] of images (batch, channel, row, column), [64] of labels"
    )?;
    Ok(())
}

fn splits(set: &DataSet, train: &LabelledImages, out: &mut impl Write) -> Result<()> {
    let settings = DataSettings::default();
    let test = idx::read_dims(&set.paths()[2])?.first().copied().unwrap_or(0);
    writeln!(out, "\nSPLITS: a figure counts only on examples that nothing was fitted to or chosen by")?;
    match Split::stratified(train.labels(), validates(train.len()), settings.split_seed) {
        Ok(split) => {
            writeln!(out, "  train  {:>7}  a net learns from these", grouped(split.train.len()))?;
            writeln!(
                out,
                "  valid  {:>7}  these choose among nets and settings; taken from the training files,",
                grouped(split.valid.len())
            )?;
            writeln!(
                out,
                "  {:>14}  each class in proportion, drawn by split seed {}",
                "", settings.split_seed
            )?;
        }
        Err(error) => writeln!(out, "  train  {:>7}  no validation split: {error}", grouped(train.len()))?,
    }
    writeln!(
        out,
        "  test   {:>7}  measured once, at the end; here just the files' headers were read",
        grouped(test)
    )?;
    Ok(())
}

fn example(
    set: &DataSet,
    data: &LabelledImages,
    statistics: &Statistics,
    i: usize,
    out: &mut impl Write,
) -> Result<()> {
    let missing = || format!("there is no example {i}: the training files hold {}", grouped(data.len()));
    let matrix = data.matrix(i).with_context(missing)?;
    let vector = data.vector(i).with_context(missing)?;
    let one_hot = data.one_hot(i).with_context(missing)?;
    let label = data.label(i).with_context(missing)?;
    let name = set.class_names().get(usize::from(label)).cloned().unwrap_or_default();

    writeln!(out, "\nEXAMPLE {i} of the training files: label {label}, \"{name}\"")?;
    let channel = if data.size().is_colour() { " of its red" } else { "" };
    writeln!(out, "  as a matrix{channel}, {} x {}, 0-255 (. = 0):", data.rows(), data.cols())?;
    for row in matrix.into_iter().take(data.rows()) {
        let numbers: String = row
            .iter()
            .map(|&pixel| if pixel == 0 { "   .".to_owned() } else { format!("{pixel:>4}") })
            .collect();
        writeln!(out, "{numbers}")?;
    }

    let start = vector.iter().position(|&value| value > 0.0).unwrap_or(0);
    let values = |vector: &[f32]| -> String {
        let shown: Vec<String> =
            vector.iter().skip(start).take(VALUES).map(|value| format!("{value:.4}")).collect();
        shown.join(", ")
    };
    writeln!(out, "  as a vector x in R^{}, row by row, 0-1: {start} zeros, then", data.values())?;
    writeln!(out, "    x[{start}..] = {}, ...", values(&vector))?;
    let [mean, std] = [statistics.mean, statistics.std].map(four_digits);
    if let Some(normalised) = data.normalised(i, mean as f32, std as f32) {
        writeln!(out, "  normalised:")?;
        writeln!(out, "    x[{start}..] = {}, ...", values(&normalised))?;
    }
    let one_hot: Vec<String> = one_hot.iter().map(|value| format!("{value:.0}")).collect();
    writeln!(out, "  its label as a one-hot vector: [{}]", one_hot.join(", "))?;
    Ok(())
}

/// As the field writes MNIST's mean and deviation, so that what is shown can be recomputed.
fn four_digits(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
