//! What a finished run shows: figures of the test split, curves, a report. Made anew from the run's files.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::backend::Backend;

use crate::{
    error::{Result, TrainError},
    evaluate::{SplitName, load_split, predictions, worst_mistakes},
    log::{MetricsLine, read_end, read_metrics},
    metrics::Evaluation,
    plot::{self, Chart, Series},
    registry,
    report::{self, Report},
    rundir::{RunDir, SavedRun, write_whole},
};

/// Mistakes shown in the report.
const MISTAKES: usize = 40;

/// Evaluates the run's chosen weights on the test split and writes evaluation.json, curves.png, report.html.
///
/// # Errors
/// [`TrainError::Unfinished`] without model.safetensors; what loading, evaluating and writing can meet.
pub fn publish<B: Backend>(
    dir: &RunDir,
    saved: &SavedRun,
    data_dir: Option<&Path>,
    device: &B::Device,
) -> Result<Evaluation> {
    let model = load_model::<B>(dir, saved, device)?;
    let test = load_split(saved, SplitName::Test, data_dir, dir.path())?;
    let predictions = predictions(&*model, &test, saved.facts.classes.len(), device)?;
    let evaluation = Evaluation::of(&predictions, &saved.facts.classes)?;
    let json = serde_json::to_vec_pretty(&evaluation).map_err(|e| TrainError::Io {
        action: "write",
        path: dir.evaluation(),
        source: e.into(),
    })?;
    write_whole(&dir.evaluation(), &json)?;

    let charts = charts(&read_metrics(&dir.metrics())?);
    write_whole(&dir.curves(), &plot::png(&charts)?)?;
    let mistakes = worst_mistakes(test.data(), &predictions, &saved.facts.classes, MISTAKES);
    let html = report::html(&Report {
        title: &dir.name(),
        settings_toml: &saved.to_toml()?,
        summary: &summary(dir, saved, &evaluation),
        charts: &charts,
        evaluation: Some(&evaluation),
        split: "test",
        mistakes: &mistakes,
    })?;
    write_whole(&dir.report(), html.as_bytes())?;
    Ok(evaluation)
}

/// The trained model of a run, ready to use.
///
/// # Errors
/// [`TrainError::Unfinished`] without model.safetensors; [`TrainError::Checkpoint`] where it does not fit.
pub fn load_model<B: Backend>(
    dir: &RunDir,
    saved: &SavedRun,
    device: &B::Device,
) -> Result<Box<dyn registry::Trained<B>>> {
    if !dir.model().exists() {
        return Err(TrainError::Unfinished { path: dir.path().to_path_buf() });
    }
    registry::load::<B>(&saved.run, &saved.facts, &dir.model(), device)
}

/// The figures of the test split, if the run has them.
///
/// # Errors
/// [`TrainError::Io`]; [`TrainError::Damaged`].
pub fn read_evaluation(dir: &RunDir) -> Result<Option<Evaluation>> {
    let path = dir.evaluation();
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(TrainError::io("read", &path))?;
    let found = serde_json::from_slice(&bytes);
    found.map(Some).map_err(|e| TrainError::Damaged { path, reason: e.to_string() })
}

/// One chart for each named value, one curve for each split, over epochs; then the learning rate.
pub fn charts(lines: &[MetricsLine]) -> Vec<Chart> {
    let per_epoch = lines
        .iter()
        .filter(|l| l.split == "valid" && l.epoch > 0)
        .map(|l| l.step as f64 / l.epoch as f64)
        .next_back()
        .unwrap_or(1.0);
    let at = |line: &MetricsLine| line.step as f64 / per_epoch;
    let mut curves: BTreeMap<&str, Vec<Series>> = BTreeMap::new();
    for line in lines {
        for (name, value) in &line.values {
            // What training minimises and what validation measures of it share a chart.
            let title = if name == "cross_entropy" { "loss" } else { name };
            let series = curves.entry(title).or_default();
            match series.iter_mut().find(|s| s.name == line.split) {
                Some(series) => series.points.push((at(line), *value)),
                None => series.push(Series { name: line.split.clone(), points: vec![(at(line), *value)] }),
            }
        }
    }
    let chart = |title: &str, log_y: bool, series: Vec<Series>| Chart {
        title: title.replace('_', " "),
        x: "epoch".into(),
        y: title.replace('_', " "),
        log_y,
        series,
    };
    let mut charts: Vec<Chart> =
        curves.into_iter().map(|(title, series)| chart(title, title == "loss", series)).collect();
    let rate = lines.iter().filter(|l| l.split == "train").map(|l| (at(l), l.learning_rate)).collect();
    charts.push(chart("learning_rate", false, vec![Series { name: "learning rate".into(), points: rate }]));
    charts
}

fn summary(dir: &RunDir, saved: &SavedRun, evaluation: &Evaluation) -> Vec<(String, String)> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mut rows = vec![
        (
            "test accuracy".to_string(),
            format!(
                "{} (95 % interval {} to {}, {} images)",
                percent(evaluation.accuracy),
                percent(evaluation.accuracy_interval[0]),
                percent(evaluation.accuracy_interval[1]),
                evaluation.examples
            ),
        ),
        ("macro F1".into(), format!("{:.4}", evaluation.macro_f1)),
        ("cross-entropy".into(), format!("{:.4} nats", evaluation.cross_entropy)),
        ("net".into(), format!("{}, {}", saved.run.net, saved.run.objective)),
        ("seed".into(), saved.run.seed.to_string()),
        ("backend".into(), saved.provenance.backend.clone()),
        ("commit".into(), saved.provenance.git_commit.clone()),
    ];
    if let Some(end) = read_end(&dir.timing()) {
        rows.push((
            "training".into(),
            format!("{:.0} s, {:.0} images a second", end.train_seconds, end.images_per_second),
        ));
    }
    rows
}
