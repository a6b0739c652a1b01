//! Likelihood of a split under a model with hidden codes, by importance weights.
//!
//! The mean of `K` weights `p(x, z) / q(z | x)` estimates `p(x)`; its logarithm is too low on average, less so the larger `K`
//! (Burda et al. 2015, arXiv 1509.00519, theorem 1): minus it is an upper bound of the true figure.

use burn::tensor::backend::Backend;
use mnist_data::{Examples, Key, Loader};
use mnist_model::objectives::Objective;

/// Codes that are decoded at once: what bounds the memory.
const AT_ONCE: usize = 512;
/// Codes of one example that are decoded at once.
const OF_ONE: usize = 64;

/// Importance-weighted likelihood of a split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// Minus the logarithm of the likelihood, mean over the examples, nats an example.
    pub negative: f64,
    /// Standard error of that mean, from the examples' differences.
    pub standard_error: f64,
}

/// The importance-weighted likelihood with `samples` (at least 1) codes an example; `None` if the model has none. What is
/// drawn is the same each time.
pub fn of<B: Backend, M: Objective<B>>(
    model: &M,
    data: &Loader<<M::Input as Examples>::Source>,
    samples: usize,
    device: &B::Device,
) -> Option<Likelihood> {
    let key = Key::new(0).named("importance");
    let mut found = Vec::with_capacity(data.len());
    for (number, batch) in data.in_order().enumerate() {
        let parts = batch.len().div_ceil((AT_ONCE / samples.clamp(1, OF_ONE)).max(1));
        for (part, batch) in batch.split(parts).into_iter().enumerate() {
            let mut sums = vec![LogSum::default(); batch.len()];
            let (mut drawn, batch) = (0, batch.to_device::<B>(device));
            while drawn < samples.max(1) {
                let count = (samples.max(1) - drawn).min(OF_ONE);
                let key = key.with(number as u64).with(part as u64).with(drawn as u64);
                B::seed(device, key.seed());
                let weights = model.log_weights(batch.clone(), count)?;
                let weights: Vec<f32> = weights.into_data().iter::<f32>().collect();
                for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(count)) {
                    weights.iter().for_each(|&weight| sum.add(weight.into()));
                }
                drawn += count;
            }
            found.extend(sums.iter().map(|sum| (samples.max(1) as f64).ln() - sum.log()));
        }
        tracing::info!("importance weights of {} of {} examples", found.len(), data.len());
    }
    let count = found.len() as f64;
    let negative = found.iter().sum::<f64>() / count;
    let variance = found.iter().map(|x| (x - negative).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Some(Likelihood { negative, standard_error: (variance / count).sqrt() })
}

/// The logarithm of a sum of numbers that are given by their logarithms, however large or small.
#[derive(Clone, Copy, Debug)]
struct LogSum {
    largest: f64,
    /// Sum of all, divided by the largest.
    sum: f64,
}

impl Default for LogSum {
    fn default() -> Self {
        Self { largest: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSum {
    fn add(&mut self, log: f64) {
        if log > self.largest {
            self.sum = self.sum * (self.largest - log).exp() + 1.0;
            self.largest = log;
        } else if log != f64::NEG_INFINITY {
            self.sum += (log - self.largest).exp();
        }
    }

    fn log(&self) -> f64 {
        self.largest + self.sum.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_numbers_that_no_float_holds() {
        // scipy.special.logsumexp
        for (logs, wanted) in [
            (&[-1000.0, -1001.0, -999.5][..], -998.895_869_394_663_2),
            (&[800.0, f64::NEG_INFINITY, 800.0], 800.693_147_180_559_9),
            (&[f64::NEG_INFINITY, 3.0], 3.0),
            (&[], f64::NEG_INFINITY),
        ] {
            let mut sum = LogSum::default();
            logs.iter().for_each(|&log| sum.add(log));
            let found = sum.log();
            assert!(found == wanted || (found - wanted).abs() < 1e-9, "{logs:?}: {found}");
        }
        let mut sum = LogSum::default();
        sum.add(f64::NAN);
        assert!(sum.log().is_nan());
    }
}
