//! What requests bring: how much of it is taken, how long is waited for it.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::Request,
    http::{
        StatusCode,
        header::{self, CONTENT_TYPE},
    },
};
use futures_util::StreamExt;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{api::Shared, refusal::Refusal};

/// Most bytes of a picture.
pub(super) const MOST_BYTES: usize = 8 << 20;
/// Most bytes of JSON: 64 images are 200 KiB.
pub(super) const MOST_JSON: usize = 1 << 20;
/// Bytes of a body from which on it is a large one.
const LARGE: usize = 64 << 10;
/// Large bodies that are received and decoded at the same time.
pub(super) const MOST_LARGE: usize = 16;
/// Bytes that are received and thrown away of a body that is too large, so that its sender gets to read the answer.
const DRAINED: usize = 32 << 20;
/// Time in which a request's body has to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What a request says that its body is, without parameters.
pub(super) fn content_type(request: &Request) -> String {
    let named = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How many bytes a request says that its body has.
fn told(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The leave to send a large body; none for a small one.
pub(super) fn large(shared: &Shared, request: &Request) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
    if told(request).is_some_and(|told| told <= LARGE as u64) {
        return Ok(None);
    }
    shared.large.clone().try_acquire_owned().map(Some).map_err(|_| {
        let reason = format!("{MOST_LARGE} large pictures are being received already; try again");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason)
    })
}

/// A request's body of at most so many bytes.
pub(super) async fn body(request: Request, most: usize) -> Result<Bytes, Refusal> {
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

pub(super) fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        Refusal::unprocessable(format!("the body is not the JSON that is wanted: {error}; see /openapi.json"))
    })
}
