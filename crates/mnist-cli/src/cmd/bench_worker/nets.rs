//! Nets: a training step, a batch without gradients, one image.
//!
//! Image nets are the table's with a classification head, on MNIST's first training images; the Transformer
//! encoder has random tokens and the mean of squares as its loss.

use std::{path::Path, sync::Arc};

use anyhow::{Result, anyhow, ensure};
use burn::{
    module::AutodiffModule,
    tensor::{
        Distribution, Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use mnist_data::{Batch, DataSet, Examples, LabelledImages, Loader, Statistics};
use mnist_model::{
    NetSettings,
    nets::EncoderConfig,
    objectives::{ClassifyConfig, Objective, ObjectiveConfig, Progress},
    parameters::{parameter_count, parameters},
    transformer::{Sight, Transformer, TransformerConfig},
};
use mnist_train::{
    optimizer::{Optimizer, OptimizerSettings, Rule},
    tensors::{gradients, replace},
};
use serde_json::Value;

use super::{Piece, Prepare, Work};
use crate::device::Compute;

/// Batches that are taken in turn.
const BATCHES: usize = 8;
/// Learning rate; no time depends on it.
const LEARNING_RATE: f64 = 1e-3;

/// Makes the net `wanted.net` ready.
pub(super) fn prepare<B: Compute>(
    wanted: &Prepare,
    data_dir: Option<&Path>,
    device: &B::Device,
) -> Result<Piece<'static>> {
    ensure!(wanted.batch > 0, "batch is 0; it has to be 1 or more");
    if wanted.net == "transformer" {
        return Ok(transformer::<B>(wanted, device));
    }
    let images = Arc::new(DataSet::open("mnist", data_dir)?.train()?);
    ensure!(wanted.batch <= images.len(), "batch is {} of {} images", wanted.batch, images.len());
    let (config, settings) = classifier(wanted, &images)?;
    let piece = match wanted.work {
        Work::Train => {
            let model = config.init::<B::Training>(device).map_err(|e| anyhow!(e))?;
            let batches = batches::<B::Training>(wanted.batch, images, device)?;
            training(model, batches, |model, batch| model.losses(batch, Progress::default()).total, device)
        }
        work => {
            let model = config.init::<B>(device).map_err(|e| anyhow!(e))?;
            let batches = batches::<B>(wanted.batch, images, device)?;
            forward(parameter_count(&model), batches, move |b| model.forward(b.images), work)
        }
    };
    Ok(Piece { settings, ..piece })
}

/// A net of the table under its name with dashes, with a head, and all its settings.
fn classifier(wanted: &Prepare, images: &LabelledImages) -> Result<(ClassifyConfig, Value)> {
    let key = wanted.net.replace('-', "_");
    let mut all = serde_json::to_value(NetSettings::default())?;
    if let (Some(known), Value::Object(given)) = (all[&key].as_object_mut(), &wanted.settings) {
        known.extend(given.clone());
    }
    let settings = all[&key].clone();
    let statistics = Statistics::of(images);
    let encoder = EncoderConfig {
        mean: statistics.mean as f32,
        std: statistics.std as f32,
        ..EncoderConfig::new(&key, serde_json::from_value(all)?, images.size())
    };
    let config = ClassifyConfig { encoder, classes: images.classes(), settings: Default::default() };
    Ok((config, settings))
}

/// The first batches of the images, on the device.
fn batches<B: Backend>(
    size: usize,
    images: Arc<LabelledImages>,
    device: &B::Device,
) -> Result<Vec<Batch<B>>> {
    let count = (BATCHES * size).min(images.len() / size * size);
    let loader = Loader::new(images, (0..count).collect(), size)?;
    Ok(loader.in_order().map(|batch| batch.to_device(device)).collect())
}

/// Steps of training by Adam, as the learner makes them.
fn training<B, M, T>(
    model: M,
    inputs: Vec<T>,
    loss: impl Fn(&M, T) -> Tensor<B, 1> + 'static,
    device: &B::Device,
) -> Piece<'static>
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + 'static,
    T: Clone + 'static,
{
    let settings = OptimizerSettings { rule: Rule::Adam, weight_decay: 0.0, ..Default::default() };
    let mut optimizer = Optimizer::<B::InnerBackend>::new(&settings, &parameters(&model));
    let count = parameter_count(&model);
    let mut model = Some(model);
    let mut step = 0;
    let device = device.clone();
    let once = move || {
        let Some(old) = model.take() else { unreachable!("each step puts the model back") };
        B::seed(&device, step as u64);
        let loss = loss(&old, inputs[step % inputs.len()].clone());
        let found = gradients::<B, M>(&old, &loss.backward());
        model = Some(replace::<B, M>(old, optimizer.step(|_| LEARNING_RATE, found, None, None)));
        step += 1;
        Ok(())
    };
    Piece { parameters: count, settings: Value::Null, once: Box::new(once) }
}

/// Forward passes; for [`Work::Latency`] each until its result has been read.
fn forward<B: Backend, T: Clone + 'static, const D: usize>(
    parameters: usize,
    inputs: Vec<T>,
    forward: impl Fn(T) -> Tensor<B, D> + 'static,
    work: Work,
) -> Piece<'static> {
    let mut turn = 0;
    let once = move || {
        let output = forward(inputs[turn % inputs.len()].clone());
        if work == Work::Latency {
            output.try_into_data()?;
        }
        turn += 1;
        Ok(())
    };
    Piece { parameters, settings: Value::Null, once: Box::new(once) }
}

/// Vaswani et al. (2017), arXiv 1706.03762, pre-norm, GELU, no dropout: 4 layers of width 128 with 4 heads and 512
/// hidden units, on `[batch, 52, 128]`.
fn transformer<B: Compute>(wanted: &Prepare, device: &B::Device) -> Piece<'static> {
    let config = TransformerConfig { width: 128, heads: 4, layers: 4, hidden: 512, dropout: 0.0 };
    let shape = [wanted.batch, 52, 128];
    match wanted.work {
        Work::Train => {
            let model = config.init::<B::Training>(device);
            let tokens = vec![Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)];
            training(model, tokens, |model, x| encode(model, x).square().mean(), device)
        }
        work => {
            let model = config.init::<B>(device);
            let tokens = vec![Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)];
            forward(parameter_count(&model), tokens, move |x| encode(&model, x), work)
        }
    }
}

fn encode<B: Backend>(model: &Transformer<B>, tokens: Tensor<B, 3>) -> Tensor<B, 3> {
    model.forward(tokens, Sight::All)
}
