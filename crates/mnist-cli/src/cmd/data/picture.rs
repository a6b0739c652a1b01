//! Small grey images as text in half blocks, and as a grid in one PNG.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use image::{GrayImage, ImageFormat, Luma};

/// Width to stay within, in characters.
const TERMINAL_WIDTH: usize = 80;
/// Between tiles: characters in the terminal.
const TEXT_GAP: usize = 2;
/// A pixel from this value on is drawn in the terminal, which knows no grey.
const INK: u8 = 96;
/// Edge of a data pixel in the PNG, and the space between tiles, in PNG pixels.
const SCALE: usize = 2;
const GAP: usize = 4;
const GAP_GREY: Luma<u8> = Luma([208]);

/// Images of one size with a line of text each.
pub(super) struct Tiles {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Caption and `rows * cols` pixels, 0 = paper, 255 = ink.
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
        for line in self.tiles.chunks(Self::per_line(self.cols)) {
            let captions: Vec<String> =
                line.iter().map(|(caption, _)| format!("{caption:<width$}", width = self.cols)).collect();
            writeln!(out, "{}", captions.join(&gap).trim_end())?;
            for row in (0..self.rows).step_by(2) {
                let text: Vec<String> =
                    line.iter().map(|(_, pixels)| self.half_blocks(pixels, row)).collect();
                writeln!(out, "{}", text.join(&gap).trim_end())?;
            }
        }
        Ok(())
    }

    /// Rows `row` and `row + 1` of an image in one line.
    fn half_blocks(&self, pixels: &[u8], row: usize) -> String {
        let is_ink =
            |row: usize, col: usize| pixels.get(row * self.cols + col).is_some_and(|&pixel| pixel >= INK);
        let blocks = (0..self.cols).map(|col| match (is_ink(row, col), is_ink(row + 1, col)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        });
        blocks.collect()
    }

    /// Writes the tiles, black on white, as a square grid.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let side = self.tiles.len().isqrt();
        let across = if side * side < self.tiles.len() { side + 1 } else { side }.max(1);
        let down = self.tiles.len().div_ceil(across);
        let [cell_width, cell_height] = [self.cols, self.rows].map(|size| size * SCALE + GAP);
        let size = |cells: usize, cell: usize| {
            u32::try_from(cells * cell + GAP).context("too large for one picture")
        };
        let mut grid = GrayImage::from_pixel(size(across, cell_width)?, size(down, cell_height)?, GAP_GREY);
        for (i, (_, pixels)) in self.tiles.iter().enumerate() {
            let (left, top) = (GAP + i % across * cell_width, GAP + i / across * cell_height);
            for y in 0..self.rows * SCALE {
                for x in 0..self.cols * SCALE {
                    let ink = pixels.get(y / SCALE * self.cols + x / SCALE).copied().unwrap_or(0);
                    grid.put_pixel((left + x) as u32, (top + y) as u32, Luma([255 - ink]));
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
        Tiles { rows: 3, cols: 2, tiles: vec![("7".to_owned(), vec![255, 0, 255, 255, 0, 200]); count] }
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
