//! Milliseconds of forward + backward: this crate's functions of elements and rows against Burn's own, in turns.
//!
//! `cargo run --release -p cpu-ops --all-features --example bench_elementwise [-- ROUNDS [NAME]]`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::{
    backend::Autodiff,
    nn::{DropoutConfig, loss::CrossEntropyLossConfig},
    tensor::{Distribution, Int, Tensor, activation, backend::AutodiffBackend},
};

/// Makes a loss from numbers.
type Function<B> = Box<dyn Fn(Tensor<B, 2>) -> Tensor<B, 1>>;

/// What is measured, its shape as rows, ours and Burn's.
type Work<B> = (&'static str, [usize; 2], Function<B>, Function<B>);

fn sums<B: AutodiffBackend>(function: impl Fn(Tensor<B, 2>) -> Tensor<B, 2> + 'static) -> Function<B> {
    Box::new(move |x| function(x).sum())
}

fn works<B: AutodiffBackend>() -> Vec<Work<B>> {
    let (tokens, maps) = ([64 * 52, 512], [64 * 32, 26 * 26]);
    let drop = DropoutConfig::new(0.1).init();
    let mut works: Vec<Work<B>> = vec![
        ("identity [64,52,512]", tokens, sums(|x| x), sums(|x| x)),
        ("gelu [64,52,512]", tokens, sums(cpu_ops::gelu), sums(activation::gelu)),
        ("gelu_tanh [64,52,512]", tokens, sums(cpu_ops::gelu_tanh), sums(activation::gelu_approximate)),
        ("silu [64,32,26,26]", maps, sums(cpu_ops::silu), sums(activation::silu)),
        ("relu [64,32,26,26]", maps, sums(activation::relu), sums(activation::relu)),
        ("dropout [64,32,26,26]", maps, sums(|x| cpu_ops::dropout(x, 0.1)), sums(move |x| drop.forward(x))),
    ];
    for (name, shape) in [
        ("softmax [64,4,52,52]", [64 * 4 * 52, 52]),
        ("softmax [3328,2048]", [3_328, 2_048]),
        ("softmax [64,10]", [64, 10]),
    ] {
        works.push((name, shape, sums(cpu_ops::softmax), sums(|x| activation::softmax(x, 1))));
    }
    for (name, shape) in [("log_softmax [3328,2048]", [3_328, 2_048]), ("log_softmax [64,10]", [64, 10])] {
        works.push((name, shape, sums(cpu_ops::log_softmax), sums(|x| activation::log_softmax(x, 1))));
    }
    for (name, shape, smoothing) in [
        ("cross_entropy [64,10]", [64, 10], 0.0),
        ("cross_entropy [64,10], 0.1", [64, 10], 0.1),
        ("cross_entropy [3328,2048]", [3_328, 2_048], 0.0),
        ("cross_entropy [3328,2048], 0.1", [3_328, 2_048], 0.1),
    ] {
        let device = Default::default();
        let [batch, classes] = shape;
        let targets = Tensor::<B, 1, Int>::arange(0..batch as i64, &device).remainder_scalar(classes as i64);
        let same = targets.clone();
        let burns = CrossEntropyLossConfig::new()
            .with_smoothing((smoothing > 0.0).then_some(smoothing))
            .init(&device);
        works.push((
            name,
            shape,
            Box::new(move |x| cpu_ops::cross_entropy(x, same.clone(), smoothing)),
            Box::new(move |x| burns.forward(x, targets.clone())),
        ));
    }
    works
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn measure<B: AutodiffBackend>(name: &str, rounds: usize, only: &str) {
    let device = Default::default();
    println!("{name:<32} {:>9} {:>9} {:>7}", "ours, ms", "Burn, ms", "ratio");
    for (work, shape, ours, burns) in works::<B>().into_iter().filter(|work| work.0.starts_with(only)) {
        let x = Tensor::<B, 2>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad();
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds + 2 {
            for (function, times) in [&ours, &burns].into_iter().zip(&mut times) {
                let begin = Instant::now();
                let _grads = function(x.clone()).backward();
                if round >= 2 {
                    times.push(begin.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [ours, burn] = times.each_mut().map(|times| median(times));
        println!("{work:<32} {ours:>9.3} {burn:>9.3} {:>6.1}x", burn / ours);
    }
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(21);
    let only = std::env::args().nth(2).unwrap_or_default();
    measure::<Autodiff<burn_flex::Flex>>("flex", rounds, &only);
    measure::<Autodiff<burn_ndarray::NdArray>>("ndarray", rounds.min(5), &only);
}
