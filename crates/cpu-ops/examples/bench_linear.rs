//! Microseconds of a fully connected layer with bias and ReLU, forward + backward and forward alone, in turns with
//! Burn's own operations.
//!
//! `cargo run --release -p cpu-ops --all-features --example bench_linear [-- ROUNDS]`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::{
    backend::Autodiff,
    tensor::{Distribution, Tensor, activation::relu, backend::Backend, module},
};
use burn_flex::Flex;
use cpu_ops::linear_relu;

/// Rows, inputs, outputs.
const LAYERS: [[usize; 3]; 9] = [
    [64, 784, 512],
    [64, 512, 512],
    [64, 512, 10],
    [64, 864, 128],
    [64, 9216, 128],
    [3328, 128, 512],
    [3328, 512, 128],
    [1, 784, 512],
    [1, 864, 128],
];

type Function<B> = fn(Tensor<B, 2>, Tensor<B, 2>, Option<Tensor<B, 1>>) -> Tensor<B, 2>;

fn burns_own<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
    relu(module::linear(x, weight, bias))
}

/// Median of the microseconds of some rounds, of each of two pieces of work, in turns.
fn medians(rounds: usize, works: [&dyn Fn(); 2]) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds + 3 {
        for (work, times) in works.iter().zip(&mut times) {
            let begin = Instant::now();
            work();
            if round >= 3 {
                times.push(begin.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

fn main() {
    type B = Autodiff<Flex>;
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let device = Default::default();
    let normal = Distribution::Normal(0.0, 1.0);
    println!("{:<24} {:>9} {:>9} {:>9} {:>9}", "layer", "ours", "Burn's", "forward", "Burn's");
    for [rows, inputs, outputs] in LAYERS {
        let x = Tensor::<B, 2>::random([rows, inputs], normal, &device).require_grad();
        let w = Tensor::<B, 2>::random([inputs, outputs], normal, &device).require_grad();
        let b = Tensor::<B, 1>::random([outputs], normal, &device).require_grad();
        let (plain_x, plain_w, plain_b) = (x.clone().inner(), w.clone().inner(), b.clone().inner());
        let train = |function: Function<B>| {
            function(x.clone(), w.clone(), Some(b.clone())).sum().backward();
        };
        let [ours, burns] = medians(rounds, [&|| train(linear_relu), &|| train(burns_own)]);
        let infer = |function: Function<Flex>| {
            function(plain_x.clone(), plain_w.clone(), Some(plain_b.clone()));
        };
        let [forward, burns_forward] = medians(rounds, [&|| infer(linear_relu), &|| infer(burns_own)]);
        let layer = format!("{rows} x {inputs}-{outputs}");
        println!("{layer:<24} {ours:>9.1} {burns:>9.1} {forward:>9.1} {burns_forward:>9.1}");
    }
}
