//! Transposed convolution with optional bias and ReLU, as one operation.

mod autodiff;

use burn::tensor::{Tensor, activation::relu, backend::Backend, module, ops::ConvTransposeOptions};

use crate::{
    conv::{
        kernel::{below_stride, extended},
        link::Link,
    },
    operation::{primitive, run, tensor},
};

/// How [`conv_transpose2d`] moves its kernel and what follows it.
///
/// The default: stride 1, no padding, one group, nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose2dOptions {
    /// Distance between the patches of neighbouring pixels, down and across, in pixels, at least 1.
    pub stride: [usize; 2],
    /// Rows taken off above and below, and columns left and right.
    pub padding: [usize; 2],
    /// Rows added below and columns added on the right; less than the stride.
    pub output_padding: [usize; 2],
    /// Parts into which the channels are split, each with weights of its own; divides both channel counts.
    ///
    /// Fast are 1, and the number of channels where inputs and outputs have as many (depthwise).
    pub groups: usize,
    /// Whether ReLU follows the bias.
    pub relu: bool,
}

impl Default for ConvTranspose2dOptions {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], output_padding: [0, 0], groups: 1, relu: false }
    }
}

/// Transposed convolution (Zeiler et al. 2010, "Deconvolutional networks"; the gradient of a convolution by its
/// images), then bias and ReLU where asked for.
///
/// # Shapes
/// - `x`: `[batch, in, height, width]`
/// - `weight`: `[in, out / groups, kernel_height, kernel_width]`
/// - `bias`: `[out]`
/// - returns: `[batch, out, image_height, image_width]` with
///   `image = (size - 1) * stride + kernel + output_padding - 2 * padding`
///
/// # Panics
/// If the shapes do not fit together, the stride, the groups or a size other than `batch` is 0, the output padding
/// is not less than the stride, or the padding leaves nothing.
pub fn conv_transpose2d<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    options: ConvTranspose2dOptions,
) -> Tensor<B, 4> {
    let call = Call::new(x.dims(), weight.dims(), bias.as_ref().map(|bias| bias.dims()), options);
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        return crate::libtorch::layer(x, weight, bias, |x, weight, bias| libtorch(x, weight, bias, options));
    }
    let (x, weight, bias) = match fast(x, weight, bias, &call) {
        Ok(output) => return output,
        Err(inputs) => inputs,
    };
    plain(x, weight, bias, options)
}

/// The same by Burn's own operations. A kernel smaller than its stride is extended by zeros to the stride, and what that
/// adds to the images is cut off: the direct form of this operation on the graphics backends of Burn 0.21 (burn-cubecl,
/// `transpose_direct.rs`) visits no pixel at all of such a kernel.
fn plain<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    options: ConvTranspose2dOptions,
) -> Tensor<B, 4> {
    let ConvTranspose2dOptions { stride, padding, mut output_padding, groups, relu: with_relu } = options;
    let ([.., height, width], [.., kernel_height, kernel_width]) = (x.dims(), weight.dims());
    let (size, kernel) = ([height, width], [kernel_height, kernel_width]);
    let more = below_stride(weight.dims(), stride);
    let wanted = [0, 1].map(|side| {
        (size[side] - 1) * stride[side] + kernel[side] + output_padding[side] - 2 * padding[side]
    });
    for (output_padding, more) in output_padding.iter_mut().zip(more) {
        *output_padding = output_padding.saturating_sub(more);
    }
    let weight = extended(weight, more);
    let plain = ConvTransposeOptions::new(stride, padding, output_padding, [1, 1], groups);
    let mut y = module::conv_transpose2d(x, weight, bias, plain);
    if more != [0, 0] {
        y = y.narrow(2, 0, wanted[0]).narrow(3, 0, wanted[1]);
    }
    if with_relu { relu(y) } else { y }
}

/// Sizes of one call, as those of the convolution that it is the transpose of; and whether ReLU follows.
#[derive(Clone, Copy, Debug)]
struct Call {
    link: Link,
    relu: bool,
}

impl Call {
    /// Checks the shapes: see the panics of [`conv_transpose2d`].
    fn new(
        x: [usize; 4],
        weight: [usize; 4],
        bias: Option<[usize; 1]>,
        options: ConvTranspose2dOptions,
    ) -> Self {
        let ConvTranspose2dOptions { stride, padding, output_padding, groups, relu } = options;
        let [batch, inputs, height, width] = x;
        let [weight_inputs, group_outputs, kernel_height, kernel_width] = weight;
        assert_eq!(
            inputs, weight_inputs,
            "conv_transpose2d: images {x:?} and weights {weight:?} differ in channels"
        );
        assert!(groups > 0 && inputs % groups == 0, "conv_transpose2d: {groups} groups of {inputs} inputs");
        let outputs = group_outputs * groups;
        assert!(
            bias.is_none_or(|bias| bias == [outputs]),
            "conv_transpose2d: a bias of {bias:?} for {outputs} outputs"
        );
        let sizes = [inputs, height, width, outputs, kernel_height, kernel_width];
        assert!(!sizes.contains(&0), "conv_transpose2d: a size of 0 in images {x:?} or weights {weight:?}");
        assert!(!stride.contains(&0), "conv_transpose2d: a stride of {stride:?}");
        let [map, kernel] = [[height, width], [kernel_height, kernel_width]];
        let image = [0, 1].map(|i| {
            assert!(
                output_padding[i] < stride[i],
                "conv_transpose2d: an output padding of {output_padding:?} at a stride of {stride:?}"
            );
            let whole = (map[i] - 1) * stride[i] + kernel[i] + output_padding[i];
            assert!(
                whole > 2 * padding[i],
                "conv_transpose2d: a padding of {padding:?} leaves nothing of {x:?}"
            );
            whole - 2 * padding[i]
        });
        // Seen from the convolution, what comes out here are the images.
        let link =
            Link { batch, inputs: outputs, outputs: inputs, image, kernel, map, stride, padding, groups };
        Self { link, relu }
    }
}

/// The same in libtorch's functions.
#[cfg(feature = "tch")]
fn libtorch(
    x: &tch::Tensor,
    weight: &tch::Tensor,
    bias: Option<&tch::Tensor>,
    options: ConvTranspose2dOptions,
) -> tch::Tensor {
    let ConvTranspose2dOptions { stride, padding, output_padding, groups, relu } = options;
    let [stride, padding, output_padding] =
        [stride, padding, output_padding].map(|sizes| sizes.map(|size| size as i64));
    let mut y = x.conv_transpose2d(weight, bias, stride, padding, output_padding, groups as i64, [1, 1]);
    if relu { y.relu_() } else { y }
}

/// Images, weights and bias of a call.
type Inputs<B> = (Tensor<B, 4>, Tensor<B, 4>, Option<Tensor<B, 1>>);

/// The fast path, if there is one for `B` and these groups.
fn fast<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    call: &Call,
) -> Result<Tensor<B, 4>, Inputs<B>> {
    // An output that is the sum of several channels would have to be added up before its ReLU.
    let summed = call.link.groups > 1 && call.link.inputs != call.link.outputs;
    if summed || !call.link.has_method() {
        return Err((x, weight, bias));
    }
    let [x, weight] = [x, weight].map(primitive);
    match bias.map(primitive) {
        Some(bias) => run::<B, _, 3>(call, [x, weight, bias])
            .map(|(output, _)| tensor(output))
            .map_err(|[x, weight, bias]| (tensor(x), tensor(weight), Some(tensor(bias)))),
        None => run::<B, _, 2>(call, [x, weight])
            .map(|(output, _)| tensor(output))
            .map_err(|[x, weight]| (tensor(x), tensor(weight), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(options: ConvTranspose2dOptions) -> [usize; 2] {
        Call::new([1, 2, 5, 7], [2, 3, 4, 3], Some([3]), options).link.image
    }

    #[test]
    fn images_follow_the_formula() {
        assert_eq!(image(ConvTranspose2dOptions::default()), [8, 9]);
        let options = ConvTranspose2dOptions {
            stride: [2, 3],
            padding: [1, 0],
            output_padding: [1, 2],
            ..Default::default()
        };
        assert_eq!(image(options), [11, 23]);
    }

    #[test]
    #[should_panic(expected = "an output padding of [1, 0] at a stride of [1, 1]")]
    fn output_padding_is_less_than_the_stride() {
        image(ConvTranspose2dOptions { output_padding: [1, 0], ..Default::default() });
    }

    #[test]
    #[should_panic(expected = "leaves nothing")]
    fn padding_leaves_a_pixel() {
        image(ConvTranspose2dOptions { padding: [4, 0], ..Default::default() });
    }
}

#[cfg(all(test, feature = "flex"))]
mod plain_tests {
    use burn_flex::Flex;

    use super::*;
    use crate::conv::kernel::testing::{agree, random};

    #[test]
    fn a_kernel_below_its_stride_gives_what_the_backend_gives() {
        Flex::seed(&Default::default(), 1);
        for ([rows, columns], stride, padding, output_padding) in [
            ([1, 1], [2, 2], [0, 0], [0, 0]),
            ([1, 1], [2, 2], [0, 0], [1, 1]),
            ([1, 2], [3, 2], [1, 0], [2, 1]),
            ([2, 1], [3, 4], [1, 1], [0, 3]),
        ] {
            let (x, weight) = (random([2, 4, 3, 4]), random([4, 3, rows, columns]));
            let options =
                ConvTranspose2dOptions { stride, padding, output_padding, groups: 2, ..Default::default() };
            let own = plain(x.clone(), weight.clone(), None, options);
            let theirs = module::conv_transpose2d(
                x.clone(),
                weight.clone(),
                None,
                ConvTransposeOptions::new(stride, padding, output_padding, [1, 1], 2),
            );
            agree(own, theirs, [x, weight]);
        }
    }
}
