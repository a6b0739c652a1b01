//! Milliseconds of forward + backward: this crate's convolutions against Burn's own operations, in turns.
//!
//! `cargo run --release -p cpu-ops --all-features --example bench [-- ROUNDS [PART OF A NAME]]`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::{
    backend::Autodiff,
    tensor::{
        Distribution, Tensor,
        activation::relu,
        backend::AutodiffBackend,
        module,
        ops::{ConvOptions, ConvTransposeOptions},
    },
};
use cpu_ops::{Conv2dOptions, ConvTranspose2dOptions, conv_transpose2d, conv2d};

/// A layer: images, output channels, kernel, options, whether there is a bias, whether the images need a
/// gradient (those of a first layer do not).
type Layer = (&'static str, [usize; 4], usize, usize, Conv2dOptions, bool, bool);

fn layers() -> Vec<Layer> {
    let options = |stride, padding, relu, max_pool| Conv2dOptions {
        stride: [stride; 2],
        padding: [padding; 2],
        groups: 1,
        relu,
        max_pool,
    };
    let depthwise = Conv2dOptions { padding: [1, 1], groups: 64, ..Default::default() };
    vec![
        ("cnn 1: 1-32 5x5 s2 relu", [64, 1, 28, 28], 32, 5, options(2, 2, true, false), true, false),
        ("cnn 2: 32-64 3x3 s2 relu", [64, 32, 14, 14], 64, 3, options(2, 1, true, false), true, true),
        ("cnn 3: 64-64 3x3 s2 relu", [64, 64, 7, 7], 64, 3, options(2, 1, true, false), true, true),
        ("pool 1: 1-32 5x5 pool relu", [64, 1, 28, 28], 32, 5, options(1, 2, true, true), true, false),
        ("pool 2: 32-64 3x3 pool relu", [64, 32, 14, 14], 64, 3, options(1, 1, true, true), true, true),
        ("example 2: 32-64 3x3 valid pool", [64, 32, 26, 26], 64, 3, options(1, 0, true, true), true, true),
        ("example 1: 1-32 3x3 valid relu", [64, 1, 28, 28], 32, 3, options(1, 0, true, false), true, false),
        ("default 1: 1-24 3x3 pool relu", [64, 1, 28, 28], 24, 3, options(1, 1, true, true), true, false),
        ("default 2: 24-48 3x3 pool relu", [64, 24, 14, 14], 48, 3, options(1, 1, true, true), true, true),
        ("default 3: 48-96 3x3 pool relu", [64, 48, 7, 7], 96, 3, options(1, 1, true, true), true, true),
        ("resnet 1: 16-16 3x3", [64, 16, 28, 28], 16, 3, options(1, 1, false, false), false, true),
        ("resnet 2: 32-32 3x3", [64, 32, 14, 14], 32, 3, options(1, 1, false, false), false, true),
        ("resnet 3: 64-64 3x3", [64, 64, 7, 7], 64, 3, options(1, 1, false, false), false, true),
        ("resnet 4: 128-128 3x3", [64, 128, 4, 4], 128, 3, options(1, 1, false, false), false, true),
        ("resnet down: 16-32 3x3 s2", [64, 16, 28, 28], 32, 3, options(2, 1, false, false), false, true),
        ("resnet down: 16-32 1x1 s2", [64, 16, 28, 28], 32, 1, options(2, 0, false, false), false, true),
        ("depthwise: 64 3x3", [64, 64, 14, 14], 64, 3, depthwise, true, true),
    ]
}

fn burns_own<B: AutodiffBackend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    o: Conv2dOptions,
) -> Tensor<B, 4> {
    let mut y = module::conv2d(x, weight, bias, ConvOptions::new(o.stride, o.padding, [1, 1], o.groups));
    if o.max_pool {
        y = module::max_pool2d(y, [2, 2], [2, 2], [0, 0], [1, 1], false);
    }
    if o.relu { relu(y) } else { y }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// One line of the table: both ways in turns, `rounds` times after two that do not count.
fn compare(name: &str, rounds: usize, mut passes: [Box<dyn FnMut() + '_>; 2]) {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds + 2 {
        for (pass, times) in passes.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            pass();
            if round >= 2 {
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let [ours, burn] = times.each_mut().map(|times| median(times));
    println!("{name:<32} {ours:>9.2} {burn:>9.2} {:>6.1}x", burn / ours);
}

fn measure<B: AutodiffBackend>(backend: &str, rounds: usize, part: &str) {
    let device = Default::default();
    let normal = Distribution::Normal(0.0, 1.0);
    println!("{backend:<32} {:>9} {:>9} {:>7}", "ours, ms", "Burn, ms", "ratio");
    for (layer, images, outputs, kernel, options, with_bias, x_grad) in layers() {
        if !layer.contains(part) {
            continue;
        }
        let mut x = Tensor::<B, 4>::random(images, normal, &device);
        if x_grad {
            x = x.require_grad();
        }
        let weight = [outputs, images[1] / options.groups, kernel, kernel];
        let weight = Tensor::<B, 4>::random(weight, normal, &device).require_grad();
        let bias = with_bias.then(|| Tensor::<B, 1>::random([outputs], normal, &device).require_grad());
        let passes = [conv2d::<B>, burns_own::<B>].map(|function| {
            let (x, weight, bias) = (&x, &weight, &bias);
            Box::new(move || {
                function(x.clone(), weight.clone(), bias.clone(), options).sum().backward();
            }) as Box<dyn FnMut()>
        });
        compare(layer, rounds, passes);
    }
    let layer = "transposed: 64-32 4x4 s2";
    if layer.contains(part) {
        let x = Tensor::<B, 4>::random([64, 64, 14, 14], normal, &device).require_grad();
        let weight = Tensor::<B, 4>::random([64, 32, 4, 4], normal, &device).require_grad();
        let ours = || {
            let options = ConvTranspose2dOptions { stride: [2, 2], ..Default::default() };
            conv_transpose2d(x.clone(), weight.clone(), None, options).sum().backward();
        };
        let burns = || {
            let options = ConvTransposeOptions::new([2, 2], [0, 0], [0, 0], [1, 1], 1);
            module::conv_transpose2d(x.clone(), weight.clone(), None, options).sum().backward();
        };
        compare(layer, rounds, [Box::new(ours), Box::new(burns)]);
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds = args.next().and_then(|text| text.parse().ok()).unwrap_or(15);
    let part = args.next().unwrap_or_default();
    measure::<Autodiff<burn_flex::Flex>>("flex", rounds, &part);
    measure::<Autodiff<burn_ndarray::NdArray>>("ndarray", rounds.min(3), &part);
}
