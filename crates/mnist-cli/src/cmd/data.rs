//! `data`: look at a data set, check its files, fetch it.

mod fetch;
pub(crate) mod import;
mod info;
mod picture;
mod show;
mod texts;
mod tokens;
mod unpack;
mod verify;

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use clap::Subcommand;
use mnist_data::{DataSet, Text, text};

use crate::args::{Common, UsageError};

/// What to do with a data set.
#[derive(Subcommand, Debug)]
pub(crate) enum DataCommand {
    /// Explain features, labels and splits with the set's own numbers
    Info(info::Info),
    /// Show examples in the terminal, or as a grid in a PNG file
    Show(show::Show),
    /// Show an image or a text as the tokens that models learn from, and what comes back
    Tokens(tokens::Tokens),
    /// Compare the files with the published SHA-256
    Verify(verify::Verify),
    /// Fetch a known set into the user's cache
    Fetch(fetch::Fetch),
    /// Make a data set of pictures of one's own
    Import(import::Import),
    /// Write the images as PNG files, in a folder for each class
    Unpack(unpack::Unpack),
}

/// Which data set.
#[derive(clap::Args, Debug)]
pub(crate) struct WhichSet {
    /// Name of the data set: a known one (mnist, fashion-mnist, for info and tokens text), one that was imported, or the
    /// path of pictures or texts of one's own (see `data import`)
    #[arg(long = "data", value_name = "NAME|PATH", default_value = "mnist")]
    name: String,
}

impl WhichSet {
    fn open(&self, data_dir: Option<&Path>) -> Result<DataSet> {
        if is_path(&self.name, data_dir) && import::are_pictures(Path::new(&self.name))? {
            let name = import::kept(Path::new(&self.name), data_dir, true)?;
            return Ok(DataSet::open(&name, data_dir)?);
        }
        if self.is_text(data_dir)? {
            let message = format!("`{}` is text, not images: data info and data tokens show it", self.name);
            return Err(UsageError(message).into());
        }
        Ok(DataSet::open(&self.name, data_dir)?)
    }

    /// The text that is meant, if it is one.
    fn text(&self, data_dir: Option<&Path>) -> Result<Option<Text>> {
        let own = (self.name != text::NAME).then_some(Path::new(&self.name));
        let is_text = self.is_text(data_dir)?;
        Ok(is_text.then(|| Text::open(own, data_dir)).transpose()?)
    }

    fn is_text(&self, data_dir: Option<&Path>) -> Result<bool> {
        let own = is_path(&self.name, data_dir);
        Ok(self.name == text::NAME || own && !import::are_pictures(Path::new(&self.name))?)
    }
}

/// Whether `--data` names a file or folder, not a set: a folder beside us only where no set is called like it.
pub(crate) fn is_path(data: &str, data_dir: Option<&Path>) -> bool {
    let path = Path::new(data);
    data.contains(std::path::MAIN_SEPARATOR)
        || path.is_file()
        || path.is_dir() && data != text::NAME && DataSet::open(data, data_dir).is_err()
}

/// Does it.
pub(crate) fn run(command: &DataCommand, common: &Common) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    run_into(command, common.data_dir.as_deref(), common.quiet, &mut out)?;
    Ok(out.flush()?)
}

fn run_into(command: &DataCommand, data_dir: Option<&Path>, quiet: bool, out: &mut impl Write) -> Result<()> {
    match command {
        DataCommand::Info(info) => info.run(data_dir, out),
        DataCommand::Show(show) => show.run(data_dir, out),
        DataCommand::Tokens(tokens) => tokens.run(data_dir, out),
        DataCommand::Verify(verify) => verify.run(data_dir, out),
        DataCommand::Fetch(fetch) => fetch.run(data_dir, quiet, out),
        DataCommand::Import(import) => import.run(data_dir, out),
        DataCommand::Unpack(unpack) => unpack.run(data_dir, out),
    }
}

/// A number with commas between its thousands.
fn grouped(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(subcommand)]
        command: DataCommand,
    }

    /// What `data ...` prints, or its error.
    fn data(typed: &[&str]) -> Result<String> {
        let typed = Typed::try_parse_from(std::iter::once(&"data").chain(typed))?;
        let mut out = Vec::new();
        run_into(&typed.command, None, false, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn info_explains_with_the_real_numbers() {
        let text = data(&["info"]).unwrap();
        let parts = [
            "[60000, 28, 28]",
            "6,742  11.24 %",
            "28 x 28 = 784 pixels",
            "(x - 0.1307) / 0.3081: paper is -0.4242, ink is 2.8215",
            "train   55,000",
            "valid    5,000",
            "   .  49 238 253 253",
            "152 zeros",
            "x[152..] = 0.0118, 0.0706",
            "one-hot vector: [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]",
        ];
        for part in parts {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
        let error = data(&["info", "--example", "60000"]).unwrap_err().to_string();
        assert!(error.contains("no example 60000") && error.contains("60,000"), "{error}");
    }

    #[test]
    fn show_picks_split_class_and_number() {
        let text =
            data(&["show", "--class", "7", "--count", "3", "--from", "1", "--split", "valid"]).unwrap();
        assert_eq!(text.matches(": 7").count(), 3, "{text}");
        assert!(text.contains('█'));
        assert_eq!(data(&["show", "--mean"]).unwrap().matches(": mean of").count(), 10);
        assert!(data(&["show", "--class", "10"]).unwrap_err().to_string().contains("classes 0-9"));
        assert!(data(&["show", "--from", "55000"]).unwrap_err().to_string().contains("55,000"));
        assert!(data(&["show", "--count", "0"]).is_err());
    }

    #[test]
    fn tokens_tell_an_image_and_give_it_back() {
        let text = data(&["tokens"]).unwrap();
        let parts = [
            "98 tokens, lossless: 14 x 7 patches of 2 x 4 pixels, 256 different",
            "differs from what was read by 0.00000",
        ];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(
            data(&["tokens", "--text", "aé"])
                .unwrap()
                .contains("3 tokens, the bytes of UTF-8: [97, 195, 169]")
        );
        let text = data(&["tokens", "--data", "text", "--example", "2", "--vocabulary", "400"]).unwrap();
        assert!(text.contains("byte-pair encoding of 400 different ones") && text.contains("|"), "{text}");
        let error = data(&["tokens", "--vocabulary", "400"]).unwrap_err().to_string();
        assert!(error.contains("--data text"), "{error}");
        let text = data(&["info", "--data", "text"]).unwrap();
        assert!(text.contains("Old Testament") && text.contains("In the beginning God created"), "{text}");
        let error = data(&["show", "--data", "text"]).unwrap_err().to_string();
        assert!(error.contains("is text, not images"), "{error}");
        assert!(data(&["tokens", "--patch", "3,4"]).unwrap_err().to_string().contains("divides 28x28"));
        assert!(data(&["tokens", "--example", "60000"]).is_err());
    }

    #[test]
    fn verify_and_fetch_tell_the_published_files() {
        assert!(data(&["verify"]).unwrap().ends_with("all files are the published ones\n"));
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().to_str().unwrap();
        let from = format!("{}/../../datasets", env!("CARGO_MANIFEST_DIR"));
        let text = data(&["fetch", "mnist", "--from", &from, "--into", into]).unwrap();
        assert!(text.contains("SHA-256 right"), "{text}");
        let error =
            data(&["fetch", "fashion-mnist", "--from", &from, "--into", into]).unwrap_err().to_string();
        assert!(error.contains("holds neither train-images-idx3-ubyte.gz"), "{error}");
        assert!(data(&["fetch", "minst"]).is_err());
        // The text comes out of the program.
        data(&["fetch", "text", "--into", into]).unwrap();
        assert_eq!(
            Text::open(None, Some(dir.path())).unwrap().digest,
            Text::open(None, None).unwrap().digest
        );
        assert!(data(&["fetch", "text", "--from", &from, "--into", into]).is_err());
    }

    #[test]
    fn what_is_unpacked_is_imported_again_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
        let text = data(&["unpack", "--out", &path("digits"), "--first", "100"]).unwrap();
        assert!(text.contains("100 images in"), "{text}");
        data(&["import", &path("digits"), "--name", "again", "--into", &path("sets")]).unwrap();
        let sets = [DataSet::open("mnist", None), DataSet::open("again", Some(Path::new(&path("sets"))))];
        // The import puts them into an order of its own.
        let [whole, again] = sets.map(|set| {
            let set = set.unwrap().test().unwrap();
            let mut all: Vec<_> =
                (0..100).map(|i| (set.label(i), set.image(i).map(<[u8]>::to_vec))).collect();
            all.sort();
            all
        });
        assert!(whole == again);
        let error = data(&["unpack", "--out", &path("digits")]).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (47_040_016, "47,040,016")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
