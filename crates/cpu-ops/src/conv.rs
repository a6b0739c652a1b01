//! The machinery of [`crate::conv2d`] and [`crate::conv_transpose2d`], on slices.
//!
//! Images come and go as Burn has them, channels first. Inside, a few at a time, they have their channels last in
//! scratch memory that stays in the cache: there all channels of a pixel are whole vectors, whatever the size of
//! the image, and each of the three products (maps from images, images from maps, weights from both) runs along them.

pub(crate) mod depthwise;
pub(crate) mod direct;
mod epilogue;
mod frame;
pub(crate) mod kernel;
pub(crate) mod link;
pub(crate) mod method;
pub(crate) mod pass;
pub(crate) mod prepared;
pub(crate) mod winograd;
