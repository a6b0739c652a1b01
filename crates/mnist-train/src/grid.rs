//! Images side by side as a PNG.

use burn::tensor::backend::Backend;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use mnist_data::{Examples, Loader};
use mnist_model::objectives::{Objective, Picture};

use crate::{evaluate, plot::PlotError};

/// Pixels between two images.
const GAP: usize = 2;
/// Grey of the gaps: neither paper nor ink.
const GREY: u8 = 90;
/// Images with sides below this are drawn larger.
const SMALL: usize = 64;

/// Pictures of what a model does with the first batch of a split: name and bytes of a PNG.
///
/// # Errors
/// As [`png`].
pub fn of<B: Backend, M: Objective<B>>(
    model: &M,
    data: &Loader<<M::Input as Examples>::Source>,
    device: &B::Device,
) -> Result<Vec<(&'static str, Vec<u8>)>, PlotError> {
    let Some(batch) = data.in_order().next() else { return Ok(Vec::new()) };
    evaluate::seed::<B>(0, device);
    let pictures = model.pictures(batch.to_device(device));
    pictures.into_iter().map(|picture| Ok((picture.name, png(picture)?))).collect()
}

/// The bytes of a PNG.
///
/// # Errors
/// [`PlotError`] if it cannot be encoded.
pub fn png<B: Backend>(picture: Picture<B>) -> Result<Vec<u8>, PlotError> {
    let [count, _channels, height, width] = picture.images.dims();
    let pixels: Vec<f32> = picture.images.into_data().iter::<f32>().collect();
    let tiles = pixels.chunks_exact((height * width).max(1));
    let scale = if height.max(width) < SMALL { 2 } else { 1 };
    let columns = picture.columns.clamp(1, count.max(1));
    let step = [height, width].map(|side| side * scale + GAP);
    let size = [count.div_ceil(columns) * step[0] + GAP, columns * step[1] + GAP];
    let mut canvas = vec![GREY; size[0] * size[1]];
    for (i, tile) in tiles.enumerate() {
        let corner = [GAP + i / columns * step[0], GAP + i % columns * step[1]];
        for y in 0..height * scale {
            let start = (corner[0] + y) * size[1] + corner[1];
            let line = tile.iter().skip(y / scale * width);
            let line = line.take(width).flat_map(|p| std::iter::repeat_n(p, scale));
            for (out, pixel) in canvas.iter_mut().skip(start).zip(line) {
                *out = (pixel.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        }
    }
    let mut bytes = Vec::new();
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    PngEncoder::new(&mut bytes).write_image(&canvas, side(size[1]), side(size[0]), ExtendedColorType::L8)?;
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
