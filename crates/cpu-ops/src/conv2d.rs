//! Convolution with optional bias, 2x2 max-pooling and ReLU, as one operation.

mod autodiff;
mod geometry;

use burn::tensor::{Tensor, activation::relu, backend::Backend, module, ops::ConvOptions};

use crate::conv::kernel::{below_stride, extended};
use geometry::Geometry;

/// How [`conv2d`] moves its kernel and what follows the convolution.
///
/// The default: stride 1, no padding, nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dOptions {
    /// Distance between neighbouring patches, down and across, in pixels, at least 1.
    pub stride: [usize; 2],
    /// Zeros added above and below, and left and right, in pixels.
    pub padding: [usize; 2],
    /// Parts into which the channels are split, each with weights of its own; divides both channel counts.
    ///
    /// Fast are 1 and the number of input channels (depthwise).
    pub groups: usize,
    /// Whether ReLU follows, after the max-pooling where there is one.
    pub relu: bool,
    /// Whether 2x2 max-pooling of stride 2 follows the bias; an odd last row or column is left out.
    pub max_pool: bool,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], groups: 1, relu: false, max_pool: false }
    }
}

/// Convolution (as in deep learning: no flipping of the kernel), then what is asked for of bias, max-pooling
/// and ReLU, in this order.
///
/// Kernels of 3x3 at stride 1 go through Winograd's F(2x2, 3x3) (arXiv 1509.09308) where there are enough channels;
/// on random numbers its rounding errors are no larger than those of plain sums.
///
/// On the fast path NaN is not lost in max-pooling or ReLU, whatever the backend's own operations do; of equal
/// values in a pooling window the first, row by row, gets the gradient.
///
/// # Shapes
/// - `x`: `[batch, in, height, width]`
/// - `weight`: `[out, in / groups, kernel_height, kernel_width]`
/// - `bias`: `[out]`
/// - returns: `[batch, out, map_height, map_width]` with `map = (size + 2 * padding - kernel) / stride + 1`,
///   rounded down; half of that, rounded down, with `max_pool`
///
/// # Panics
/// If the shapes do not fit together, the stride, the groups or a size other than `batch` is 0, the kernel is larger than
/// the padded image, or the map is too small for the max-pooling asked for.
pub fn conv2d<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    options: Conv2dOptions,
) -> Tensor<B, 4> {
    let geometry = Geometry::new(x.dims(), weight.dims(), bias.as_ref().map(|bias| bias.dims()), options);
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::layer(x, weight, bias, |x, weight, bias| libtorch(x, weight, bias, options));
    }
    let (x, weight, bias) = match fast(x, weight, bias, &geometry) {
        Ok(output) => return output,
        Err(inputs) => inputs,
    };
    plain(x, weight, bias, options)
}

/// Images, weights and bias of a call.
type Inputs<B> = (Tensor<B, 4>, Tensor<B, 4>, Option<Tensor<B, 1>>);

/// The fast path, if there is one for `B`.
fn fast<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    geometry: &Geometry,
) -> Result<Tensor<B, 4>, Inputs<B>> {
    use crate::operation::{primitive, run, tensor};

    if !geometry.link.has_method() {
        return Err((x, weight, bias));
    }
    let [x, weight] = [x, weight].map(primitive);
    match bias.map(primitive) {
        Some(bias) => run::<B, _, 3>(geometry, [x, weight, bias])
            .map(|(output, _)| tensor(output))
            .map_err(|[x, weight, bias]| (tensor(x), tensor(weight), Some(tensor(bias)))),
        None => run::<B, _, 2>(geometry, [x, weight])
            .map(|(output, _)| tensor(output))
            .map_err(|[x, weight]| (tensor(x), tensor(weight), None)),
    }
}

/// The same in libtorch's functions.
#[cfg(feature = "tch")]
fn libtorch(
    x: &tch::Tensor,
    weight: &tch::Tensor,
    bias: Option<&tch::Tensor>,
    options: Conv2dOptions,
) -> tch::Tensor {
    let Conv2dOptions { stride, padding, groups, relu, max_pool } = options;
    let [stride, padding] = [stride, padding].map(|sizes| sizes.map(|size| size as i64));
    let mut y = x.conv2d(weight, bias, stride, padding, [1, 1], groups as i64);
    if max_pool {
        y = y.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
    }
    if relu { y.relu_() } else { y }
}

/// The same by Burn's own operations.
fn plain<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    options: Conv2dOptions,
) -> Tensor<B, 4> {
    let Conv2dOptions { stride, padding, groups, relu: with_relu, max_pool } = options;
    let (x, weight) = not_below_stride(x, weight, stride, padding);
    let mut y = module::conv2d(x, weight, bias, ConvOptions::new(stride, padding, [1, 1], groups));
    if max_pool {
        y = module::max_pool2d(y, [2, 2], [2, 2], [0, 0], [1, 1], false);
    }
    if with_relu { relu(y) } else { y }
}

/// A kernel smaller than its stride extended by zeros to the stride, and images by as many zeros as that takes.
///
/// The output is the same. The gradient by the images is not: Burn 0.21 has it from a transposed convolution of which
/// the direct form on its graphics backends (burn-cubecl, `transpose_direct.rs`) visits no pixel at all where the kernel
/// is smaller than the stride, so that it is 0.
fn not_below_stride<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> (Tensor<B, 4>, Tensor<B, 4>) {
    let ([.., height, width], [.., kernel_height, kernel_width]) = (x.dims(), weight.dims());
    let (size, kernel) = ([height, width], [kernel_height, kernel_width]);
    let more = below_stride(weight.dims(), stride);
    if more == [0, 0] {
        return (x, weight);
    }
    let missing = [0, 1].map(|side| {
        let padded = size[side] + 2 * padding[side];
        let map = (padded - kernel[side]) / stride[side] + 1;
        ((map - 1) * stride[side] + kernel[side] + more[side]).saturating_sub(padded)
    });
    (extended(x, missing), extended(weight, more))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn_flex::Flex;

    use super::*;
    use crate::conv::kernel::testing::{agree, random};

    #[test]
    fn a_kernel_below_its_stride_gives_what_the_backend_gives() {
        Flex::seed(&Default::default(), 1);
        for ([height, width], [rows, columns], stride, padding) in [
            ([6, 7], [1, 1], [2, 2], [0, 0]),
            ([7, 6], [1, 2], [3, 2], [1, 0]),
            ([5, 9], [2, 1], [3, 4], [1, 2]),
            ([1, 1], [1, 1], [2, 2], [0, 0]),
        ] {
            let (x, weight) = (random([2, 4, height, width]), random([6, 2, rows, columns]));
            let options = Conv2dOptions { stride, padding, groups: 2, ..Default::default() };
            let own = plain(x.clone(), weight.clone(), None, options);
            let theirs =
                module::conv2d(x.clone(), weight.clone(), None, ConvOptions::new(stride, padding, [1, 1], 2));
            agree(own, theirs, [x, weight]);
        }
    }
}
