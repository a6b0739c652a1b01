//! One chart on any `plotters` backend: heading, legend row, grid, curves.
//!
//! Sizes are logical pixels of a 720 x 400 picture; [`Canvas`] scales them.

use plotters::{
    coord::Shift,
    drawing::{DrawingArea, DrawingAreaErrorKind},
    prelude::{Circle, DrawingBackend, PathElement, Text},
    style::{
        Color, FontDesc, FontStyle, RGBAColor, RGBColor, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{Chart, Series, axis::Axis};

/// Width of a chart, logical pixels.
pub(super) const WIDTH: u32 = 720;
/// Height of a chart, logical pixels.
pub(super) const HEIGHT: u32 = 400;
/// Family that the embedded letters stand in for.
pub(super) const FONT: &str = "sans-serif";
/// Colour of letters and axes; in SVG it is replaced by the page's.
pub(super) const INK_HEX: &str = "#24292F";
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2F);

/// Okabe and Ito's colours, without their black (the ink) and yellow (too faint on white).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// Curves with at most this many points get a dot at each.
const DOTS: usize = 30;
/// Curves with more points than this are noise mostly, and thinner.
const DENSE: usize = 600;
/// Longest text drawn, characters.
const LONGEST: usize = 48;

const TITLE_SIZE: f64 = 22.0;
const TEXT_SIZE: f64 = 18.0;
/// Plot frame, logical pixels from the left, right and bottom edge.
const FRAME: (f64, f64, f64) = (66.0, 18.0, 58.0);

type DrawResult<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Where to draw, and how the backend measures.
pub(super) struct Canvas<'a, DB: DrawingBackend> {
    /// The backend's pixels.
    pub(super) area: &'a DrawingArea<DB, Shift>,
    /// Backend pixels for one logical pixel.
    pub(super) scale: f64,
    /// Baseline under the top of a text, in text sizes.
    pub(super) baseline: f64,
    /// Whether the backend joins the pieces of a thick line well; the bitmap one makes long
    /// spikes where a curve turns back.
    pub(super) joins: bool,
}

impl<DB: DrawingBackend> Canvas<'_, DB> {
    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn pen(&self, colour: impl Color, width: f64) -> ShapeStyle {
        let stroke_width = (width * self.scale).round().max(1.0) as u32;
        ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width }
    }

    fn style(&self, size: f64, colour: RGBAColor, side: HPos) -> TextStyle<'static> {
        TextStyle {
            font: FontDesc::new(FONT.into(), size * self.scale, FontStyle::Normal),
            color: colour.to_backend_color(),
            pos: Pos::new(side, VPos::Top),
        }
    }

    /// Writes `text` with its baseline at `(x, y)`.
    fn text(&self, text: &str, size: f64, strength: f64, side: HPos, (x, y): (f64, f64)) -> DrawResult<DB> {
        let at = self.at((x, y - size * self.baseline));
        self.area.draw(&Text::new(clean(text), at, self.style(size, INK.mix(strength), side)))
    }

    fn line(&self, from: (f64, f64), to: (f64, f64), pen: ShapeStyle) -> DrawResult<DB> {
        self.area.draw(&PathElement::new([self.at(from), self.at(to)], pen))
    }

    /// Draws a curve through backend pixels.
    fn curve(&self, points: &[(i32, i32)], pen: ShapeStyle) -> DrawResult<DB> {
        if self.joins {
            return self.area.draw(&PathElement::new(points, pen));
        }
        let joint = ShapeStyle { filled: true, ..pen };
        for ends in points.windows(2) {
            self.area.draw(&PathElement::new(ends, pen))?;
        }
        for point in points {
            self.area.draw(&Circle::new(*point, pen.stroke_width / 2, joint))?;
        }
        Ok(())
    }

    /// Width of `text`, logical pixels.
    fn width(&self, text: &str, size: f64) -> Result<f64, DrawingAreaErrorKind<DB::ErrorType>> {
        let style = self.style(size, INK.mix(1.0), HPos::Left);
        let (width, _) = self.area.estimate_text_size(&clean(text), &style)?;
        Ok(f64::from(width) / self.scale)
    }
}

/// Draws `chart` from the top left corner of the canvas.
pub(super) fn chart<DB: DrawingBackend>(canvas: &Canvas<DB>, chart: &Chart) -> DrawResult<DB> {
    canvas.text(&chart.title, TITLE_SIZE, 1.0, HPos::Left, (10.0, 26.0))?;
    canvas.text(&chart.y, TEXT_SIZE, 0.75, HPos::Left, (10.0, 51.0))?;
    let top = legend(canvas, chart)?;

    let x = Axis::tight(chart.series.iter().flat_map(|s| drawable(s, chart.log_y)).map(|p| p.0));
    let ys = chart.series.iter().flat_map(|s| drawable(s, chart.log_y)).map(|p| p.1);
    let y = if chart.log_y { Axis::logarithmic(ys) } else { Axis::linear(ys) };
    let (left, right, bottom) = (FRAME.0, f64::from(WIDTH) - FRAME.1, f64::from(HEIGHT) - FRAME.2);
    let to_x = |v: f64| x.place(v).map(|p| left + p * (right - left));
    let to_y = |v: f64| y.place(v).map(|p| bottom - p * (bottom - top));

    let grid = canvas.pen(INK.mix(0.15), 0.7);
    for (at, label) in y.ticks.iter().filter_map(|(v, label)| Some((to_y(*v)?, label))) {
        canvas.line((left, at), (right, at), grid)?;
        canvas.text(label, TEXT_SIZE, 0.9, HPos::Right, (left - 8.0, at + 5.5))?;
    }
    for (at, label) in x.ticks.iter().filter_map(|(v, label)| Some((to_x(*v)?, label))) {
        canvas.line((at, bottom), (at, bottom + 5.0), canvas.pen(INK.mix(0.6), 1.0))?;
        canvas.text(label, TEXT_SIZE, 0.9, HPos::Center, (at, bottom + 22.0))?;
    }
    canvas.line((left, bottom), (right, bottom), canvas.pen(INK.mix(0.6), 1.0))?;
    let below = ((left + right) / 2.0, f64::from(HEIGHT) - 12.0);
    canvas.text(&chart.x, TEXT_SIZE, 0.75, HPos::Center, below)?;

    let mut empty = true;
    for (i, series) in chart.series.iter().enumerate() {
        let points = drawable(series, chart.log_y).filter_map(|(x, y)| Some((to_x(x)?, to_y(y)?)));
        let points = thin(points.map(|point| canvas.at(point)));
        empty &= points.is_empty();
        let colour = COLOURS[i % COLOURS.len()];
        if series.apart || points.len() <= DOTS {
            for point in &points {
                let radius = (3.0 * canvas.scale) as i32;
                canvas.area.draw(&Circle::new(*point, radius, colour.filled()))?;
            }
        }
        if points.len() > 1 && !series.apart {
            let width = if points.len() > DENSE { 1.4 } else { 2.0 };
            canvas.curve(&points, canvas.pen(colour, width))?;
        }
    }
    if empty {
        let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
        canvas.text("no data", TEXT_SIZE, 0.6, HPos::Center, middle)?;
    }
    Ok(())
}

/// Draws the legend right of the y label, or in rows below it; returns where the plot begins.
fn legend<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    chart: &Chart,
) -> Result<f64, DrawingAreaErrorKind<DB::ErrorType>> {
    const SWATCH: f64 = 22.0;
    let mut widths = Vec::new();
    for series in &chart.series {
        widths.push(SWATCH + 6.0 + canvas.width(&series.name, TEXT_SIZE)? + 20.0);
    }
    let right = f64::from(WIDTH) - FRAME.1;
    let beside = right + 20.0 - widths.iter().sum::<f64>();
    let (mut x, mut y) =
        if beside > 30.0 + canvas.width(&chart.y, TEXT_SIZE)? { (beside, 51.0) } else { (10.0, 76.0) };
    for (i, (series, width)) in chart.series.iter().zip(widths).enumerate() {
        if x > 10.0 && x + width - 20.0 > right + 1.0 {
            (x, y) = (10.0, y + 23.0);
        }
        if y > f64::from(HEIGHT) / 2.0 {
            break; // the rest has no room: the curves are worth more
        }
        let colour = COLOURS[i % COLOURS.len()];
        canvas.line((x, y - 5.0), (x + SWATCH, y - 5.0), canvas.pen(colour, 3.0))?;
        canvas.text(&series.name, TEXT_SIZE, 1.0, HPos::Left, (x + SWATCH + 6.0, y))?;
        x += width;
    }
    Ok(y + 18.0)
}

/// The points that have a place on the chart.
fn drawable(series: &Series, log_y: bool) -> impl Iterator<Item = (f64, f64)> + '_ {
    let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
    series.points.iter().copied().filter(finite).filter(move |(_, y)| !log_y || *y > 0.0)
}

/// Leaves of each run of points in one pixel column the first, lowest, highest and last: the same
/// picture from at most four points a column.
fn thin(points: impl Iterator<Item = (i32, i32)>) -> Vec<(i32, i32)> {
    let points: Vec<(i32, i32)> = points.collect();
    let mut out: Vec<(i32, i32)> = Vec::new();
    for run in points.chunk_by(|a, b| a.0 == b.0) {
        let low = run.iter().min_by_key(|p| p.1);
        let high = run.iter().max_by_key(|p| p.1);
        for point in [run.first(), low, high, run.last()].into_iter().flatten() {
            if out.last() != Some(point) {
                out.push(*point);
            }
        }
    }
    out
}

/// `text` on one line and no longer than a chart is wide.
fn clean(text: &str) -> String {
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.pop();
        out.push('…');
    }
    out
}
