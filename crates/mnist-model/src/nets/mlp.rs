//! Multilayer perceptron: the net that needs nothing but matrix products.
//!
//! Fully connected layers with ReLU, He initialisation (arXiv 1502.01852), dropout between layers
//! (Srivastava et al. 2014).

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use super::{Encoder, at_least_one, not_absurd, share};
use crate::blocks::{Linear, LoraConfig, dropout_of, hidden_linear};

/// Settings of [`Mlp`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct MlpConfig {
    /// Width of each hidden layer, in units.
    pub hidden: Vec<usize>,
    /// Share of hidden units dropped in training, in [0, 1).
    pub dropout: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: vec![512, 512], dropout: 0.0 }
    }
}

impl MlpConfig {
    /// Whether these settings make a net for images of `size`.
    ///
    /// # Errors
    /// A message that names the setting.
    pub fn check(&self, size: ImageSize) -> Result<(), String> {
        at_least_one("hidden", &self.hidden)?;
        share("dropout", self.dropout)?;
        let mut inputs = size.values();
        for &outputs in &self.hidden {
            not_absurd(inputs.saturating_mul(outputs))?;
            inputs = outputs;
        }
        Ok(())
    }

    /// A net with fresh weights for images of `size`.
    pub fn init<B: Backend>(&self, size: ImageSize, device: &B::Device) -> Mlp<B> {
        let mut inputs = size.values();
        let mut hidden = Vec::with_capacity(self.hidden.len());
        for &outputs in &self.hidden {
            hidden.push(hidden_linear(inputs, outputs, device));
            inputs = outputs;
        }
        Mlp { hidden, dropout: self.dropout, width: inputs }
    }
}

/// Multilayer perceptron.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    hidden: Vec<Linear<B>>,
    dropout: f64,
    width: usize,
}

impl<B: Backend> Encoder<B> for Mlp<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let [batch, channels, height, width] = images.dims();
        let mut x = images.reshape([batch, channels * height * width]); // [batch, 784]
        for layer in &self.hidden {
            x = dropout_of(layer.forward_relu(x), self.dropout, layer.trains()); // [batch, hidden]
        }
        x
    }

    fn width(&self) -> usize {
        self.width
    }

    fn adapt(mut self, lora: &LoraConfig) -> Result<Self, String> {
        self.hidden = self.hidden.into_iter().map(|layer| layer.adapted(lora)).collect::<Result<_, _>>()?;
        Ok(self)
    }
}
