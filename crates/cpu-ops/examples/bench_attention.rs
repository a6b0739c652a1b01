//! Milliseconds of forward + backward: this crate's attention against Burn's own operations, in turns.
//!
//! `cargo run --release -p cpu-ops --all-features --example bench_attention [-- ROUNDS]`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::{
    backend::Autodiff,
    tensor::{Distribution, Tensor, backend::AutodiffBackend, module, ops::AttentionModuleOptions},
};
use cpu_ops::{AttentionOptions, self_attention};

/// Batch, tokens, width, heads, causal.
const LAYERS: [(&str, [usize; 4], bool); 5] = [
    ("encoder: 52 tokens, 4 heads of 32", [64, 52, 128, 4], false),
    ("ViT: 50 tokens, 4 heads of 16", [64, 50, 64, 4], false),
    ("decoder: 128 tokens, 4 heads of 32", [32, 128, 128, 4], true),
    ("decoder: 256 tokens, 6 heads of 64", [8, 256, 384, 6], true),
    ("long: 1024 tokens, 4 heads of 64", [2, 1024, 256, 4], false),
];

fn burns_own<B: AutodiffBackend>(qkv: Tensor<B, 3>, options: AttentionOptions) -> Tensor<B, 3> {
    let [batch, tokens, width] = qkv.dims();
    let [width, heads] = [width / 3, options.heads];
    let [q, k, v] = [0, 1, 2].map(|part| {
        let part = qkv.clone().narrow(2, part * width, width);
        part.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
    });
    let how = AttentionModuleOptions { is_causal: options.causal, ..Default::default() };
    module::attention(q, k, v, None, None, how).swap_dims(1, 2).reshape([batch, tokens, width])
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn measure<B: AutodiffBackend>(name: &str, rounds: usize) {
    let device = Default::default();
    println!("{name:<36} {:>9} {:>9} {:>7}", "ours, ms", "Burn, ms", "ratio");
    for (layer, [batch, tokens, width, heads], causal) in LAYERS {
        let normal = Distribution::Normal(0.0, 1.0);
        let qkv = Tensor::<B, 3>::random([batch, tokens, 3 * width], normal, &device).require_grad();
        let options = AttentionOptions { heads, causal, ..Default::default() };
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds + 2 {
            for (own, times) in times.iter_mut().enumerate() {
                let function = if own == 0 { self_attention::<B> } else { burns_own::<B> };
                let begin = Instant::now();
                let y = function(qkv.clone(), options);
                let _grads = y.sum().backward();
                if round >= 2 {
                    times.push(begin.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [ours, burn] = times.each_mut().map(|times| median(times));
        println!("{layer:<36} {ours:>9.2} {burn:>9.2} {:>7.2}", burn / ours);
    }
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10);
    measure::<Autodiff<burn_flex::Flex>>("flex", rounds);
    measure::<Autodiff<burn_ndarray::NdArray>>("ndarray", rounds);
}
