//! `data verify`: each file of a set against its published SHA-256.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use mnist_data::places::fetch_command;

use super::{WhichSet, grouped};

/// `data verify`.
#[derive(clap::Args, Debug)]
pub(crate) struct Verify {
    #[command(flatten)]
    set: WhichSet,
}

impl Verify {
    pub(super) fn run(&self, data_dir: Option<&Path>, out: &mut impl Write) -> Result<()> {
        let set = self.set.open(data_dir)?;
        let checks = set.verify()?;
        writeln!(out, "{} in {}; SHA-256 of the unpacked contents:", set.name(), set.dir().display())?;
        for check in &checks {
            let verdict = match (check.ok(), &check.wanted) {
                (true, Some(_)) => "ok",
                (true, None) => "whole",
                (false, _) => "WRONG",
            };
            let name = check.file.file_name().unwrap_or_default().to_string_lossy();
            let sha256 = check.sha256.as_deref().unwrap_or("cannot be read");
            writeln!(out, "  {verdict:<5}  {name:<26}  {:>10} bytes  {sha256}", grouped(check.bytes))?;
            if let Some(wanted) = check.wanted.as_ref().filter(|_| !check.ok()) {
                writeln!(out, "         {:<26}  {:>16}  {wanted}", "", "published:")?;
            }
            if let Some(problem) = &check.problem {
                writeln!(out, "         {problem}")?;
            }
        }

        let wrong = checks.iter().filter(|check| !check.ok()).count();
        if wrong > 0 {
            out.flush()?;
            let advice = match set.source() {
                Some(source) => format!("get good ones with `{}`", fetch_command(source.name, set.dir())),
                None => "put good copies in their place".to_owned(),
            };
            bail!("{wrong} of {} files are damaged or not the published ones; {advice}", checks.len());
        }
        match (set.source(), set.imported_from()) {
            (Some(_), _) => writeln!(out, "all files are the published ones")?,
            (None, Some(from)) => writeln!(out, "all files are as they were imported from {from}")?,
            (None, None) => {
                writeln!(out, "all files are whole; no digests are published for `{}`", set.name())?
            }
        }
        Ok(())
    }
}
