//! Reference numbers from scikit-learn 1.9.1, NumPy 2.4.6 and SciPy, and invariants.
//!
//! ```python
//! import numpy as np
//! from scipy.stats import binomtest
//! from sklearn import metrics as m
//! def report(p, y, C):                      # p: [n, C] f32, y: [n]
//!     p = np.asarray(p, np.float32).astype(np.float64); y = np.asarray(y); L = range(C); n = len(y)
//!     q = p.argmax(1); c = p.max(1)
//!     bins = np.digitize(c, np.linspace(0, 1, 16)[1:-1], right=True)
//!     ci = binomtest(int((q == y).sum()), n).proportion_ci(0.95, "wilson")
//!     return (m.accuracy_score(y, q), m.f1_score(y, q, average="macro", zero_division=0),
//!         m.f1_score(y, q, average="weighted", zero_division=0), m.log_loss(y, p, labels=L),
//!         m.brier_score_loss(y, p, labels=L),
//!         sum(abs((q[bins == b] == y[bins == b]).sum() - c[bins == b].sum()) for b in range(15)) / n,
//!         m.top_k_accuracy_score(y, p, k=2, labels=L), ci.low, ci.high,
//!         m.precision_recall_fscore_support(y, q, labels=L, zero_division=0),
//!         m.confusion_matrix(y, q, labels=L))
//! ```

use proptest::prelude::*;

use super::*;

/// Expected: accuracy, macro F1, weighted F1, cross-entropy, Brier, ECE, top-2, interval.
type Figures = [f64; 9];

fn names(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

fn evaluate(classes: usize, probabilities: Vec<f32>, labels: &[usize]) -> Evaluation {
    let p = Predictions::new(classes, probabilities, labels.to_vec()).unwrap();
    Evaluation::of(&p, &names(classes)).unwrap()
}

fn close(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f - w).abs() < 1e-11, "figure {i}: found {f}, wanted {w}");
    }
}

fn check(e: &Evaluation, figures: Figures, confusion: &[&[u64]]) {
    let [low, high] = e.accuracy_interval;
    let found =
        [e.accuracy, e.macro_f1, e.weighted_f1, e.cross_entropy, e.brier, e.ece, e.top2_accuracy, low, high];
    close(&found, &figures);
    assert_eq!(e.confusion_matrix, confusion);
}

fn column(e: &Evaluation, of: fn(&ClassMetrics) -> f64) -> Vec<f64> {
    e.per_class.iter().map(of).collect()
}

fn parts(table: &[f32]) -> Vec<f32> {
    table.iter().map(|part| part / 64.0).collect()
}

#[test]
fn absent_class_ties_and_a_zero_probability() {
    let p = parts(&[
        40., 16., 6., 2., 16., 40., 6., 2., 24., 24., 14., 2., 20., 20., 20., 4., 64., 0., 0., 0., 0., 64.,
        0., 0., 2., 20., 40., 2., 30., 2., 30., 2., 8., 40., 8., 8.,
    ]);
    let e = evaluate(4, p, &[0, 1, 1, 2, 1, 1, 2, 2, 0]);
    let figures = [
        0.4444444444444444,
        0.4523809523809524,
        0.4841269841269841,
        4.714974620338791,
        0.6232638888888888,
        0.2951388888888889,
        0.7777777777777778,
        0.18877852109766463,
        0.733348706504507,
    ];
    check(&e, figures, &[&[1, 1, 0, 0], &[2, 2, 0, 0], &[2, 0, 1, 0], &[0, 0, 0, 0]]);
    close(&column(&e, |c| c.precision), &[0.2, 0.6666666666666666, 1.0, 0.0]);
    close(&column(&e, |c| c.recall), &[0.5, 0.5, 0.3333333333333333, 0.0]);
    close(&column(&e, |c| c.f1), &[0.2857142857142857, 0.5714285714285714, 0.5, 0.0]);
    close(&column(&e, |c| c.support as f64), &[2.0, 4.0, 3.0, 0.0]);
}

#[test]
fn class_never_predicted() {
    let p = parts(&[48., 8., 8., 40., 16., 8., 8., 48., 8., 16., 40., 8.]);
    let e = evaluate(3, p, &[0, 2, 1, 2]);
    let figures = [
        0.5,
        0.4444444444444444,
        0.3333333333333333,
        1.1835618070658083,
        0.65625,
        0.4375,
        0.5,
        0.15003898915214953,
        0.8499610108478505,
    ];
    check(&e, figures, &[&[1, 0, 0], &[0, 1, 0], &[1, 1, 0]]);
}

#[test]
fn single_example() {
    let e = evaluate(3, vec![0.25, 0.5, 0.25], &[1]);
    let figures = [1.0, 1.0, 1.0, std::f64::consts::LN_2, 0.375, 0.5, 1.0, 0.20654931437723745, 1.0];
    check(&e, figures, &[&[0, 0, 0], &[0, 1, 0], &[0, 0, 0]]);
}

/// The generator is a few integers, so that Python makes the same table:
/// ```python
/// s = 1
/// def draw(k):
///     global s; s = (s * 1664525 + 1013904223) % 2**32; return (s >> 16) % k
/// P, Y = [], []
/// for _ in range(500):
///     w = [draw(1000) + 1 for _ in range(10)]; y = draw(10); w[y] += draw(4000)
///     P.append(np.array(w) / sum(w)); Y.append(y)
/// ```
fn generated() -> (Vec<f32>, Vec<usize>) {
    let mut state = 1u32;
    let mut draw = |k: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % k
    };
    let (mut probabilities, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let mut weights: Vec<u32> = (0..10).map(|_| draw(1000) + 1).collect();
        let label = draw(10) as usize;
        weights[label] += draw(4000);
        let sum: u32 = weights.iter().sum();
        probabilities.extend(weights.iter().map(|w| (f64::from(*w) / f64::from(sum)) as f32));
        labels.push(label);
    }
    (probabilities, labels)
}

#[test]
fn ten_classes_500_examples() {
    let (p, labels) = generated();
    let e = evaluate(10, p, &labels);
    let figures = [
        0.872,
        0.8719107950174958,
        0.8727300184406211,
        1.1694411647918501,
        0.516065813621977,
        0.5232025692760944,
        0.898,
        0.8398543146918417,
        0.8984731760047634,
    ];
    let confusion: [&[u64]; 10] = [
        &[38, 1, 2, 0, 0, 1, 0, 0, 0, 0],
        &[0, 45, 0, 0, 0, 0, 0, 1, 3, 1],
        &[0, 0, 36, 0, 1, 3, 2, 0, 2, 0],
        &[0, 1, 0, 55, 1, 0, 0, 1, 2, 0],
        &[2, 2, 1, 0, 51, 2, 1, 1, 0, 0],
        &[0, 1, 1, 1, 1, 47, 2, 0, 2, 0],
        &[1, 0, 0, 1, 1, 2, 48, 0, 1, 1],
        &[0, 1, 1, 0, 1, 3, 1, 41, 0, 0],
        &[2, 0, 0, 0, 0, 0, 3, 0, 38, 0],
        &[1, 0, 1, 1, 0, 1, 2, 0, 0, 37],
    ];
    check(&e, figures, &confusion);
    let f1 = [
        0.8837209302325582,
        0.8910891089108911,
        0.8372093023255814,
        0.9322033898305084,
        0.8793103448275862,
        0.8245614035087719,
        0.8421052631578947,
        0.8913043478260869,
        0.8351648351648352,
        0.9024390243902439,
    ];
    close(&column(&e, |c| c.f1), &f1);
}

#[test]
fn what_is_no_prediction_is_refused() {
    let new = |classes, p: &[f32], labels: &[usize]| {
        Predictions::new(classes, p.to_vec(), labels.to_vec()).map(|_| ())
    };
    let shape = |probabilities, labels, classes| Err(MetricsError::Shape { probabilities, labels, classes });
    assert_eq!(new(0, &[], &[]), shape(0, 0, 0));
    assert_eq!(new(2, &[0.5, 0.5, 1.0], &[0]), shape(3, 1, 2));
    assert_eq!(new(2, &[0.5, 0.5], &[2]), Err(MetricsError::Label { example: 0, label: 2, classes: 2 }));
    assert_eq!(new(2, &[0.5, 0.7], &[0]), Err(MetricsError::Sum { example: 0, sum: 1.199999988079071 }));
    assert!(matches!(new(2, &[f32::NAN, 0.5], &[0]), Err(MetricsError::Probability { class: 0, .. })));
    assert!(matches!(new(2, &[3.0, -2.0], &[0]), Err(MetricsError::Probability { class: 0, .. })));
    assert_eq!(new(2, &[1.000_001, 0.0], &[0]), Ok(()));
    let empty = Predictions::new(2, Vec::new(), Vec::new()).unwrap();
    assert_eq!(Evaluation::of(&empty, &names(2)), Err(MetricsError::NoExamples));
    let one = Predictions::new(2, vec![1.0, 0.0], vec![0]).unwrap();
    assert_eq!(Evaluation::of(&one, &names(3)), Err(MetricsError::Names { found: 3, classes: 2 }));
}

/// ```python
/// right = np.array([1, 1, 1, 0, 0, 1, 1, 1, 0.]); of = np.array([0, 0, 0, 1, 1, 2, 2, 4, 4])
/// a = right.mean(); r = np.array([(right[of == i] - a).sum() for i in np.unique(of)]); n = len(r)
/// a - 1.959963984540054 * np.sqrt((r ** 2).sum() * n / (n - 1)) / len(right)
/// ```
#[test]
fn answers_of_one_example_are_no_draws_of_their_own() {
    let labels = [0, 0, 0, 1, 1, 0, 0, 0, 1];
    let p = Predictions::new(2, [0.75, 0.25].repeat(9), labels.to_vec()).unwrap();
    let of = |sequences: &[usize]| {
        let p = p.clone().of_sequences(sequences.to_vec());
        Evaluation::of(&p, &names(2)).unwrap().accuracy_interval
    };
    close(&of(&[0, 0, 0, 1, 1, 2, 2, 4, 4]), &[0.20755923532995435, 1.0]);
    assert_eq!(of(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), Evaluation::of(&p, &names(2)).unwrap().accuracy_interval);
}

#[test]
fn csv_brings_back_each_number() {
    let (p, labels) = generated();
    let mut p = Predictions::new(10, p, labels.clone()).unwrap();
    p.probabilities[..10].copy_from_slice(&[1.0, 1e-30, 0., 0., 0., 0., 0., 0., 0., f32::MIN_POSITIVE]);
    let mut text = Vec::new();
    let mut names = names(10);
    names[7] = "seven, \"7\"".into();
    let files: Vec<String> = (0..labels.len()).map(|i| format!("{i}.png")).collect();
    p.to_csv(&mut text, &names, &files).unwrap();
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("label,prediction,p0,p1,p2,p3,p4,p5,p6,p7,p8,p9,label_name,prediction_name,file")
    );
    for (i, line) in lines.by_ref().enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[0], p.labels[i].to_string());
        assert_eq!(cells[1], p.predicted(i).to_string());
        for (cell, &wanted) in cells[2..].iter().zip(p.row(i)) {
            assert_eq!(cell.parse::<f32>().unwrap().to_bits(), wanted.to_bits());
            assert_eq!(cell.parse::<f64>().unwrap(), f64::from(wanted));
        }
    }
    assert_eq!(text.lines().count(), 501);
    assert!(text.contains(r#","seven, ""7""","#) && text.ends_with(",499.png\n"));
}

#[test]
fn json_brings_back_each_number() {
    let (p, labels) = generated();
    let e = evaluate(10, p, &labels);
    let text = serde_json::to_string(&e).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), e);
}

proptest! {
    #[test]
    fn invariants(classes in 1usize..6, seed in prop::collection::vec((prop::collection::vec(0u8..9, 6), 0usize..60), 1..50)) {
        let mut probabilities = Vec::new();
        let mut labels = Vec::new();
        for (weights, label) in &seed {
            let sum: f32 = weights[..classes].iter().map(|w| f32::from(*w) + 0.5).sum();
            probabilities.extend(weights[..classes].iter().map(|w| (f32::from(*w) + 0.5) / sum));
            labels.push(label % classes);
        }
        let n = labels.len() as u64;
        let e = evaluate(classes, probabilities, &labels);
        prop_assert_eq!(e.confusion_matrix.iter().flatten().sum::<u64>(), n);
        prop_assert_eq!(e.per_class.iter().map(|c| c.support).sum::<u64>(), n);
        let trace: u64 = (0..classes).map(|c| e.confusion_matrix[c][c]).sum();
        prop_assert_eq!(e.accuracy, trace as f64 / n as f64);
        let [low, high] = e.accuracy_interval;
        prop_assert!(0.0 <= low && low <= e.accuracy && e.accuracy <= high && high <= 1.0);
        for share in [e.macro_f1, e.weighted_f1, e.ece, e.top2_accuracy, e.brier / 2.0] {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&share), "{share}");
        }
        prop_assert!(e.cross_entropy >= 0.0 && e.cross_entropy.is_finite());
        if classes > 2 { prop_assert!(e.top2_accuracy <= 1.0) } else { prop_assert_eq!(e.top2_accuracy, 1.0) }
    }
}

#[test]
fn macro_f1_is_that_of_the_classes_that_occur() {
    let answers: Vec<(usize, usize)> = [0, 0, 2, 2, 5, 5].into_iter().zip([0, 2, 2, 2, 0, 5]).collect();
    // Class 0: 2 * 1 / 4; class 2: 2 * 2 / 5; class 5: 2 * 1 / 3; their mean.
    assert!((macro_f1(&answers) - (0.5 + 0.8 + 2.0 / 3.0) / 3.0).abs() < 1e-15);
    assert_eq!(macro_f1(&[]), 0.0);
}
