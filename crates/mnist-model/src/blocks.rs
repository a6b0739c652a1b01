//! Building blocks that more than one net uses, with the initialisation of the papers they come from.
//!
//! Weights before a ReLU: normal with standard deviation sqrt(2 / fan_in) (He et al. 2015,
//! arXiv 1502.01852, eq. 10). Biases: zero. Layers with no ReLU behind them: Glorot & Bengio (2010), eq. 16.
//! Burn's own layers would draw biases from the weight's distribution; we set them to zero as the papers do.

mod lora;
mod norm;

pub use lora::{Lora, LoraConfig};
pub use norm::{BatchNorm, LayerNorm, batch_norm, batch_norm_from_zero, layer_norm};

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Tensor, activation::relu, backend::Backend},
};
use cpu_ops::{Conv2dOptions, ConvTranspose2dOptions};

/// A square convolution with `kernel / 2` padding, so that stride 1 keeps the size; on CPU backends one fused
/// operation with what follows it.
#[derive(Module, Debug)]
pub struct Conv<B: Backend> {
    /// `[outputs, inputs, kernel, kernel]`.
    pub weight: Param<Tensor<B, 4>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    stride: usize,
}

/// A [`Conv`] from `channels[0]` to `channels[1]` with He initialisation and zero bias (where it has one).
pub fn conv2d<B: Backend>(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    bias: bool,
    device: &B::Device,
) -> Conv<B> {
    let [inputs, outputs] = channels;
    let fan_in = inputs * kernel * kernel;
    Conv {
        weight: he_normal().init_with([outputs, inputs, kernel, kernel], Some(fan_in), None, device),
        bias: bias.then(|| Initializer::Zeros.init([outputs], device)),
        stride,
    }
}

impl<B: Backend> Conv<B> {
    /// `[batch, inputs, height, width]` to `[batch, outputs, ceil(height / stride), ceil(width / stride)]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, Conv2dOptions::default())
    }

    /// As [`Conv::forward`], then ReLU.
    pub fn forward_relu(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, Conv2dOptions { relu: true, ..Default::default() })
    }

    /// As [`Conv::forward`], then 2x2 max-pooling, which halves height and width again (rounded down).
    pub fn forward_pool(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, Conv2dOptions { max_pool: true, ..Default::default() })
    }

    /// As [`Conv::forward`], then 2x2 max-pooling, which halves height and width again (rounded down), and ReLU.
    pub fn forward_pool_relu(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, Conv2dOptions { relu: true, max_pool: true, ..Default::default() })
    }

    /// Whether something of it is being trained.
    pub fn trains(&self) -> bool {
        self.weight.is_require_grad() || self.bias.as_ref().is_some_and(|bias| bias.is_require_grad())
    }

    fn fused(&self, x: Tensor<B, 4>, then: Conv2dOptions) -> Tensor<B, 4> {
        let [_outputs, _inputs, height, width] = self.weight.dims();
        let options = Conv2dOptions { stride: [self.stride; 2], padding: [height / 2, width / 2], ..then };
        cpu_ops::conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), options)
    }
}

/// A square transposed convolution that multiplies height and width by its stride; on CPU backends one fused
/// operation with what follows it.
#[derive(Module, Debug)]
pub struct ConvTranspose<B: Backend> {
    /// `[inputs, outputs, kernel, kernel]`.
    pub weight: Param<Tensor<B, 4>>,
    /// `[outputs]`.
    pub bias: Param<Tensor<B, 1>>,
    stride: usize,
}

/// A [`ConvTranspose`] from `channels[0]` to `channels[1]` with He initialisation and zero bias; `kernel` is
/// `stride` or more than it by an even number.
pub fn conv_transpose2d<B: Backend>(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    device: &B::Device,
) -> ConvTranspose<B> {
    let [inputs, outputs] = channels;
    // Each output pixel is reached by `(kernel / stride)^2` weights of each input channel.
    let fan_in = (inputs * kernel * kernel / (stride * stride)).max(1);
    ConvTranspose {
        weight: he_normal().init_with([inputs, outputs, kernel, kernel], Some(fan_in), None, device),
        bias: Initializer::Zeros.init([outputs], device),
        stride,
    }
}

impl<B: Backend> ConvTranspose<B> {
    /// `[batch, inputs, height, width]` to `[batch, outputs, height * stride, width * stride]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, false)
    }

    /// As [`ConvTranspose::forward`], then ReLU.
    pub fn forward_relu(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, true)
    }

    fn fused(&self, x: Tensor<B, 4>, relu: bool) -> Tensor<B, 4> {
        let [_inputs, _outputs, kernel, _] = self.weight.dims();
        let padding = [(kernel - self.stride) / 2; 2];
        let options =
            ConvTranspose2dOptions { stride: [self.stride; 2], padding, relu, ..Default::default() };
        cpu_ops::conv_transpose2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

/// A fully connected layer; on CPU backends one fused operation with what follows it.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// What is added to the weight while it is being adapted.
    pub lora: Option<Lora<B>>,
}

/// A fully connected layer that a ReLU follows: He initialisation, zero bias.
pub fn hidden_linear<B: Backend>(inputs: usize, outputs: usize, device: &B::Device) -> Linear<B> {
    linear(inputs, outputs, he_normal(), device)
}

/// A fully connected layer with nothing behind it (a classifier's head): Glorot uniform, zero bias.
pub fn output_linear<B: Backend>(inputs: usize, outputs: usize, device: &B::Device) -> Linear<B> {
    linear(inputs, outputs, Initializer::XavierUniform { gain: 1.0 }, device)
}

/// A fully connected layer with normal weights of standard deviation `std` and zero bias.
pub fn normal_linear<B: Backend>([inputs, outputs]: [usize; 2], std: f64, device: &B::Device) -> Linear<B> {
    linear(inputs, outputs, Initializer::Normal { mean: 0.0, std }, device)
}

fn linear<B: Backend>(inputs: usize, outputs: usize, init: Initializer, device: &B::Device) -> Linear<B> {
    Linear {
        weight: init.init_with([inputs, outputs], Some(inputs), Some(outputs), device),
        bias: Some(Initializer::Zeros.init([outputs], device)),
        lora: None,
    }
}

impl<B: Backend> Linear<B> {
    /// `[..., inputs]` to `[..., outputs]`.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let y = cpu_ops::linear(x.clone(), self.weight.val(), self.bias.as_ref().map(Param::val));
        match &self.lora {
            Some(lora) => y + lora.forward(x),
            None => y,
        }
    }

    /// As [`Linear::forward`], then ReLU.
    pub fn forward_relu<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        if self.lora.is_some() {
            return relu(self.forward(x));
        }
        cpu_ops::linear_relu(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// Whether something of it is being trained: what is frozen drops nothing out.
    pub fn trains(&self) -> bool {
        let bias = self.bias.as_ref().is_some_and(|bias| bias.is_require_grad());
        bias || self.weight.is_require_grad() || self.lora.is_some()
    }
}

/// Dropout of what a layer gives while the layer is being trained: what is frozen drops nothing out.
///
/// `x` of any shape; `share` in [0, 1).
pub fn dropout_of<B: Backend, const D: usize>(x: Tensor<B, D>, share: f64, trains: bool) -> Tensor<B, D> {
    if trains { cpu_ops::dropout(x, share) } else { x }
}

fn he_normal() -> Initializer {
    Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: false }
}
