//! What two runs must have in common, and the first place where they do not.

use std::path::Path;

use anyhow::{Context, Result};

/// Longest part of a line that a report quotes, in characters.
const QUOTED: usize = 80;

/// Everything of a finished run that a kill must not change.
pub(super) struct Artifacts {
    /// `model.safetensors`
    model: Vec<u8>,
    /// `metrics.jsonl`
    metrics: Vec<u8>,
    /// Output of `evaluate --split test --json`
    evaluation: Vec<u8>,
    /// File written by `evaluate --predictions`
    predictions: Vec<u8>,
}

impl Artifacts {
    /// Reads the files of the run directory and the predictions.
    pub(super) fn read(run: &Path, evaluation: Vec<u8>, predictions: &Path) -> Result<Self> {
        Ok(Self {
            model: read(&run.join("model.safetensors"))?,
            metrics: read(&run.join("metrics.jsonl"))?,
            evaluation,
            predictions: read(predictions)?,
        })
    }

    /// The first place where `other` differs from this reference.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let metrics = lines(&self.metrics, &other.metrics);
        let evaluation = lines(&self.evaluation, &other.evaluation);
        let predictions = lines(&self.predictions, &other.predictions);
        // Metrics first: they tell the step at which the runs part.
        None.or(metrics.map(|found| format!("metrics.jsonl {found}")))
            .or_else(|| Some(format!("model.safetensors {}", bytes(&self.model, &other.model)?)))
            .or_else(|| Some(format!("evaluate --json {}", evaluation?)))
            .or_else(|| Some(format!("predictions {}", predictions?)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// First difference of two texts, as a line.
fn lines(wanted: &[u8], found: &[u8]) -> Option<String> {
    if wanted == found {
        return None;
    }
    let (wanted_text, found_text) = (String::from_utf8_lossy(wanted), String::from_utf8_lossy(found));
    let (mut wanted_lines, mut found_lines) = (wanted_text.lines(), found_text.lines());
    let mut number = 1;
    loop {
        match (wanted_lines.next(), found_lines.next()) {
            (None, None) => return bytes(wanted, found),
            (wanted, found) if wanted == found => number += 1,
            (wanted, found) => {
                let (wanted, found) = (quoted(wanted), quoted(found));
                return Some(format!("line {number}: uninterrupted {wanted}, resumed {found}"));
            }
        }
    }
}

/// First difference of two files, as an offset.
fn bytes(wanted: &[u8], found: &[u8]) -> Option<String> {
    let offset = wanted.iter().zip(found).position(|(a, b)| a != b);
    match offset {
        None if wanted.len() == found.len() => None,
        None => Some(format!("has {} bytes, resumed {}", wanted.len(), found.len())),
        Some(at) => {
            let count = wanted.iter().zip(found).filter(|(a, b)| a != b).count();
            let (wanted, found) = (wanted[at], found[at]);
            Some(format!("byte {at}: uninterrupted {wanted:#04x}, resumed {found:#04x} ({count} differ)"))
        }
    }
}

fn quoted(line: Option<&str>) -> String {
    match line {
        None => "has ended".to_owned(),
        Some(line) if line.chars().count() <= QUOTED => format!("`{line}`"),
        Some(line) => format!("`{}...`", line.chars().take(QUOTED).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifacts(parts: [&str; 4]) -> Artifacts {
        let [model, metrics, evaluation, predictions] = parts.map(|part| part.as_bytes().to_vec());
        Artifacts { model, metrics, evaluation, predictions }
    }

    #[test]
    fn equal_runs_have_no_difference() {
        let one = artifacts(["m", "a\nb\n", "{}", "1,2\n"]);
        assert_eq!(one.difference(&artifacts(["m", "a\nb\n", "{}", "1,2\n"])), None);
    }

    #[test]
    fn each_part_is_compared() {
        let one = artifacts(["m", "a\nb\n", "{}", "1,2\n"]);
        let cases = [
            (["n", "a\nb\n", "{}", "1,2\n"], "model.safetensors byte 0"),
            (["m", "a\nc\n", "{}", "1,2\n"], "metrics.jsonl line 2: uninterrupted `b`, resumed `c`"),
            (["m", "a\nb\n", "[]", "1,2\n"], "evaluate --json line 1"),
            (["m", "a\nb\n", "{}", "1,3\n"], "predictions line 1"),
            (["n", "a\n", "", ""], "metrics.jsonl line 2: uninterrupted `b`, resumed has ended"),
            (["m2", "a\nb\n", "{}", "1,2\n"], "model.safetensors has 1 bytes, resumed 2"),
            (["m", "a\nb", "{}", "1,2\n"], "metrics.jsonl has 4 bytes, resumed 3"),
        ];
        for (parts, wanted) in cases {
            let found = one.difference(&artifacts(parts)).unwrap();
            assert!(found.starts_with(wanted), "{found}");
        }
    }

    #[test]
    fn differing_bytes_are_counted_and_long_lines_cut() {
        let found = bytes(&[1, 2, 3, 4], &[1, 9, 3, 9]).unwrap();
        assert_eq!(found, "byte 1: uninterrupted 0x02, resumed 0x09 (2 differ)");
        assert_eq!(quoted(Some(&"é".repeat(100))).chars().count(), 80 + 5);
    }
}
