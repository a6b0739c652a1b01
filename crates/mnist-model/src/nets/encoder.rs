//! An encoder of images: a net of the table, for images of one size, and how it reads their pixels.

use burn::tensor::backend::Backend;
use mnist_data::ImageSize;

use super::{Encoder, Net, NetSettings};
use crate::blocks::LoraConfig;

/// What all objectives on images have to know of their encoder.
#[derive(Clone, Debug)]
pub struct EncoderConfig {
    /// Name in the table of nets.
    pub net: String,
    /// Settings of the nets.
    pub nets: NetSettings,
    /// Size of the images.
    pub size: ImageSize,
    /// Mean of the training pixels (in 0-1), taken off every pixel that is read.
    pub mean: f32,
    /// Standard deviation of the training pixels (in 0-1), by which they are divided.
    pub std: f32,
    /// What is learned beside the net's frozen linear layers, if anything is.
    pub lora: Option<LoraConfig>,
}

impl EncoderConfig {
    /// The net called `net` for images of `size` (of grey ones `[height, width]`), that reads pixels as they are.
    pub fn new(net: &str, nets: NetSettings, size: impl Into<ImageSize>) -> Self {
        Self { net: net.into(), nets, size: size.into(), mean: 0.0, std: 1.0, lora: None }
    }

    /// Whether these settings make a net.
    ///
    /// # Errors
    /// As [`NetSettings::check`].
    pub fn check(&self) -> Result<(), String> {
        self.nets.check(&self.net, self.size)
    }

    /// A net with fresh weights.
    ///
    /// # Errors
    /// As [`EncoderConfig::check`]; for LoRA a net without linear layers, a rank that does not fit one.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Result<Net<B>, String> {
        let net = self.nets.init(&self.net, self.size, device)?;
        match &self.lora {
            Some(lora) => net.adapt(lora).map_err(|e| format!("LoRA on the net {}: {e}", self.net)),
            None => Ok(net),
        }
    }
}
