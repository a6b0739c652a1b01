//! Small images as text in half blocks, and as a grid in one PNG.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use image::{ImageFormat, Rgb, RgbImage};
use mnist_data::ImageSize;

/// Width to stay within, in characters.
const TERMINAL_WIDTH: usize = 80;
/// Between tiles: characters in the terminal.
const TEXT_GAP: usize = 2;
/// A pixel from this value on is drawn in the terminal, which knows no grey.
const INK: u8 = 96;
/// Edge of a data pixel in the PNG, and the space between tiles, in PNG pixels.
const SCALE: usize = 2;
const GAP: usize = 4;
const GAP_GREY: Rgb<u8> = Rgb([208; 3]);

/// Images of one size with a line of text each.
pub(super) struct Tiles {
    pub(super) size: ImageSize,
    /// Caption and the bytes of an image, 0 = paper, 255 = ink, or channel by channel.
    pub(super) tiles: Vec<(String, Vec<u8>)>,
}

impl Tiles {
    /// How many tiles stand side by side in the terminal.
    pub(super) fn per_line(cols: usize) -> usize {
        ((TERMINAL_WIDTH + TEXT_GAP) / (cols + TEXT_GAP)).max(1)
    }

    /// Draws the tiles as text, two pixels in a character.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let gap = " ".repeat(TEXT_GAP);
        for line in self.tiles.chunks(Self::per_line(self.size.width)) {
            let captions: Vec<String> = line
                .iter()
                .map(|(caption, _)| format!("{caption:<width$}", width = self.size.width))
                .collect();
            writeln!(out, "{}", captions.join(&gap).trim_end())?;
            for row in (0..self.size.height).step_by(2) {
                let text: Vec<String> =
                    line.iter().map(|(_, pixels)| self.half_blocks(pixels, row)).collect();
                writeln!(out, "{}", text.join(&gap).trim_end())?;
            }
        }
        Ok(())
    }

    /// Rows `row` and `row + 1` of an image in one line.
    fn half_blocks(&self, pixels: &[u8], row: usize) -> String {
        let is_ink = |row: usize, col: usize| row < self.size.height && self.grey(pixels, row, col) >= INK;
        let blocks = (0..self.size.width).map(|col| match (is_ink(row, col), is_ink(row + 1, col)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        });
        blocks.collect()
    }

    /// Red, green and blue of a pixel as they are in the data: the same of a grey image.
    fn colours(&self, pixels: &[u8], row: usize, col: usize) -> [u8; 3] {
        let at = |channel: usize| {
            pixels.get(channel * self.size.area() + row * self.size.width + col).copied().unwrap_or(0)
        };
        if self.size.is_colour() { [at(0), at(1), at(2)] } else { [at(0); 3] }
    }

    /// How light a pixel is.
    fn grey(&self, pixels: &[u8], row: usize, col: usize) -> u8 {
        let [red, green, blue] = self.colours(pixels, row, col).map(u32::from);
        // Luma of ITU-R BT.709.
        ((2126 * red + 7152 * green + 722 * blue) / 10_000) as u8
    }

    /// Writes the tiles, grey ones black on white, as a square grid.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let side = self.tiles.len().isqrt();
        let across = if side * side < self.tiles.len() { side + 1 } else { side }.max(1);
        let down = self.tiles.len().div_ceil(across);
        let [cell_width, cell_height] = [self.size.width, self.size.height].map(|size| size * SCALE + GAP);
        let size = |cells: usize, cell: usize| {
            u32::try_from(cells * cell + GAP).context("too large for one picture")
        };
        let mut grid = RgbImage::from_pixel(size(across, cell_width)?, size(down, cell_height)?, GAP_GREY);
        for (i, (_, pixels)) in self.tiles.iter().enumerate() {
            let (left, top) = (GAP + i % across * cell_width, GAP + i / across * cell_height);
            for y in 0..self.size.height * SCALE {
                for x in 0..self.size.width * SCALE {
                    let found = self.colours(pixels, y / SCALE, x / SCALE);
                    let shown = if self.size.is_colour() { found } else { found.map(|ink| 255 - ink) };
                    grid.put_pixel((left + x) as u32, (top + y) as u32, Rgb(shown));
                }
            }
        }
        let saved = grid.save_with_format(path, ImageFormat::Png);
        saved.with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles(count: usize) -> Tiles {
        Tiles { size: [3, 2].into(), tiles: vec![("7".to_owned(), vec![255, 0, 255, 255, 0, 200]); count] }
    }

    #[test]
    fn two_rows_share_a_line() {
        let mut text = Vec::new();
        tiles(2).print(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "7   7\n█▄  █▄\n ▀   ▀\n");
    }

    #[test]
    fn the_grid_is_as_square_as_can_be_and_black_on_white() {
        let dir = tempfile::tempdir().unwrap();
        for (count, across, down) in [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 2), (9, 3, 3)] {
            let path = dir.path().join("grid.png");
            tiles(count).save(&path).unwrap();
            let grid = image::open(&path).unwrap().into_luma8();
            assert_eq!(grid.dimensions(), (4 + across * 8, 4 + down * 10), "{count} tiles");
            assert_eq!(
                [grid.get_pixel(4, 4)[0], grid.get_pixel(6, 4)[0], grid.get_pixel(0, 0)[0]],
                [0, 255, 208]
            );
        }
        assert!(tiles(1).save(&dir.path().join("no/such/dir.png")).is_err());
    }
}
