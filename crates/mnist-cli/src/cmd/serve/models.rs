//! The models that are served, and the thread that computes with them. What waits for the same classifier is answered
//! together: a batch costs little more than one image.

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use mnist_data::{Key, Preparation, scan};
use mnist_model::generate::{GenerateRequest, Generated};
use mnist_train::{
    TrainError, prompt,
    publish::{load_model, read_evaluation},
    questions::Pictures,
    registry::Trained,
    rundir::{RunDir, SavedRun},
    sampling,
    token_data::Coder,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::{gauges::Gauges, heat};
use crate::cmd::{finite, likeliest};

/// Images that go through a model together.
const TOGETHER: usize = 256;
/// Most images or texts that are made at once.
pub(super) const MOST_MADE: usize = 64;

/// Most rounds in which tokens are found.
const MOST_ROUNDS: usize = 64;
/// Most logits that a model of tokens computes at once.
const MOST_LOGITS: usize = 64 << 20;

/// A run that is to be served.
pub(super) struct Served {
    dir: RunDir,
    saved: SavedRun,
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
    /// 1: its images are grey. 3: in colour, all of red before green and blue.
    pub channels: usize,
    /// What it tells apart; empty if it does not classify images.
    pub classes: Vec<String>,
    /// What it makes, if anything.
    pub makes: Option<Makes>,
    /// Accuracy on the test images, 0-1, where it was measured.
    pub test_accuracy: Option<f64>,
    /// How a picture becomes an image as it reads them.
    #[serde(skip)]
    pub preparation: Preparation,
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

/// What is to be made: the body of `POST /api/generate`.
#[derive(Deserialize, Clone, Debug, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wish {
    /// Name of the model; the first that makes something if none is given.
    pub model: Option<String>,
    /// How many, 1 to 64.
    pub n: usize,
    /// Seed of every draw.
    pub seed: u64,
    /// Below 1 takes likely tokens more often (codes nearer to the mean), above 1 less often; 0 takes the likeliest.
    pub temperature: f32,
    /// Draw from the likeliest so many tokens; 0: all.
    pub top_k: usize,
    /// Draw from the likeliest tokens that have this probability together, above 0 to 1.
    pub top_p: f32,
    /// Rounds in which a masked model finds its tokens, 1 to 64.
    pub rounds: usize,
    /// The code to make an image of, for models that make images from codes.
    pub code: Vec<f32>,
    /// An image to go on from: its pixels row by row, 0 paper to 255 ink.
    pub image: Vec<u8>,
    /// For each pixel of `image` whether it is to be made anew.
    pub erased: Vec<bool>,
    /// The beginning of a text.
    pub prompt: String,
}

impl Default for Wish {
    fn default() -> Self {
        let GenerateRequest { temperature, top_k, top_p, rounds, .. } = GenerateRequest::default();
        Self {
            model: None,
            n: 1,
            seed: 0,
            temperature,
            top_k,
            top_p,
            rounds,
            code: Vec::new(),
            image: Vec::new(),
            erased: Vec::new(),
            prompt: String::new(),
        }
    }
}

/// Something for a model to do.
pub(super) enum Work {
    /// Tell the classes of images of the model's size, one behind the other.
    Classify {
        /// Their pixels, 0 paper to 255 ink.
        pixels: Vec<u8>,
        /// Whether to find what counted.
        heat: bool,
    },
    /// Make something.
    Make(Wish),
}

/// What a model did.
pub(super) enum Done {
    /// What is found of each image.
    Classified(Vec<Found>),
    /// Images, 0 paper to 255 ink.
    Images(Vec<Vec<u8>>),
    /// Texts.
    Texts(Vec<String>),
}

/// What is found of an image.
pub(super) struct Found {
    /// Of each class, 0-1.
    pub probabilities: Vec<f32>,
    /// How much each pixel counted, if that was asked for.
    pub heat: Option<Vec<f32>>,
}

/// Why a model did not do it.
#[derive(Clone, Debug)]
pub(super) enum Refused {
    /// It was asked for something else than it can do.
    Asked(String),
    /// It failed.
    Failed(String),
}

/// A request on its way to a model.
pub(super) struct Ask {
    /// Number of the model.
    pub model: usize,
    /// What it has to do.
    pub work: Work,
    /// Where the answer is waited for.
    pub reply: Reply,
}

/// Where an answer is waited for.
pub(super) type Reply = oneshot::Sender<Result<Done, Refused>>;

/// A model ready to use.
pub(super) struct Loaded<'a, B: Backend> {
    served: &'a Served,
    model: Box<dyn Trained<B>>,
    /// How it reads images, if it classifies such.
    pictures: Option<Pictures<'a>>,
    makes: Option<Makes>,
    device: B::Device,
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
        let mut loaded = Self { served, model, pictures, makes, device: device.clone() };
        if loaded.pictures.is_some() && loaded.probabilities(vec![0; loaded.values()]).is_err() {
            loaded.pictures = None;
        }
        if loaded.make(&Wish::default()).is_err() {
            loaded.makes = None;
        }
        if let Some(Makes::Codes { width, .. }) = loaded.makes {
            let order = loaded.most_telling(width)?;
            loaded.makes = Some(Makes::Codes { width, order });
        }
        if loaded.pictures.is_none() && loaded.makes.is_none() {
            let objective = &saved.run.objective;
            let side = scan::SIDE;
            return Err(TrainError::Settings(format!(
                "{}: a model of objective {objective} neither classifies images of {side}x{side} pixels nor makes \
                 anything new; `serve` has nothing to show of it",
                dir.path().display(),
            )))
            .context("cannot serve this run");
        }
        Ok(loaded)
    }

    /// What the page is told.
    pub(super) fn about(&self) -> About {
        let Served { dir, saved, .. } = self.served;
        About {
            name: dir.name(),
            objective: saved.run.objective.clone(),
            net: saved.net().into(),
            size: saved.facts.size.sides(),
            channels: saved.facts.size.channels,
            classes: if self.pictures.is_some() { saved.facts.classes.clone() } else { Vec::new() },
            makes: self.makes.clone(),
            preparation: saved.facts.preparation,
            test_accuracy: read_evaluation(dir).ok().flatten().and_then(|figures| figures.accuracy()),
        }
    }

    /// Bytes of an image.
    fn values(&self) -> usize {
        self.served.saved.facts.size.values().max(1)
    }

    /// Class probabilities, row after row, of images one behind the other.
    fn probabilities(&self, pixels: Vec<u8>) -> Result<Vec<Vec<f32>>, Refused> {
        let Some(pictures) = &self.pictures else {
            return Err(Refused::Asked(format!("{} does not classify images", self.served.name())));
        };
        let loader = pictures.loader(pixels).map_err(failed)?;
        let found = self.model.probabilities(&loader, &self.device).map_err(failed)?;
        let Some((found, _)) = found else {
            return Err(Refused::Asked(format!("{} does not classify", self.served.name())));
        };
        finite(&found, &self.served.dir).map_err(failed)?;
        let classes = self.served.saved.facts.classes.len().max(1);
        Ok(found.chunks_exact(classes).map(<[f32]>::to_vec).collect())
    }

    /// How much each pixel of an image counted for the likeliest class.
    fn heat(&self, image: &[u8], row: &[f32]) -> Result<Vec<f32>, Refused> {
        let size = self.served.saved.facts.size;
        let windows = heat::Windows::over(image, size.sides());
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

    fn make(&self, wish: &Wish) -> Result<Done, Refused> {
        let request = self.request(wish)?;
        let images = |values: Vec<f32>| -> Done {
            let grey = |row: &[f32]| row.iter().map(|p| (p.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
            Done::Images(values.chunks_exact(self.values()).map(grey).collect())
        };
        let Some(coder) = &self.served.coder else {
            let made = sampling::images(&*self.model, &request, request.key, &self.device).map_err(failed)?;
            return Ok(images(made.images.into_data().iter::<f32>().collect()));
        };
        B::seed(&self.device, request.key.seed());
        let Some(Generated::Tokens(rows)) = self.model.generate(&request, &self.device) else {
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

fn failed(error: impl std::fmt::Display) -> Refused {
    Refused::Failed(error.to_string())
}

/// Images that wait for the same model.
#[derive(Default)]
struct Batch {
    pixels: Vec<u8>,
    whose: Vec<Share>,
}

/// The part of a batch that is one request's.
struct Share {
    bytes: usize,
    /// Whether to find what counted.
    heat: bool,
    reply: Reply,
}

/// Answers until nobody is left who might ask.
pub(super) fn work<B: Backend>(models: &[Loaded<'_, B>], mut asks: mpsc::Receiver<Ask>, gauges: &Gauges) {
    let mut put_off = None;
    while let Some(first) = put_off.take().or_else(|| asks.blocking_recv()) {
        let mut batches: Vec<Batch> = models.iter().map(|_| Batch::default()).collect();
        let mut next = Some(first);
        let mut images = 0;
        while let Some(Ask { model, work, reply }) = next.take() {
            // Who has gone away is not answered.
            if !reply.is_closed()
                && let Some((loaded, batch)) = models.get(model).zip(batches.get_mut(model))
            {
                match work {
                    Work::Classify { pixels, heat } => {
                        images += pixels.len() / loaded.values() * if heat { heat::MOST } else { 1 };
                        batch.whose.push(Share { bytes: pixels.len(), heat, reply });
                        batch.pixels.extend(pixels);
                    }
                    Work::Make(wish) if images == 0 => {
                        drop(reply.send(loaded.make(&wish)));
                        continue;
                    }
                    // First those who wait already: making something takes a while.
                    work @ Work::Make(_) => {
                        put_off = Some(Ask { model, work, reply });
                        break;
                    }
                }
            }
            if images < TOGETHER {
                next = asks.try_recv().ok();
            }
        }
        for (loaded, batch) in models.iter().zip(batches) {
            classify(loaded, batch, gauges);
        }
    }
}

fn classify<B: Backend>(loaded: &Loaded<'_, B>, Batch { pixels, whose }: Batch, gauges: &Gauges) {
    if whose.is_empty() {
        return;
    }
    gauges.batch(pixels.len() / loaded.values());
    let rows = loaded.probabilities(pixels.clone());
    let mut at = 0;
    for Share { bytes, heat, reply } in whose {
        let images = pixels.get(at..at + bytes).unwrap_or_default().chunks_exact(loaded.values());
        let first = at / loaded.values();
        at += bytes;
        let answer = match &rows {
            Ok(rows) => images
                .zip(rows.iter().skip(first))
                .map(|(image, row)| {
                    let heat = (heat && !reply.is_closed()).then(|| loaded.heat(image, row)).transpose()?;
                    Ok(Found { probabilities: row.clone(), heat })
                })
                .collect::<Result<Vec<_>, Refused>>()
                .map(Done::Classified),
            Err(refused) => Err(refused.clone()),
        };
        drop(reply.send(answer));
    }
}
