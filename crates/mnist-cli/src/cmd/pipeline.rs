//! `pipeline FILE`: trainings one after the other, each a run that may start from an earlier one, and at the end one
//! report that compares them. What is done is kept: the same command goes on, in the middle of a stage too.

use std::{fs, io::Write, path::Path, process::ExitCode, sync::atomic::Ordering};

use anyhow::{Context, Result};
use mnist_train::{
    TrainError,
    figures::Figures,
    log::{read_end, read_metrics},
    plot::{Chart, Series},
    publish::read_evaluation,
    report::{self, Report},
    run::Run,
    rundir::{PIPELINE, RunDir, write_whole},
};
use serde::{Deserialize, Serialize};

use super::{
    belongs,
    compare::{self, Compared},
    interrupted, train,
};
use crate::{
    args::{Chosen, Common, Finetune, Pipeline, Train, UsageError, plain},
    recipes::Recipe,
    stop,
};

/// A pipeline's file.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// In the order of their work.
    stage: Vec<Stage>,
}

/// A training.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Stage {
    /// Name of its run.
    name: String,
    /// Its recipe: a file, or a built-in one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    recipe: String,
    /// In place of a recipe: the stage before it whose recipe, `from` and settings it shares.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    like: String,
    /// The stage before it whose encoder it starts from; none: fresh weights.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    from: String,
    /// Changed settings, each `key=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    set: Vec<String>,
}

impl Plan {
    /// Reads a pipeline's text.
    fn parse(text: &str) -> Result<Self, String> {
        let mut plan: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        if plan.stage.is_empty() {
            return Err("it has no [[stage]]".into());
        }
        for i in 0..plan.stage.len() {
            let (before, rest) = plan.stage.split_at_mut(i);
            let Some(stage) = rest.first_mut() else { continue };
            stage.complete(before).map_err(|e| format!("stage {}: {e}", stage.name))?;
        }
        Ok(plan)
    }
}

impl Stage {
    /// Takes over what it is `like`, and checks what it names.
    fn complete(&mut self, before: &[Self]) -> Result<(), String> {
        plain(&self.name)?;
        let find = |name: &str| {
            let names: Vec<_> = before.iter().map(|stage| stage.name.as_str()).collect();
            let names = if names.is_empty() {
                "it is the first".into()
            } else {
                format!("only: {}", names.join(", "))
            };
            let found = before.iter().find(|stage| stage.name == name);
            found.ok_or_else(|| format!("there is no stage {name} before it, {names}"))
        };
        if find(&self.name).is_ok() {
            return Err("there are two of this name".into());
        }
        match (self.recipe.is_empty(), self.like.is_empty()) {
            (true, true) => return Err("it has neither `recipe` nor `like`".into()),
            (false, false) => return Err("it has both `recipe` and `like`; leave one away".into()),
            (false, true) => {}
            (true, false) => {
                let other = find(&std::mem::take(&mut self.like))?;
                self.recipe.clone_from(&other.recipe);
                if self.from.is_empty() {
                    self.from.clone_from(&other.from);
                }
                self.set = [&other.set[..], &self.set].concat();
            }
        }
        if !self.from.is_empty() {
            find(&self.from)?;
        }
        Ok(())
    }
}

/// Works through the stages.
pub(crate) fn run(args: &Pipeline, common: &Common) -> Result<ExitCode> {
    let file = Recipe::find_pipeline(&args.pipeline)?;
    let plan = Plan::parse(&file.text)
        .map_err(|e| UsageError(format!("the pipeline {}: {e}", file.origin.display())))?;
    for stage in &plan.stage {
        // Before hours of training, not after, and before anything is written.
        let recipe = Recipe::find(&stage.recipe)?;
        let from = (!stage.from.is_empty()).then(|| format!("finetune.from='{}'", stage.from));
        let sets = [&stage.set[..], &args.set, from.as_slice()].concat();
        Run::resolve(Some((&recipe.text, &recipe.origin)), &sets)
            .with_context(|| format!("stage {}", stage.name))?;
    }
    let name = args.name.clone().unwrap_or_else(|| format!("{}-seed{}", file.name, args.seed));
    let home = common.runs.join(name);
    let text = toml::to_string(&Begun {
        seed: args.seed,
        data: args.data.as_deref(),
        set: &args.set,
        stage: &plan.stage,
    })?;
    fs::create_dir_all(&home).map_err(TrainError::io("make the directory", &home))?;
    let reason = " was begun with other stages, settings or another seed; choose another --name";
    belongs(&home, PIPELINE, &text, reason)?;

    let stop = stop::listen()?;
    let mut runs = Vec::new();
    for (i, stage) in plan.stage.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(interrupted());
        }
        if !common.quiet {
            tell!("stage {} of {}: {}", i + 1, plan.stage.len(), stage.name);
        }
        let Some(done) = work(stage, args, &home, common)? else { return Ok(interrupted()) };
        runs.push(done);
    }
    conclude(&file.name, &home, &text, &runs, common)
}

/// What a pipeline was begun with.
#[derive(Serialize)]
struct Begun<'a> {
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    set: &'a [String],
    stage: &'a [Stage],
}

/// Trains a stage, or goes on with it, or finds it done; `None` if it was stopped.
fn work(stage: &Stage, args: &Pipeline, home: &Path, common: &Common) -> Result<Option<RunDir>> {
    let place = home.join(&stage.name).to_string_lossy().into_owned();
    let mut training = Train::default();
    match RunDir::find(&place, home) {
        // The report is what a training writes last.
        Ok(dir) if dir.report().exists() => {
            if !common.quiet {
                tell!("{place}: done before");
            }
            return Ok(Some(dir));
        }
        Ok(_) => training.resume = Some(place.clone()),
        Err(_) => {
            training.chosen = Chosen {
                recipe: Some(stage.recipe.clone()),
                data: args.data.clone(),
                set: [&stage.set[..], &args.set].concat(),
                ..Chosen::default()
            };
            (training.name, training.seed) = (Some(stage.name.clone()), Some(args.seed));
        }
    }
    let common = Common { runs: home.to_path_buf(), ..common.clone() };
    let code = if stage.from.is_empty() || training.resume.is_some() {
        train::run(&training, &common)
    } else {
        let from = home.join(&stage.from).to_string_lossy().into_owned();
        train::finetune(&Finetune { from: Some(from), method: None, train: training }, &common)
    };
    let code = code.with_context(|| format!("stage {}", stage.name))?;
    let dir = RunDir::find(&place, home)?;
    Ok((code == ExitCode::SUCCESS && dir.report().exists()).then_some(dir))
}

/// Figures of all stages, classifiers compared in pairs, on the terminal and as a page.
fn conclude(title: &str, home: &Path, settings: &str, runs: &[RunDir], common: &Common) -> Result<ExitCode> {
    let mut summary = Vec::new();
    let mut classifiers = Vec::new();
    let mut curves = Vec::new();
    for dir in runs {
        let saved = dir.load()?;
        let seconds = read_end(&dir.timing())
            .map_or_else(String::new, |end| format!(", trained in {:.0} s", end.train_seconds));
        let figures = match read_evaluation(dir)? {
            Some(Figures::Classification(e)) => {
                let lines = read_metrics(&dir.metrics())?;
                let valid = lines.iter().filter(|line| line.split == "valid");
                let point = |accuracy: &f64| 1.0 - accuracy;
                let points = valid
                    .filter_map(|line| Some((line.epoch as f64, line.values.get("accuracy").map(point)?)));
                curves.push(Series::curve(dir.name(), points.collect()));
                let text = format!("test accuracy {:.2} %, macro F1 {:.4}", 100.0 * e.accuracy, e.macro_f1);
                let (dir, saved) = (dir.clone(), saved.clone());
                let digest = saved.provenance.data_digest.clone();
                classifiers.push(Compared { read: saved.clone(), dir, saved, digest });
                text
            }
            Some(Figures::Scores(found)) => {
                let score = |(name, value): (&String, &f64)| format!("{} {value:.4}", name.replace('_', " "));
                format!("test {}", found.scores.iter().map(score).collect::<Vec<_>>().join(", "))
            }
            None => "no figures".into(),
        };
        summary.push((dir.name(), format!("{} ({}), {figures}{seconds}", saved.run.objective, saved.net())));
    }
    let mut charts = Vec::new();
    if classifiers.len() > 1 {
        charts.push(Chart {
            title: "error rate on validation".into(),
            x: "epoch".into(),
            y: "error rate".into(),
            log_y: true,
            series: curves,
        });
        for pair in compare::pairs(&classifiers, common)? {
            summary.push((format!("{} - {}", pair.first, pair.second), pair.sentence()));
        }
    }
    let page = report::html(&Report {
        title,
        settings_toml: settings,
        summary: &summary,
        charts: &charts,
        evaluation: None,
        split: "test",
        mistakes: &[],
        pictures: &[],
    })?;
    let path = home.join("report.html");
    write_whole(&path, page.as_bytes())?;
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    for (name, text) in &summary {
        writeln!(out, "{name}: {text}")?;
    }
    writeln!(out, "{}", path.display())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_like_another_shares_what_it_does_not_set() {
        let text = "[[stage]]\nname = \"a\"\nrecipe = \"autoencoder\"\n[[stage]]\nname = \"b\"\nrecipe = \"few-labels\"\n\
            from = \"a\"\nset = [\"epochs=2\"]\n[[stage]]\nname = \"c\"\nlike = \"b\"\nset = [\"finetune.method=scratch\"]\n";
        let plan = Plan::parse(text).unwrap();
        let c = plan.stage.last().unwrap();
        assert_eq!((c.recipe.as_str(), c.from.as_str()), ("few-labels", "a"));
        assert_eq!(c.set, ["epochs=2", "finetune.method=scratch"]);
    }

    #[test]
    fn what_makes_no_pipeline_is_refused() {
        let stage = |rest: &str| format!("[[stage]]\nname = \"a\"\nrecipe = \"mlp\"\n[[stage]]\n{rest}");
        for (text, wanted) in [
            (String::new(), "missing field `stage`"),
            ("stage = []".into(), "no [[stage]]"),
            (stage("name = \"b\""), "neither"),
            (stage("name = \"b\"\nlike = \"a\"\nrecipe = \"mlp\""), "both"),
            (stage("name = \"b\"\nrecipe = \"mlp\"\nfrom = \"c\""), "no stage c before it, only: a"),
            (stage("name = \"b\"\nrecipe = \"mlp\"\nfrom = \"b\""), "no stage b before it"),
            (stage("name = \"a\"\nrecipe = \"mlp\""), "two of this name"),
            (stage("name = \"../b\"\nrecipe = \"mlp\""), "not a plain name"),
            (stage("name = \"b\"\nrecipes = \"mlp\""), "unknown field `recipes`"),
        ] {
            let found = Plan::parse(&text).unwrap_err();
            assert!(found.contains(wanted), "{text}: {found}");
        }
    }

    #[test]
    fn built_in_pipelines_name_built_in_recipes() {
        for name in Recipe::pipelines() {
            let plan = Plan::parse(&Recipe::find_pipeline(name).unwrap().text).unwrap();
            for stage in plan.stage {
                Recipe::find(&stage.recipe).unwrap();
            }
        }
    }
}
