//! What a run leaves: a table for people, bench.json and bench.csv for programs, charts for both READMEs.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    Args, Rounds, chart,
    chart::{Bars, Curves},
    machine,
    programs::Programs,
    rows::{self, Row},
    scaling::Curve,
    table,
};

/// All that was measured.
pub(super) struct Report<'a> {
    pub(super) args: &'a Args,
    pub(super) threads: usize,
    /// Of the machine, before anything ran.
    pub(super) load: Option<f64>,
    pub(super) programs: &'a Programs,
    pub(super) baseline: &'a str,
    pub(super) rows: &'a [Row],
    pub(super) scaling: &'a [Curve],
}

impl Report<'_> {
    /// Prints the figures.
    pub(super) fn print(&self) {
        print!("{}", table::table(self.rows, &self.programs.unavailable, self.baseline));
        if !self.scaling.is_empty() {
            print!("\n{}", table::powers(self.scaling));
        }
    }

    /// Writes bench.json, bench.csv, bench.svg and bench.png, and with curves scaling.svg and scaling.png.
    pub(super) fn write(&self, out: &Path) -> Result<()> {
        let rounds = Rounds::of(self.args);
        let (machine, versions) = (machine::describe(), machine::versions(self.programs));
        let date = machine::date();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("unknown").to_owned();
        let json = json!({
            "date": date,
            "machine": machine,
            "versions": versions,
            "threads": self.threads,
            "load_before": self.load,
            "rounds": rounds.count,
            "seconds_per_round": rounds.seconds,
            "seeds": self.args.seeds,
            "baseline": self.baseline,
            "unavailable": self.programs.unavailable,
            "rows": self.rows,
            "scaling": self.scaling,
        });
        let write = |name: &str, text: &str| {
            let path = out.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("bench.json", &format!("{json:#}\n"))?;
        write("bench.csv", &rows::csv(self.rows))?;

        let torch = self.programs.torch.as_ref().map_or(String::new(), |v| format!(", PyTorch {v}"));
        let threads = if self.threads == 1 { "1 thread".into() } else { format!("{} threads", self.threads) };
        let burn = text(&versions["burn"]);
        let below = format!("{}, {threads}; Burn {burn}{torch}; {date}", text(&machine["cpu"]));
        let backends: Vec<String> = self.programs.ready.iter().map(|p| p.backend.clone()).collect();
        let bars = Bars {
            rows: self.rows,
            backends: backends.clone(),
            baseline: self.baseline,
            below: below.clone(),
        };
        chart::save(&bars, out, "bench")?;
        if !self.scaling.is_empty() {
            chart::save(&Curves { curves: self.scaling, backends, below }, out, "scaling")?;
        }
        Ok(())
    }
}
