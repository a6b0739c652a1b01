//! Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167), with what follows it in a residual block (He et
//! al. 2015, arXiv 1512.03385, figure 2): the addition of the shortcut and ReLU.

mod autodiff;
mod kernel;

use std::sync::Arc;

use burn::tensor::{Tensor, activation::relu, backend::Backend};

use self::{autodiff::Norm, kernel::Channel};
use super::{check, per_channel};
use crate::operation::{primitive, run, tensor};

/// How [`batch_norm`] normalises and what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormOptions {
    /// Added to the variance before its root is taken, above 0.
    pub epsilon: f64,
    /// Whether ReLU follows, after the addition of the shortcut where there is one.
    pub relu: bool,
}

impl Default for BatchNormOptions {
    fn default() -> Self {
        Self { epsilon: 1e-5, relu: false }
    }
}

/// Result of [`batch_norm`].
#[derive(Clone, Debug)]
pub struct BatchNorm<B: Backend, const D: usize> {
    /// Of the shape of the input.
    pub output: Tensor<B, D>,
    /// `[channels]`: mean of each channel. No gradient flows through it.
    pub mean: Tensor<B, 1>,
    /// `[channels]`: unbiased variance of each channel, for a running average as PyTorch keeps it; 0 where a
    /// channel has one value. No gradient flows through it.
    pub variance: Tensor<B, 1>,
}

/// Normalises each channel by its mean and (biased) variance over the batch, then scales it by `weight`, adds
/// `bias`, the shortcut if there is one, and takes ReLU if asked for.
///
/// On the fast path NaN is not lost in ReLU, whatever the backend's own operation does.
///
/// # Shapes
/// - `x`, `shortcut`: `[batch, channels, ...]`
/// - `weight`, `bias`: `[channels]`
///
/// # Panics
/// If the shapes do not fit together, `x` has fewer than two dimensions, or a size other than `batch` is 0.
pub fn batch_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    shortcut: Option<Tensor<B, D>>,
    options: BatchNormOptions,
) -> BatchNorm<B, D> {
    check(&x, [&weight, &bias]);
    check_shortcut(&x, shortcut.as_ref());
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return libtorch(x, [weight, bias], None, shortcut, options);
    }
    let device = x.device();
    let operation = Norm::new(&x.dims(), options, false);
    let (x, [weight, bias], shortcut) = match fast(x, [weight, bias], shortcut, &operation) {
        Ok((output, channels)) => {
            let [mean, variance] = [|c: &Channel| c.mean, |c: &Channel| c.variance].map(|pick| {
                Tensor::from_floats(channels.iter().map(pick).collect::<Vec<_>>().as_slice(), &device)
            });
            return BatchNorm { output, mean, variance };
        }
        Err(inputs) => inputs,
    };
    let [batch, channels] = [x.dims()[0], x.dims()[1]];
    let values: usize = x.dims()[2..].iter().product();
    let count = batch * values;
    // In two steps: a backend that adds up one value after the other loses digits in long sums.
    let over_batch = |x: Tensor<B, D>| x.reshape([batch, channels, values]).mean_dim(2).mean_dim(0); // [1, channels, 1]
    let shape = per_channel(&x);
    let mean = over_batch(x.clone());
    let x = x - mean.clone().reshape(shape);
    let variance = over_batch(x.clone().square());
    let x = x / (variance.clone().reshape(shape) + options.epsilon).sqrt();
    let output = x * weight.reshape(shape) + bias.reshape(shape);
    BatchNorm {
        output: finish(output, shortcut, options.relu),
        mean: mean.detach().reshape([channels]),
        variance: variance.detach().reshape([channels])
            * (count as f64 / count.saturating_sub(1).max(1) as f64),
    }
}

/// As [`batch_norm`], by a mean and a variance that are given (the running averages of training) in place of the
/// batch's. No gradient flows through them.
///
/// # Shapes
/// - `x`, `shortcut`: `[batch, channels, ...]`
/// - `weight`, `bias`, `mean`, `variance`: `[channels]`
/// - returns: of the shape of `x`
///
/// # Panics
/// As [`batch_norm`].
pub fn batch_norm_eval<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    [weight, bias]: [Tensor<B, 1>; 2],
    [mean, variance]: [Tensor<B, 1>; 2],
    shortcut: Option<Tensor<B, D>>,
    options: BatchNormOptions,
) -> Tensor<B, D> {
    check(&x, [&weight, &bias, &mean, &variance]);
    check_shortcut(&x, shortcut.as_ref());
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return libtorch(x, [weight, bias], Some([mean, variance]), shortcut, options).output;
    }
    let (mean, variance) = (mean.detach(), variance.detach());
    let operation = Norm::new(&x.dims(), options, true);
    let affine = [weight, bias, mean, variance];
    let (x, [weight, bias, mean, variance], shortcut) = match fast_eval(x, affine, shortcut, &operation) {
        Ok(output) => return output,
        Err(inputs) => inputs,
    };
    let weight = weight / (variance + options.epsilon).sqrt();
    let bias = bias - mean * weight.clone();
    let shape = per_channel(&x);
    finish(x * weight.reshape(shape) + bias.reshape(shape), shortcut, options.relu)
}

/// Values, weight and bias (and statistics), shortcut of a call.
type Inputs<B, const D: usize, const V: usize> = (Tensor<B, D>, [Tensor<B, 1>; V], Option<Tensor<B, D>>);

/// Output and statistics.
type Found<B, const D: usize> = (Tensor<B, D>, Arc<Vec<Channel>>);

/// The fast path, if there is one for `B`.
fn fast<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    affine: [Tensor<B, 1>; 2],
    shortcut: Option<Tensor<B, D>>,
    operation: &Norm,
) -> Result<Found<B, D>, Inputs<B, D, 2>> {
    let (x, [weight, bias]) = (primitive(x), affine.map(primitive));
    match shortcut.map(primitive) {
        None => run::<B, _, 3>(operation, [x, weight, bias])
            .map(|(output, kept)| (tensor(output), kept))
            .map_err(|[x, weight, bias]| (tensor(x), [weight, bias].map(tensor), None)),
        Some(shortcut) => run::<B, _, 4>(operation, [x, weight, bias, shortcut])
            .map(|(output, kept)| (tensor(output), kept))
            .map_err(|[x, weight, bias, shortcut]| {
                (tensor(x), [weight, bias].map(tensor), Some(tensor(shortcut)))
            }),
    }
}

/// As [`fast`] with statistics that are given.
fn fast_eval<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    vectors: [Tensor<B, 1>; 4],
    shortcut: Option<Tensor<B, D>>,
    operation: &Norm,
) -> Result<Tensor<B, D>, Inputs<B, D, 4>> {
    let (x, [weight, bias, mean, variance]) = (primitive(x), vectors.map(primitive));
    match shortcut.map(primitive) {
        None => run::<B, _, 5>(operation, [x, weight, bias, mean, variance])
            .map(|(output, _)| tensor(output))
            .map_err(|[x, vectors @ ..]| (tensor(x), vectors.map(tensor), None)),
        Some(shortcut) => run::<B, _, 6>(operation, [x, weight, bias, mean, variance, shortcut])
            .map(|(output, _)| tensor(output))
            .map_err(|[x, weight, bias, mean, variance, shortcut]| {
                (tensor(x), [weight, bias, mean, variance].map(tensor), Some(tensor(shortcut)))
            }),
    }
}

/// The same in libtorch's functions, by statistics that are given or by the batch's.
#[cfg(feature = "tch")]
fn libtorch<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    [weight, bias]: [Tensor<B, 1>; 2],
    given: Option<[Tensor<B, 1>; 2]>,
    shortcut: Option<Tensor<B, D>>,
    options: BatchNormOptions,
) -> BatchNorm<B, D> {
    use crate::libtorch::{constant, run, values};

    let training = given.is_none();
    let single = x.shape().num_elements() == x.dims()[1]; // one value a channel
    // libtorch writes the batch's statistics over running ones, of which this momentum leaves nothing.
    let momentum = 1.0;
    let [mean, variance] = given.unwrap_or_else(|| [weight.zeros_like(), weight.zeros_like()]).map(values);
    let forward = |x: &tch::Tensor, affine: [&tch::Tensor; 2], shortcut: Option<&tch::Tensor>| {
        let [weight, bias, mean, variance] = [affine[0], affine[1], &mean, &variance].map(Some);
        let mut y = x.batch_norm(weight, bias, mean, variance, training, momentum, options.epsilon, true);
        if let Some(shortcut) = shortcut {
            y = y.g_add_(shortcut);
        }
        if options.relu { y.relu_() } else { y }
    };
    let (x, [weight, bias]) = (primitive(x), [weight, bias].map(primitive));
    let output = match shortcut.map(primitive) {
        None => run::<B, 3>([x, weight, bias], |[x, weight, bias]| forward(x, [weight, bias], None)),
        Some(shortcut) => run::<B, 4>([x, weight, bias, shortcut], |[x, weight, bias, shortcut]| {
            forward(x, [weight, bias], Some(shortcut))
        }),
    };
    let variance = if training && single { variance.zeros_like() } else { variance };
    BatchNorm { output: tensor(output), mean: constant(&mean), variance: constant(&variance) }
}

/// What follows the norm.
fn finish<B: Backend, const D: usize>(
    y: Tensor<B, D>,
    shortcut: Option<Tensor<B, D>>,
    with_relu: bool,
) -> Tensor<B, D> {
    let y = if let Some(shortcut) = shortcut { y + shortcut } else { y };
    if with_relu { relu(y) } else { y }
}

fn check_shortcut<B: Backend, const D: usize>(x: &Tensor<B, D>, shortcut: Option<&Tensor<B, D>>) {
    if let Some(shortcut) = shortcut {
        assert_eq!(shortcut.dims(), x.dims(), "the shortcut has another shape than what it is added to");
    }
}
