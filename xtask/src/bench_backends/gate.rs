//! The gate: ratios may not fall far under those of a committed bench.json.
//!
//! Ratios, not speeds: they compare with a baseline that ran in the same rounds, and so outlive a change of
//! machine better.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::rows::Row;

/// A ratio may be this share of the committed one.
const LEAST: f64 = 0.85;

/// A committed bench.json.
pub(crate) struct Gate {
    baseline: String,
    rows: Vec<Committed>,
}

struct Committed {
    backend: String,
    net: String,
    work: String,
    ratio: f64,
}

impl Gate {
    /// Reads a bench.json.
    ///
    /// # Errors
    /// If it is none, or holds no ratio.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let file: Value = serde_json::from_str(text).context("it is no JSON")?;
        let baseline = file["baseline"].as_str().context("it names no baseline")?.to_owned();
        let rows: Vec<Committed> = file["rows"]
            .as_array()
            .context("it has no rows")?
            .iter()
            .filter_map(|row| {
                let text = |key: &str| row[key].as_str().map(str::to_owned);
                let (backend, net, work) = (text("backend")?, text("net")?, text("work")?);
                Some(Committed { backend, net, work, ratio: row["ratio"].as_f64()? })
            })
            .filter(|row| row.backend != baseline)
            .collect();
        ensure!(!rows.is_empty(), "none of its rows has a ratio to {baseline}");
        Ok(Self { baseline, rows })
    }

    /// The rows that fell: one line each. What was not measured this time is not compared.
    ///
    /// # Errors
    /// If nothing can be compared.
    pub(crate) fn check(&self, rows: &[Row], baseline: &str) -> Result<Vec<String>> {
        let wanted = &self.baseline;
        ensure!(baseline == wanted, "the gate's ratios refer to {wanted}, these to {baseline}");
        let mut compared = 0;
        let mut fallen = Vec::new();
        for Committed { backend, net, work, ratio } in &self.rows {
            let same = |row: &&Row| row.backend == *backend && row.net == *net && row.work == *work;
            let Some(now) = rows.iter().find(same) else { continue };
            compared += 1;
            match now.ratio {
                Some(now) if now >= LEAST * ratio => {}
                Some(now) => fallen.push(format!("{backend}, {work} {net}: {now:.2}x, was {ratio:.2}x")),
                None => fallen.push(format!("{backend}, {work} {net}: no figure, was {ratio:.2}x")),
            }
        }
        ensure!(compared > 0, "none of the gate's rows has been measured");
        Ok(fallen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_backends::{
        Work,
        rows::{compare, tests::row},
    };

    const COMMITTED: &str = r#"{"baseline": "pytorch", "rows": [
        {"backend": "pytorch", "net": "mlp", "work": "train", "ratio": 1.0},
        {"backend": "flex", "net": "mlp", "work": "train", "ratio": 1.0},
        {"backend": "flex", "net": "cnn", "work": "train", "ratio": 2.0},
        {"backend": "tch", "net": "mlp", "work": "train", "ratio": null}]}"#;

    fn fallen(ms: f64) -> Vec<String> {
        let mut rows = vec![row("flex", "mlp", Work::Train, ms), row("pytorch", "mlp", Work::Train, 10.0)];
        compare(&mut rows, "pytorch");
        Gate::read(COMMITTED).unwrap().check(&rows, "pytorch").unwrap()
    }

    #[test]
    fn a_ratio_may_fall_by_15_percent_but_not_more() {
        assert!(fallen(10.0 / 0.86).is_empty());
        assert_eq!(fallen(10.0 / 0.84), ["flex, train mlp: 0.84x, was 1.00x"]);
    }

    #[test]
    fn a_row_that_has_no_figure_any_more_has_fallen() {
        let mut rows = vec![Row { error: Some("no".into()), ..row("flex", "mlp", Work::Train, 1.0) }];
        compare(&mut rows, "pytorch");
        let fallen = Gate::read(COMMITTED).unwrap().check(&rows, "pytorch").unwrap();
        assert_eq!(fallen, ["flex, train mlp: no figure, was 1.00x"]);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let gate = Gate::read(COMMITTED).unwrap();
        assert!(gate.check(&[], "pytorch").unwrap_err().to_string().contains("none of the gate's rows"));
        assert!(gate.check(&[], "flex").unwrap_err().to_string().contains("refer to pytorch"));
        for bad in ["", "{}", r#"{"baseline": "flex", "rows": []}"#] {
            assert!(Gate::read(bad).is_err(), "{bad}");
        }
    }
}
