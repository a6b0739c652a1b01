//! The routes, and what they answer that ask what there is. Every limit is a constant on top of its file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, Request, State},
    http::{
        StatusCode,
        header::{self, CONTENT_TYPE},
    },
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mnist_data::{ImageSize, Preparation, own, scan};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    asks::{Ask, Done, Found, Work, ask},
    body::{MOST_BYTES, MOST_JSON, MOST_LARGE, body, content_type, json, large},
    gate,
    gauges::Gauges,
    generate, live,
    models::{About, Classifies, Makes},
    refusal::{Reason, Refusal},
    texts::{self, OfText},
};
use crate::cmd::likeliest;

/// Most pixels of a picture that is sent as a file.
const MOST_PIXELS: u64 = 16 << 20;
/// Most images in one request.
const MOST_IMAGES: usize = 64;
/// Most images of one request of which it is found what counted.
const MOST_HEAT: usize = 8;
/// Time for telling classes.
const PREDICT_TIME: Duration = Duration::from_secs(10);
/// Pictures that are decoded at the same time.
const DECODERS: usize = 2;
/// Requests that read the directories of runs at the same time.
const READERS: usize = 2;

/// The page: where each part is, what it is, and the part.
const PAGE: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/app.js", SCRIPT, include_str!("page/app.js")),
    ("/make.js", SCRIPT, include_str!("page/make.js")),
    ("/pad.js", SCRIPT, include_str!("page/pad.js")),
    ("/parts.js", SCRIPT, include_str!("page/parts.js")),
    ("/read.js", SCRIPT, include_str!("page/read.js")),
    ("/runs.js", SCRIPT, include_str!("page/runs.js")),
    ("/words.js", SCRIPT, include_str!("page/words.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What all requests share.
pub(super) struct Shared {
    /// The models, in the order in which they were named.
    pub models: Vec<About>,
    /// The way to the thread that computes.
    pub asks: mpsc::Sender<Ask>,
    /// What is counted.
    pub gauges: Arc<Gauges>,
    /// Directory of the runs.
    pub runs: PathBuf,
    /// Whether only this machine is served.
    pub loopback: bool,
    /// Becomes true when the server is to stop.
    pub stopping: watch::Receiver<bool>,
    /// Leaves to decode a picture.
    pub decoders: Arc<Semaphore>,
    /// Leaves to send a large body.
    pub large: Arc<Semaphore>,
    /// Leaves to read the directories of runs.
    pub readers: Arc<Semaphore>,
    /// Leaves to be told of runs as they go on.
    pub listeners: Arc<Semaphore>,
}

/// Leaves for decoders, large bodies, readers.
pub(super) fn leaves() -> [Arc<Semaphore>; 3] {
    [DECODERS, MOST_LARGE, READERS].map(|count| Arc::new(Semaphore::new(count)))
}

type Answer<T> = Result<Json<T>, Refusal>;

/// All routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut page = Router::new();
    for (path, kind, text) in PAGE {
        let headers = [(CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
        page = page.route(path, get(move || async move { (headers, text) }));
    }
    page.route("/api/models", get(models))
        .route("/api/predict", post(predict))
        .route("/api/generate", post(generate::generate))
        .route("/api/runs", get(live::runs))
        .route("/api/runs/events", get(live::events))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { Json(Description::openapi()) }))
        .fallback(|| async {
            Refusal::new(StatusCode::NOT_FOUND, "there is nothing here; see /openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method; see /openapi.json")
        })
        .layer(middleware::from_fn_with_state(shared.clone(), gate::around))
        .with_state(shared)
}

/// What may be asked in a query.
#[derive(Deserialize, Debug, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Name of the model; the first that classifies if none is given
    model: Option<String>,
    /// Whether to find what counted
    heat: Option<bool>,
}

impl Which {
    /// Takes the model's name from a body, unless the query names another.
    fn name(&mut self, model: Option<String>) -> Result<(), Refusal> {
        match (&self.model, model) {
            (Some(here), Some(there)) if *here != there => {
                Err(Refusal::unprocessable(format!("the query names the model {here:?}, the body {there:?}")))
            }
            (_, None) => Ok(()),
            (_, model) => {
                self.model = model;
                Ok(())
            }
        }
    }
}

/// The body of `POST /api/predict` as JSON: images, a text or texts.
#[derive(Deserialize, Debug, ToSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Name of the model; the first that classifies such if none is given here or in the query.
    model: Option<String>,
    /// Images of the model's size, row by row, 0 paper to 255 ink, of colour images channel by channel; 1 to 64.
    images: Option<Vec<Vec<u8>>>,
    /// A text.
    text: Option<String>,
    /// Texts; 1 to 64.
    texts: Option<Vec<String>>,
}

/// What a model says of images or texts.
#[derive(Serialize, Debug, ToSchema)]
struct Predictions {
    /// Name of the model.
    model: String,
    /// Of each image or text.
    answers: Vec<Of>,
}

/// What a model says of one of them.
#[derive(Serialize, Debug, ToSchema)]
#[serde(untagged)]
enum Of {
    /// Of an image.
    Image(Prediction),
    /// Of a text.
    Text(OfText),
}

/// What a model says of an image.
#[derive(Serialize, Debug, ToSchema)]
struct Prediction {
    /// The likeliest class.
    label: String,
    /// Of each class, 0-1.
    probabilities: Vec<f32>,
    /// The image as the model saw it, row by row, 0 paper to 255 ink; in colour channel by channel.
    seen: Vec<u8>,
    /// How much less probable the answer is without each pixel and those around it, row by row.
    #[serde(skip_serializing_if = "Option::is_none")]
    heat: Option<Vec<f32>>,
}

/// The models that are served.
#[utoipa::path(get, path = "/api/models", responses((status = 200, body = Vec<About>)))]
async fn models(State(shared): State<Arc<Shared>>) -> Json<Vec<About>> {
    Json(shared.models.clone())
}

/// The class of images: a PNG or JPEG file of one drawing, which is prepared as MNIST's were, or JSON with the pixels
/// of some that are prepared already. The class of texts, or the punctuation behind their words: JSON.
#[utoipa::path(
    post, path = "/api/predict", params(Which),
    request_body(content(
        (Asked = "application/json"), (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg")
    )),
    responses(
        (status = 200, body = Predictions),
        (status = 404, body = Reason, description = "no such model"),
        (status = 408, body = Reason, description = "the body did not arrive in time"),
        (status = 413, body = Reason, description = "more bytes, pixels, images or texts than are taken"),
        (status = 415, body = Reason, description = "neither a PNG, a JPEG nor JSON"),
        (status = 422, body = Reason, description = "no digit in the picture, pixels of another number, no word in a text, \
            or what another kind of model takes"),
        (status = 429, body = Reason, description = "too many requests wait"),
        (status = 503, body = Reason, description = "it took too long, or the server stops"),
    )
)]
async fn predict(
    State(shared): State<Arc<Shared>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Answer<Predictions> {
    let Query(mut which) = which.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let able = |m: &About| m.classifies == Some(Classifies::Images);
    let of_images = |which: &Which| find(&shared, which.model.as_deref(), "classifies images", able);
    let (number, about, images) = match content_type(&request).as_str() {
        "application/json" => {
            let Asked { model, images, text, texts } = json(&body(request, MOST_JSON).await?)?;
            which.name(model)?;
            let images = match (images, text, texts) {
                (Some(images), None, None) => images,
                (None, Some(text), None) => return of_texts(&shared, &which, vec![text]).await,
                (None, None, Some(texts)) => return of_texts(&shared, &which, texts).await,
                _ => return Err(Refusal::unprocessable("send one of images, text and texts")),
            };
            let (number, about) = of_images(&which)?;
            let size = about.image_size();
            let wrong = images.iter().position(|image| image.len() != size.values());
            if let Some(wrong) = wrong {
                let found = images.get(wrong).map_or(0, Vec::len);
                return Err(Refusal::unprocessable(format!(
                    "image {wrong} has {found} numbers; {} takes {}: {size}",
                    about.name,
                    size.values()
                )));
            }
            (number, about, images)
        }
        "image/png" | "image/jpeg" => {
            let (number, about) = of_images(&which)?;
            let leave = large(&shared, &request)?;
            let bytes = body(request, MOST_BYTES).await?;
            (
                number,
                about,
                vec![picture(&shared, (bytes, leave), about.preparation, about.image_size()).await?],
            )
        }
        other => {
            let reason =
                format!("found content of type {other:?}; send image/png, image/jpeg or application/json");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
    };
    let heat = which.heat.unwrap_or(false);
    let most = if heat { MOST_HEAT } else { MOST_IMAGES };
    if images.is_empty() || images.len() > most {
        let status =
            if images.is_empty() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::PAYLOAD_TOO_LARGE };
        let heat = if heat { " with heat" } else { "" };
        return Err(Refusal::new(status, format!("found {} images; send 1 to {most}{heat}", images.len())));
    }
    let work = Work::Classify { pixels: images.concat(), heat };
    let Done::Classified(rows) = ask(&shared, number, work, PREDICT_TIME).await? else {
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the model answered something else"));
    };
    let answer = |(Found { probabilities, heat }, seen): (Found, Vec<u8>)| {
        let (best, _) = likeliest(&probabilities);
        let label = about.classes.get(best).cloned().unwrap_or_default();
        Of::Image(Prediction { label, probabilities, seen, heat })
    };
    let answers = rows.into_iter().zip(images).map(answer).collect();
    Ok(Json(Predictions { model: about.name.clone(), answers }))
}

/// What a model says of texts.
async fn of_texts(shared: &Shared, which: &Which, texts: Vec<String>) -> Answer<Predictions> {
    let reads = |m: &About| matches!(m.classifies, Some(Classifies::Texts | Classifies::Words));
    let (number, about) = find(shared, which.model.as_deref(), "classifies text", reads)?;
    if which.heat == Some(true) {
        return Err(Refusal::unprocessable("what counted is found of images, not of texts; leave heat out"));
    }
    texts::check(&texts)?;
    let Done::Read(found) = ask(shared, number, Work::Read(texts), PREDICT_TIME).await? else {
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the model answered something else"));
    };
    let answers = found.into_iter().map(Of::Text).collect();
    Ok(Json(Predictions { model: about.name.clone(), answers }))
}

/// Whether the server is up.
#[derive(Serialize, Debug, ToSchema)]
struct Health {
    /// `ok`, or `stopping`.
    status: &'static str,
    /// Models served.
    models: usize,
}

/// Whether the server is up.
#[utoipa::path(
    get, path = "/healthz",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "the server stops"))
)]
async fn health(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Health>) {
    let (code, status) = if *shared.stopping.borrow() || shared.asks.is_closed() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        (StatusCode::OK, "ok")
    };
    (code, Json(Health { status, models: shared.models.len() }))
}

/// Counts and times for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let text = shared.gauges.text();
    let text = text.map_err(|e| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// The interface, in OpenAPI's terms.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "mnist-cli serve",
        description = "Models of mnist-cli: what they say of images and texts, what they make."
    ),
    paths(models, predict, generate::generate, health, metrics, live::runs, live::events),
    components(schemas(Makes))
)]
struct Description;

/// The model of this name, or the first that is able.
pub(super) fn find<'a>(
    shared: &'a Shared,
    name: Option<&str>,
    able: &str,
    is_able: impl Fn(&About) -> bool,
) -> Result<(usize, &'a About), Refusal> {
    let mut all = shared.models.iter().enumerate();
    let Some(name) = name else {
        let first = all.find(|(_, model)| is_able(model));
        return first.ok_or_else(|| Refusal::unprocessable(format!("no model that is served {able}")));
    };
    let found = all.find(|(_, model)| model.name == name).ok_or_else(|| {
        let names: Vec<_> = shared.models.iter().map(|model| model.name.as_str()).collect();
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no model is called {name:?}; there are: {}", names.join(", ")),
        )
    })?;
    if is_able(found.1) {
        return Ok(found);
    }
    Err(Refusal::unprocessable(format!("{name} is no model that {able}{}", found.1.takes())))
}

/// A picture as models see it. Decoded beside the threads that answer: a large one takes a while.
async fn picture(
    shared: &Shared,
    (bytes, large): (Bytes, Option<OwnedSemaphorePermit>),
    preparation: Preparation,
    size: ImageSize,
) -> Result<Vec<u8>, Refusal> {
    let late = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "other pictures are in the way; try again");
    let leave = timeout(PREDICT_TIME, shared.decoders.clone().acquire_owned()).await.map_err(late)?;
    let decoded = tokio::task::spawn_blocking(move || {
        // Held until it is done, even if the client has gone away.
        let _leaves = (leave, large);
        let name = Path::new("the picture");
        match preparation {
            Preparation::Digit => {
                scan::from_bytes(&bytes, name, MOST_PIXELS).map(|scan| scan.pixels.to_vec())
            }
            Preparation::Middle => own::prepared_from_bytes(&bytes, name, MOST_PIXELS, size),
        }
    });
    let found = decoded.await.map_err(|_| Refusal::unprocessable("the picture cannot be decoded"))?;
    found.map_err(|error| {
        let status = match error {
            scan::ScanError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            scan::ScanError::Format { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Refusal::new(status, error.to_string())
    })
}
