//! `GET /metrics`: what Prometheus reads of the server.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Which requests are counted together.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    path: String,
    status: u16,
}

/// Counts and times since the start.
pub(super) struct Gauges {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Histogram,
    batches: Histogram,
    waiting: Gauge,
    ordered: Gauge,
    connections: Gauge,
    images: Counter<u64, AtomicU64>,
    texts: Counter<u64, AtomicU64>,
}

impl Gauges {
    /// All at zero.
    pub(super) fn new() -> Self {
        let (requests, waiting) = (Family::default(), Gauge::default());
        let (ordered, connections) = (Gauge::default(), Gauge::default());
        let (images, texts) = (Counter::default(), Counter::default());
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let batches = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        let mut registry = Registry::with_prefix("mnist");
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register_with_unit("http_request", "Time of a request", Unit::Seconds, seconds.clone());
        registry.register("batch_images", "Images that went through a model together", batches.clone());
        registry.register("images", "Images classified", images.clone());
        registry.register("texts", "Texts classified", texts.clone());
        registry.register("waiting", "Requests that wait to know a class", waiting.clone());
        registry.register("ordered", "Requests that wait for something to be made", ordered.clone());
        registry.register("connections", "Open connections", connections.clone());
        Self { registry, requests, seconds, batches, waiting, ordered, connections, images, texts }
    }

    /// A request was answered.
    pub(super) fn answered(&self, path: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { path: path.into(), status }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// So many images went through a model together.
    pub(super) fn batch(&self, images: usize) {
        self.batches.observe(images as f64);
        self.images.inc_by(images as u64);
    }

    /// So many texts were classified.
    pub(super) fn texts(&self, texts: usize) {
        self.texts.inc_by(texts as u64);
    }

    /// One more request that waits to know a class; `None` if so many wait already.
    pub(super) fn waiting(&self, most: usize) -> Option<Held> {
        Held::one_of(&self.waiting, most)
    }

    /// One more request that waits for something to be made; `None` if so many wait already.
    pub(super) fn ordered(&self, most: usize) -> Option<Held> {
        Held::one_of(&self.ordered, most)
    }

    /// Open connections.
    pub(super) fn connection(&self) -> Held {
        Held::one_more_of(&self.connections)
    }

    /// As Prometheus reads it.
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counted until it is dropped.
pub(super) struct Held(Gauge);

impl Held {
    fn one_more_of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }

    /// Counts one more, if there is room for it.
    fn one_of(gauge: &Gauge, most: usize) -> Option<Self> {
        let before = gauge.inc();
        let one = Self(gauge.clone());
        (before < most as i64).then_some(one)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
