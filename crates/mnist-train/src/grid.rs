//! What a model does, to be looked at: images side by side as a PNG, excerpts of texts.

use burn::tensor::backend::Backend;
use image::{
    ExtendedColorType, ImageEncoder, ImageError,
    codecs::png::PngEncoder,
    error::{ParameterError, ParameterErrorKind},
};
use mnist_data::{Examples, ImageSize, Loader};
use mnist_model::objectives::{Objective, Picture};

use crate::{evaluate, plot::PlotError};

/// Pixels between two images.
const GAP: usize = 2;
/// Grey of the gaps: neither paper nor ink.
const GREY: u8 = 90;
/// Images with sides below this are drawn larger.
const SMALL: usize = 64;

/// What a model does with the first batch of a split: name and bytes of files, `.png` or, of texts, `.txt`.
///
/// # Errors
/// As [`png`].
pub fn of<B: Backend, M: Objective<B>>(
    model: &M,
    data: &Loader<<M::Input as Examples>::Source>,
    device: &B::Device,
) -> Result<Vec<(String, Vec<u8>)>, PlotError> {
    let Some(batch) = data.in_order().next() else { return Ok(Vec::new()) };
    evaluate::seed::<B>(0, device);
    let batch = batch.to_device(device);
    let texts = model.excerpts(batch.clone());
    let pictures = model.pictures(batch).into_iter();
    let pictures = pictures.map(|picture| Ok((format!("{}.png", picture.name), png(picture)?)));
    let texts = texts.into_iter().map(|(name, text)| Ok((format!("{name}.txt"), text.into_bytes())));
    pictures.chain(texts).collect()
}

/// The bytes of a PNG.
///
/// # Errors
/// [`PlotError`] if it cannot be encoded.
pub fn png<B: Backend>(picture: Picture<B>) -> Result<Vec<u8>, PlotError> {
    let [count, channels, height, width] = picture.images.dims();
    let size = ImageSize { channels, height, width };
    let pixels: Vec<f32> = picture.images.into_data().iter::<f32>().collect();
    let tiles = pixels.chunks_exact(size.values().max(1));
    let scale = if height.max(width) < SMALL { 2 } else { 1 };
    let columns = picture.columns.clamp(1, count.max(1));
    let step = [height, width].map(|side| side * scale + GAP);
    let sides = [count.div_ceil(columns) * step[0] + GAP, columns * step[1] + GAP];
    let depth = if size.is_colour() { 3 } else { 1 };
    let mut canvas = vec![GREY; sides[0] * sides[1] * depth];
    for (i, tile) in tiles.enumerate() {
        let (tile, _) = interleaved(tile, size);
        let corner = [GAP + i / columns * step[0], GAP + i % columns * step[1]];
        for y in 0..height * scale {
            let start = ((corner[0] + y) * sides[1] + corner[1]) * depth;
            let line = tile.chunks_exact(depth).skip(y / scale * width);
            let line = line.take(width).flat_map(|pixel| std::iter::repeat_n(pixel, scale)).flatten();
            for (out, pixel) in canvas.iter_mut().skip(start).zip(line) {
                *out = (pixel.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        }
    }
    Ok(encoded(&canvas, sides, size.is_colour())?)
}

/// The bytes of a PNG of one image, as it is.
///
/// # Errors
/// [`PlotError`] if these are not the bytes of an image of this size.
pub fn image(bytes: &[u8], size: ImageSize) -> Result<Vec<u8>, PlotError> {
    let (pixels, colour) = interleaved(bytes, size);
    Ok(encoded(&pixels, size.sides(), colour)?)
}

/// The values of an image pixel by pixel, and whether there are three to each, red, green and blue; one otherwise.
pub(crate) fn interleaved<T: Copy>(values: &[T], size: ImageSize) -> (Vec<T>, bool) {
    let area = size.area();
    let channel = |pixel: usize, channel: usize| values.get(channel * area + pixel).copied();
    if size.is_colour() {
        ((0..area).flat_map(|pixel| (0..3).filter_map(move |c| channel(pixel, c))).collect(), true)
    } else {
        (values.to_vec(), false)
    }
}

/// The bytes of a PNG of this height and width, in colour or grey.
pub(crate) fn encoded(pixels: &[u8], sides: [usize; 2], colour: bool) -> Result<Vec<u8>, ImageError> {
    let values = sides[0].saturating_mul(sides[1]).saturating_mul(if colour { 3 } else { 1 });
    if values != pixels.len() {
        return Err(ImageError::Parameter(ParameterError::from_kind(ParameterErrorKind::DimensionMismatch)));
    }
    let mut bytes = Vec::new();
    let [height, width] = sides.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let kind = if colour { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, kind)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use burn_flex::Flex;

    use super::*;

    #[test]
    fn tiles_stand_row_by_row_with_gaps() {
        let images = Tensor::<Flex, 1>::from_floats([0.0, 1.0, 0.5], &Default::default());
        let picture = Picture { name: "dots", images: images.reshape([3, 1, 1, 1]), columns: 2 };
        let found = image::load_from_memory(&png(picture).unwrap()).unwrap().into_luma8();
        assert_eq!(found.dimensions(), (10, 10));
        let at = |x, y| found.get_pixel(x, y).0[0];
        assert_eq!(
            [at(2, 2), at(3, 3), at(6, 2), at(2, 6), at(4, 2), at(6, 6)],
            [0, 0, 255, 128, GREY, GREY]
        );
    }
}
