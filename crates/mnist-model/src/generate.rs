//! Making new examples: what is asked for, and how a token is drawn from logits.
//!
//! Draws are counter-based: example `i` at step `t` is a function of (key, `i`, `t`), whatever else is drawn.

use std::ops::ControlFlow;

use burn::tensor::{Distribution, Tensor, TensorData, backend::Backend};
use mnist_data::Key;

use crate::objectives::Picture;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// How many examples, at least 1.
    pub count: usize,
    /// Tokens that are given, `[START]` among them where sequences begin with it; -1 where a masked model has to find
    /// one.
    pub start: Vec<i32>,
    /// How many tokens to put behind them, at most.
    pub length: usize,
    /// What logits are divided by; 0 takes the likeliest token.
    pub temperature: f32,
    /// Draw from the likeliest so many tokens; 0 is all.
    pub top_k: usize,
    /// Draw from the likeliest tokens that have this probability together, in (0, 1] (Holtzman et al. 2019,
    /// arXiv 1904.09751); 1 is all.
    pub top_p: f32,
    /// Codes that a model of codes makes images of, row after row; other than `count` rows are not used but drawn.
    pub codes: Vec<f32>,
    /// Rounds in which a masked model finds its tokens, at least 1.
    pub rounds: usize,
    /// What is drawn from.
    pub key: Key,
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            count: 64,
            start: Vec::new(),
            length: usize::MAX,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            codes: Vec::new(),
            rounds: 16,
            key: Key::new(0).named("generate"),
        }
    }
}

/// What was made.
#[derive(Debug)]
pub enum Generated<B: Backend> {
    /// Images.
    Images(Picture<B>),
    /// Token sequences, the given tokens among them.
    Tokens(Vec<Vec<i32>>),
}

/// Is told of all token sequences so far, -1 where a token is not found yet, after each token or round, and says whether to
/// go on.
pub type Watch<'a> = dyn FnMut(&[Vec<i32>]) -> ControlFlow<()> + 'a;

/// Watches nothing and goes on.
pub fn unwatched(_: &[Vec<i32>]) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

impl GenerateRequest {
    /// Codes of `width` numbers to make images of, `[count, width]`: the given ones, or drawn from the normal
    /// distribution of which the temperature is the standard deviation.
    pub fn codes<B: Backend>(&self, width: usize, device: &B::Device) -> Tensor<B, 2> {
        let shape = [self.count, width];
        if self.codes.len() == self.count * width {
            return Tensor::from_data(TensorData::new(self.codes.clone(), shape), device);
        }
        Tensor::random(shape, Distribution::Normal(0.0, f64::from(self.temperature)), device)
    }

    /// A token and its probability among those drawn from; `uniform` in [0, 1) decides.
    pub fn draw(&self, logits: &[f32], uniform: f32) -> (i32, f32) {
        let mut ranked: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let Some(&(best, largest)) = ranked.first() else { return (0, 0.0) };
        if self.temperature <= 0.0 {
            let total: f32 = ranked.iter().map(|(_, value)| (value - largest).exp()).sum();
            return (best as i32, 1.0 / total);
        }
        if self.top_k > 0 {
            ranked.truncate(self.top_k);
        }
        ranked.iter_mut().for_each(|(_, value)| *value = ((*value - largest) / self.temperature).exp());
        if self.top_p < 1.0 {
            let total: f32 = ranked.iter().map(|(_, p)| p).sum();
            let mut before = 0.0;
            let kept = ranked.iter().take_while(|(_, p)| {
                let inside = before < self.top_p * total;
                before += p;
                inside
            });
            let kept = kept.count().max(1);
            ranked.truncate(kept);
        }
        let total: f32 = ranked.iter().map(|(_, p)| p).sum();
        let mut left = uniform * total;
        let drawn = ranked.iter().find(|(_, p)| {
            left -= p;
            left < 0.0
        });
        let &(token, p) = drawn.unwrap_or(&(best, 1.0));
        (token as i32, p / total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_drawn_by_their_probability_within_what_is_allowed() {
        let logits = [0.1_f32, 0.2, 0.4, 0.3].map(f32::ln);
        let shares = |request: &GenerateRequest| {
            let mut counts = [0; 4];
            (0..1000).for_each(|i| counts[request.draw(&logits, i as f32 / 1000.0).0 as usize] += 1);
            counts
        };
        let base = GenerateRequest::default();
        for (request, wanted) in [
            (base.clone(), [100, 200, 400, 300]),
            (GenerateRequest { temperature: 0.0, ..base.clone() }, [0, 0, 1000, 0]),
            (GenerateRequest { top_k: 2, ..base.clone() }, [0, 0, 571, 429]),
            (GenerateRequest { top_p: 0.65, ..base.clone() }, [0, 0, 571, 429]),
            (GenerateRequest { top_p: 0.01, ..base.clone() }, [0, 0, 1000, 0]),
            // p^2: 1, 4, 16, 9 of 30
            (GenerateRequest { temperature: 0.5, ..base.clone() }, [33, 133, 533, 300]),
        ] {
            let found = shares(&request);
            assert!(
                found.iter().zip(wanted).all(|(a, b): (&i32, i32)| (a - b).abs() <= 2),
                "{found:?} {wanted:?}"
            );
        }
        assert!((base.draw(&logits, 0.0).1 - 0.4).abs() < 1e-6);
    }
}
