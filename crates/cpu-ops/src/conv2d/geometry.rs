//! The sizes of one convolution, checked once.

use super::Conv2dOptions;

/// Sizes of one call; sizes with two entries are height and width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) image: [usize; 2],
    pub(super) kernel: [usize; 2],
    /// Of the convolution, before any pooling.
    pub(super) map: [usize; 2],
    pub(super) options: Conv2dOptions,
}

impl Geometry {
    /// Checks the shapes of a call: see the panics of [`super::conv2d`].
    pub(super) fn new(
        x: [usize; 4],
        weight: [usize; 4],
        bias: Option<[usize; 1]>,
        options: Conv2dOptions,
    ) -> Self {
        let [batch, inputs, height, width] = x;
        let [outputs, weight_inputs, kernel_height, kernel_width] = weight;
        assert_eq!(inputs, weight_inputs, "conv2d: images {x:?} and weights {weight:?} differ in channels");
        assert!(
            bias.is_none_or(|bias| bias == [outputs]),
            "conv2d: a bias of {bias:?} for {outputs} outputs"
        );
        let sizes = [inputs, height, width, outputs, kernel_height, kernel_width];
        assert!(!sizes.contains(&0), "conv2d: a size of 0 in images {x:?} or weights {weight:?}");
        assert!(!options.stride.contains(&0), "conv2d: a stride of {:?}", options.stride);
        let map = |size: usize, kernel: usize, axis: usize| {
            let padded = size + 2 * options.padding[axis];
            assert!(kernel <= padded, "conv2d: weights {weight:?} are larger than the padded images {x:?}");
            (padded - kernel) / options.stride[axis] + 1
        };
        let map = [map(height, kernel_height, 0), map(width, kernel_width, 1)];
        assert!(
            !options.max_pool || map.iter().all(|&n| n >= 2),
            "conv2d: no 2x2 window in a map of {map:?}"
        );
        Self {
            batch,
            inputs,
            outputs,
            image: [height, width],
            kernel: [kernel_height, kernel_width],
            map,
            options,
        }
    }
}

impl Geometry {
    /// Weights of one output channel: `in * kernel_height * kernel_width`.
    pub(super) fn patch(&self) -> usize {
        self.inputs * self.kernel[0] * self.kernel[1]
    }

    /// Elements of one channel of the convolution.
    pub(super) fn area(&self) -> usize {
        self.map[0] * self.map[1]
    }

    /// Elements of one image.
    pub(super) fn image_len(&self) -> usize {
        self.inputs * self.image[0] * self.image[1]
    }

    /// Height and width of the result.
    pub(super) fn result(&self) -> [usize; 2] {
        if self.options.max_pool { self.map.map(|n| n / 2) } else { self.map }
    }

    /// Elements of one image's result.
    pub(super) fn result_len(&self) -> usize {
        let [height, width] = self.result();
        self.outputs * height * width
    }

    /// Images whose patches share one matrix: enough that it is wide also where maps are small.
    pub(super) fn tile(&self) -> usize {
        const WIDE: usize = 192;
        [1, 2, 4].into_iter().find(|images| images * self.area() >= WIDE).unwrap_or(8)
    }

    /// Images whose weight gradients are summed as they come; the groups' sums are then added in order.
    ///
    /// At most 16 groups, and at most 4 where the weights are large, as each holds a copy of them.
    pub(super) fn group(&self) -> usize {
        const LARGE: usize = 1 << 20;
        let groups = if self.outputs * self.patch() > LARGE { 4 } else { 16 };
        self.batch.div_ceil(groups).next_multiple_of(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(stride: [usize; 2], padding: [usize; 2]) -> [usize; 2] {
        let options = Conv2dOptions { stride, padding, ..Default::default() };
        Geometry::new([1, 2, 28, 11], [3, 2, 5, 3], Some([3]), options).map
    }

    #[test]
    fn maps_follow_the_formula() {
        assert_eq!(map([1, 1], [0, 0]), [24, 9]);
        assert_eq!(map([2, 3], [2, 1]), [14, 4]);
        assert_eq!(map([30, 30], [0, 0]), [1, 1]);
    }

    #[test]
    #[should_panic(expected = "differ in channels")]
    fn channels_have_to_agree() {
        Geometry::new([1, 2, 8, 8], [3, 1, 3, 3], None, Conv2dOptions::default());
    }

    #[test]
    #[should_panic(expected = "larger than the padded images")]
    fn kernels_have_to_fit() {
        Geometry::new([1, 2, 2, 8], [3, 2, 3, 3], None, Conv2dOptions::default());
    }

    #[test]
    #[should_panic(expected = "no 2x2 window")]
    fn pooling_needs_two_rows() {
        let options = Conv2dOptions { max_pool: true, ..Default::default() };
        Geometry::new([1, 2, 3, 8], [3, 2, 3, 3], None, options);
    }

    #[test]
    #[should_panic(expected = "a bias of Some([2]) for 3 outputs")]
    fn biases_have_to_agree() {
        Geometry::new([1, 2, 8, 8], [3, 2, 3, 3], Some([2]), Conv2dOptions::default());
    }
}
