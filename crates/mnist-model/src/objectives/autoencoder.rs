//! Autoencoder (Hinton & Salakhutdinov 2006): an image through a narrow code and back; denoising (Vincent et al. 2008)
//! where the image it reads is spoilt and the one it has to give back is not.
//!
//! Any net encodes, a [`Decoder`] decodes. Departure: trained from the start by back-propagation, not layer by layer.

use burn::{
    module::Module,
    tensor::{Distribution, Tensor, activation::sigmoid, backend::Backend},
};
use mnist_data::{Batch, HostBatch};
use serde::{Deserialize, Serialize};

use super::{ChosenBy, Losses, Objective, ObjectiveConfig, Picture, Progress, Score, side_by_side};
use crate::{
    blocks::{Linear, output_linear},
    decoder::{Decoder, DecoderConfig},
    nets::{Encoder, EncoderConfig, Net, at_least_one, share},
};

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct AutoencoderSettings {
    /// Numbers in a code.
    pub bottleneck: usize,
    /// Share of pixels that are made black before the net reads them, in [0, 1); 0 is a plain autoencoder.
    pub masked: f64,
    /// Standard deviation of the Gaussian noise added to them, pixels being 0-1; 0 is none.
    pub noise: f64,
    /// The way back.
    pub decoder: DecoderConfig,
}

impl Default for AutoencoderSettings {
    fn default() -> Self {
        Self { bottleneck: 32, masked: 0.0, noise: 0.0, decoder: DecoderConfig::default() }
    }
}

/// All that makes an [`Autoencoder`].
#[derive(Clone, Debug)]
pub struct AutoencoderConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// What a recipe may set.
    pub settings: AutoencoderSettings,
}

/// An encoder, a code, a decoder.
#[derive(Module, Debug)]
pub struct Autoencoder<B: Backend> {
    /// The encoder.
    pub net: Net<B>,
    /// `[width, bottleneck]`.
    pub code: Linear<B>,
    /// From codes to images.
    pub decoder: Decoder<B>,
    mean: f32,
    std: f32,
    masked: f64,
    noise: f64,
}

impl ObjectiveConfig for AutoencoderConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Autoencoder<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "squared_error", larger_is_better: false };

    fn check(&self) -> Result<(), String> {
        let AutoencoderSettings { bottleneck, masked, noise, decoder } = &self.settings;
        self.encoder.check()?;
        at_least_one("autoencoder.bottleneck", &[*bottleneck])?;
        share("autoencoder.masked", *masked)?;
        if !(0.0..=10.0).contains(noise) {
            return Err(format!("`autoencoder.noise` is {noise}; it has to be 0 to 10"));
        }
        decoder.check(*bottleneck, self.encoder.size).map_err(|e| format!("autoencoder.{e}"))
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Autoencoder<B>, String> {
        self.check()?;
        let AutoencoderSettings { bottleneck, masked, noise, ref decoder } = self.settings;
        let net = self.encoder.init(device)?;
        Ok(Autoencoder {
            code: output_linear(net.width(), bottleneck, device),
            net,
            decoder: decoder.init(bottleneck, self.encoder.size, device),
            mean: self.encoder.mean,
            std: self.encoder.std,
            masked,
            noise,
        })
    }
}

impl<B: Backend> Autoencoder<B> {
    /// Images, pixels in 0-1, as the code remembers them; both `[batch, channels, height, width]`.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = (images - self.mean) / self.std;
        let code = self.code.forward(self.net.forward(x)); // [batch, bottleneck]
        sigmoid(self.decoder.forward(code))
    }

    /// What the encoder reads in training.
    fn spoilt(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let mut x = images;
        if self.masked > 0.0 {
            x = x.clone() * x.random_like(Distribution::Bernoulli(1.0 - self.masked));
        }
        if self.noise > 0.0 {
            x = x.clone() + x.random_like(Distribution::Normal(0.0, self.noise));
        }
        x
    }
}

/// Squared error of each image, `[batch]`, mean over its pixels.
fn squared_error<B: Backend>(found: Tensor<B, 4>, wanted: Tensor<B, 4>) -> Tensor<B, 1> {
    let [batch, ..] = wanted.dims();
    (found - wanted).square().flatten::<2>(1, 3).mean_dim(1).reshape([batch])
}

impl<B: Backend> Objective<B> for Autoencoder<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, _progress: Progress) -> Losses<B> {
        let found = self.forward(self.spoilt(batch.images.clone()));
        let total = squared_error(found, batch.images).mean();
        Losses { total, parts: Vec::new() }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let values = squared_error(self.forward(batch.images.clone()), batch.images);
        vec![Score { name: "squared_error", unit: "per pixel", values }]
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(self.net.forward((batch.images - self.mean) / self.std))
    }

    fn pictures(&self, batch: Batch<B>) -> Vec<Picture<B>> {
        let read = self.spoilt(batch.images.clone());
        let found = self.forward(read.clone());
        let spoilt = self.masked > 0.0 || self.noise > 0.0;
        let rows = if spoilt { vec![batch.images, read, found] } else { vec![batch.images, found] };
        vec![Picture { name: "reconstructions", ..side_by_side(rows) }]
    }
}
