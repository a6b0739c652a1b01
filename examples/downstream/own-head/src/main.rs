//! A pretrained encoder from a run directory, a head of one's own on it, data of one's own: is there a loop in the digit?
//!
//!     cargo run -- ../../../runs/autoencoder-seed1    (in this project's folder)

use std::{fs, path::Path};

use burn::{
    backend::Autodiff,
    module::{AutodiffModule, Module},
    nn::{LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamConfig, GradientsParams, Optimizer},
    tensor::{Int, Tensor, TensorData, backend::Backend},
};
use burn_flex::Flex;
use burn_store::{ModuleSnapshot, SafetensorsStore};
use mnist_data::{DataSet, ImageSize, LabelledImages};
use mnist_model::{Encoder as _, Net, NetSettings};
use serde::Deserialize;

type Features = (Tensor<Flex, 2>, Tensor<Flex, 1, Int>);
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What run.toml says of an encoder.
#[derive(Deserialize)]
struct Saved {
    net: String,
    #[serde(flatten)]
    nets: NetSettings,
    model: Facts,
}

/// Size of its images, and how it reads pixels.
#[derive(Deserialize)]
struct Facts {
    size: ImageSize,
    mean: f32,
    std: f32,
}

/// The part of a run's model that is reused, under its name in model.safetensors.
#[derive(Module, Debug)]
struct Encoder<B: Backend> {
    net: Net<B>,
}

/// Your own images: bytes from 0 (paper) to 255 (ink), row after row, and a class for each. Here digits with another question.
fn own_data() -> Result<[LabelledImages; 2]> {
    let digits = DataSet::open("mnist", None)?.train()?;
    let part = |from: usize, count: usize| {
        let chosen = digits.images().zip(digits.labels()).skip(from).take(count);
        let own = |(image, digit): (&[u8], &u8)| (image.to_vec(), u8::from([0, 6, 8, 9].contains(digit)));
        let (pixels, labels): (Vec<_>, Vec<_>) = chosen.map(own).unzip();
        LabelledImages::new(digits.rows(), digits.cols(), 2, pixels.concat(), labels)
    };
    Ok([part(0, 300)?, part(10_000, 1000)?])
}

/// Features `[images, width]` and classes `[images]`.
fn features(encoder: &Encoder<Flex>, facts: &Facts, data: &LabelledImages) -> Features {
    let device = Default::default();
    let ready = |&byte: &u8| (f32::from(byte) / 255.0 - facts.mean) / facts.std;
    let pixels: Vec<f32> = data.images().flatten().map(ready).collect();
    let [channels, rows, cols] = data.size().dims();
    let pixels = TensorData::new(pixels, [data.len(), channels, rows, cols]);
    let labels: Vec<i32> = data.labels().iter().map(|&label| label.into()).collect();
    let labels = TensorData::new(labels, [data.len()]);
    (encoder.net.forward(Tensor::from_data(pixels, &device)), Tensor::from_data(labels, &device))
}

fn main() -> Result<()> {
    let run = std::env::args().nth(1).ok_or("which run? Name its directory, like runs/autoencoder-seed1")?;
    let saved: Saved = toml::from_str(&fs::read_to_string(Path::new(&run).join("run.toml"))?)?;
    let device = Default::default();
    Flex::seed(&device, 1);
    let mut encoder = Encoder { net: saved.nets.init::<Flex>(&saved.net, saved.model.size, &device)? };
    let mut file = SafetensorsStore::from_file(Path::new(&run).join("model.safetensors")).allow_partial(true);
    let loaded = encoder.load_from(&mut file)?;
    if !loaded.missing.is_empty() || !loaded.errors.is_empty() {
        return Err(format!("the run's weights do not fit: {loaded}").into());
    }

    let [train, test] = own_data()?;
    let (x, y) = features(&encoder, &saved.model, &train);
    let (x, y) = (Tensor::from_inner(x), Tensor::from_inner(y));
    let mut head = LinearConfig::new(encoder.net.width(), 2).init::<Autodiff<Flex>>(&device);
    let mut adam = AdamConfig::new().init();
    for _ in 0..200 {
        let loss = CrossEntropyLossConfig::new().init(&device).forward(head.forward(x.clone()), y.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &head);
        head = adam.step(0.01, head, gradients);
    }

    let (x, y) = features(&encoder, &saved.model, &test);
    let found = head.valid().forward(x).argmax(1).flatten::<1>(0, 1);
    let right = found.equal(y.clone()).float().mean().into_scalar();
    let share = y.float().mean().into_scalar();
    println!("{:.1} % of {} right ({:.1} % have a loop)", 100.0 * right, test.len(), 100.0 * share);
    Ok(())
}
