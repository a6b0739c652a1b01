//! The sizes that tie the two sides of a convolution: images, and maps of their patches.

/// Sizes of one call; those with two entries are height and width. A transposed convolution is the same with the
/// maps given and the images asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) batch: usize,
    /// Channels of the images.
    pub(crate) inputs: usize,
    /// Channels of the maps.
    pub(crate) outputs: usize,
    pub(crate) image: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) map: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    /// Parts of the channels that have nothing to do with each other.
    pub(crate) groups: usize,
}

impl Link {
    /// Whether there is a fast way: other groups than none and one for each channel of the images have none.
    pub(crate) fn has_method(&self) -> bool {
        self.groups == 1 || self.groups == self.inputs
    }

    /// Elements of the weights, `[outputs, inputs / groups, kernel height, kernel width]`.
    pub(crate) fn weights(&self) -> usize {
        self.outputs * (self.inputs / self.groups) * self.kernel[0] * self.kernel[1]
    }

    /// Multiplications and additions of the convolution as its formula has them.
    pub(crate) fn flops(&self) -> u64 {
        2 * (self.batch * self.map[0] * self.map[1]) as u64 * self.weights() as u64
    }

    /// Elements of one image.
    pub(crate) fn image_len(&self) -> usize {
        self.inputs * self.image[0] * self.image[1]
    }

    /// Elements of one image's maps.
    pub(crate) fn map_len(&self) -> usize {
        self.outputs * self.map[0] * self.map[1]
    }

    /// Images whose weight gradients are summed as they come; the groups' sums are then added in order.
    ///
    /// At most 16 groups, and at most 4 where the weights are large, as each holds a copy of them.
    pub(crate) fn share(&self) -> usize {
        const LARGE: usize = 1 << 17;
        let shares = if self.weights() > LARGE { 4 } else { 16 };
        self.batch.div_ceil(shares).next_multiple_of(8)
    }
}
