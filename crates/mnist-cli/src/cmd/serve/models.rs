//! The models that are served: what they are, what they say of images, what they make.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use mnist_data::{ImageSize, Key, Preparation, scan};
use mnist_model::generate::{GenerateRequest, Generated};
use mnist_train::{
    TrainError, prompt,
    publish::{load_model, read_evaluation},
    questions::{Pictures, Texts},
    registry::Trained,
    rundir::{RunDir, SavedRun},
    sampling,
    token_data::Coder,
};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{
    asks::{Done, Refused, Wish},
    growing::{Growing, Told},
    heat,
};
use crate::cmd::{finite, likeliest};

/// Most images or texts that are made at once.
const MOST_MADE: usize = 64;
/// Most rounds in which tokens are found.
const MOST_ROUNDS: usize = 64;
/// Most logits that a model of tokens computes at once.
const MOST_LOGITS: usize = 64 << 20;

/// A run that is to be served.
pub(super) struct Served {
    pub(super) dir: RunDir,
    pub(super) saved: SavedRun,
    coder: Option<Coder>,
}

impl Served {
    /// Reads a run's settings.
    pub(super) fn find(wanted: &str, runs: &std::path::Path) -> Result<Self> {
        let dir = RunDir::find(wanted, runs)?;
        let saved = dir.load()?;
        let coder = saved.facts.tokens.as_ref().map(|_| Coder::load(&saved, dir.path())).transpose()?;
        Ok(Self { dir, saved, coder })
    }

    /// The run's name.
    pub(super) fn name(&self) -> String {
        self.dir.name()
    }
}

/// What the page is told of a model.
#[derive(Serialize, Clone, Debug, ToSchema)]
pub(super) struct About {
    /// Name of the run; requests name the model by it.
    pub name: String,
    /// What it was trained for.
    pub objective: String,
    /// Its network.
    pub net: String,
    /// Height and width of its images, pixels.
    pub size: [usize; 2],
    /// Whether its images are read as they are and mostly dark: what is drawn black on white is turned round for it.
    pub dark: bool,
    /// 1: its images are grey. 3: in colour, all of red before green and blue.
    pub channels: usize,
    /// What it tells the class of, if it classifies.
    pub classifies: Option<Classifies>,
    /// What it tells apart; empty if it does not classify.
    pub classes: Vec<String>,
    /// What it makes, if anything.
    pub makes: Option<Makes>,
    /// Accuracy on the test images, 0-1, where it was measured.
    pub test_accuracy: Option<f64>,
    /// How a picture becomes an image as it reads them.
    #[serde(skip)]
    pub preparation: Preparation,
}

/// What a model tells the class of.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Classifies {
    /// Images.
    Images,
    /// Texts.
    Texts,
    /// The words of a text: the punctuation behind each.
    Words,
}

impl About {
    /// Size of its images.
    pub(super) fn image_size(&self) -> ImageSize {
        ImageSize { channels: self.channels, ..self.size.into() }
    }

    /// What a client may send it instead of something that it does not classify.
    pub(super) fn takes(&self) -> &'static str {
        match self.classifies {
            Some(Classifies::Images) => "; it takes images",
            Some(Classifies::Texts | Classifies::Words) => "; it takes text: send {\"text\": \"...\"}",
            None => "",
        }
    }
}

/// What a model makes, and from what.
#[derive(Serialize, Clone, Debug, ToSchema)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub(super) enum Makes {
    /// Images from codes.
    Codes {
        /// Numbers in a code.
        width: usize,
        /// Which of them change the image most, from the mean code, first.
        order: Vec<usize>,
    },
    /// Images from their upper part, patch by patch.
    Upper {
        /// Height and width of a patch, pixels.
        patch: [usize; 2],
    },
    /// Images from any part of them.
    Parts {
        /// Height and width of a patch, pixels.
        patch: [usize; 2],
    },
    /// Text from its beginning.
    Text {},
}

/// A model ready to use.
pub(super) struct Loaded<'a, B: Backend> {
    pub(super) served: &'a Served,
    pub(super) model: Box<dyn Trained<B>>,
    /// How it reads images, if it classifies such.
    pictures: Option<Pictures<'a>>,
    /// How it reads texts, if it classifies such or their words.
    pub(super) texts: Option<Texts<'a>>,
    makes: Option<Makes>,
    pub(super) device: B::Device,
}

impl<'a, B: Backend> Loaded<'a, B> {
    /// Loads it and tries it out.
    pub(super) fn load(served: &'a Served, device: &B::Device) -> Result<Self> {
        let Served { dir, saved, coder } = served;
        let model = load_model::<B>(dir, saved, device)?;
        let makes = match (coder, model.code_width()) {
            (Some(Coder::Text(_)), _) => Some(Makes::Text {}),
            (Some(Coder::Images(patches)), _) => {
                let patch = patches.patch();
                Some(if prompt::is_masked(saved) { Makes::Parts { patch } } else { Makes::Upper { patch } })
            }
            (None, Some(width)) => Some(Makes::Codes { width, order: Vec::new() }),
            (None, None) => None,
        };
        let pictures = Pictures::of(saved, dir.path(), scan::SIDE).ok();
        let texts = Texts::of(saved, dir.path()).ok();
        let mut loaded = Self { served, model, pictures, texts, makes, device: device.clone() };
        if loaded.pictures.is_some() && loaded.probabilities(vec![0; loaded.values()]).is_err() {
            loaded.pictures = None;
        }
        if loaded.texts.is_some() && loaded.read(&["a".into()]).is_err() {
            loaded.texts = None;
        }
        if loaded.make(&Wish::default(), None, &mut || false).is_err() {
            loaded.makes = None;
        }
        if let Some(Makes::Codes { width, .. }) = loaded.makes {
            let order = loaded.most_telling(width)?;
            loaded.makes = Some(Makes::Codes { width, order });
        }
        if loaded.pictures.is_none() && loaded.texts.is_none() && loaded.makes.is_none() {
            let objective = &saved.run.objective;
            let side = scan::SIDE;
            return Err(TrainError::Settings(format!(
                "{}: a model of objective {objective} neither classifies images of {side}x{side} pixels or texts \
                 nor makes anything new; `serve` has nothing to show of it",
                dir.path().display(),
            )))
            .context("cannot serve this run");
        }
        Ok(loaded)
    }

    /// What the page is told.
    pub(super) fn about(&self) -> About {
        let Served { dir, saved, .. } = self.served;
        let classifies = match (&self.pictures, &self.texts) {
            (Some(_), _) => Some(Classifies::Images),
            (None, Some(texts)) if texts.by_words() => Some(Classifies::Words),
            (None, Some(_)) => Some(Classifies::Texts),
            (None, None) => None,
        };
        About {
            name: dir.name(),
            objective: saved.run.objective.clone(),
            net: saved.net().into(),
            size: saved.facts.size.sides(),
            dark: saved.facts.preparation == Preparation::Middle && saved.facts.mean < 0.5,
            channels: saved.facts.size.channels,
            classifies,
            classes: if classifies.is_some() { saved.facts.classes.clone() } else { Vec::new() },
            makes: self.makes.clone(),
            preparation: saved.facts.preparation,
            test_accuracy: read_evaluation(dir).ok().flatten().and_then(|figures| figures.accuracy()),
        }
    }

    /// Bytes of an image.
    pub(super) fn values(&self) -> usize {
        self.served.saved.facts.size.values().max(1)
    }

    /// Class probabilities, row after row, of images one behind the other.
    pub(super) fn probabilities(&self, pixels: Vec<u8>) -> Result<Vec<Vec<f32>>, Refused> {
        let Some(pictures) = &self.pictures else {
            return Err(Refused::Asked(format!("{} does not classify images", self.served.name())));
        };
        let loader = pictures.loader(pixels).map_err(failed)?;
        let found = self.model.probabilities(&loader, &self.device).map_err(failed)?;
        let Some(found) = found else {
            return Err(Refused::Asked(format!("{} does not classify", self.served.name())));
        };
        finite(&found.values, &self.served.dir).map_err(failed)?;
        let classes = self.served.saved.facts.classes.len().max(1);
        Ok(found.values.chunks_exact(classes).map(<[f32]>::to_vec).collect())
    }

    /// How much each pixel of an image counted for the likeliest class.
    pub(super) fn heat(&self, image: &[u8], row: &[f32]) -> Result<Vec<f32>, Refused> {
        let facts = &self.served.saved.facts;
        let size = facts.size;
        // Pictures of one's own may be dark on light.
        let paper = if facts.preparation == Preparation::Middle && facts.mean >= 0.5 { u8::MAX } else { 0 };
        let windows = heat::Windows::over(image, size.sides(), paper);
        if windows.is_empty() {
            return Ok(vec![0.0; size.area()]);
        }
        let (label, whole) = likeliest(row);
        let of_label = |row: &Vec<f32>| row.get(label).copied().unwrap_or(0.0);
        let without = self.probabilities(windows.occluded(image))?;
        Ok(windows.spread(without.iter().map(|row| whole - of_label(row))))
    }

    /// Numbers of a code by how much they change the image from that of the mean code, most first.
    fn most_telling(&self, width: usize) -> Result<Vec<usize>> {
        const STEP: f32 = 1.5;
        let mut codes = vec![0.0; width * (2 * width + 1)];
        for (i, row) in codes.chunks_exact_mut(width.max(1)).skip(1).enumerate() {
            if let Some(number) = row.get_mut(i / 2) {
                *number = if i % 2 == 0 { STEP } else { -STEP };
            }
        }
        let request = GenerateRequest { count: 2 * width + 1, codes, ..Default::default() };
        let Some(Generated::Images(made)) = self.model.generate(&request, &self.device) else {
            return Ok((0..width).collect());
        };
        let values: Vec<f32> = made.images.into_data().iter::<f32>().collect();
        let rows: Vec<&[f32]> = values.chunks_exact(self.values()).collect();
        let [mean, rest @ ..] = rows.as_slice() else { return Ok((0..width).collect()) };
        let change = |row: &&[f32]| row.iter().zip(*mean).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let change: Vec<f32> = rest.chunks_exact(2).map(|pair| pair.iter().map(change).sum()).collect();
        let mut order: Vec<usize> = (0..change.len()).collect();
        order.sort_by(|&a, &b| change[b].total_cmp(&change[a]).then(a.cmp(&b)));
        Ok(order)
    }

    /// A wish as the model is asked.
    fn request(&self, wish: &Wish) -> Result<GenerateRequest, Refused> {
        let asked = |reason: String| Err(Refused::Asked(reason));
        let Some(makes) = &self.makes else {
            return asked(format!("{} makes nothing new", self.served.name()));
        };
        if !(1..=MOST_MADE).contains(&wish.n) {
            return asked(format!("n is {}; it has to be 1 to {MOST_MADE}", wish.n));
        }
        if !(wish.temperature.is_finite() && (0.0..=10.0).contains(&wish.temperature)) {
            return asked(format!("temperature is {}; it has to be 0 to 10", wish.temperature));
        }
        if !(wish.top_p > 0.0 && wish.top_p <= 1.0) {
            return asked(format!("top_p is {}; it has to be above 0 and at most 1", wish.top_p));
        }
        if !(1..=MOST_ROUNDS).contains(&wish.rounds) {
            return asked(format!("rounds is {}; it has to be 1 to {MOST_ROUNDS}", wish.rounds));
        }
        if let Some(facts) = &self.served.saved.facts.tokens {
            let most = MOST_LOGITS / facts.length.saturating_mul(facts.vocabulary).max(1);
            if wish.n > most.max(1) {
                return asked(format!(
                    "n is {}; {} makes at most {} at once",
                    wish.n,
                    self.served.name(),
                    most.max(1)
                ));
            }
        }
        let width = if let Makes::Codes { width, .. } = makes { *width } else { 0 };
        if !wish.code.is_empty() && (wish.code.len() != width || !wish.code.iter().all(|c| c.is_finite())) {
            let found = wish.code.len();
            return asked(match width {
                0 => format!("{} makes nothing from a code", self.served.name()),
                _ => format!("code has {found} numbers; it has to have {width}, all finite"),
            });
        }
        let of_tokens = !matches!(makes, Makes::Codes { .. } | Makes::Text {});
        let pixels = self.values();
        if !wish.image.is_empty() && (!of_tokens || wish.image.len() != pixels) {
            return asked(match of_tokens {
                true => format!("image has {} pixels; it has to have {pixels}", wish.image.len()),
                false => format!("{} does not go on from an image", self.served.name()),
            });
        }
        if !wish.erased.is_empty() && wish.erased.len() != wish.image.len() {
            return asked(format!(
                "erased has {} flags; it has to have one for each of the {} pixels of image",
                wish.erased.len(),
                wish.image.len()
            ));
        }
        if !wish.prompt.is_empty() && !matches!(makes, Makes::Text {}) {
            return asked(format!("{} does not go on from a text", self.served.name()));
        }
        let Served { saved, coder, .. } = self.served;
        let start = match (coder, &saved.facts.tokens) {
            (Some(Coder::Text(tokeniser)), Some(facts)) => {
                prompt::of_text(&wish.prompt, saved, facts, tokeniser)
                    .map_err(|error| Refused::Asked(error.to_string()))?
            }
            (Some(Coder::Images(patches)), Some(facts)) => {
                let given = if wish.image.is_empty() {
                    Vec::new()
                } else {
                    let image: Vec<f32> = wish.image.iter().map(|&p| f32::from(p) / 255.0).collect();
                    prompt::patches_without(&image, &wish.erased, patches)
                };
                prompt::of_patches(&given, saved, facts, patches)
            }
            _ => Vec::new(),
        };
        Ok(GenerateRequest {
            count: wish.n,
            start,
            temperature: wish.temperature,
            top_k: wish.top_k,
            top_p: wish.top_p,
            codes: wish.code.repeat(wish.n),
            rounds: wish.rounds,
            key: Key::new(wish.seed).named("generate"),
            ..Default::default()
        })
    }

    /// Makes something, token by token where it is one of tokens: what is new is told to `news`, and nothing more is made
    /// when who asked is `gone`.
    pub(super) fn make(
        &self,
        wish: &Wish,
        news: Option<mpsc::Sender<Told>>,
        gone: &mut dyn FnMut() -> bool,
    ) -> Result<Done, Refused> {
        let request = self.request(wish)?;
        let images = |values: Vec<f32>| -> Done {
            Done::Images(values.chunks_exact(self.values()).map(grey).collect())
        };
        let Some(coder) = &self.served.coder else {
            let made = sampling::images(&*self.model, &request, request.key, &self.device).map_err(failed)?;
            return Ok(images(made.images.into_data().iter::<f32>().collect()));
        };
        let mut growing = news.map(|way| Growing::new(coder, prompt::is_masked(&self.served.saved), way));
        let mut watch = |rows: &[Vec<i32>]| {
            let told = growing.as_mut().map_or(ControlFlow::Continue(()), |growing| growing.tell(rows));
            if gone() { ControlFlow::Break(()) } else { told }
        };
        B::seed(&self.device, request.key.seed());
        let made = self.model.generate_watched(&request, &self.device, &mut watch);
        let Some(Generated::Tokens(rows)) = made else {
            return Err(Refused::Asked(format!("{} makes nothing new", self.served.name())));
        };
        Ok(match coder {
            Coder::Text(tokeniser) => {
                let text = |row: &Vec<i32>| tokeniser.decode(&prompt::contents(row, tokeniser.vocabulary()));
                Done::Texts(rows.iter().map(text).collect())
            }
            Coder::Images(patches) => {
                let image = |row: &Vec<i32>| patches.decode(&prompt::contents(row, patches.vocabulary()));
                images(rows.iter().flat_map(image).collect())
            }
        })
    }
}

/// Pixels in 0-1 as bytes.
pub(super) fn grey(pixels: &[f32]) -> Vec<u8> {
    pixels.iter().map(|p| (p.clamp(0.0, 1.0) * 255.0).round() as u8).collect()
}

pub(super) fn failed(error: impl std::fmt::Display) -> Refused {
    Refused::Failed(error.to_string())
}
