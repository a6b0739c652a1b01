//! Group normalisation (Wu & He 2018, arXiv 1803.08494).

mod kernel;

use burn::tensor::{Tensor, backend::Backend};

use self::kernel::Groups;
use super::{check, per_channel};
use crate::operation::{primitive, run, tensor};

/// Normalises the channels of each image by the mean and (biased) variance of the group that they belong to,
/// `channels / groups` neighbours, then scales each channel by `weight` and adds `bias`.
///
/// `epsilon`, above 0, is added to the variance before its root is taken; 1e-5 is usual.
///
/// # Shapes
/// - `x`: `[batch, channels, ...]`
/// - `weight`, `bias`: `[channels]`
/// - returns: of the shape of `x`
///
/// # Panics
/// If the shapes do not fit together, `x` has fewer than two dimensions, a size other than `batch` is 0, or
/// `groups` does not divide the channels.
pub fn group_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    groups: usize,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, D> {
    let dims = x.dims();
    check(&x, [&weight, &bias]);
    assert!(groups > 0 && dims[1].is_multiple_of(groups), "{groups} groups do not divide {dims:?}");
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        let inputs = [primitive(x), primitive(weight), primitive(bias)];
        return tensor(crate::libtorch::run::<B, 3>(inputs, |[x, weight, bias]| {
            x.group_norm(groups as i64, Some(weight), Some(bias), epsilon, true)
        }));
    }
    let operation = Groups::new(&dims, groups, epsilon);
    let [x, weight, bias] =
        match run::<B, _, 3>(&operation, [primitive(x), primitive(weight), primitive(bias)]) {
            Ok((output, _)) => return tensor(output),
            Err(inputs) => inputs,
        };
    let (x, [weight, bias]) = (tensor::<B, D>(x), [weight, bias].map(tensor::<B, 1>));
    let shape = per_channel(&x);
    let x = x.reshape([dims[0] * groups, dims[1..].iter().product::<usize>() / groups]);
    let x = x.clone() - x.mean_dim(1);
    let x = x.clone() / (x.square().mean_dim(1) + epsilon).sqrt();
    x.reshape(dims) * weight.reshape(shape) + bias.reshape(shape)
}
