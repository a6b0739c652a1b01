//! Figures of a classifier over one whole split, computed once from its probabilities.
//!
//! Definitions follow scikit-learn 1.9 (Pedregosa et al. 2011, JMLR 12), so that its functions
//! give the same numbers on the file that [`Predictions::to_csv`] writes. The expected
//! calibration error is that of Guo et al. 2017 (arXiv 1706.04599), the interval Wilson's (1927).
//! Nothing is averaged over batches: a mean of batch means is not the mean of the split when the
//! last batch is short, and F1 has no batch mean at all.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Deserialize, Serialize};

/// Equal-width confidence bins of the expected calibration error.
const ECE_BINS: usize = 15;
/// 97.5 % quantile of the standard normal: a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;
/// How far a row of probabilities may sum from 1, and a value above 1, by rounding.
const TOLERANCE: f64 = 1e-3;

/// Why figures cannot be computed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum MetricsError {
    /// Nothing to average over.
    #[error("the split has no examples: figures need at least one")]
    NoExamples,
    /// The tables do not fit each other.
    #[error("{probabilities} probabilities do not make {labels} rows (one a label) of {classes} classes")]
    Shape {
        /// Values found.
        probabilities: usize,
        /// Labels found: the rows wanted.
        labels: usize,
        /// Classes: the columns wanted.
        classes: usize,
    },
    /// A true class that does not exist.
    #[error("example {example} has label {label}, wanted 0 to {}", classes.saturating_sub(1))]
    Label {
        /// Position in the split.
        example: usize,
        /// Label found.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// NaN, infinite or outside 0-1.
    #[error("example {example}, class {class}: {value} is not a probability")]
    Probability {
        /// Position in the split.
        example: usize,
        /// Class of the value.
        class: usize,
        /// Value found.
        value: f32,
    },
    /// The probabilities of one example do not sum to 1.
    #[error("example {example}: its probabilities sum to {sum}, wanted 1 (softmax left out?)")]
    Sum {
        /// Position in the split.
        example: usize,
        /// Sum found.
        sum: f64,
    },
    /// One name a class is wanted.
    #[error("{found} class names for {classes} classes")]
    Names {
        /// Names found.
        found: usize,
        /// Number of classes.
        classes: usize,
    },
}

/// Class probabilities of a split beside its true labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// Number of classes: the columns.
    pub classes: usize,
    /// Row-major `[examples, classes]`, 0-1, each row summing to 1.
    pub probabilities: Vec<f32>,
    /// True class of each example, `0..classes`.
    pub labels: Vec<usize>,
    /// Where positions of an example have classes, which example each row is of, in order; else empty.
    pub sequences: Vec<usize>,
}

impl Predictions {
    /// Checked predictions; values above 1 by rounding only (1e-3) are set to 1.
    ///
    /// # Errors
    /// Sizes that do not fit, a label outside `0..classes`, or a row that is no distribution.
    pub fn new(
        classes: usize,
        mut probabilities: Vec<f32>,
        labels: Vec<usize>,
    ) -> Result<Self, MetricsError> {
        for p in &mut probabilities {
            if *p > 1.0 && f64::from(*p) <= 1.0 + TOLERANCE {
                *p = 1.0;
            }
        }
        let predictions = Self { classes, probabilities, labels, sequences: Vec::new() };
        predictions.check()?;
        Ok(predictions)
    }

    /// The same, of which several may be of one example: `sequences` says of which each is, in order.
    pub fn of_sequences(mut self, sequences: Vec<usize>) -> Self {
        if sequences.windows(2).any(|pair| pair[0] == pair[1]) {
            self.sequences = sequences;
        }
        self
    }

    /// 95 % interval of a share of right ones. Answers of one example go together, so that there are as many draws as
    /// examples: of such the error of a ratio of sums over examples (Cochran 1977, Sampling techniques, 6.4).
    fn interval(&self, accuracy: f64) -> [f64; 2] {
        if self.sequences.is_empty() {
            return wilson(accuracy, self.len() as f64);
        }
        let mut apart: BTreeMap<usize, f64> = BTreeMap::new(); // of each example: right ones minus expected ones
        for (i, (&sequence, &label)) in self.sequences.iter().zip(&self.labels).enumerate() {
            let right = if self.predicted(i) == label { 1.0 } else { 0.0 };
            *apart.entry(sequence).or_default() += right - accuracy;
        }
        let count = apart.len() as f64;
        let squares: f64 = apart.values().map(|apart| apart * apart).sum();
        let half = Z_95 * (squares * count / (count - 1.0).max(1.0)).sqrt() / self.len() as f64;
        [(accuracy - half).max(0.0), (accuracy + half).min(1.0)]
    }

    fn check(&self) -> Result<(), MetricsError> {
        let Self { classes, ref probabilities, ref labels, .. } = *self;
        if classes == 0 || labels.len().checked_mul(classes) != Some(probabilities.len()) {
            let (probabilities, labels) = (probabilities.len(), labels.len());
            return Err(MetricsError::Shape { probabilities, labels, classes });
        }
        for (example, (row, &label)) in probabilities.chunks_exact(classes).zip(labels).enumerate() {
            if label >= classes {
                return Err(MetricsError::Label { example, label, classes });
            }
            if let Some(class) = row.iter().position(|p| !(0.0..=1.0).contains(p)) {
                return Err(MetricsError::Probability { example, class, value: row[class] });
            }
            let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
            if (sum - 1.0).abs() > TOLERANCE {
                return Err(MetricsError::Sum { example, sum });
            }
        }
        Ok(())
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Probabilities of example `i`, `[classes]`.
    ///
    /// # Panics
    /// If `i` is not below [`Self::len`], as slices do.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.probabilities[i * self.classes..(i + 1) * self.classes]
    }

    /// The most probable class of example `i`; of equal ones the first, as NumPy's `argmax`.
    ///
    /// # Panics
    /// If `i` is not below [`Self::len`].
    pub fn predicted(&self, i: usize) -> usize {
        let row = self.row(i);
        (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
    }

    /// Writes `label,prediction,p0,p1,...,label_name,prediction_name` and, where there are `files`, `file`; one line an
    /// example.
    ///
    /// Each probability has the digits that bring back the same number both as `f32` and as
    /// `f64`, so that a program that reads the file in double precision gets our figures.
    ///
    /// # Errors
    /// Those of `w`.
    pub fn to_csv(&self, w: &mut impl Write, classes: &[String], files: &[String]) -> io::Result<()> {
        write!(w, "label,prediction")?;
        for class in 0..self.classes {
            write!(w, ",p{class}")?;
        }
        writeln!(w, ",label_name,prediction_name{}", if files.is_empty() { "" } else { ",file" })?;
        for (i, label) in self.labels.iter().enumerate() {
            write!(w, "{label},{}", self.predicted(i))?;
            for &p in self.row(i) {
                write!(w, ",{:?}", f64::from(p))?;
            }
            for class in [*label, self.predicted(i)] {
                write!(w, ",{}", cell(classes.get(class).map_or("", String::as_str)))?;
            }
            if !files.is_empty() {
                write!(w, ",{}", cell(files.get(i).map_or("", String::as_str)))?;
            }
            writeln!(w)?;
        }
        Ok(())
    }
}

/// A text as a cell of a table with commas (RFC 4180).
fn cell(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

/// Figures of one class; each is 0 where it would divide by 0 (`zero_division=0`).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ClassMetrics {
    /// Name of the class.
    pub class: String,
    /// Right ones among those given this class, 0-1.
    pub precision: f64,
    /// Right ones among those of this class, 0-1.
    pub recall: f64,
    /// Harmonic mean of precision and recall, 0-1.
    pub f1: f64,
    /// Examples of this class.
    pub support: u64,
}

/// Figures of a classifier on one split.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of right predictions, 0-1.
    pub accuracy: f64,
    /// Mean F1 of the classes that occur as label or prediction (scikit-learn's default), 0-1.
    pub macro_f1: f64,
    /// F1 of the classes weighted by support, 0-1.
    pub weighted_f1: f64,
    /// One entry a class, in class order.
    pub per_class: Vec<ClassMetrics>,
    /// Counts `[true][predicted]`.
    pub confusion_matrix: Vec<Vec<u64>>,
    /// Mean of `-ln p(label)`, nats an example. As `log_loss` on doubles: `p` is clipped to
    /// `[eps, 1 - eps]`, `eps` 2.2e-16, and rows are not renormalised.
    pub cross_entropy: f64,
    /// Mean of the sum over classes of `(p - onehot)^2`, 0-2.
    pub brier: f64,
    /// Expected calibration error over 15 equal-width bins `(low, high]` of confidence, 0-1.
    pub ece: f64,
    /// Share of examples whose label is among the two most probable classes, 0-1. Of equal ones
    /// the higher class goes first, as in `top_k_accuracy_score`.
    pub top2_accuracy: f64,
    /// Number of examples.
    pub examples: usize,
    /// 95 % interval of the accuracy, `[low, high]`: the luck of which examples were drawn, not of the training seed.
    /// Wilson's; where an example has several answers, that of a ratio of sums over examples.
    pub accuracy_interval: [f64; 2],
}

impl Evaluation {
    /// All figures of `p`; `class_names` has one name a class.
    ///
    /// # Errors
    /// No examples, another number of names than classes, or tables that
    /// [`Predictions::new`] would refuse.
    pub fn of(p: &Predictions, class_names: &[String]) -> Result<Self, MetricsError> {
        p.check()?;
        if p.is_empty() {
            return Err(MetricsError::NoExamples);
        }
        if class_names.len() != p.classes {
            return Err(MetricsError::Names { found: class_names.len(), classes: p.classes });
        }
        let n = p.len() as f64;
        let mut confusion_matrix = vec![vec![0u64; p.classes]; p.classes];
        let (mut nats, mut squares, mut top2) = (0.0, 0.0, 0u64);
        let mut bins = [0.0; ECE_BINS]; // right answers minus confidence, summed
        for (i, &label) in p.labels.iter().enumerate() {
            let (row, predicted) = (p.row(i), p.predicted(i));
            confusion_matrix[label][predicted] += 1;
            nats -= f64::from(row[label]).clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
            for (class, &q) in row.iter().enumerate() {
                let target = if class == label { 1.0 } else { 0.0 };
                squares += (f64::from(q) - target).powi(2);
            }
            let above = |&(class, &q): &(usize, &f32)| q > row[label] || (q == row[label] && class > label);
            top2 += u64::from(row.iter().enumerate().filter(above).count() < 2);
            let confidence = f64::from(row[predicted]);
            let bin = ((confidence * ECE_BINS as f64).ceil() as usize).clamp(1, ECE_BINS) - 1;
            bins[bin] += if predicted == label { 1.0 } else { 0.0 } - confidence;
        }

        let right: u64 = (0..p.classes).map(|class| confusion_matrix[class][class]).sum();
        let per_class = per_class(&confusion_matrix, class_names);
        let seen = |class: &usize| confusion_matrix.iter().any(|row| row[*class] > 0);
        let occurring: Vec<f64> = (0..p.classes)
            .filter(|class| per_class[*class].support > 0 || seen(class))
            .map(|class| per_class[class].f1)
            .collect();
        Ok(Self {
            accuracy: right as f64 / n,
            macro_f1: occurring.iter().sum::<f64>() / occurring.len() as f64,
            weighted_f1: per_class.iter().map(|c| c.f1 * c.support as f64).sum::<f64>() / n,
            per_class,
            confusion_matrix,
            cross_entropy: nats / n,
            brier: squares / n,
            ece: bins.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / n,
            top2_accuracy: top2 as f64 / n,
            examples: p.len(),
            accuracy_interval: p.interval(right as f64 / n),
        })
    }
}

/// Mean F1 of the classes that occur among (label, prediction) pairs, as [`Evaluation::macro_f1`]; 0 without pairs.
pub fn macro_f1(answers: &[(usize, usize)]) -> f64 {
    let classes = answers.iter().map(|(label, predicted)| label.max(predicted) + 1).max().unwrap_or(0);
    let mut counts = vec![[0u64; 2]; classes]; // of each class: right ones, labels and predictions together
    for &(label, predicted) in answers {
        counts[label][0] += u64::from(label == predicted);
        counts[label][1] += 1;
        counts[predicted][1] += 1;
    }
    let occurring = counts.iter().filter(|[_, seen]| *seen > 0);
    let f1s: Vec<f64> = occurring.map(|[right, seen]| 2.0 * *right as f64 / *seen as f64).collect();
    f1s.iter().sum::<f64>() / f1s.len().max(1) as f64
}

fn per_class(confusion: &[Vec<u64>], names: &[String]) -> Vec<ClassMetrics> {
    let ratio = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
    let one = |(class, name): (usize, &String)| {
        let right = confusion[class][class];
        let support: u64 = confusion[class].iter().sum();
        let given: u64 = confusion.iter().map(|row| row[class]).sum();
        ClassMetrics {
            class: name.clone(),
            precision: ratio(right, given),
            recall: ratio(right, support),
            f1: ratio(2 * right, support + given),
            support,
        }
    };
    names.iter().enumerate().map(one).collect()
}

/// Wilson's 95 % score interval of a share `p` seen in `n` trials.
fn wilson(p: f64, n: f64) -> [f64; 2] {
    let z2 = Z_95 * Z_95;
    let middle = p + z2 / (2.0 * n);
    let half = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // At p = 0 and 1 an end equals p, but for rounding.
    [((middle - half) / scale).clamp(0.0, p), ((middle + half) / scale).clamp(p, 1.0)]
}

#[cfg(test)]
mod tests;
