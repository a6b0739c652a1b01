//! What is asked of the models, how it is told to their thread, and what comes back.

use std::time::Duration;

use axum::http::StatusCode;
use mnist_model::generate::GenerateRequest;
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use utoipa::ToSchema;

use super::{api::Shared, gauges::Held, growing::Told, refusal::Refusal, texts::OfText};

/// Requests that wait for the models at the same time to know a class.
pub(super) const WAITING: usize = 256;
/// And those that wait for something to be made.
pub(super) const ORDERED: usize = 64;

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
    /// Whether to tell it while it is made, in server-sent events.
    pub stream: bool,
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
            stream: false,
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
    /// Tell the classes of texts, or of what stands behind their words.
    Read(Vec<String>),
    /// Make something.
    Make {
        /// What.
        wish: Wish,
        /// Where it is told while it is made, if it is.
        news: Option<mpsc::Sender<Told>>,
    },
}

/// What a model did.
pub(super) enum Done {
    /// What is found of each image.
    Classified(Vec<Found>),
    /// What is found of each text.
    Read(Vec<OfText>),
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

/// Puts a request before the models; held until it is answered, it counts as one that waits.
pub(super) fn send(shared: &Shared, ask: Ask) -> Result<Held, Refusal> {
    let (order, gauges) = (matches!(ask.work, Work::Make { .. }), &shared.gauges);
    let most = if order { ORDERED } else { WAITING };
    let full =
        || Refusal::new(StatusCode::TOO_MANY_REQUESTS, format!("{most} requests wait already; try again"));
    let waiting = if order { gauges.ordered(most) } else { gauges.waiting(most) }.ok_or_else(full)?;
    shared.asks.try_send(ask).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => full(),
        mpsc::error::TrySendError::Closed(_) => stopping(),
    })?;
    Ok(waiting)
}

/// Has a model do something.
pub(super) async fn ask(shared: &Shared, model: usize, work: Work, most: Duration) -> Result<Done, Refusal> {
    let (reply, answer) = oneshot::channel();
    let _waiting = send(shared, Ask { model, work, reply })?;
    match timeout(most, answer).await {
        Ok(Ok(done)) => Ok(done?),
        Ok(Err(_)) => Err(stopping()),
        Err(_) => Err(late(most)),
    }
}

/// Nobody answers any more.
pub(super) fn stopping() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server stops")
}

/// The model took longer than it may.
pub(super) fn late(most: Duration) -> Refusal {
    let reason = format!("the model did not answer within {} s; ask for less", most.as_secs());
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason)
}
