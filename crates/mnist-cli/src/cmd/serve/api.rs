//! The routes and what they answer. Every limit is one of the constants on top.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{MatchedPath, Query, Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{self, CONTENT_TYPE, HOST},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::StreamExt;
use mnist_data::{ImageSize, Preparation, own, scan};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout},
};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    gauges::Gauges,
    live,
    models::{About, Ask, Done, Found, Makes, Wish, Work},
    refusal::{Reason, Refusal},
};
use crate::cmd::likeliest;

/// Most bytes of a picture.
const MOST_BYTES: usize = 8 << 20;
/// Most bytes of JSON: 64 images are 200 KiB.
const MOST_JSON: usize = 1 << 20;
/// Bytes of a body from which on it is a large one.
const LARGE: usize = 64 << 10;
/// Large bodies that are received and decoded at the same time.
const MOST_LARGE: usize = 16;
/// Bytes that are received and thrown away of a body that is too large, so that its sender gets to read the answer.
const DRAINED: usize = 32 << 20;
/// Most bytes of the beginning of a text.
const MOST_PROMPT: usize = 16 << 10;
/// Most pixels of a picture that is sent as a file.
const MOST_PIXELS: u64 = 16 << 20;
/// Most images in one request.
const MOST_IMAGES: usize = 64;
/// Most images of one request of which it is found what counted.
const MOST_HEAT: usize = 8;
/// Time in which a request's body has to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Time for telling classes.
const PREDICT_TIME: Duration = Duration::from_secs(10);
/// Time for making something.
const MAKE_TIME: Duration = Duration::from_secs(60);
/// Pictures that are decoded at the same time.
const DECODERS: usize = 2;
/// Requests that read the directories of runs at the same time.
const READERS: usize = 2;
/// Requests that wait for the models at the same time.
pub(super) const WAITING: usize = 256;

/// The page: where each part is, what it is, and the part.
const PAGE: [(&str, &str, &str); 8] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/app.js", SCRIPT, include_str!("page/app.js")),
    ("/make.js", SCRIPT, include_str!("page/make.js")),
    ("/pad.js", SCRIPT, include_str!("page/pad.js")),
    ("/parts.js", SCRIPT, include_str!("page/parts.js")),
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
        .route("/api/generate", post(generate))
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
        .layer(middleware::from_fn_with_state(shared.clone(), around))
        .with_state(shared)
}

/// What is done with every request: it is counted, and only answered if it was meant for this server; no page of
/// another site may use the answer.
async fn around(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let mut response = if shared.loopback && !names_loopback(&request) {
        // A foreign page whose name was made to lead here, to read what only this machine may (DNS rebinding).
        let reason =
            "this server answers to localhost and 127.0.0.1 only; to serve others start it with --bind";
        Refusal::new(StatusCode::MISDIRECTED_REQUEST, reason).into_response()
    } else if is_foreign(&request) {
        Refusal::new(StatusCode::FORBIDDEN, "pages of other sites may not use this server").into_response()
    } else {
        next.run(request).await
    };
    const HEADERS: [(HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    shared.gauges.answered(&path, response.status().as_u16(), start.elapsed());
    response
}

/// Whether a browser says that a page of another site asks; opening this page by a link is no such request.
fn is_foreign(request: &Request) -> bool {
    let is =
        |name: &str, value: &[u8]| request.headers().get(name).is_some_and(|found| found.as_bytes() == value);
    is("sec-fetch-site", b"cross-site") && !is("sec-fetch-mode", b"navigate")
}

/// Whether a request names this machine as its host.
fn names_loopback(request: &Request) -> bool {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str));
    let Some(named) = named else { return false };
    let name = match named.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => named,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
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

/// The body of `POST /api/predict` as JSON.
#[derive(Deserialize, Debug, ToSchema)]
#[serde(deny_unknown_fields)]
struct Pixels {
    /// Images of the model's size, row by row, 0 paper to 255 ink, of colour images channel by channel; 1 to 64.
    images: Vec<Vec<u8>>,
}

/// What a model says of images.
#[derive(Serialize, Debug, ToSchema)]
struct Predictions {
    /// Name of the model.
    model: String,
    /// Of each image.
    answers: Vec<Prediction>,
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
/// of some that are prepared already.
#[utoipa::path(
    post, path = "/api/predict", params(Which),
    request_body(content(
        (Pixels = "application/json"), (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg")
    )),
    responses(
        (status = 200, body = Predictions),
        (status = 404, body = Reason, description = "no such model"),
        (status = 408, body = Reason, description = "the body did not arrive in time"),
        (status = 413, body = Reason, description = "more bytes, pixels or images than are taken"),
        (status = 415, body = Reason, description = "neither a PNG, a JPEG nor JSON"),
        (status = 422, body = Reason, description = "no digit in the picture, or pixels of another number"),
        (status = 429, body = Reason, description = "too many requests wait"),
        (status = 503, body = Reason, description = "it took too long, or the server stops"),
    )
)]
async fn predict(
    State(shared): State<Arc<Shared>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Answer<Predictions> {
    let Query(which) = which.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let (number, about) =
        find(&shared, which.model.as_deref(), "classifies images", |m| !m.classes.is_empty())?;
    let size = ImageSize { channels: about.channels, ..about.size.into() };
    let images = match content_type(&request).as_str() {
        "application/json" => {
            let Pixels { images } = json(&body(request, MOST_JSON).await?)?;
            let wrong = images.iter().position(|image| image.len() != size.values());
            if let Some(wrong) = wrong {
                let found = images.get(wrong).map_or(0, Vec::len);
                return Err(Refusal::unprocessable(format!(
                    "image {wrong} has {found} numbers; {} takes {}: {size}",
                    about.name,
                    size.values()
                )));
            }
            images
        }
        "image/png" | "image/jpeg" => {
            let leave = large(&shared, &request)?;
            let bytes = body(request, MOST_BYTES).await?;
            vec![picture(&shared, (bytes, leave), about.preparation, size).await?]
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
        Prediction { label: about.classes.get(best).cloned().unwrap_or_default(), probabilities, seen, heat }
    };
    let answers = rows.into_iter().zip(images).map(answer).collect();
    Ok(Json(Predictions { model: about.name.clone(), answers }))
}

/// What a model made.
#[derive(Serialize, Debug, ToSchema)]
struct Made {
    /// Name of the model.
    model: String,
    /// Height and width of the images.
    size: [usize; 2],
    /// Images, row by row, 0 paper to 255 ink; in colour channel by channel.
    images: Vec<Vec<u8>>,
    /// Texts.
    texts: Vec<String>,
}

/// New images or texts.
#[utoipa::path(
    post, path = "/api/generate", request_body = Wish,
    responses(
        (status = 200, body = Made),
        (status = 404, body = Reason, description = "no such model"),
        (status = 408, body = Reason, description = "the body did not arrive in time"),
        (status = 413, body = Reason, description = "more bytes than are taken"),
        (status = 415, body = Reason, description = "no JSON"),
        (status = 422, body = Reason, description = "something that the model does not make"),
        (status = 429, body = Reason, description = "too many requests wait"),
        (status = 503, body = Reason, description = "it took too long, or the server stops"),
    )
)]
async fn generate(State(shared): State<Arc<Shared>>, request: Request) -> Answer<Made> {
    let found = content_type(&request);
    if found != "application/json" {
        let reason = format!("found content of type {found:?}; send application/json");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    let wish: Wish = json(&body(request, MOST_JSON).await?)?;
    if wish.prompt.len() > MOST_PROMPT {
        let found = wish.prompt.len();
        return Err(Refusal::unprocessable(format!("prompt has {found} bytes; it may have {MOST_PROMPT}")));
    }
    let (number, about) = find(&shared, wish.model.as_deref(), "makes anything new", |m| m.makes.is_some())?;
    let (model, size) = (about.name.clone(), about.size);
    let (images, texts) = match ask(&shared, number, Work::Make(wish), MAKE_TIME).await? {
        Done::Images(images) => (images, Vec::new()),
        Done::Texts(texts) => (Vec::new(), texts),
        Done::Classified(_) => (Vec::new(), Vec::new()),
    };
    Ok(Json(Made { model, size, images, texts }))
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
        description = "Models of mnist-cli: what they say of images, what they make."
    ),
    paths(models, predict, generate, health, metrics, live::runs, live::events),
    components(schemas(Makes))
)]
struct Description;

/// The model of this name, or the first that is able.
fn find<'a>(
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
    Err(Refusal::unprocessable(format!("{name} is no model that {able}")))
}

/// What a request says that its body is, without parameters.
fn content_type(request: &Request) -> String {
    let named = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How many bytes a request says that its body has.
fn told(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The leave to send a large body; none for a small one.
fn large(shared: &Shared, request: &Request) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
    if told(request).is_some_and(|told| told <= LARGE as u64) {
        return Ok(None);
    }
    shared.large.clone().try_acquire_owned().map(Some).map_err(|_| {
        let reason = format!("{MOST_LARGE} large pictures are being received already; try again");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason)
    })
}

/// A request's body of at most so many bytes.
async fn body(request: Request, most: usize) -> Result<Bytes, Refusal> {
    let told = told(&request);
    let mut body = request.into_body().into_data_stream();
    let received = async {
        let (mut bytes, mut length) = (Vec::new(), 0);
        // No more than was told comes; of what is too large nothing is kept.
        while told.is_none_or(|told| told <= DRAINED as u64) && length <= DRAINED {
            let Some(piece) = body.next().await else { break };
            let piece = piece.map_err(|error| {
                Refusal::new(StatusCode::BAD_REQUEST, format!("the body breaks off: {error}"))
            })?;
            length += piece.len();
            if length <= most {
                bytes.extend_from_slice(&piece);
            } else {
                bytes = Vec::new();
            }
        }
        if length > most || told.is_some_and(|told| told > most as u64) {
            let reason = format!("the body is too large; send at most {} MiB", most >> 20);
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        Ok(bytes.into())
    };
    timeout(BODY_TIME, received).await.unwrap_or_else(|_| {
        let reason = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, reason))
    })
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        Refusal::unprocessable(format!("the body is not the JSON that is wanted: {error}; see /openapi.json"))
    })
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

/// Has a model do something.
async fn ask(shared: &Shared, model: usize, work: Work, most: Duration) -> Result<Done, Refusal> {
    let (reply, answer) = oneshot::channel();
    let _waiting = shared.gauges.waiting();
    shared.asks.try_send(Ask { model, work, reply }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, format!("{WAITING} requests wait already; try again"))
        }
        mpsc::error::TrySendError::Closed(_) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server stops")
        }
    })?;
    match timeout(most, answer).await {
        Ok(Ok(done)) => Ok(done?),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server stops")),
        Err(_) => {
            let reason = format!("the model did not answer within {} s; ask for less", most.as_secs());
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason))
        }
    }
}
