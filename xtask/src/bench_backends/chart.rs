//! Charts as SVG and PNG from the same drawing: `plotters` is the pen, the layout is ours.
//!
//! The colours are Okabe and Ito's (2008), told apart by colour-blind readers too. The letters of the PNG are
//! mnist-train's embedded subset of DejaVu Sans, so that a machine without fonts draws the same picture.

mod bars;
mod curves;

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::{
    coord::Shift,
    drawing::DrawingArea,
    prelude::{
        BitMapBackend, Circle, DrawingBackend, IntoDrawingArea, PathElement, Rectangle, SVGBackend, Text,
        WHITE,
    },
    style::{
        Color, FontDesc, FontStyle, RGBColor, ShapeStyle, TextStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

pub(super) use bars::Bars;
pub(super) use curves::Curves;

/// Pixels of the finished PNG for a logical pixel.
const SCALE: u32 = 2;
/// The PNG is drawn this much larger and shrunk: smooth edges out of a pen that draws jagged ones.
const SHRINK: u32 = 2;
/// Width of every picture, logical pixels.
const WIDTH: f64 = 900.0;
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2F);
const FONT: &str = "sans-serif";
/// Of backends, in their order; more than seven share colours.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// Something to draw.
pub(super) trait Picture {
    /// Height, logical pixels.
    fn height(&self) -> f64;

    /// Draws it with a pen from (0, 0).
    fn draw<DB: DrawingBackend>(&self, pen: &Pen<DB>) -> Result<()>;
}

/// Writes `name.svg` and `name.png`.
pub(super) fn save(picture: &impl Picture, directory: &Path, name: &str) -> Result<()> {
    register_letters()?;
    let path = |extension: &str| directory.join(format!("{name}.{extension}"));
    let write = |extension: &str, bytes: &[u8]| {
        let path = path(extension);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write("svg", svg(picture)?.as_bytes())?;
    write("png", &png(picture)?)
}

fn svg(picture: &impl Picture) -> Result<String> {
    let mut text = String::new();
    {
        let size = (WIDTH as u32, picture.height().ceil() as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        picture.draw(&Pen { area: &area, scale: 1.0 })?;
        area.present().map_err(failed)?;
    }
    Ok(text)
}

fn png(picture: &impl Picture) -> Result<Vec<u8>> {
    let scale = SCALE * SHRINK;
    let (width, height) = (WIDTH as u32 * scale, picture.height().ceil() as u32 * scale);
    let mut pixels = vec![0u8; 3 * width as usize * height as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        picture.draw(&Pen { area: &area, scale: f64::from(scale) })?;
        area.present().map_err(failed)?;
    }
    let small = shrink(&pixels, width as usize);
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&small, width / SHRINK, height / SHRINK, ExtendedColorType::Rgb8)
        .context("cannot encode the PNG")?;
    Ok(bytes)
}

/// Averages squares of `SHRINK` x `SHRINK` pixels of RGB rows of `width` pixels.
fn shrink(pixels: &[u8], width: usize) -> Vec<u8> {
    let n = SHRINK as usize;
    let mut out = Vec::with_capacity(pixels.len() / (n * n));
    for rows in pixels.chunks_exact(3 * width * n) {
        for x in 0..width / n {
            for channel in 0..3 {
                let at = |i: usize| usize::from(rows[3 * ((i / n) * width + x * n + i % n) + channel]);
                out.push(((0..n * n).map(at).sum::<usize>() / (n * n)) as u8);
            }
        }
    }
    out
}

fn register_letters() -> Result<()> {
    static LETTERS: &[u8] = include_bytes!("../../../crates/mnist-train/assets/DejaVuSans-subset.ttf");
    register_font(FONT, FontStyle::Normal, LETTERS).map_err(|_| anyhow!("the embedded letters are damaged"))
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw the chart: {error}")
}

/// Draws in logical pixels.
pub(super) struct Pen<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    scale: f64,
}

impl<DB: DrawingBackend> Pen<'_, DB> {
    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    /// Writes with the middle of the letters' height at `at`.
    fn text(&self, text: &str, size: f64, strength: f64, side: HPos, at: (f64, f64)) -> Result<()> {
        let style = TextStyle {
            font: FontDesc::new(FONT.into(), size * self.scale, FontStyle::Normal),
            color: INK.mix(strength).to_backend_color(),
            pos: Pos::new(side, VPos::Center),
        };
        self.area.draw(&Text::new(text.to_owned(), self.at(at), style)).map_err(failed)
    }

    fn line(&self, points: &[(f64, f64)], colour: &impl Color, width: f64) -> Result<()> {
        let stroke_width = (width * self.scale).round().max(1.0) as u32;
        let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width };
        // Piece by piece: the bitmap's joints have spikes where a line turns.
        for ends in points.windows(2) {
            let ends: Vec<_> = ends.iter().map(|point| self.at(*point)).collect();
            self.area.draw(&PathElement::new(ends, style)).map_err(failed)?;
        }
        Ok(())
    }

    fn dot(&self, at: (f64, f64), radius: f64, colour: &impl Color) -> Result<()> {
        let radius = (radius * self.scale).round() as i32;
        self.area.draw(&Circle::new(self.at(at), radius, colour.filled())).map_err(failed)
    }

    fn rectangle(&self, from: (f64, f64), to: (f64, f64), colour: &impl Color) -> Result<()> {
        self.area.draw(&Rectangle::new([self.at(from), self.at(to)], colour.filled())).map_err(failed)
    }

    /// Writes heading and a line below it.
    fn heading(&self, title: &str, below: &str) -> Result<()> {
        self.text(title, 22.0, 1.0, HPos::Left, (20.0, 28.0))?;
        self.text(below, 13.0, 0.75, HPos::Left, (20.0, 52.0))
    }

    /// Names the backends' colours in a row.
    fn legend(&self, backends: &[String], y: f64) -> Result<()> {
        let mut x = 20.0;
        for (backend, colour) in backends.iter().zip(COLOURS.iter().cycle()) {
            self.rectangle((x, y - 6.0), (x + 16.0, y + 6.0), colour)?;
            self.text(backend, 14.0, 1.0, HPos::Left, (x + 22.0, y))?;
            x += 50.0 + 8.5 * backend.chars().count() as f64;
        }
        Ok(())
    }
}

/// The colour of a backend.
fn colour(backends: &[String], backend: &str) -> RGBColor {
    let place = backends.iter().position(|name| name == backend).unwrap_or(0);
    COLOURS[place % COLOURS.len()]
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `step`.
fn nice(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let found = [1.0, 2.0, 5.0].iter().map(|m| m * decade).find(|n| *n >= step * (1.0 - 1e-9));
    found.unwrap_or(10.0 * decade)
}
