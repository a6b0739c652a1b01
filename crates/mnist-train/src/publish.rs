//! What a finished run shows: figures of the test split, curves, a report. Made anew from the run's files.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::backend::Backend;

use crate::{
    card,
    data::AnyLoader,
    error::{Result, TrainError},
    evaluate::{SplitName, load_split, worst_mistakes},
    figures::{Figures, Scores},
    log::{MetricsLine, read_end, read_metrics},
    metrics::{Evaluation, Predictions},
    plot::{self, Chart, Series},
    registry,
    report::{self, Report},
    rundir::{RunDir, SavedRun, write_whole},
};

/// Mistakes shown in the report.
const MISTAKES: usize = 40;

/// Evaluates the run's chosen weights on the test split and writes evaluation.json, pictures, curves.png, report.html
/// and model-card.md.
///
/// # Errors
/// [`TrainError::Unfinished`] without model.safetensors; what loading, evaluating and writing can meet.
pub fn publish<B: Backend>(
    dir: &RunDir,
    saved: &SavedRun,
    data_dir: Option<&Path>,
    device: &B::Device,
) -> Result<Figures> {
    let model = load_model::<B>(dir, saved, device)?;
    let test = load_split(saved, SplitName::Test, data_dir, dir.path())?;
    let (figures, predictions) = measure(&*model, saved, &test, device)?;
    let json = serde_json::to_vec_pretty(&figures).map_err(|e| TrainError::Io {
        action: "write",
        path: dir.evaluation(),
        source: e.into(),
    })?;
    write_whole(&dir.evaluation(), &json)?;
    let mistakes = match (&test, &predictions) {
        (AnyLoader::Images(images), Some(found)) => {
            worst_mistakes(images.data(), found, &saved.facts.classes, MISTAKES)
        }
        _ => Vec::new(),
    };
    let pictures = model.pictures(&test, device)?;
    save_pictures(dir, "", &pictures)?;

    // What was trained elsewhere has no curves.
    let charts = match saved.provenance.imported {
        Some(_) => Vec::new(),
        None => charts(&read_metrics(&dir.metrics())?),
    };
    if !charts.is_empty() {
        write_whole(&dir.curves(), &plot::png(&charts)?)?;
    }
    let mut summary = summary(dir, saved);
    let evaluation = match &figures {
        Figures::Classification(evaluation) => Some(&**evaluation),
        Figures::Scores(found) => {
            let row = |(name, value): (&String, &f64)| {
                (format!("test {}", name.replace('_', " ")), value.to_string())
            };
            summary.extend(found.scores.iter().map(row));
            None
        }
    };
    let html = report::html(&Report {
        title: &dir.name(),
        settings_toml: &saved.to_toml()?,
        summary: &summary,
        charts: &charts,
        evaluation,
        split: "test",
        mistakes: &mistakes,
        pictures: &pictures,
    })?;
    write_whole(&dir.report(), html.as_bytes())?;
    write_whole(&dir.card(), card::markdown(dir, saved, &figures).as_bytes())?;
    Ok(figures)
}

/// Figures of a split and, where the model classifies, what it said of each example.
///
/// # Errors
/// [`TrainError::Settings`] if the examples are not of the model's kind; [`TrainError::Metrics`].
pub fn measure<B: Backend>(
    model: &dyn registry::Trained<B>,
    saved: &SavedRun,
    data: &AnyLoader,
    device: &B::Device,
) -> Result<(Figures, Option<Predictions>)> {
    let classes = &saved.facts.classes;
    let Some(found) = model.probabilities(data, device)? else {
        let scores = model.scores(data, device)?;
        let objective = saved.run.objective.clone();
        let (examples, binarise) = (data.len(), saved.run.data.binarise);
        return Ok((Figures::Scores(Scores { objective, examples, binarise, scores }), None));
    };
    let predictions = found.predictions(classes.len())?;
    let evaluation = Evaluation::of(&predictions, classes)?;
    Ok((Figures::Classification(Box::new(evaluation)), Some(predictions)))
}

/// Writes pictures under their names, with `prefix` before them; nothing where there are none.
///
/// # Errors
/// [`TrainError::Io`].
pub fn save_pictures(dir: &RunDir, prefix: &str, pictures: &[(String, Vec<u8>)]) -> Result<()> {
    if !pictures.is_empty() {
        fs::create_dir_all(dir.pictures()).map_err(TrainError::io("make the directory", &dir.pictures()))?;
    }
    pictures
        .iter()
        .try_for_each(|(name, bytes)| write_whole(&dir.pictures().join(format!("{prefix}{name}")), bytes))
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
    finished(dir)?;
    registry::load::<B>(&saved.run, &saved.facts, &dir.model(), &dir.settings_digest()?, device)
}

/// Whether a run has weights.
///
/// # Errors
/// [`TrainError::Unfinished`].
pub(crate) fn finished(dir: &RunDir) -> Result<()> {
    if dir.model().exists() { Ok(()) } else { Err(TrainError::Unfinished { path: dir.path().to_path_buf() }) }
}

/// The figures of the test split, if the run has them.
///
/// # Errors
/// [`TrainError::Io`]; [`TrainError::Damaged`].
pub fn read_evaluation(dir: &RunDir) -> Result<Option<Figures>> {
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
            // Near 1 an accuracy shows little: its distance from 1, drawn in powers of ten, shows all.
            let (title, value) = match name.as_str() {
                "cross_entropy" | "squared_error" | "negative_elbo" => ("loss", *value),
                "accuracy" => ("error_rate", 1.0 - value),
                other => (other, *value),
            };
            let series = curves.entry(title).or_default();
            match series.iter_mut().find(|s| s.name == line.split) {
                Some(series) => series.points.push((at(line), value)),
                None => series.push(Series::curve(line.split.clone(), vec![(at(line), value)])),
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
    let mut charts: Vec<Chart> = curves
        .into_iter()
        .map(|(title, series)| chart(title, title == "loss" || title == "error_rate", series))
        .collect();
    let rate = lines.iter().filter(|l| l.split == "train").map(|l| (at(l), l.learning_rate)).collect();
    charts.push(chart("learning_rate", false, vec![Series::curve("learning rate", rate)]));
    charts
}

/// What the figures on the page do not say themselves.
fn summary(dir: &RunDir, saved: &SavedRun) -> Vec<(String, String)> {
    let run = &saved.run;
    let commit: String = saved.provenance.git_commit.chars().take(12).collect();
    let mut rows = vec![
        ("objective".to_string(), run.objective.clone()),
        ("net".into(), saved.net().into()),
        ("data".into(), run.data.name.clone()),
    ];
    rows.extend(match &saved.provenance.imported {
        Some(imported) => {
            vec![("weights from".into(), format!("{}, SHA-256 {}", imported.file, imported.sha256))]
        }
        None => vec![
            ("seed".into(), run.seed.to_string()),
            ("backend".into(), saved.provenance.backend.clone()),
            ("commit".into(), commit),
        ],
    });
    if let Some(end) = read_end(&dir.timing()) {
        rows.push(("training".into(), format!("{:.0} s", end.train_seconds)));
        rows.push(("speed".into(), format!("{:.0} examples/s", end.examples_per_second)));
    }
    rows
}
