//! Normalisations: by batch (Ioffe & Szegedy 2015, arXiv 1502.03167), with running averages and fused with what
//! follows, and by layer.
//!
//! Parameters, running averages and mode are those of Burn's own layer: with autodiff a batch is normalised by its
//! statistics and moves the averages, without it by the averages. Departures: the average takes the unbiased variance
//! of a batch, as PyTorch's does, Burn's takes the biased one; a norm whose `gamma` is frozen normalises by the averages
//! in training too and leaves them as they are.

use burn::{
    module::{Initializer, Module, Param, RunningState},
    tensor::{Tensor, backend::Backend},
};
use cpu_ops::BatchNormOptions;

/// Added to the variance, as in Burn and PyTorch.
const EPSILON: f64 = 1e-5;

/// Weight of a new batch in the running averages, as in Burn and PyTorch.
const MOMENTUM: f64 = 0.1;

/// Normalisation of each channel over the batch.
#[derive(Module, Debug)]
pub struct BatchNorm<B: Backend> {
    /// Scale, `[channels]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// Offset, `[channels]`.
    pub beta: Param<Tensor<B, 1>>,
    running_mean: RunningState<Tensor<B, 1>>,
    running_var: RunningState<Tensor<B, 1>>,
}

/// A [`BatchNorm`] with `gamma` 1 and `beta` 0.
pub fn batch_norm<B: Backend>(channels: usize, device: &B::Device) -> BatchNorm<B> {
    start(Initializer::Ones, channels, device)
}

/// A [`BatchNorm`] with `gamma` and `beta` 0: a residual block that ends in it starts as the identity (Goyal et al.
/// 2017, arXiv 1706.02677, section 5.1).
pub fn batch_norm_from_zero<B: Backend>(channels: usize, device: &B::Device) -> BatchNorm<B> {
    start(Initializer::Zeros, channels, device)
}

fn start<B: Backend>(gamma: Initializer, channels: usize, device: &B::Device) -> BatchNorm<B> {
    BatchNorm {
        gamma: gamma.init([channels], device),
        beta: Initializer::Zeros.init([channels], device),
        running_mean: RunningState::new(Tensor::zeros([channels], device)),
        running_var: RunningState::new(Tensor::ones([channels], device)),
    }
}

impl<B: Backend> BatchNorm<B> {
    /// `[batch, channels, height, width]`, normalised.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, None, false)
    }

    /// As [`BatchNorm::forward`], then ReLU.
    pub fn forward_relu(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, None, true)
    }

    /// As [`BatchNorm::forward`], then the addition of `shortcut`, of the shape of `x`, and ReLU.
    pub fn forward_add_relu(&self, x: Tensor<B, 4>, shortcut: Tensor<B, 4>) -> Tensor<B, 4> {
        self.fused(x, Some(shortcut), true)
    }

    fn fused(&self, x: Tensor<B, 4>, shortcut: Option<Tensor<B, 4>>, relu: bool) -> Tensor<B, 4> {
        let options = BatchNormOptions { epsilon: EPSILON, relu };
        let [gamma, beta] = [self.gamma.val(), self.beta.val()];
        if !B::ad_enabled(&x.device()) || !gamma.is_require_grad() {
            let averages = [self.running_mean.value(), self.running_var.value()];
            return cpu_ops::batch_norm_eval(x, [gamma, beta], averages, shortcut, options);
        }
        let cpu_ops::BatchNorm { output, mean, variance } =
            cpu_ops::batch_norm(x, gamma, beta, shortcut, options);
        for (average, batch) in [(&self.running_mean, mean), (&self.running_var, variance)] {
            average.update(average.value_sync() * (1.0 - MOMENTUM) + batch * MOMENTUM);
        }
        output
    }
}

/// Normalisation of each token's vector (Ba et al. 2016, arXiv 1607.06450).
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Scale, `[width]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// Offset, `[width]`.
    pub beta: Param<Tensor<B, 1>>,
}

/// A [`LayerNorm`] with `gamma` 1 and `beta` 0.
pub fn layer_norm<B: Backend>(width: usize, device: &B::Device) -> LayerNorm<B> {
    LayerNorm {
        gamma: Initializer::Ones.init([width], device),
        beta: Initializer::Zeros.init([width], device),
    }
}

impl<B: Backend> LayerNorm<B> {
    /// `[..., width]`, normalised.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        cpu_ops::layer_norm(x, self.gamma.val(), self.beta.val(), EPSILON)
    }

    /// Whether something of it is being trained.
    pub fn trains(&self) -> bool {
        self.gamma.is_require_grad() || self.beta.is_require_grad()
    }
}

#[cfg(test)]
mod tests {
    use burn::{backend::Autodiff, module::AutodiffModule, tensor::TensorData};
    use burn_flex::Flex;

    use super::*;
    use crate::parameters::parameters;

    #[test]
    fn tensors_have_the_names_of_burns_layer() {
        let found = parameters::<Flex, _>(&batch_norm::<Flex>(3, &Default::default()));
        let found: Vec<_> = found.iter().map(|p| (p.path.as_str(), &p.shape[..], p.trained)).collect();
        let expected = [("gamma", true), ("beta", true), ("running_mean", false), ("running_var", false)];
        assert_eq!(found, expected.map(|(name, trained)| (name, &[3][..], trained)));
    }

    /// ```python
    /// import torch
    /// norm = torch.nn.BatchNorm2d(2)
    /// norm.weight.data = torch.tensor([1., -2.]); norm.bias.data = torch.tensor([0.5, 1.])
    /// x = (torch.arange(16).reshape(2, 2, 2, 2) * 5 % 7 - 3).float()
    /// norm(x); norm(2 * x)
    /// norm.eval()
    /// for t in (norm.running_mean, norm.running_var, torch.relu(norm(x) + x)):
    ///     print([round(v, 6) for v in t.flatten().tolist()])
    /// ```
    #[test]
    fn averages_and_evaluation_are_those_of_pytorch() {
        type Ad = Autodiff<Flex>;
        let device = Default::default();
        let mut norm = batch_norm::<Ad>(2, &device);
        norm.gamma = Param::from_tensor(Tensor::from_floats([1.0, -2.0], &device));
        norm.beta = Param::from_tensor(Tensor::from_floats([0.5, 1.0], &device));
        let values: Vec<f32> = (0..16).map(|i| (i * 5 % 7) as f32 - 3.0).collect();
        let data = TensorData::new(values, [2, 2, 2, 2]);
        let x = Tensor::<Ad, 4>::from_data(data.clone(), &device);
        norm.forward(x.clone());
        norm.forward_relu(x * 2.0);
        let norm = norm.valid();
        let x = Tensor::<Flex, 4>::from_data(data, &device);
        let close = |found: Tensor<Flex, 1>, expected: &[f32]| {
            let found = found.into_data().to_vec::<f32>().unwrap();
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{found:?}");
        };
        close(norm.running_mean.value(), &[0.0, -0.03625]);
        close(norm.running_var.value(), &[3.19, 3.25125]);
        close(
            norm.forward_add_relu(x.clone(), x).flatten(0, 3),
            &[
                0.0, 3.619783, 0.5, 0.0, 0.632236, 0.850607, 1.068977, 1.287348, 3.619783, 0.5, 0.0,
                5.179675, 0.850607, 1.068977, 1.287348, 0.741421,
            ],
        );
    }
}
