//! Building blocks that more than one net uses, with the initialisation of the papers they come from.
//!
//! Weights before a ReLU: normal with standard deviation sqrt(2 / fan_in) (He et al. 2015,
//! arXiv 1502.01852, eq. 10). Biases: zero. Layers with no ReLU behind them: Glorot & Bengio (2010), eq. 16.
//! Burn's own layers would draw biases from the weight's distribution; we set them to zero as the papers do.

use burn::{
    module::Initializer,
    nn::{
        Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::backend::Backend,
};

/// A square convolution with He initialisation, zero bias (where it has one) and `kernel / 2` padding, so
/// that stride 1 keeps the size.
///
/// Takes `[batch, channels[0], height, width]`, gives `[batch, channels[1], ceil(height / stride), ..]`.
pub fn conv2d<B: Backend>(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    bias: bool,
    device: &B::Device,
) -> Conv2d<B> {
    let mut conv = Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(kernel / 2, kernel / 2, kernel / 2, kernel / 2))
        .with_bias(false)
        .with_initializer(he_normal())
        .init(device);
    if bias {
        conv.bias = Some(Initializer::Zeros.init([channels[1]], device));
    }
    conv
}

/// A fully connected layer that a ReLU follows: He initialisation, zero bias.
pub fn hidden_linear<B: Backend>(inputs: usize, outputs: usize, device: &B::Device) -> Linear<B> {
    linear(inputs, outputs, he_normal(), device)
}

/// A fully connected layer with nothing behind it (a classifier's head): Glorot uniform, zero bias.
pub fn output_linear<B: Backend>(inputs: usize, outputs: usize, device: &B::Device) -> Linear<B> {
    linear(inputs, outputs, Initializer::XavierUniform { gain: 1.0 }, device)
}

fn linear<B: Backend>(inputs: usize, outputs: usize, init: Initializer, device: &B::Device) -> Linear<B> {
    let mut linear = LinearConfig::new(inputs, outputs).with_bias(false).with_initializer(init).init(device);
    linear.bias = Some(Initializer::Zeros.init([outputs], device));
    linear
}

fn he_normal() -> Initializer {
    Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: false }
}
