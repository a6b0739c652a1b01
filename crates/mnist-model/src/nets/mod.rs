//! Encoders, and the table of them. A new net is one file and one line in `nets!`.

// The records that Burn derives for `Net` cannot carry this themselves.
#![allow(clippy::large_enum_variant)]

mod cnn;
mod encoder;
mod mlp;
mod pytorch_example;
mod resnet;
mod torchvision;
mod vit;

pub use cnn::{Cnn, CnnConfig};
pub use encoder::EncoderConfig;
pub use mlp::{Mlp, MlpConfig};
pub use pytorch_example::{PytorchExample, PytorchExampleConfig};
pub use resnet::{Resnet, ResnetConfig};
pub use torchvision::{
    Layout, Resnet18, Resnet18Config, Resnet34, Resnet34Config, Resnet50, Resnet50Config, Torchvision,
};
pub use vit::{Pool, Vit, VitConfig, patchify};

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use mnist_data::ImageSize;
use serde::{Deserialize, Serialize};

use crate::blocks::LoraConfig;

/// Turns images into features that a head can use.
pub trait Encoder<B: Backend>: Module<B> {
    /// Features of a batch of images.
    ///
    /// # Shapes
    /// - `images`: `[batch, channels, height, width]`, normalised or in 0-1
    /// - returns: `[batch, width]`
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2>;

    /// Length of a feature vector.
    fn width(&self) -> usize;

    /// With something to learn beside its frozen linear layers; see [`Lora`](crate::blocks::Lora).
    ///
    /// # Errors
    /// A message, if there is no such layer or the rank does not fit one.
    fn adapt(self, lora: &LoraConfig) -> Result<Self, String> {
        let _ = lora;
        Err("it has no linear layers that could be adapted".into())
    }
}

macro_rules! nets {
    ($($name:ident: $net:ident, $config:ident, $about:literal;)*) => {
        /// Any of the nets in the table.
        #[derive(Module, Debug)]
        pub enum Net<B: Backend> {
            $(#[doc = $about] $net($net<B>),)*
        }

        impl<B: Backend> Encoder<B> for Net<B> {
            fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
                match self { $(Net::$net(net) => net.forward(images),)* }
            }

            fn width(&self) -> usize {
                match self { $(Net::$net(net) => net.width(),)* }
            }

            fn adapt(self, lora: &LoraConfig) -> Result<Self, String> {
                match self { $(Net::$net(net) => net.adapt(lora).map(Net::$net),)* }
            }
        }

        /// Settings of every net, each under its own name.
        #[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
        #[serde(default)]
        pub struct NetSettings {
            $(#[doc = $about] pub $name: $config,)*
        }

        impl NetSettings {
            /// Names of all nets, and what each is.
            pub const TABLE: &'static [(&'static str, &'static str)] = &[$((stringify!($name), $about),)*];

            /// Whether the table has a net called `name` and its settings make one for images of `size`.
            ///
            /// # Errors
            /// A message: an unknown name, a width of 0, more halvings than the image has pixels.
            pub fn check(&self, name: &str, size: ImageSize) -> Result<(), String> {
                match name {
                    $(stringify!($name) => self.$name.check(size).map_err(|e| format!("{name}: {e}")),)*
                    _ => Err(unknown(name)),
                }
            }

            /// Makes the net called `name` for images of `size`.
            ///
            /// # Errors
            /// As [`NetSettings::check`].
            pub fn init<B: Backend>(
                &self,
                name: &str,
                size: ImageSize,
                device: &B::Device,
            ) -> Result<Net<B>, String> {
                self.check(name, size)?;
                match name {
                    $(stringify!($name) => Ok(Net::$net(self.$name.init(size, device))),)*
                    _ => Err(unknown(name)),
                }
            }
        }
    };
}

nets! {
    mlp: Mlp, MlpConfig, "multilayer perceptron: fully connected layers with ReLU";
    cnn: Cnn, CnnConfig, "small convolutional net: three convolutions that halve the image";
    resnet: Resnet, ResnetConfig, "residual net, 18-style BasicBlocks, usable at 28x28";
    resnet18: Resnet18, Resnet18Config, "ResNet-18 in torchvision's layout, for published weights";
    resnet34: Resnet34, Resnet34Config, "ResNet-34 in torchvision's layout, for published weights";
    resnet50: Resnet50, Resnet50Config, "ResNet-50 in torchvision's layout, for published weights";
    vit: Vit, VitConfig, "Vision Transformer: the image as a sequence of patches";
    pytorch_example_cnn: PytorchExample, PytorchExampleConfig, "the net of PyTorch's MNIST example: a yardstick";
}

fn unknown(name: &str) -> String {
    let names: Vec<_> = NetSettings::TABLE.iter().map(|(name, _)| *name).collect();
    format!("no net is called {name:?}; there are: {}", names.join(", "))
}

/// A field that has to be at least 1.
pub(crate) fn at_least_one(name: &str, values: &[usize]) -> Result<(), String> {
    if values.is_empty() || values.contains(&0) {
        return Err(format!("`{name}` is {values:?}; give at least one number, each 1 or more"));
    }
    Ok(())
}

/// A probability that leaves something: in `[0, 1)`.
pub(crate) fn share(name: &str, value: f64) -> Result<(), String> {
    if !(0.0..1.0).contains(&value) {
        return Err(format!("`{name}` is {value}; it has to be at least 0 and below 1"));
    }
    Ok(())
}

/// Feature sizes that no laptop trains; keeps a typing mistake from asking for terabytes.
pub(crate) fn not_absurd(values: usize) -> Result<(), String> {
    const MOST: usize = 1 << 30;
    if values > MOST {
        return Err(format!(
            "these settings ask for a layer of {values} weights; at most {MOST} are allowed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn every_net_encodes_to_its_width() {
        let device = Default::default();
        for (name, _) in NetSettings::TABLE {
            for size in [ImageSize::from([28, 28]), [32, 40].into(), [3, 32, 32].into()] {
                let net = NetSettings::default().init::<Flex>(name, size, &device).unwrap();
                let [channels, height, width] = size.dims();
                let features = net.forward(Tensor::ones([3, channels, height, width], &device));
                assert_eq!(features.dims(), [3, net.width()], "{name}");
            }
        }
    }

    #[test]
    fn settings_that_make_no_net_are_refused() {
        let device = Default::default();
        let bad = |change: fn(&mut NetSettings), name: &str| {
            let mut settings = NetSettings::default();
            change(&mut settings);
            settings.init::<Flex>(name, [28, 28].into(), &device).err().unwrap()
        };
        assert!(bad(|_| (), "vgg").contains("mlp, cnn, resnet, resnet18, resnet34, resnet50, vit"));
        assert!(bad(|s| s.mlp.hidden = vec![512, 0], "mlp").contains("hidden"));
        assert!(bad(|s| s.mlp.dropout = 1.0, "mlp").contains("dropout"));
        let pooled = |s: &mut NetSettings| {
            (s.cnn.channels, s.cnn.kernels, s.cnn.pool) = (vec![8; 6], vec![3; 6], true);
        };
        assert!(bad(pooled, "cnn").contains("channels"));
        assert!(bad(|s| s.resnet.width = usize::MAX, "resnet").contains("weights"));
        assert!(bad(|s| s.cnn.kernels = vec![3, 2, 3], "cnn").contains("odd"));
    }
}
