//! Every backend of the build trains every net as the default one does: the same 50 steps from the same weights.
//!
//! ndarray is always there; others come with their feature flags, for example
//! `cargo test -p mnist-cli --features wgpu --test agreement`.

#![allow(clippy::unwrap_used)]

use burn::{
    backend::Autodiff,
    module::AutodiffModule,
    tensor::{
        Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mnist_data::HostBatch;
use mnist_model::{
    nets::NetSettings,
    objectives::{Classify, ClassifyConfig, Objective, ObjectiveConfig},
    parameters::parameters,
};
use mnist_train::{
    data::TrainingData,
    optimizer::Optimizer,
    run::Run,
    tensors::{flatten, gradients, unflatten_trained},
};

const STEPS: usize = 50;

/// Small enough for a slow backend; dropout is off, for every backend draws its own numbers.
const SETTINGS: &[&str] = &[
    "data.limit=800",
    "batch_size=16",
    "cnn.channels=[8, 16]",
    "cnn.kernels=[3, 3]",
    "cnn.width=32",
    "cnn.dropout=0",
    "resnet.width=8",
    "resnet.blocks=[1, 1, 1]",
    "optimizer.rule=sgd",
];

/// What a training leaves: loss at each step, logits of the first batch at the end.
struct Trace {
    losses: Vec<f32>,
    logits: Vec<f32>,
}

fn start<B: Backend>(model: &Classify<B>) -> Vec<Vec<f32>> {
    flatten(model).into_iter().map(|t| t.into_data().iter::<f32>().collect()).collect()
}

fn train<B: AutodiffBackend>(
    config: &ClassifyConfig,
    run: &Run,
    weights: &[Vec<f32>],
    batches: &[HostBatch],
) -> Trace {
    let device = B::Device::default();
    let model = config.init::<B>(&device).unwrap();
    let mut optimizer = Optimizer::<B::InnerBackend>::new(&run.optimizer, &parameters::<B, _>(&model));
    let given = |w: &Vec<f32>| Tensor::from_data(TensorData::new(w.clone(), [w.len()]), &device);
    let mut model = unflatten_trained::<B, _>(model, weights.iter().map(given).collect());
    let mut losses = Vec::new();
    for batch in batches {
        let loss = model.losses(batch.clone().to_device(&device)).total;
        let found = gradients::<B, _>(&model, &loss.backward());
        losses.extend(loss.into_data().iter::<f32>());
        let values = optimizer.step(0.01, flatten(&model.valid()), found);
        model = unflatten_trained::<B, _>(model, values);
    }
    let images = batches[0].clone().to_device::<B::InnerBackend>(&device).images;
    Trace { losses, logits: model.valid().forward(images).into_data().iter::<f32>().collect() }
}

/// Trains every net on the default backend and on `B`, and compares.
fn agrees<B: Backend>(name: &str)
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B>,
{
    let mut sets: Vec<String> = SETTINGS.iter().map(ToString::to_string).collect();
    sets.push(String::new());
    for (net, _) in NetSettings::TABLE {
        *sets.last_mut().unwrap() = format!("net={net}");
        let run = Run::resolve(None, &sets).unwrap();
        let data = TrainingData::load(&run, None).unwrap();
        let config = ClassifyConfig {
            net: run.net.clone(),
            nets: run.nets.clone(),
            size: data.facts.size,
            classes: data.facts.classes.len(),
            mean: data.facts.mean,
            std: data.facts.std,
            settings: run.classify.clone(),
        };
        let batches: Vec<HostBatch> = data.train.epoch(0, 0).take(STEPS).collect();
        assert_eq!(batches.len(), STEPS);
        Flex::seed(&Default::default(), 1);
        let weights = start(&config.init::<Flex>(&Default::default()).unwrap());

        let wanted = train::<Autodiff<Flex>>(&config, &run, &weights, &batches);
        let found = train::<Autodiff<B>>(&config, &run, &weights, &batches);
        let first = wanted.losses[0];
        assert!(wanted.losses[STEPS - 1] < 0.8 * first, "{net} learns nothing: {:?}", wanted.losses);
        for (step, (w, f)) in wanted.losses.iter().zip(&found.losses).enumerate() {
            assert!((w - f).abs() <= 1e-3 * w, "{net} on {name}: loss {f} at step {step}; flex has {w}");
        }
        let apart = wanted.logits.iter().zip(&found.logits).map(|(w, f)| (w - f).abs()).fold(0.0, f32::max);
        eprintln!("{net} on {name}: logits within {apart:e} after {STEPS} steps");
        assert!(apart <= 1e-4, "{net} on {name}: logits {apart} apart after {STEPS} steps");
    }
}

#[test]
fn ndarray() {
    agrees::<NdArray>("ndarray");
}

#[cfg(feature = "tch")]
#[test]
fn tch() {
    agrees::<burn_tch::LibTorch>("tch");
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    agrees::<burn_wgpu::Wgpu>("wgpu");
}

#[cfg(feature = "cuda")]
#[test]
fn cuda() {
    agrees::<burn_cuda::Cuda>("cuda");
}

#[cfg(feature = "candle")]
#[allow(deprecated)]
#[test]
fn candle() {
    agrees::<burn_candle::Candle>("candle");
}
