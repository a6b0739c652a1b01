//! What every request passes: it is counted, and only answered if it was meant for this server; no page of another site
//! may use the answer.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{self, HOST},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use super::{api::Shared, refusal::Refusal};

/// What is done with every request: it is counted, and only answered if it was meant for this server; no page of
/// another site may use the answer.
pub(super) async fn around(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
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
