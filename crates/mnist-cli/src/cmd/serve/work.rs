//! The loop of the thread that computes. What waits for the same classifier of images is answered together: a batch costs
//! little more than one image. It goes on between two tokens of what is being made.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use burn::tensor::backend::Backend;
use tokio::sync::mpsc;

use super::{
    asks::{Ask, Done, Found, Refused, Reply, Wish, Work},
    gauges::Gauges,
    growing::Told,
    heat,
    models::Loaded,
};

/// Images that go through a model together.
const TOGETHER: usize = 256;

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

/// Something that is to be made, and takes a while.
struct Order {
    model: usize,
    wish: Wish,
    news: Option<mpsc::Sender<Told>>,
    reply: Reply,
}

/// Answers until nobody is left who might ask.
pub(super) fn work<B: Backend>(models: &[Loaded<'_, B>], asks: mpsc::Receiver<Ask>, gauges: &Gauges) {
    let mut desk = Desk { models, asks, gauges, orders: VecDeque::new() };
    while let Some(first) = desk.asks.blocking_recv() {
        desk.answer(Some(first));
        while let Some(Order { model, wish, news, reply }) = desk.orders.pop_front() {
            if let Some(loaded) = models.get(model).filter(|_| !reply.is_closed()) {
                // Who only wants to know a class does not wait for the last token, but takes half of the time at most.
                let (begun, mut spent) = (Instant::now(), Duration::ZERO);
                let made = loaded.make(&wish, news, &mut || {
                    if 2 * spent <= begun.elapsed() {
                        let lap = Instant::now();
                        desk.answer(None);
                        spent += lap.elapsed();
                    }
                    reply.is_closed()
                });
                drop(reply.send(made));
            }
            desk.answer(None);
        }
    }
}

/// What waits, and who answers it.
struct Desk<'a, B: Backend> {
    models: &'a [Loaded<'a, B>],
    asks: mpsc::Receiver<Ask>,
    gauges: &'a Gauges,
    /// For when nothing shorter waits; no more than requests may wait.
    orders: VecDeque<Order>,
}

impl<B: Backend> Desk<'_, B> {
    /// Answers some of what waits now, and takes orders.
    fn answer(&mut self, first: Option<Ask>) {
        let mut next = first.or_else(|| self.asks.try_recv().ok());
        if next.is_none() {
            return;
        }
        let mut batches: Vec<Batch> = self.models.iter().map(|_| Batch::default()).collect();
        let mut images = 0;
        while let Some(Ask { model, work, reply }) = next.take() {
            // Who has gone away is not answered.
            if !reply.is_closed()
                && let Some((loaded, batch)) = self.models.get(model).zip(batches.get_mut(model))
            {
                match work {
                    Work::Classify { pixels, heat } => {
                        images += pixels.len() / loaded.values() * if heat { heat::MOST } else { 1 };
                        batch.whose.push(Share { bytes: pixels.len(), heat, reply });
                        batch.pixels.extend(pixels);
                    }
                    // Few and short, and read apart from those of others, one of which may be refused.
                    Work::Read(texts) => {
                        images += texts.len();
                        self.gauges.texts(texts.len());
                        drop(reply.send(loaded.read(&texts).map(Done::Read)));
                    }
                    Work::Make { wish, news } => {
                        self.orders.retain(|order| !order.reply.is_closed());
                        self.orders.push_back(Order { model, wish, news, reply });
                    }
                }
            }
            if images < TOGETHER {
                next = self.asks.try_recv().ok();
            }
        }
        for (loaded, batch) in self.models.iter().zip(batches) {
            classify(loaded, batch, self.gauges);
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
