//! `data tokens`: an image, its tokens, and the image that comes back; or a text and its tokens.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, bail};
use mnist_data::{Binarise, Images, Key, Patches, Purpose, Split, loader::Source as _};
use mnist_train::{run::DataSettings, token_data::TokenSettings};

use super::{WhichSet, import::validates, picture::Tiles, texts};
use crate::args::UsageError;

/// `data tokens`.
#[derive(clap::Args, Debug)]
pub(crate) struct Tokens {
    #[command(flatten)]
    set: WhichSet,
    /// Which example of the training files
    #[arg(long, value_name = "N", default_value_t = 0)]
    example: usize,
    /// Height and width of a patch in pixels [default: 2,4]
    #[arg(long, value_name = "H,W", value_delimiter = ',')]
    patch: Vec<usize>,
    /// Patches in a codebook learned from the training split; 0: lossless tokens of black and white pixels
    #[arg(long, value_name = "N", default_value_t = 0)]
    codebook: usize,
    /// Text to show as tokens instead
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["example", "patch", "codebook", "out"])]
    text: Option<String>,
    /// Of text: byte-pair encoding of so many tokens, learned from the training split of --data [default: bytes]
    #[arg(long, value_name = "N", conflicts_with_all = ["patch", "codebook", "out"])]
    vocabulary: Option<usize>,
    /// Write the image, what the tokens are made of, and what they give back to this PNG file
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,
}

impl Tokens {
    pub(super) fn run(&self, data_dir: Option<&Path>, out: &mut impl Write) -> Result<()> {
        let learned_from = match self.set.text(data_dir)? {
            Some(text) => text.train,
            // Words that are typed need no data, but to learn byte-pair encoding.
            None if self.vocabulary.is_some() => {
                bail!(UsageError(
                    "--vocabulary learns from a text: say --data text, or name one of yours".into()
                ))
            }
            None => Vec::new(),
        };
        if self.text.is_some() || !learned_from.is_empty() {
            let passage = learned_from.get(self.example).map(|passage| passage.text.as_str());
            let there_is_none = || UsageError(format!("there is no passage {}", self.example));
            let text = self.text.as_deref().or(passage).ok_or_else(there_is_none)?;
            return texts::tokens(text, &learned_from, self.vocabulary, out);
        }
        let set = self.set.open(data_dir)?;
        let images = Arc::new(set.train()?);
        let Some(image) = images.image(self.example) else {
            bail!(UsageError(format!(
                "there is no example {}: `{}` has {}",
                self.example,
                set.name(),
                images.len()
            )));
        };
        if images.size().is_colour() {
            bail!(UsageError(format!(
                "`{}` has images of {}; tokens are made of grey ones",
                set.name(),
                images.size()
            )));
        }
        let size = [images.rows(), images.cols()];
        let patch = match self.patch[..] {
            [rows, cols] => [rows, cols],
            [] => TokenSettings::default().patch,
            _ => bail!(UsageError("--patch takes height and width: --patch 2,4".into())),
        };
        let data = DataSettings::default();
        let (patches, binarise) = if self.codebook == 0 {
            (Patches::lossless(size, patch)?, Binarise::Static)
        } else {
            let Split { train, .. } =
                Split::stratified(images.labels(), validates(images.len()), data.split_seed)?;
            let key = Key::new(data.split_seed);
            (Patches::learn(&images, &train, patch, self.codebook, key)?, Binarise::None)
        };
        let source = Images::new(Arc::clone(&images)).binarise(binarise);
        let read = source.batch(&[self.example], Purpose::Measure(Key::new(0)), &mut source.scratch()).pixels;
        let tokens = patches.encode(&read);
        let back = patches.decode(&tokens);
        let [rows, cols] = patches.grid();
        let kind = if patches.is_lossless() { "lossless" } else { "of a codebook" };
        let [height, width] = patch;
        writeln!(
            out,
            "{} tokens, {kind}: {rows} x {cols} patches of {height} x {width} pixels, {} different",
            tokens.len(),
            patches.vocabulary()
        )?;
        let wide = (patches.vocabulary() - 1).to_string().len();
        for row in tokens.chunks(cols) {
            let row: Vec<String> = row.iter().map(|token| format!("{token:wide$}")).collect();
            writeln!(out, "{}", row.join(" "))?;
        }
        let error = read.iter().zip(&back).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / read.len() as f32;
        writeln!(out, "what comes back differs from what was read by {error:.5} (mean square, pixels 0-1)")?;
        let bytes = |pixels: &[f32]| pixels.iter().map(|p| (p * 255.0).round() as u8).collect::<Vec<u8>>();
        let numbers = numbers(&tokens, patches.vocabulary(), patches.grid(), patch);
        let tiles =
            [("image", image.to_vec()), ("read", bytes(&read)), ("tokens", numbers), ("back", bytes(&back))];
        let tiles = tiles.map(|(name, pixels)| (name.to_string(), pixels)).to_vec();
        let tiles = Tiles { size: images.size(), tiles };
        if let Some(path) = &self.out {
            tiles.save(path)?;
            writeln!(out, "image, read, tokens (a grey for each number) and back in {}:", path.display())?;
        }
        Ok(tiles.print(out)?)
    }
}

/// Each patch as one value by the number of its token, 0 for the first and 255 for the last.
fn numbers(
    tokens: &[i32],
    vocabulary: usize,
    [rows, cols]: [usize; 2],
    [height, width]: [usize; 2],
) -> Vec<u8> {
    let last = vocabulary.saturating_sub(1).max(1) as f32;
    let grey = |y: usize, x: usize| {
        let token = tokens.get(y / height * cols + x / width).copied().unwrap_or(0);
        (255.0 * token as f32 / last).round() as u8
    };
    (0..rows * height).flat_map(|y| (0..cols * width).map(move |x| (y, x))).map(|(y, x)| grey(y, x)).collect()
}
