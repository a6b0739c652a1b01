//! The loop of the thread that computes. What waits for the same classifier of images is answered together: a batch costs
//! little more than one image.

use burn::tensor::backend::Backend;
use tokio::sync::mpsc;

use super::{
    asks::{Ask, Done, Found, Refused, Reply, Work},
    gauges::Gauges,
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
                    // Few and short, and read apart from those of others, one of which may be refused.
                    Work::Read(texts) => {
                        images += texts.len();
                        gauges.texts(texts.len());
                        drop(reply.send(loaded.read(&texts).map(Done::Read)));
                    }
                    Work::Make { wish, news } if images == 0 => {
                        let made = loaded.make(&wish, news, &|| reply.is_closed());
                        drop(reply.send(made));
                        continue;
                    }
                    // First those who wait already: making something takes a while.
                    work @ Work::Make { .. } => {
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
