//! Training curves as one PNG, or as SVG for the report, from the same drawing code.
//!
//! `plotters` is the pen only; axes and layout are ours (`plot/axis.rs`, `plot/draw.rs`): its own
//! legends cover curves, and its axes take neither empty nor constant series. The colours are
//! Okabe and Ito's (2008), told apart by colour-blind readers too. Letters in the PNG come from an
//! embedded subset of DejaVu Sans, so that a machine without fonts draws the same picture.

mod axis;
mod draw;

use std::sync::OnceLock;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::{
    prelude::{BitMapBackend, DrawingBackend, IntoDrawingArea, SVGBackend, WHITE},
    style::{FontStyle, register_font},
};

use draw::{Canvas, HEIGHT, WIDTH};

/// Pixels drawn for one logical pixel.
const SCALE: u32 = 3;
/// The PNG is shrunk by this after drawing: smooth lines out of a pen that draws jagged ones.
const SHRINK: u32 = 2;
/// Most charts of a PNG; each takes 18 MB while it is drawn, and a run has about ten.
const MOST: usize = 32;
/// White between and around the charts of a PNG, logical pixels.
const GAP: u32 = 8;

/// Habits of a backend: where it puts the baseline under the top of a text (in text sizes), and
/// whether it joins thick lines well.
const BITMAP: (f64, bool) = (0.5, false);
const SVG: (f64, bool) = (0.76 / 1.24, true);

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The drawing itself failed.
    #[error("cannot draw the chart: {0}")]
    Draw(String),
    /// A picture could not be encoded.
    #[error("cannot make the picture: {0}")]
    Encode(#[from] image::ImageError),
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// `(x, y)` in drawing order; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Dots that no line joins.
    pub apart: bool,
}

impl Series {
    /// A curve through points.
    pub fn curve(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, apart: false }
    }

    /// Dots that no line joins.
    pub fn dots(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, apart: true }
    }
}

/// One pair of axes with its curves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// What x is, with its unit.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// Logarithmic y; values of 0 or less are left out.
    pub log_y: bool,
    /// The curves; more than seven share colours.
    pub series: Vec<Series>,
}

/// Draws `charts` into one PNG, two a row, 1080 x 600 pixels each.
///
/// Returns the bytes of the file. Without charts the picture is a white one.
///
/// # Errors
/// The pen failed, or there are more than 32 charts.
pub fn png(charts: &[Chart]) -> Result<Vec<u8>, PlotError> {
    if charts.len() > MOST {
        return Err(PlotError::Draw(format!(
            "there are {} charts; at most {MOST} go into a picture",
            charts.len()
        )));
    }
    let columns = if charts.len() > 1 { 2 } else { 1 };
    let rows = charts.len().div_ceil(columns).max(1);
    let (step_x, step_y) = (WIDTH + GAP, HEIGHT + GAP);
    let width = (columns as u32 * step_x + GAP) * SCALE;
    let height = (rows as u32 * step_y + GAP) * SCALE;
    let mut pixels = vec![255u8; 3 * width as usize * height as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        for (i, chart) in charts.iter().enumerate() {
            let x = (GAP + (i % columns) as u32 * step_x) * SCALE;
            let y = (GAP + (i / columns) as u32 * step_y) * SCALE;
            let ((x, y), (w, h)) = ((x as i32, y as i32), ((WIDTH * SCALE) as i32, (HEIGHT * SCALE) as i32));
            let cell = area.clone().shrink((x, y), (w, h));
            chart_on(&cell, chart, BITMAP)?;
        }
        area.present().map_err(failed)?;
    }
    let small = shrink(&pixels, width as usize);
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&small, width / SHRINK, height / SHRINK, ExtendedColorType::Rgb8)
        .map_err(failed)?;
    Ok(bytes)
}

/// `chart` as an `<svg>` element without a size of its own: it fills the width it is given.
///
/// Letters and axes take `currentColor`, the background is transparent: it suits a light page and
/// a dark one. Text from `chart` is escaped.
///
/// # Errors
/// The pen failed.
pub fn svg(chart: &Chart) -> Result<String, PlotError> {
    let (width, height) = (WIDTH * SCALE, HEIGHT * SCALE);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        chart_on(&area, chart, SVG)?;
        area.present().map_err(failed)?;
    }
    let size = format!("<svg width=\"{width}\" height=\"{height}\"");
    let ink = format!("\"{}\"", draw::INK_HEX);
    Ok(text.replacen(&size, "<svg role=\"img\"", 1).replace(&ink, "\"currentColor\""))
}

fn chart_on<DB: DrawingBackend>(
    area: &plotters::drawing::DrawingArea<DB, plotters::coord::Shift>,
    chart: &Chart,
    (baseline, joins): (f64, bool),
) -> Result<(), PlotError> {
    register_letters()?;
    let canvas = Canvas { area, scale: f64::from(SCALE), baseline, joins };
    draw::chart(&canvas, chart).map_err(failed)
}

/// Registers the embedded letters once; SVG measures with them but names the reader's own.
fn register_letters() -> Result<(), PlotError> {
    static LETTERS: &[u8] = include_bytes!("../assets/DejaVuSans-subset.ttf");
    static DONE: OnceLock<bool> = OnceLock::new();
    let register = || register_font(draw::FONT, FontStyle::Normal, LETTERS).is_ok();
    if *DONE.get_or_init(register) {
        return Ok(());
    }
    Err(PlotError::Draw("the embedded letters are damaged".into()))
}

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError::Draw(error.to_string())
}

/// Averages squares of `SHRINK` x `SHRINK` pixels of RGB rows of `width` pixels.
fn shrink(pixels: &[u8], width: usize) -> Vec<u8> {
    let n = SHRINK as usize;
    let mut out = Vec::with_capacity(pixels.len() / (n * n));
    for rows in pixels.chunks_exact(3 * width * n) {
        for x in 0..width / n {
            for channel in 0..3 {
                let at = |i: usize| rows[3 * ((i / n) * width + x * n + i % n) + channel];
                let sum: usize = (0..n * n).map(|i| usize::from(at(i))).sum();
                out.push((sum / (n * n)) as u8);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
