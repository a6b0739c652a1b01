//! Milliseconds of forward + backward, least and (median): this crate's normalisations against Burn's own layers,
//! in turns.
//!
//! `cargo run --release -p cpu-ops --all-features --example bench_norm [-- ROUNDS]`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::{
    backend::Autodiff,
    nn::{BatchNormConfig, GroupNormConfig, LayerNormConfig},
    tensor::{Distribution, Tensor, activation::relu, backend::AutodiffBackend},
};
use cpu_ops::{BatchNormOptions, batch_norm, group_norm, layer_norm};

/// A way to compute an output.
type Function<B> = Box<dyn Fn() -> Tensor<B, 4>>;

/// A row of the table: our way and Burn's.
type Row<B> = (String, Function<B>, Function<B>);

fn rows<B: AutodiffBackend>() -> Vec<Row<B>> {
    let device = Default::default();
    let random = |shape: [usize; 4]| {
        Tensor::<B, 4>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
    };
    let mut rows: Vec<Row<B>> = Vec::new();
    let ones = |n: usize| Tensor::<B, 1>::ones([n], &device).require_grad();
    for shape in [[64, 32, 26, 26], [64, 16, 28, 28], [64, 32, 14, 14], [64, 64, 7, 7], [64, 128, 4, 4]] {
        for (name, with_relu, with_shortcut) in
            [("batch", false, false), ("batch relu", true, false), ("batch shortcut relu", true, true)]
        {
            let x = random(shape);
            let shortcut = with_shortcut.then(|| random(shape));
            let [weight, bias] = [ones(shape[1]), ones(shape[1])];
            let options = BatchNormOptions { relu: with_relu, ..Default::default() };
            let (x2, shortcut2) = (x.clone(), shortcut.clone());
            let layer = BatchNormConfig::new(shape[1]).init::<B>(&device);
            rows.push((
                format!("{name} {shape:?}"),
                Box::new(move || {
                    batch_norm(x.clone(), weight.clone(), bias.clone(), shortcut.clone(), options).output
                }),
                Box::new(move || {
                    let y = layer.forward(x2.clone());
                    let y = match &shortcut2 {
                        Some(shortcut) => y + shortcut.clone(),
                        None => y,
                    };
                    if with_relu { relu(y) } else { y }
                }),
            ));
        }
    }
    let (x, weight, bias) = (random([64, 32, 26, 26]), ones(32), ones(32));
    let (x2, layer) = (x.clone(), GroupNormConfig::new(8, 32).init::<B>(&device));
    rows.push((
        format!("group of 4 {:?}", x.dims()),
        Box::new(move || group_norm(x.clone(), 8, weight.clone(), bias.clone(), 1e-5)),
        Box::new(move || layer.forward(x2.clone())),
    ));
    for shape in [[1, 64, 52, 128], [1, 64, 52, 512]] {
        let (x, weight, bias) = (random(shape), ones(shape[3]), ones(shape[3]));
        let (x2, layer) = (x.clone(), LayerNormConfig::new(shape[3]).init::<B>(&device));
        rows.push((
            format!("layer {shape:?}"),
            Box::new(move || layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5)),
            Box::new(move || layer.forward(x2.clone())),
        ));
    }
    rows
}

/// Least and median.
fn least_and_median(times: &mut [f64]) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [times[0], times[times.len() / 2]]
}

fn measure<B: AutodiffBackend>(name: &str, rounds: usize) {
    println!("{name:<40} {:>16} {:>16} {:>7}", "ours, ms", "Burn, ms", "ratio");
    for (name, ours, burns) in rows::<B>() {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds + 2 {
            for (function, times) in [&ours, &burns].into_iter().zip(&mut times) {
                let begin = Instant::now();
                let _grads = function().backward();
                if round >= 2 {
                    times.push(begin.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [[least, ours], [burns_least, burns]] = times.each_mut().map(|times| least_and_median(times));
        println!(
            "{name:<40} {least:>7.2} ({ours:>6.2}) {burns_least:>7.2} ({burns:>6.2}) {:>6.1}x",
            burns_least / least
        );
    }
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(15);
    measure::<Autodiff<burn_flex::Flex>>("flex", rounds);
    measure::<Autodiff<burn_ndarray::NdArray>>("ndarray", rounds.min(3));
}
