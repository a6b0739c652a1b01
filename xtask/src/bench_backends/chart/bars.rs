//! The figures as bars: one panel a work, one group a net or operation, one bar a backend.
//!
//! A bar's length is the speed relative to the baseline, so that a panel compares nets of any size; the figure
//! itself stands beside it.

use anyhow::Result;
use plotters::{
    prelude::DrawingBackend,
    style::{Color, text_anchor::HPos},
};

use super::{INK, Pen, Picture, WIDTH, colour, nice};
use crate::bench_backends::{Work, rows::Row};

const BAR: f64 = 15.0;
const GROUP_GAP: f64 = 10.0;
const PANEL_HEAD: f64 = 40.0;
const PANEL_FOOT: f64 = 34.0;
const TOP: f64 = 100.0;
/// Where bars begin, and where the longest may end.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 680.0;

/// Panels under each other.
pub(in super::super) struct Bars<'a> {
    pub(in super::super) rows: &'a [Row],
    pub(in super::super) backends: Vec<String>,
    pub(in super::super) baseline: &'a str,
    /// What was measured on.
    pub(in super::super) below: String,
}

struct Panel<'a> {
    title: &'static str,
    groups: Vec<(&'a str, Vec<&'a Row>)>,
}

impl Panel<'_> {
    fn height(&self) -> f64 {
        let bars: usize = self.groups.iter().map(|(_, rows)| rows.len()).sum();
        PANEL_HEAD + bars as f64 * BAR + self.groups.len() as f64 * GROUP_GAP + PANEL_FOOT
    }
}

impl Bars<'_> {
    fn panels(&self) -> Vec<Panel<'_>> {
        let titles = [
            (Work::Train, "Training, batch 64"),
            (Work::Infer, "Inference, batch 256"),
            (Work::Latency, "One image"),
            (Work::Op, "Operations, forward and backward"),
            (Work::Accuracy, "Training until 99.0 % of the test images are right"),
        ];
        let panel = |(work, title)| {
            let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
            for row in self.rows.iter().filter(|row| row.is(work)) {
                match groups.iter_mut().find(|(net, _)| *net == row.net) {
                    Some((_, rows)) => rows.push(row),
                    None => groups.push((&row.net, vec![row])),
                }
            }
            Panel { title, groups }
        };
        titles.into_iter().map(panel).filter(|panel| !panel.groups.is_empty()).collect()
    }

    fn draw_panel<DB: DrawingBackend>(&self, pen: &Pen<DB>, panel: &Panel, top: f64) -> Result<()> {
        pen.text(panel.title, 16.0, 1.0, HPos::Left, (20.0, top + 18.0))?;
        let rows = panel.groups.iter().flat_map(|(_, rows)| rows);
        let most = rows.filter_map(|row| row.ratio).fold(1.0, f64::max);
        let to_x = |ratio: f64| LEFT + (RIGHT - LEFT) * ratio / most;
        let (first, last) = (top + PANEL_HEAD, top + panel.height() - PANEL_FOOT);

        let step = nice(most / 6.0);
        for tick in (0..=(most / step + 1e-9) as u32).map(|i| f64::from(i) * step) {
            pen.line(&[(to_x(tick), first), (to_x(tick), last)], &INK.mix(0.13), 0.7)?;
            let digits = (-step.log10().floor()).max(0.0) as usize;
            pen.text(&format!("{tick:.digits$}×"), 12.0, 0.7, HPos::Center, (to_x(tick), last + 12.0))?;
        }
        let mut y = first;
        for (net, rows) in &panel.groups {
            let middle = y + GROUP_GAP / 2.0 + BAR * rows.len() as f64 / 2.0;
            pen.text(net, 13.5, 1.0, HPos::Right, (LEFT - 10.0, middle))?;
            y += GROUP_GAP / 2.0;
            for row in rows {
                let end = to_x(row.ratio.unwrap_or(0.0));
                if row.ratio.is_some() {
                    let colour = colour(&self.backends, &row.backend);
                    pen.rectangle((LEFT, y + 1.0), (end, y + BAR - 1.0), &colour)?;
                }
                let beside = end.max(to_x(1.0)) + 6.0; // the baseline would cross the letters
                pen.text(&label(row), 12.0, 0.9, HPos::Left, (beside, y + BAR / 2.0))?;
                y += BAR;
            }
            y += GROUP_GAP / 2.0;
        }
        // The baseline stands over bars and grid.
        pen.line(&[(to_x(1.0), first), (to_x(1.0), last)], &INK.mix(0.7), 1.2)
    }
}

/// The figure beside a bar.
fn label(row: &Row) -> String {
    if row.error.is_some() {
        return format!("{}: failed", row.backend);
    }
    let ratio = row.ratio.map_or(String::new(), |ratio| format!("  ({ratio:.2}×)"));
    match (row.seconds_to_99, row.images_per_s, row.latency_ms) {
        (Some(seconds), ..) => format!("{seconds:.1} s{ratio}"),
        (_, Some(speed), _) => format!("{speed:.0} images/s{ratio}"),
        (.., Some(ms)) => format!("{ms:.*} ms{ratio}", if ms < 1.0 { 3 } else { 1 }),
        _ => "not measured".into(),
    }
}

impl Picture for Bars<'_> {
    fn height(&self) -> f64 {
        TOP + self.panels().iter().map(Panel::height).sum::<f64>()
    }

    fn draw<DB: DrawingBackend>(&self, pen: &Pen<DB>) -> Result<()> {
        pen.heading(&format!("Speed relative to {}: longer is faster", self.baseline), &self.below)?;
        pen.legend(&self.backends, 80.0)?;
        let mut top = TOP;
        for panel in self.panels() {
            pen.line(&[(20.0, top), (WIDTH - 20.0, top)], &INK.mix(0.13), 0.7)?;
            self.draw_panel(pen, &panel, top)?;
            top += panel.height();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{png, register_letters, svg};
    use super::*;
    use crate::bench_backends::rows::{compare, tests::row};

    #[test]
    fn every_figure_stands_in_the_picture_and_odd_ones_draw() {
        let mut rows = vec![
            row("flex", "mlp", Work::Train, 8.0),
            row("pytorch", "mlp", Work::Train, 16.0),
            row("flex", "gelu", Work::Op, 0.5),
            Row { error: Some("no".into()), ..row("pytorch", "gelu", Work::Op, 1.0) },
        ];
        compare(&mut rows, "pytorch");
        let backends = vec!["flex".to_owned(), "pytorch".into()];
        let picture = Bars { rows: &rows, backends, baseline: "pytorch", below: "a <machine>".into() };
        register_letters().unwrap();
        let text = svg(&picture).unwrap();
        for wanted in ["8000 images/s  (2.00×)", "0.500 ms", "pytorch: failed", "a &lt;machine&gt;"] {
            assert!(text.contains(wanted), "{wanted}");
        }
        assert!(png(&picture).unwrap().starts_with(b"\x89PNG"));
        svg(&Bars { rows: &[], ..picture }).unwrap();
    }
}
