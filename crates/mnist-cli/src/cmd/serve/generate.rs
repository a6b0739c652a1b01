//! `POST /api/generate`: new images and texts, as one answer or, as they are made, in server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use utoipa::ToSchema;

use super::{
    api::{Shared, find},
    asks::{self, Ask, Done, Refused, Wish, Work, ask},
    body::{MOST_JSON, body, content_type, json},
    gauges::Held,
    growing::Told,
    models::About,
    refusal::{Reason, Refusal},
};

/// Most bytes of the beginning of a text.
const MOST_PROMPT: usize = 16 << 10;
/// Time for making something.
const MAKE_TIME: Duration = Duration::from_secs(60);
/// News that wait for who reads them.
const MOST_NEWS: usize = 64;

/// What a model made.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, ToSchema)]
pub(super) struct Made {
    /// Name of the model.
    model: String,
    /// Height and width of the images.
    size: [usize; 2],
    /// Images, row by row, 0 paper to 255 ink; in colour channel by channel.
    images: Vec<Vec<u8>>,
    /// Texts.
    texts: Vec<String>,
}

impl Made {
    fn of(about: &About, done: Done) -> Self {
        let (images, texts) = match done {
            Done::Images(images) => (images, Vec::new()),
            Done::Texts(texts) => (Vec::new(), texts),
            Done::Classified(_) | Done::Read(_) => (Vec::new(), Vec::new()),
        };
        Self { model: about.name.clone(), size: about.size, images, texts }
    }
}

/// New images or texts. With `stream` in server-sent events, one for each token or round as it is made; the last has the
/// whole answer, the same as without, or says why there is none.
#[utoipa::path(
    post, path = "/api/generate", request_body = Wish,
    responses(
        (status = 200, description = "what was made", content(
            (Made = "application/json"), (Told = "text/event-stream")
        )),
        (status = 404, body = Reason, description = "no such model"),
        (status = 408, body = Reason, description = "the body did not arrive in time"),
        (status = 413, body = Reason, description = "more bytes than are taken"),
        (status = 415, body = Reason, description = "no JSON"),
        (status = 422, body = Reason, description = "something that the model does not make"),
        (status = 429, body = Reason, description = "too many requests wait"),
        (status = 503, body = Reason, description = "it took too long, or the server stops"),
    )
)]
pub(super) async fn generate(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Refusal> {
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
    if wish.stream {
        let mut coming = Coming::ask(&shared, number, about.clone(), wish)?;
        // What is refused is refused with a status.
        let first = coming.next().await?;
        return Ok(Sse::new(coming.events(first)).keep_alive(KeepAlive::default()).into_response());
    }
    let done = ask(&shared, number, Work::Make { wish, news: None }, MAKE_TIME).await?;
    Ok(Json(Made::of(about, done)).into_response())
}

/// An answer that is told while it is made. Dropped with the connection of who asked, and with it the work ends.
struct Coming {
    about: About,
    news: mpsc::Receiver<Told>,
    answer: oneshot::Receiver<Result<Done, Refused>>,
    end: Instant,
    _waiting: Held,
}

impl Coming {
    /// Has a model make something.
    fn ask(shared: &Shared, model: usize, about: About, wish: Wish) -> Result<Self, Refusal> {
        let ((way, news), (reply, answer)) = (mpsc::channel(MOST_NEWS), oneshot::channel());
        let ask = Ask { model, work: Work::Make { wish, news: Some(way) }, reply };
        let _waiting = asks::send(shared, ask)?;
        Ok(Self { about, news, answer, end: Instant::now() + MAKE_TIME, _waiting })
    }

    /// The next news, waited for.
    async fn next(&mut self) -> Result<Told, Refusal> {
        let next = async {
            if let Some(news) = self.news.recv().await {
                return Ok(news);
            }
            // The model tells no more; it answered, or nobody does.
            let done = (&mut self.answer).await.map_err(|_| asks::stopping())??;
            Ok(Told::Made(Made::of(&self.about, done)))
        };
        timeout_at(self.end, next).await.unwrap_or_else(|_| Err(asks::late(MAKE_TIME)))
    }

    /// An event for each of the news, of which the first is here.
    fn events(self, first: Told) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold((Some(self), Some(first)), |(coming, ready)| async move {
            let mut coming = coming?;
            let news = match ready {
                Some(news) => news,
                None => coming.next().await.unwrap_or_else(|refusal| Told::Error(refusal.into_reason())),
            };
            let last = matches!(news, Told::Made(_) | Told::Error(_));
            let event = Event::default().json_data(&news).unwrap_or_default();
            Some((Ok(event), ((!last).then_some(coming), None)))
        })
    }
}
