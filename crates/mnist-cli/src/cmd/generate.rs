//! `generate RUN`: new examples of a trained model: images as a grid in a PNG, text to the terminal.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use mnist_data::{Key, Patches, scan};
use mnist_model::{
    generate::{GenerateRequest, Generated},
    objectives::Picture,
};
use mnist_train::{
    TrainError, grid, prompt,
    publish::load_model,
    rundir::{RunDir, SavedRun, write_whole},
    sampling,
    token_data::Coder,
};

use crate::{
    args::{Common, Generate, UsageError},
    device::{Compute, Job, Place},
};

/// Texts that are made if their number is not given.
const TEXTS: usize = 1;
/// Images that are made if their number is not given.
const IMAGES: usize = 64;

/// Generates.
pub(crate) fn run(args: &Generate, common: &Common) -> Result<ExitCode> {
    let finite = |value: f32| value.is_finite() && value >= 0.0;
    if !finite(args.temperature) {
        return Err(UsageError(format!("--temperature {} has to be 0 or more", args.temperature)).into());
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        return Err(UsageError(format!("--top-p {} has to be above 0 and at most 1", args.top_p)).into());
    }
    let dir = RunDir::find(&args.run, &common.runs)?;
    let saved = dir.load()?;
    let coder = saved.facts.tokens.as_ref().map(|_| Coder::load(&saved, dir.path())).transpose()?;
    let plan = plan(args, &saved, coder.as_ref())?;
    let of_text = matches!(coder, Some(Coder::Text(_)));
    let is_png = |out: &Path| out.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"));
    if let Some(out) = args.out.as_deref().filter(|out| is_png(out) == of_text) {
        let reason = match of_text {
            true => "this run's model makes text; name a file that is no picture",
            false => "images are written as PNG; name a file that ends in .png",
        };
        return Err(UsageError(format!("--out {}: {reason}", out.display())).into());
    }
    Place::choose(common)?.run(Make { args, dir: &dir, saved: &saved, coder, plan })
}

/// What a model is given, and how many examples are wanted.
fn plan(args: &Generate, saved: &SavedRun, coder: Option<&Coder>) -> Result<GenerateRequest> {
    let usage = |text: String| -> anyhow::Error { UsageError(text).into() };
    let (start, otherwise) = match (coder, &saved.facts.tokens) {
        (Some(Coder::Text(tokeniser)), Some(facts)) => {
            if args.complete.is_some() {
                return Err(usage(
                    "--complete takes an image; this run's model was trained on text: use --prompt".into(),
                ));
            }
            (prompt::of_text(args.prompt.as_deref().unwrap_or_default(), saved, facts, tokeniser)?, TEXTS)
        }
        (Some(Coder::Images(patches)), Some(facts)) => {
            if args.prompt.is_some() {
                return Err(usage(
                    "--prompt takes text; this run's model was trained on images: use --complete".into(),
                ));
            }
            let given = upper(args.complete.as_deref(), patches)?;
            (prompt::of_patches(&given, saved, facts, patches), IMAGES)
        }
        _ if args.prompt.is_some() || args.complete.is_some() => {
            let objective = &saved.run.objective;
            return Err(usage(format!(
                "a model of objective {objective} does not go on with anything given"
            )));
        }
        _ => (Vec::new(), IMAGES),
    };
    Ok(GenerateRequest {
        count: args.n.map_or(otherwise, usize::from),
        start,
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        rounds: args.rounds.into(),
        key: Key::new(args.seed).named("generate"),
        ..Default::default()
    })
}

/// The upper half of a picture as tokens, or nothing.
fn upper(complete: Option<&Path>, patches: &Patches) -> Result<Vec<i32>> {
    let Some(path) = complete else { return Ok(Vec::new()) };
    if patches.size() != [scan::SIDE; 2] {
        return Err(UsageError(format!("--complete prepares images of {0}x{0} pixels", scan::SIDE)).into());
    }
    let pixels: Vec<f32> = scan::read(path)?.pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
    let mut given = patches.encode(&pixels);
    given.truncate(prompt::upper_half(patches));
    Ok(given)
}

struct Make<'a> {
    args: &'a Generate,
    dir: &'a RunDir,
    saved: &'a SavedRun,
    coder: Option<Coder>,
    plan: GenerateRequest,
}

impl Job for Make<'_> {
    type Output = ExitCode;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<ExitCode> {
        let model = load_model::<B>(self.dir, self.saved, main)?;
        let mut out = std::io::stdout().lock();
        if self.coder.is_none() {
            let picture = sampling::images(&*model, &self.plan, self.plan.key, main)
                .with_context(|| format!("a model of objective {}", self.saved.run.objective))?;
            save(picture, self.args.out.as_deref(), &mut out)?;
            return Ok(ExitCode::SUCCESS);
        }
        B::seed(main, self.plan.key.seed());
        let Some(made) = model.generate(&self.plan, main) else {
            let objective = &self.saved.run.objective;
            return Err(
                TrainError::Settings(format!("a model of objective {objective} makes nothing new")).into()
            );
        };
        match (made, &self.coder) {
            (Generated::Images(picture), _) => save(picture, self.args.out.as_deref(), &mut out)?,
            (Generated::Tokens(rows), Some(Coder::Images(patches))) => {
                let picture = drawn::<B>(&rows, patches, main);
                save(picture, self.args.out.as_deref(), &mut out)?;
            }
            (Generated::Tokens(rows), Some(Coder::Text(tokeniser))) => {
                let text = |row: &Vec<i32>| {
                    let row = prompt::contents(row, tokeniser.vocabulary());
                    tokeniser.decode(&row).trim_matches('\n').to_owned() + "\n"
                };
                let text = rows.iter().map(text).collect::<Vec<_>>().join("----\n");
                match &self.args.out {
                    Some(path) => {
                        write_whole(path, text.as_bytes())?;
                        writeln!(out, "{} texts in {}", rows.len(), path.display())?;
                    }
                    None => write!(out, "{text}")?,
                }
            }
            (Generated::Tokens(rows), None) => writeln!(out, "{rows:?}")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn drawn<B: Backend>(rows: &[Vec<i32>], patches: &Patches, device: &B::Device) -> Picture<B> {
    let [height, width] = patches.size();
    let pixels: Vec<f32> =
        rows.iter().flat_map(|row| patches.decode(&prompt::contents(row, patches.vocabulary()))).collect();
    let images = Tensor::from_data(TensorData::new(pixels, [rows.len(), 1, height, width]), device);
    let side = rows.len().isqrt();
    Picture { name: "generated", images, columns: if side * side < rows.len() { side + 1 } else { side } }
}

fn save<B: Backend>(picture: Picture<B>, path: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let path = path.unwrap_or_else(|| Path::new("generated.png"));
    let [count, ..] = picture.images.dims();
    write_whole(path, &grid::png(picture)?)?;
    writeln!(out, "{count} images in {}", path.display())?;
    Ok(())
}
