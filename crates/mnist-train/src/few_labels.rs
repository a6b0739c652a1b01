//! What pretraining bought: accuracy against the number of labels, for several ways to use an encoder, each with
//! several draws of the labels. Every finished cell (way, labels, seed) is a file, so that the table goes on where it
//! was stopped; table, picture and conclusion are made from the files.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, TrainError},
    plot::{Chart, Series},
    probe::Chosen,
    rundir::write_whole,
};

/// The way that uses no encoder.
pub const SCRATCH: &str = "scratch";

/// One training or probe, measured.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// `scratch`, a method of fine-tuning, `knn` or `logistic`.
    pub way: String,
    /// Labels.
    pub labels: usize,
    /// Seed of the draw of labels and of all else.
    pub seed: u64,
    /// The score that validation chooses by, 0-1: accuracy, for token sequences macro F1.
    pub valid: f64,
    /// Accuracy on the test split, 0-1.
    pub test: f64,
    /// Macro F1 on the test split, 0-1.
    pub test_f1: f64,
    /// Peak learning rate, where validation picked it among several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

impl Cell {
    /// Its file's name.
    pub fn file(way: &str, labels: usize, seed: u64) -> String {
        format!("{way}-{labels:05}-seed{seed}.json")
    }

    /// Reads a cell, if it is there.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Damaged`].
    pub fn read(dir: &Path, way: &str, labels: usize, seed: u64) -> Result<Option<Self>> {
        let path = dir.join(Self::file(way, labels, seed));
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(TrainError::io("read", &path))?;
        let found = serde_json::from_slice(&bytes);
        found.map(Some).map_err(|e| TrainError::Damaged { path, reason: e.to_string() })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(Self::file(&self.way, self.labels, self.seed));
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| TrainError::Io {
            action: "write",
            path: path.clone(),
            source: e.into(),
        })?;
        write_whole(&path, &bytes)
    }
}

/// Mean over seeds and its 95 % interval, by Student's t; a single seed has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Half the interval's length; NaN for a single value.
    pub half: f64,
    /// Number of values.
    pub count: usize,
}

impl Mean {
    /// The mean of values.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let half = match count {
            0 | 1 => f64::NAN,
            _ => student(count - 1) * (square / (count - 1) as f64 / count as f64).sqrt(),
        };
        Self { mean, half, count }
    }

    /// Lower and upper end.
    pub fn interval(&self) -> [f64; 2] {
        [self.mean - self.half, self.mean + self.half]
    }
}

/// 97.5 % quantile of Student's t (scipy.stats.t.ppf(0.975, freedom)); from 31 on that of 30.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788,
        2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639,
        2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
    ];
    TABLE[freedom.clamp(1, TABLE.len()) - 1]
}

/// Means by way, then by labels.
pub type Table = BTreeMap<String, BTreeMap<usize, Mean>>;

/// Which figure of a cell is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The score that validation chooses by.
    Valid,
    /// Accuracy on the test split.
    Accuracy,
    /// Macro F1 on the test split.
    MacroF1,
}

impl From<Chosen> for Figure {
    fn from(by: Chosen) -> Self {
        match by {
            Chosen::Accuracy => Self::Accuracy,
            Chosen::MacroF1 => Self::MacroF1,
        }
    }
}

impl Figure {
    /// Its name, for reading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "validation score",
            Self::Accuracy => "test accuracy",
            Self::MacroF1 => "test macro F1",
        }
    }

    fn of(self, cell: &Cell) -> f64 {
        match self {
            Self::Valid => cell.valid,
            Self::Accuracy => cell.test,
            Self::MacroF1 => cell.test_f1,
        }
    }
}

/// The table of a figure of all cells.
pub fn table(cells: &[Cell], figure: Figure) -> Table {
    let mut values: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
    for cell in cells {
        values.entry((cell.way.clone(), cell.labels)).or_default().push(figure.of(cell));
    }
    let mut table = Table::new();
    for ((way, labels), values) in values {
        table.entry(way).or_default().insert(labels, Mean::of(&values));
    }
    table
}

/// One line a cell.
pub fn csv(cells: &[Cell]) -> String {
    let mut text = String::from("way,labels,seed,valid_score,test_accuracy,test_macro_f1,learning_rate\n");
    for Cell { way, labels, seed, valid, test, test_f1, learning_rate } in cells {
        let rate = learning_rate.map_or(String::new(), |rate| rate.to_string());
        let _ = writeln!(text, "{way},{labels},{seed},{valid},{test},{test_f1},{rate}");
    }
    text
}

/// What a figure lacks of 100 % against labels, with intervals.
pub fn chart(cells: &[Cell], figure: Figure, title: &str) -> Chart {
    let table = table(cells, figure);
    let series = table.iter().enumerate().map(|(i, (way, means))| {
        let point = |(&labels, mean): (&usize, &Mean)| {
            // A little aside of each other, so that intervals do not hide one another.
            let x = (labels as f64).log10() + 0.012 * i as f64;
            let percent = |share: f64| (x, 100.0 * (1.0 - share));
            let [low, high] = mean.interval();
            // Down and up the interval and back to the mean: where there is none the points are left out.
            [mean.mean, low, high, mean.mean].map(percent)
        };
        Series::curve(way.clone(), means.iter().flat_map(point).collect())
    });
    Chart {
        title: title.into(),
        x: "labels (power of ten)".into(),
        y: format!("100 % - {}", figure.name()),
        log_y: true,
        series: series.collect(),
    }
}

/// What one way has more than another, seed by seed: both had the same labels, so what the draw is worth cancels out.
pub fn paired(cells: &[Cell], [way, other]: [&str; 2], labels: usize, figure: Figure) -> Mean {
    let of = |way: &str| -> BTreeMap<u64, f64> {
        let cells = cells.iter().filter(|cell| cell.way == way && cell.labels == labels);
        cells.map(|cell| (cell.seed, figure.of(cell))).collect()
    };
    let others = of(other);
    let more = of(way).into_iter().filter_map(|(seed, value)| Some(value - others.get(&seed)?));
    Mean::of(&more.collect::<Vec<_>>())
}

/// What the numbers say of a figure of the test split, one sentence for each number of labels: the use of the encoder
/// that is best on validation, against scratch.
pub fn conclusion(cells: &[Cell], figure: Figure) -> String {
    let (table, valid) = (table(cells, figure), table(cells, Figure::Valid));
    let Some(scratch) = table.get(SCRATCH) else {
        return "Nothing was trained from scratch, so nothing can be said of what pretraining bought.".into();
    };
    let mut parts = Vec::new();
    for (labels, without) in scratch {
        let others = valid.iter().filter(|(way, _)| *way != SCRATCH);
        let best = others
            .filter_map(|(way, means)| Some((way, means.get(labels)?)))
            .max_by(|a, b| a.1.mean.total_cmp(&b.1.mean))
            .and_then(|(way, _)| Some((way, table.get(way)?.get(labels)?)));
        let Some((way, with)) = best else { continue };
        let gain = 100.0 * (with.mean - without.mean);
        let apart = with.interval()[0] > without.interval()[1] || with.interval()[1] < without.interval()[0];
        let same = paired(cells, [way, SCRATCH], *labels, figure);
        let draws = same.interval()[0] > 0.0 || same.interval()[1] < 0.0;
        let verdict = match (apart, gain > 0.0) {
            (true, true) => "the pretrained encoder is better, intervals apart",
            (true, false) => "the pretrained encoder is worse, intervals apart",
            _ if gain.is_nan() || with.half.is_nan() || without.half.is_nan() => "too few seeds to tell",
            (_, true) if draws => "the pretrained encoder is better draw by draw, though the intervals meet",
            (_, false) if draws => "the pretrained encoder is worse draw by draw, though the intervals meet",
            _ => "no difference that these seeds show",
        };
        let same = if same.half.is_nan() {
            String::new()
        } else {
            format!(" (draw by draw {:+.2} ± {:.2})", 100.0 * same.mean, 100.0 * same.half)
        };
        parts.push(format!(
            "with {labels} labels its best use on validation ({way}) reaches a {} of {} against {} from scratch, \
             {gain:+.2} points{same}: {verdict}",
            figure.name(),
            percent(with),
            percent(without)
        ));
    }
    if parts.is_empty() {
        return "Nothing but training from scratch was measured, so nothing can be said of what pretraining bought.".into();
    }
    let mut text = parts.join("; ");
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    text + "."
}

/// `91.23 ± 0.45 %`.
pub fn percent(mean: &Mean) -> String {
    if mean.half.is_nan() {
        return format!("{:.2} %", 100.0 * mean.mean);
    }
    format!("{:.2} ± {:.2} %", 100.0 * mean.mean, 100.0 * mean.half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(way: &str, values: &[f64]) -> Vec<Cell> {
        let cell = |(seed, test): (u64, &f64)| Cell {
            way: way.into(),
            labels: 100,
            seed,
            valid: *test,
            test: *test,
            test_f1: *test,
            learning_rate: None,
        };
        (1..).zip(values).map(cell).collect()
    }

    /// `scipy.stats.t.interval(.95, 2, loc=np.mean(x), scale=scipy.stats.sem(x))` of [.9, .91, .93]:
    /// 0.875388 to 0.951279.
    #[test]
    fn intervals_are_students() {
        let [low, high] = Mean::of(&[0.9, 0.91, 0.93]).interval();
        assert!((low - 0.875_388).abs() < 2e-6 && (high - 0.951_279).abs() < 2e-6, "{low} {high}");
        assert!(Mean::of(&[0.9]).half.is_nan());
    }

    #[test]
    fn the_conclusion_follows_from_the_numbers() {
        let scratch = [0.800, 0.801, 0.802];
        for (other, wanted) in [
            (
                [0.900, 0.901, 0.902],
                "+10.00 points (draw by draw +10.00 ± 0.00): the pretrained encoder is better, intervals apart",
            ),
            (
                [0.700, 0.701, 0.702],
                "-10.00 points (draw by draw -10.00 ± 0.00): the pretrained encoder is worse",
            ),
            ([0.700, 0.801, 0.950], "no difference"),
            (
                [0.801, 0.802, 0.803],
                "+0.10 points (draw by draw +0.10 ± 0.00): the pretrained encoder is better draw by draw",
            ),
        ] {
            let all = [cells(SCRATCH, &scratch), cells("full", &other)].concat();
            let said = conclusion(&all, Figure::Accuracy);
            let begins = "With 100 labels its best use on validation (full) reaches a test accuracy of";
            assert!(said.starts_with(begins) && said.contains(wanted), "{said}");
        }
        let one = [cells(SCRATCH, &[0.8]), cells("full", &[0.9])].concat();
        assert!(conclusion(&one, Figure::MacroF1).contains("too few seeds"));
        assert!(conclusion(&[], Figure::Accuracy).contains("Nothing was trained from scratch"));
    }

    /// `d = scipy.stats.ttest_rel([.81, .83, .86], [.80, .82, .84]).confidence_interval()` is 0.0133 ± 0.0143.
    #[test]
    fn what_a_draw_is_worth_cancels_out() {
        let all = [cells(SCRATCH, &[0.80, 0.82, 0.84]), cells("full", &[0.81, 0.83, 0.86, 0.5])].concat();
        let found = paired(&all, ["full", SCRATCH], 100, Figure::Accuracy);
        assert_eq!(found.count, 3);
        assert!((found.mean - 0.013333).abs() < 1e-6 && (found.half - 0.014342).abs() < 1e-5, "{found:?}");
        assert!(paired(&all, ["full", "head"], 100, Figure::Accuracy).half.is_nan());
    }

    #[test]
    fn validation_names_the_best_way_and_not_the_test() {
        let mut head = cells("head", &[0.90, 0.91]);
        head.iter_mut().for_each(|cell| cell.valid = 0.5);
        let all = [cells(SCRATCH, &[0.7, 0.71]), cells("full", &[0.8, 0.81]), head].concat();
        assert!(conclusion(&all, Figure::Accuracy).contains("(full)"));
    }

    #[test]
    fn cells_are_kept() {
        let tmp = tempfile::tempdir().unwrap();
        let cell = cells("full", &[0.5]).remove(0);
        assert_eq!(Cell::read(tmp.path(), "full", 100, 1).unwrap(), None);
        cell.write(tmp.path()).unwrap();
        assert_eq!(Cell::read(tmp.path(), "full", 100, 1).unwrap(), Some(cell));
        fs::write(tmp.path().join(Cell::file("full", 100, 1)), "{").unwrap();
        assert!(Cell::read(tmp.path(), "full", 100, 1).unwrap_err().to_string().contains("is damaged"));
    }

    #[test]
    fn intervals_are_drawn() {
        let all = [cells(SCRATCH, &[0.8, 0.82]), cells("full", &[0.9])].concat();
        let png = crate::plot::png(&[chart(&all, Figure::Accuracy, "t")]).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
}
