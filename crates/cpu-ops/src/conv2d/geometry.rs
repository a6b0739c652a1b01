//! The sizes of one convolution, checked once.

use super::Conv2dOptions;
use crate::conv::link::Link;

/// Sizes and options of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) link: Link,
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
        let Conv2dOptions { stride, padding, groups, max_pool, .. } = options;
        let [batch, inputs, height, width] = x;
        let [outputs, weight_inputs, kernel_height, kernel_width] = weight;
        assert!(
            groups > 0 && inputs % groups == 0 && outputs % groups == 0,
            "conv2d: {groups} groups of {inputs} inputs and {outputs} outputs"
        );
        assert_eq!(
            inputs / groups,
            weight_inputs,
            "conv2d: images {x:?} and weights {weight:?} differ in channels"
        );
        assert!(
            bias.is_none_or(|bias| bias == [outputs]),
            "conv2d: a bias of {bias:?} for {outputs} outputs"
        );
        let sizes = [inputs, height, width, outputs, kernel_height, kernel_width];
        assert!(!sizes.contains(&0), "conv2d: a size of 0 in images {x:?} or weights {weight:?}");
        assert!(!stride.contains(&0), "conv2d: a stride of {stride:?}");
        let map = |size: usize, kernel: usize, axis: usize| {
            let padded = size + 2 * padding[axis];
            assert!(kernel <= padded, "conv2d: weights {weight:?} are larger than the padded images {x:?}");
            (padded - kernel) / stride[axis] + 1
        };
        let map = [map(height, kernel_height, 0), map(width, kernel_width, 1)];
        assert!(!max_pool || map.iter().all(|&n| n >= 2), "conv2d: no 2x2 window in a map of {map:?}");
        let image = [height, width];
        let kernel = [kernel_height, kernel_width];
        Self { link: Link { batch, inputs, outputs, image, kernel, map, stride, padding, groups }, options }
    }

    /// Height and width of the result.
    pub(super) fn result(&self) -> [usize; 2] {
        if self.options.max_pool { self.link.map.map(|n| n / 2) } else { self.link.map }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(stride: [usize; 2], padding: [usize; 2]) -> [usize; 2] {
        let options = Conv2dOptions { stride, padding, ..Default::default() };
        Geometry::new([1, 2, 28, 11], [3, 2, 5, 3], Some([3]), options).link.map
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
    #[should_panic(expected = "2 groups of 4 inputs and 3 outputs")]
    fn groups_have_to_divide_the_channels() {
        let options = Conv2dOptions { groups: 2, ..Default::default() };
        Geometry::new([1, 4, 8, 8], [3, 2, 3, 3], None, options);
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
