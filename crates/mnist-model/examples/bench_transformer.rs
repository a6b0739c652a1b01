//! Milliseconds of a training step of a Transformer encoder and of its parts, on flex.
//!
//! `cargo run --release -p mnist-model --features flex --example bench_transformer [-- STEPS]`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::{
    backend::Autodiff,
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamConfig, GradientsParams, Optimizer},
    tensor::{Distribution, Int, Tensor, backend::Backend},
};
use mnist_model::transformer::{Sight, Transformer, TransformerConfig};

type B = Autodiff<burn_flex::Flex>;

/// Batch, tokens, width.
const INPUT: [usize; 3] = [64, 52, 128];

/// The encoder and a linear head on the mean of its tokens.
#[derive(Module, Debug)]
struct Classifier<B: Backend> {
    transformer: Transformer<B>,
    head: Linear<B>,
}

fn main() {
    let steps = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20);
    let device = Default::default();
    let [batch, _tokens, width] = INPUT;
    let config = TransformerConfig { width, heads: 4, layers: 4, hidden: 4 * width, dropout: 0.0 };
    let mut model = Classifier::<B> {
        transformer: config.init(&device),
        head: LinearConfig::new(width, 10).init(&device),
    };
    let mut optimizer = AdamConfig::new().init::<B, Classifier<B>>();
    let loss = CrossEntropyLossConfig::new().init::<B>(&device);
    let x = Tensor::<B, 3>::random(INPUT, Distribution::Normal(0.0, 1.0), &device);
    let classes = Tensor::<B, 1, Int>::arange(0..batch as i64, &device).remainder_scalar(10);

    let mut times = [const { Vec::new() }; 4];
    for step in 0..steps + 3 {
        let start = Instant::now();
        let y = model.transformer.forward(x.clone(), Sight::All);
        let logits = model.head.forward(y.mean_dim(1).reshape([batch, width]));
        let loss = loss.forward(logits, classes.clone());
        let forward = start.elapsed();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let backward = start.elapsed() - forward;
        model = optimizer.step(1e-3, model, grads);
        let all = start.elapsed();
        if step >= 3 {
            for (times, time) in times.iter_mut().zip([forward, backward, all - forward - backward, all]) {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    for (part, times) in ["forward", "backward", "Adam", "step"].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("{part:<9} median {:>7.1}  fastest {:>7.1}", times[times.len() / 2], times[0]);
    }
}
