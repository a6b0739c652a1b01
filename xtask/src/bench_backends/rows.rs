//! The figures: one row for each backend and piece of work, with its ratio to the baseline.

use serde::Serialize;

use super::{Work, measure::Task};

/// A backend's figures for a piece of work.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) backend: String,
    /// A net, or an operation.
    pub(crate) net: String,
    pub(crate) work: String,
    /// Images in a batch.
    pub(crate) batch: Option<usize>,
    /// Trained values.
    pub(crate) parameters: Option<u64>,
    /// Of `train` and `infer`.
    pub(crate) images_per_s: Option<f64>,
    /// Of `latency` and `op`, time of one call; of `infer`, that of one image alone where it was measured.
    pub(crate) latency_ms: Option<f64>,
    /// Largest resident memory of the process that did this work alone, data included.
    pub(crate) peak_mib: Option<f64>,
    /// Of `accuracy`, seconds of training, mean over the seeds.
    pub(crate) seconds_to_99: Option<f64>,
    /// Of `accuracy`, share of the test images that were right then, in 0-1, mean over the seeds.
    pub(crate) accuracy: Option<f64>,
    /// How many times as fast as the baseline.
    pub(crate) ratio: Option<f64>,
    /// Milliseconds of one iteration in each round; of `accuracy`, of the training with each seed.
    pub(crate) rounds_ms: Vec<f64>,
    /// Why there are no figures.
    pub(crate) error: Option<String>,
}

impl Row {
    /// A row without figures.
    pub(crate) fn new(backend: &str, task: &Task) -> Self {
        Self {
            backend: backend.into(),
            net: task.net.clone(),
            work: task.work.name().into(),
            batch: task.work.batch(),
            ..Default::default()
        }
    }

    /// The row with the figures that follow from its rounds.
    pub(crate) fn finished(mut self) -> Self {
        let ms = self.milliseconds();
        if self.is(Work::Train) || self.is(Work::Infer) {
            self.images_per_s = ms.zip(self.batch).map(|(ms, batch)| 1e3 * batch as f64 / ms);
        } else if self.is(Work::Accuracy) {
            self.seconds_to_99 = ms.map(|ms| ms / 1e3);
        } else {
            self.latency_ms = ms;
        }
        self
    }

    /// Whether it is of this work.
    pub(crate) fn is(&self, work: Work) -> bool {
        self.work == work.name()
    }

    /// The median of the rounds, the mean of the seeds; `None` if the work failed.
    fn milliseconds(&self) -> Option<f64> {
        match self.error {
            Some(_) => None,
            None if self.is(Work::Accuracy) => mean(&self.rounds_ms),
            None => median(&self.rounds_ms),
        }
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let low = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    let high = sorted.get(sorted.len() / 2)?;
    Some((low + high) / 2.0)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Fills in what follows from other rows: ratios, and the one-image latency in the rows of `infer`.
pub(crate) fn compare(rows: &mut [Row], baseline: &str) {
    let all = rows.to_vec();
    let same = |a: &Row, b: &Row| a.net == b.net && a.work == b.work;
    for row in rows {
        let base = all.iter().find(|other| other.backend == baseline && same(other, row));
        row.ratio = base.and_then(Row::milliseconds).zip(row.milliseconds()).map(|(base, own)| base / own);
        if row.is(Work::Infer) {
            let alone = |other: &&Row| {
                other.is(Work::Latency) && other.net == row.net && other.backend == row.backend
            };
            row.latency_ms = all.iter().find(alone).and_then(|other| other.latency_ms);
        }
    }
}

/// The rows as CSV, with a header.
pub(crate) fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "backend,net,work,batch,parameters,images_per_s,latency_ms,peak_mib,seconds_to_99,ratio,error\n",
    );
    let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.4}"));
    for row in rows {
        let cells = [
            row.backend.clone(),
            row.net.clone(),
            row.work.clone(),
            row.batch.map_or(String::new(), |n| n.to_string()),
            row.parameters.map_or(String::new(), |n| n.to_string()),
            number(row.images_per_s),
            number(row.latency_ms),
            number(row.peak_mib),
            number(row.seconds_to_99),
            number(row.ratio),
            quoted(row.error.as_deref().unwrap_or_default()),
        ];
        text += &format!("{}\n", cells.join(","));
    }
    text
}

/// A text as a CSV cell.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row with one round.
    pub(in super::super) fn row(backend: &str, net: &str, work: Work, ms: f64) -> Row {
        let task = Task { work, net: net.into() };
        Row { rounds_ms: vec![ms], ..Row::new(backend, &task) }.finished()
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn ratios_say_how_many_times_as_fast() {
        let mut rows = vec![
            row("flex", "mlp", Work::Train, 8.0),
            row("pytorch", "mlp", Work::Train, 16.0),
            row("flex", "mlp", Work::Infer, 64.0),
            row("flex", "mlp", Work::Latency, 0.5),
            Row { error: Some("no, \"memory\"".into()), ..row("ndarray", "mlp", Work::Train, 1.0) },
            Row { rounds_ms: vec![1e3, 2e3, 6e3], ..row("flex", "recipe", Work::Accuracy, 0.0) }.finished(),
            row("pytorch", "recipe", Work::Accuracy, 9e3),
        ];
        compare(&mut rows, "pytorch");
        assert_eq!(rows[0].images_per_s, Some(8000.0));
        let ratios: Vec<_> = rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [Some(2.0), Some(1.0), None, None, None, Some(3.0), Some(1.0)]);
        assert_eq!(rows[5].seconds_to_99, Some(3.0), "of seeds the mean counts");
        assert_eq!((rows[2].images_per_s, rows[2].latency_ms), (Some(4000.0), Some(0.5)));
        let csv = csv(&rows);
        assert!(csv.contains("\nflex,mlp,train,64,,8000.0000,,,,2.0000,\n"), "{csv}");
        assert!(csv.contains(",\"no, \"\"memory\"\"\"\n"), "{csv}");
    }
}
