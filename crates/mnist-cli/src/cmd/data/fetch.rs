//! `data fetch`: a known set from its mirrors, from a directory or from a server of one's own.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mnist_data::fetch::{Progress, fetch};
use mnist_data::places::cache_dir;
use mnist_data::sources::{SOURCES, Source};
use mnist_data::text;
use mnist_train::rundir::write_whole;

use crate::args::UsageError;

/// The text and what is to be known of it: small enough to be in the program, and published in no form that fits.
const TEXT: [(&str, &[u8]); 2] = [
    (text::FILE, include_bytes!("../../../../../datasets/text/kjv.txt.gz")),
    ("README.md", include_bytes!("../../../../../datasets/text/README.md")),
];

/// `data fetch`.
#[derive(clap::Args, Debug)]
pub(crate) struct Fetch {
    /// Name of the data set; `text` is in the program and needs no network
    #[arg(value_parser = PossibleValuesParser::new(SOURCES.iter().map(|source| source.name).chain([text::NAME])))]
    name: String,
    /// Directory or URL that holds the files, instead of the mirrors; not for `text`
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// Where to put the set's directory [default: --data-dir, else the user's cache]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Fetch {
    pub(super) fn run(&self, data_dir: Option<&Path>, quiet: bool, out: &mut impl Write) -> Result<()> {
        let into = match (self.into.as_deref(), data_dir) {
            (Some(dir), _) | (None, Some(dir)) => dir.to_owned(),
            (None, None) => cache_dir()?,
        };
        if self.name == text::NAME {
            if self.from.is_some() {
                let message = "--from: the text is in the program and comes from nowhere else";
                return Err(UsageError(message.into()).into());
            }
            let dir = into.join(text::NAME);
            std::fs::create_dir_all(&dir)
                .with_context(|| format!("cannot make the directory {}", dir.display()))?;
            for (name, bytes) in TEXT {
                write_whole(&dir.join(name), bytes)?;
            }
            writeln!(
                out,
                "The King James Version; its terms are in README.md beside it, in {}",
                dir.display()
            )?;
            return self.tell_of(&into, out);
        }
        let source = Source::find(&self.name)?;
        let bar = progress_bar();
        let dir = fetch(source, &into, self.from.as_deref(), &mut |progress| {
            if !quiet {
                tell(&bar, progress);
            }
        })?;
        bar.finish_and_clear();
        writeln!(out, "{}", source.title)?;
        writeln!(out, "licence {}; 4 files, SHA-256 right, in {}", source.licence, dir.display())?;
        self.tell_of(&into, out)
    }

    fn tell_of(&self, into: &Path, out: &mut impl Write) -> Result<()> {
        if self.into.is_some() {
            writeln!(out, "use it with: --data-dir {}", into.display())?;
        }
        Ok(())
    }
}

/// A bar on stderr if that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::hidden();
    if std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    let template = "{msg} {bar:28} {bytes} of {total_bytes}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn tell(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Receiving { file, bytes, total, .. } => {
            bar.set_message((*file).to_owned());
            bar.set_length(total.unwrap_or(*bytes));
            bar.set_position(*bytes);
        }
        Progress::Kept { file } => bar.suspend(|| tell!("{file}: there already")),
        Progress::Failed { file, from, reason } => bar.suspend(|| tell!("{file}: not from {from}: {reason}")),
        Progress::Done { file, from } => bar.suspend(|| tell!("{file}: from {from}")),
        _ => {}
    }
}
