//! `data fetch`: a known set from its mirrors, from a directory or from a server of one's own.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mnist_data::fetch::{Progress, fetch};
use mnist_data::places::cache_dir;
use mnist_data::sources::{SOURCES, Source};

/// `data fetch`.
#[derive(clap::Args, Debug)]
pub(crate) struct Fetch {
    /// Name of the data set
    #[arg(value_parser = PossibleValuesParser::new(SOURCES.map(|source| source.name)))]
    name: String,
    /// Directory or URL that holds the files, instead of the mirrors
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// Where to put the set's directory [default: --data-dir, else the user's cache]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Fetch {
    pub(super) fn run(&self, data_dir: Option<&Path>, quiet: bool, out: &mut impl Write) -> Result<()> {
        let source = Source::find(&self.name)?;
        let into = match (self.into.as_deref(), data_dir) {
            (Some(dir), _) | (None, Some(dir)) => dir.to_owned(),
            (None, None) => cache_dir()?,
        };
        let bar = progress_bar();
        let dir = fetch(source, &into, self.from.as_deref(), &mut |progress| {
            if !quiet {
                tell(&bar, progress);
            }
        })?;
        bar.finish_and_clear();
        writeln!(out, "{}", source.title)?;
        writeln!(out, "licence {}; 4 files, SHA-256 right, in {}", source.licence, dir.display())?;
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
