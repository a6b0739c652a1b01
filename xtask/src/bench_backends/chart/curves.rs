//! How cost grows: one panel an axis, one line a backend, both axes logarithmic, so that a power is a slope.

use anyhow::Result;
use plotters::{
    prelude::DrawingBackend,
    style::{Color, text_anchor::HPos},
};

use super::{INK, Pen, Picture, WIDTH, colour};
use crate::bench_backends::scaling::Curve;

const TOP: f64 = 100.0;
const PANEL: (f64, f64) = (WIDTH / 2.0, 300.0);
/// Of a panel, for what stands around its frame: left, right, top, bottom.
const FRAME: (f64, f64, f64, f64) = (64.0, 26.0, 62.0, 44.0);

/// Panels, two a row.
pub(in super::super) struct Curves<'a> {
    pub(in super::super) curves: &'a [Curve],
    pub(in super::super) backends: Vec<String>,
    /// What was measured on.
    pub(in super::super) below: String,
}

impl Curves<'_> {
    /// The curves that share a panel.
    fn panels(&self) -> Vec<Vec<&Curve>> {
        let mut panels: Vec<Vec<&Curve>> = Vec::new();
        for curve in self.curves.iter().filter(|curve| !curve.points.is_empty()) {
            match panels.iter_mut().find(|panel| panel[0].axis == curve.axis) {
                Some(panel) => panel.push(curve),
                None => panels.push(vec![curve]),
            }
        }
        panels
    }

    fn draw_panel<DB: DrawingBackend>(&self, pen: &Pen<DB>, panel: &[&Curve], at: (f64, f64)) -> Result<()> {
        let (left, right) = (at.0 + FRAME.0, at.0 + PANEL.0 - FRAME.1);
        let (top, bottom) = (at.1 + FRAME.2, at.1 + PANEL.1 - FRAME.3);
        let Curve { axis, cost, .. } = panel[0];
        pen.text(&format!("{cost} over {axis}"), 15.0, 1.0, HPos::Left, (at.0 + 20.0, at.1 + 18.0))?;
        pen.text(axis, 12.0, 0.75, HPos::Center, ((left + right) / 2.0, bottom + 32.0))?;

        let points = || panel.iter().flat_map(|curve| &curve.points);
        let x = Range::of(points().map(|point| point.0));
        let y = Range::of(points().map(|point| point.1)).to_steps();
        let to_x = |value: f64| left + x.place(value) * (right - left);
        let to_y = |value: f64| bottom - y.place(value) * (bottom - top);
        for tick in y.ticks() {
            pen.line(&[(left, to_y(tick)), (right, to_y(tick))], &INK.mix(0.13), 0.7)?;
            pen.text(&short(tick), 12.0, 0.8, HPos::Right, (left - 7.0, to_y(tick)))?;
        }
        let mut marks: Vec<f64> = points().map(|point| point.0).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        for mark in marks {
            pen.line(&[(to_x(mark), bottom), (to_x(mark), bottom + 4.0)], &INK.mix(0.6), 1.0)?;
            pen.text(&short(mark), 12.0, 0.8, HPos::Center, (to_x(mark), bottom + 14.0))?;
        }
        pen.line(&[(left, bottom), (right, bottom)], &INK.mix(0.6), 1.0)?;

        let mut place = at.0 + 20.0;
        for curve in panel {
            let colour = colour(&self.backends, &curve.backend);
            let line: Vec<_> = curve.points.iter().map(|(x, y)| (to_x(*x), to_y(*y))).collect();
            pen.line(&line, &colour, 2.0)?;
            for point in line {
                pen.dot(point, 3.0, &colour)?;
            }
            let power = curve.exponent.map_or("?".into(), |power| format!("{power:.2}"));
            let label = format!("{}: power {power}", curve.backend);
            pen.line(&[(place, at.1 + 42.0), (place + 14.0, at.1 + 42.0)], &colour, 3.0)?;
            pen.text(&label, 12.0, 1.0, HPos::Left, (place + 18.0, at.1 + 42.0))?;
            place += 30.0 + 6.6 * label.chars().count() as f64;
        }
        Ok(())
    }
}

/// The logarithmic extent of an axis.
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        Self { low: low.max(1e-9), high: high.max(1e-9) }
    }

    /// Out to 1, 2 or 5 times a power of ten, and to a factor of 4 at least: noise is not to look like growth.
    fn to_steps(&self) -> Self {
        let middle = (self.low * self.high).sqrt();
        let (low, high) = (self.low.min(middle / 2.0), self.high.max(middle * 2.0));
        let below = steps(low).filter(|step| *step <= low * (1.0 + 1e-9)).fold(0.0, f64::max);
        let above = steps(high).find(|step| *step >= high * (1.0 - 1e-9)).unwrap_or(high);
        Self { low: below, high: above }
    }

    fn place(&self, value: f64) -> f64 {
        let length = (self.high / self.low).ln();
        if length > 0.0 { (value / self.low).ln() / length } else { 0.5 }
    }

    /// All steps within; only powers of ten where there are many.
    fn ticks(&self) -> Vec<f64> {
        let within = |step: &f64| (self.low * (1.0 - 1e-9)..=self.high * (1.0 + 1e-9)).contains(step);
        let all: Vec<f64> = (0..12)
            .flat_map(|decade| steps(self.low * 10f64.powi(decade)).skip(3).take(3))
            .filter(within)
            .collect();
        if all.len() <= 9 {
            return all;
        }
        all.into_iter().filter(|step| (step.log10() - step.log10().round()).abs() < 1e-6).collect()
    }
}

/// 1, 2 and 5 times the powers of ten around `value`, from a decade below to a decade above.
fn steps(value: f64) -> impl Iterator<Item = f64> {
    let decade = value.log10().floor() as i32;
    (decade - 1..=decade + 1).flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(d)))
}

/// A number in few letters.
fn short(value: f64) -> String {
    if value >= 1e4 {
        format!("{}k", value / 1e3)
    } else if value >= 1.0 {
        format!("{value:.0}")
    } else {
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

impl Picture for Curves<'_> {
    fn height(&self) -> f64 {
        TOP + self.panels().len().div_ceil(2) as f64 * PANEL.1
    }

    fn draw<DB: DrawingBackend>(&self, pen: &Pen<DB>) -> Result<()> {
        pen.heading("How cost grows: cost = constant · x to a power", &self.below)?;
        pen.legend(&self.backends, 80.0)?;
        for (place, panel) in self.panels().iter().enumerate() {
            let at = ((place % 2) as f64 * PANEL.0, TOP + (place / 2) as f64 * PANEL.1);
            self.draw_panel(pen, panel, at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{png, register_letters, svg};
    use super::*;

    #[test]
    fn axes_end_on_steps_and_never_exaggerate() {
        let y = Range::of([3.0, 70.0].into_iter()).to_steps();
        assert_eq!((y.low, y.high, y.ticks()), (2.0, 100.0, vec![2.0, 5.0, 10.0, 20.0, 50.0, 100.0]));
        let flat = Range::of([120.0, 121.0].into_iter()).to_steps();
        assert!(flat.high / flat.low >= 4.0);
        let wide = Range::of([0.5, 40_000.0].into_iter()).to_steps();
        assert_eq!(wide.ticks(), [1.0, 10.0, 100.0, 1e3, 1e4]);
        assert_eq!([0.002, 7.0, 59_000.0].map(short), ["0.002", "7", "59k"]);
    }

    #[test]
    fn curves_and_their_powers_are_drawn() {
        let curve = |backend: &str, points: &[(f64, f64)]| Curve {
            axis: "width",
            cost: "ms a step",
            backend: backend.into(),
            points: points.to_vec(),
            exponent: Some(1.5),
            error: None,
        };
        let curves =
            [curve("flex", &[(1.0, 2.0), (4.0, 16.0)]), curve("tch", &[(1.0, 3.0)]), curve("silent", &[])];
        let backends = vec!["flex".to_owned(), "tch".into()];
        let picture = Curves { curves: &curves, backends, below: String::new() };
        register_letters().unwrap();
        let text = svg(&picture).unwrap();
        assert!(text.contains("flex: power 1.50") && text.contains("ms a step over width"));
        assert!(!text.contains("NaN") && !text.contains("silent"));
        assert!(png(&picture).unwrap().starts_with(b"\x89PNG"));
        svg(&Curves { curves: &[], ..picture }).unwrap();
    }
}
