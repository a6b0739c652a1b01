//! What a way to convolve has to offer: the three products of its forward and backward passes.

use super::{depthwise::Depthwise, direct::Direct, frame::Frame, link::Link, winograd::Winograd};

/// A way to convolve a few images at a time, channels last.
///
/// Each frame says how a buffer of images or maps lies in memory: `[image, Frame::len]`.
pub(crate) trait Method: Sync {
    /// Images that one call takes.
    fn images(&self) -> usize;

    /// Images as [`Self::correlate`] and [`Self::weigh`] read them.
    fn image_read(&self) -> Frame;

    /// Images as [`Self::spread`] writes them.
    fn image_written(&self) -> Frame;

    /// Maps as [`Self::spread`] and [`Self::weigh`] read them.
    fn map_read(&self) -> Frame;

    /// Maps as [`Self::correlate`] writes them.
    fn map_written(&self) -> Frame;

    /// Elements of the scratch buffer that each call wants.
    fn scratch(&self) -> usize;

    /// Maps from images: the convolution.
    fn correlate(&self, images: &[f32], maps: &mut [f32], scratch: &mut [f32]);

    /// Images from maps: the gradient of the images, or the transposed convolution.
    fn spread(&self, maps: &[f32], images: &mut [f32], scratch: &mut [f32]);

    /// Elements of a sum of weight gradients.
    fn gradient_len(&self) -> usize;

    /// Adds the gradient of the weights to a sum, in this method's own form; and fills `into` as
    /// [`Self::spread`] does, where that is asked for.
    fn weigh(
        &self,
        images: &[f32],
        maps: &[f32],
        sum: &mut [f32],
        into: Option<&mut [f32]>,
        scratch: &mut [f32],
    );

    /// The gradient of the weights as the caller has them.
    fn gradient(&self, sum: &[f32]) -> Vec<f32>;
}

/// What a call will ask of its [`Method`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) correlate: bool,
    pub(crate) spread: bool,
    /// Only whole 2x2 windows of the maps are wanted.
    pub(crate) pooled: bool,
}

/// The fastest way for these sizes. `weight` may be empty where neither correlation nor spreading is asked for.
pub(crate) fn method(g: &Link, weight: &[f32], asked: Asked) -> Box<dyn Method> {
    if g.groups > 1 {
        Box::new(Depthwise::new(g, weight))
    } else if Winograd::fits(g) {
        Box::new(Winograd::new(g, weight, asked))
    } else {
        Box::new(Direct::new(g, weight, asked))
    }
}
