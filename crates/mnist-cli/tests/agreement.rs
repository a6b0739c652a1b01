//! Every backend of the build trains every net as the default one does: the same 50 steps from the same weights.
//!
//! ndarray is always there; others come with their feature flags, for example
//! `cargo test -p mnist-cli --features wgpu --test agreement`.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::sync::{Mutex, MutexGuard, PoisonError};

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
use mnist_data::{Examples, HostBatch};
use mnist_model::{
    nets::NetSettings,
    objectives::{Classify, ClassifyConfig, Objective, ObjectiveConfig, Progress},
    parameters::parameters,
};
use mnist_train::{
    data::TrainingData,
    optimizer::Optimizer,
    run::Run,
    tensors::{flatten, gradients, replace, unflatten_trained},
};

const STEPS: usize = 50;

/// Learning rate.
const RATE: f64 = 1e-3;

/// Fresh weights to start from, of which one has to do. Rounding alone lets a value next to 0 fall on the other side of a
/// ReLU now and then: of two mlp's that differ in the weight decay only, logits on wgpu were within 3e-6 for both after 10
/// steps, and within 4e-6 and 4e-3 after 50. A wrong operation would be wrong with all of them.
const SEEDS: u64 = 3;

/// Small enough for a slow backend; dropout is off, for every backend draws its own numbers.
const SETTINGS: &[&str] = &[
    "data.limit=800",
    "batch_size=16",
    "cnn.channels=[8, 16]",
    "cnn.kernels=[3, 3]",
    "cnn.width=32",
    "cnn.dropout=0",
    "resnet.width=8",
    "resnet18.width=4",
    "resnet.blocks=[1, 1, 1]",
    "optimizer.rule=sgd",
];

/// A backend's generator is one for the whole process: what draws from it does so alone.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a training leaves: loss at each step, logits of the first batch at the end.
struct Trace {
    losses: Vec<f32>,
    logits: Vec<f32>,
}

/// Fresh weights, but every norm scales by 1. Where a residual branch starts from 0, the last stage of `resnet18` sees the
/// corner of a 28x28 image alone, which is blank in all of them: of a variance of 0 a norm makes rounding errors, three
/// hundred times as large, and a ReLU lets the gradient pass by their sign.
fn start<B: Backend>(model: &Classify<B>) -> Vec<Vec<f32>> {
    let mut values: Vec<Vec<f32>> =
        flatten(model).into_iter().map(|t| t.into_data().iter::<f32>().collect()).collect();
    for (parameter, values) in parameters::<B, _>(model).iter().zip(&mut values) {
        if parameter.path.ends_with(".gamma") {
            values.fill(1.0);
        }
    }
    values
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
        let loss = model.losses(batch.clone().to_device(&device), Progress::default()).total;
        let found = gradients::<B, _>(&model, &loss.backward());
        losses.extend(loss.into_data().iter::<f32>());
        model = replace::<B, _>(model, optimizer.step(|_| RATE, found, None, None));
    }
    let images = batches[0].clone().to_device::<B::InnerBackend>(&device).images;
    Trace { losses, logits: model.valid().forward(images).into_data().iter::<f32>().collect() }
}

/// Trains every net on the default backend and on `B`, and compares.
fn agrees<B: Backend>(name: &str)
where
    Autodiff<B>: AutodiffBackend<InnerBackend = B>,
{
    let _alone = alone();
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
            lora: None,
        };
        let [loader, _valid] = data.loaders::<HostBatch>().unwrap();
        let batches: Vec<HostBatch> = loader.epoch(0, 0).take(STEPS).collect();
        assert_eq!(batches.len(), STEPS);
        let apart = |seed| {
            Flex::seed(&Default::default(), seed);
            let weights = start(&config.init::<Flex>(&Default::default()).unwrap());
            let wanted = train::<Autodiff<Flex>>(&config, &run, &weights, &batches);
            let found = train::<Autodiff<B>>(&config, &run, &weights, &batches);
            let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
            let (first, last) = (mean(&wanted.losses[..10]), mean(&wanted.losses[STEPS - 10..]));
            assert!(last < first, "{net} learns nothing: {:?}", wanted.losses);
            for (step, (w, f)) in wanted.losses.iter().zip(&found.losses).enumerate() {
                assert!((w - f).abs() <= 1e-3 * w, "{net} on {name}: loss {f} at step {step}; flex has {w}");
            }
            let logits = wanted.logits.iter().zip(&found.logits);
            let apart = logits.map(|(w, f)| (w - f).abs()).fold(0.0, f32::max);
            eprintln!("{net} on {name}, seed {seed}: logits within {apart:e} after {STEPS} steps");
            apart
        };
        assert!((1..=SEEDS).any(|seed| apart(seed) <= 1e-4), "{net} on {name}: logits too far apart");
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

/// Where a CPU stands in for a graphics card, the default device and the CPU are two devices of one driver.
#[cfg(feature = "wgpu")]
#[test]
fn two_devices_of_wgpu_train_as_one_does() {
    use burn_wgpu::{Wgpu, WgpuDevice};
    use mnist_train::{
        learner::Session,
        log::read_metrics,
        registry,
        rundir::{Provenance, RunDir, SavedRun},
    };
    if <Wgpu as Backend>::device_count(3) == 0 {
        return;
    }
    let _alone = alone();
    let mut sets: Vec<String> = SETTINGS.iter().map(ToString::to_string).collect();
    // Each device has batch statistics of its own, so there is no norm.
    sets.extend(
        ["net=cnn", "cnn.norm=false", "data.limit=80", "epochs=1", "log.every_steps=1"].map(String::from),
    );
    let run = Run::resolve(None, &sets).unwrap();
    let mut data = TrainingData::load(&run, None).unwrap();
    data.valid = data.valid.first(64);
    let train = |devices: &[WgpuDevice]| {
        let home = tempfile::tempdir().unwrap();
        let provenance = Provenance {
            version: "test".into(),
            git_commit: "test".into(),
            backend: "wgpu".into(),
            devices: devices.len(),
            data_digest: data.digest.clone(),
        };
        let saved = SavedRun { run: run.clone(), facts: data.facts.clone(), provenance };
        let (dir, _lock) = RunDir::create(&home.path().join("run"), &saved).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let session = Session {
            run: &run,
            dir: &dir,
            data: &data,
            resume: None,
            source: None,
            stop: &stop,
            tell: &mut |_| {},
        };
        registry::fit::<Autodiff<Wgpu>>(&data.facts, session, devices).unwrap();
        read_metrics(&dir.metrics()).unwrap()
    };
    let one = train(&[WgpuDevice::DefaultDevice]);
    let two = train(&[WgpuDevice::DefaultDevice, WgpuDevice::Cpu]);
    assert_eq!(one.len(), two.len());
    for (a, b) in one.iter().zip(&two) {
        for (name, value) in &a.values {
            assert!((value - b.values[name]).abs() <= 1e-3, "{name}: {value} {}", b.values[name]);
        }
    }
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
