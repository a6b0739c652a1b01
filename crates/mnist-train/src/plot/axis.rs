//! Where an axis begins and ends, its ticks and their labels: steps of 1, 2 and 5 times a power
//! of ten (Heckbert, "Nice numbers for graph labels", Graphics Gems 1990).

/// Values beyond this are left out: their differences would overflow.
const LARGEST: f64 = 1e100;
/// Ticks of a logarithmic axis within a decade, where there is room for them.
const LOG_STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// One axis.
#[derive(Debug, PartialEq)]
pub(super) struct Axis {
    /// Value at the near end, below `high`.
    low: f64,
    /// Value at the far end.
    high: f64,
    /// Whether distances are ratios.
    log: bool,
    /// Ticks with their labels, ascending, inside `low..=high`.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis for epochs or steps: it ends where `values` end, and whole numbers get whole ticks.
    pub(super) fn tight(values: impl Iterator<Item = f64>) -> Self {
        let mut whole = true;
        let values = values.filter(|v| usable(*v, false)).inspect(|v| whole &= v.fract() == 0.0);
        let (low, high) = apart(bounds(values));
        let step = nice((high - low) / 8.0);
        Self::stepped(low, high, if whole { step.max(1.0) } else { step })
    }

    /// An axis over `values`, its ends on ticks.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = apart(bounds(values.filter(|v| usable(*v, false))));
        let step = nice((high - low) / 5.0);
        Self::stepped((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step, step)
    }

    fn stepped(low: f64, high: f64, step: f64) -> Self {
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let slack = (high - low) * 1e-9;
        let count = (last - first).clamp(0.0, 100.0) as u32;
        let ticks = (0..=count)
            .map(|i| (first + f64::from(i)) * step)
            .filter(|v| (low - slack..=high + slack).contains(v))
            .map(|v| (v, label(v, step)))
            .collect();
        Self { low, high, log: false, ticks }
    }

    /// A logarithmic axis over the positive `values`, its ends on ticks.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values.filter(|v| usable(*v, true))).unwrap_or((0.1, 1.0));
        let (first, last) = (low.log10().floor() as i32 - 1, high.log10().ceil() as i32 + 1);
        let marks = (first..=last).flat_map(|decade| LOG_STEPS.map(|step| (decade, step)));
        let marks: Vec<(i32, f64, f64)> =
            marks.map(|(decade, step)| (decade, step, step * 10f64.powi(decade))).collect();
        let below = marks.iter().rev().map(|m| m.2).find(|m| *m <= low).unwrap_or(low);
        let above = marks.iter().map(|m| m.2).find(|m| *m >= high && *m > below).unwrap_or(high);
        let decades = (above / below).log10();
        let stride = (decades / 6.0).ceil().max(1.0) as i32;
        let labelled = |decade: i32, step: f64| {
            decades < 2.6 || (step == 1.0 && (decade - first).rem_euclid(stride) == 0)
        };
        let ticks = marks
            .iter()
            .filter(|(decade, step, m)| (below..=above).contains(m) && labelled(*decade, *step))
            .map(|(_, _, m)| (*m, label(*m, *m)))
            .collect();
        Self { low: below, high: above, log: true, ticks }
    }

    /// Place of `value`, 0 at the near end and 1 at the far one; `None` if it has none.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !usable(value, self.log) {
            return None;
        }
        let f = |v: f64| if self.log { v.log10() } else { v };
        let place = (f(value) - f(self.low)) / (f(self.high) - f(self.low));
        place.is_finite().then_some(place)
    }
}

fn usable(value: f64, log: bool) -> bool {
    value.abs() <= LARGEST && (!log || value >= 1.0 / LARGEST)
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |found: Option<(f64, f64)>, v| {
        let (low, high) = found.unwrap_or((v, v));
        Some((low.min(v), high.max(v)))
    })
}

/// `bounds` or 0-1, moved apart where they are too close for ticks between them.
fn apart(bounds: Option<(f64, f64)>) -> (f64, f64) {
    let (low, high) = bounds.unwrap_or((0.0, 1.0));
    let largest = low.abs().max(high.abs());
    if high - low > largest * 1e-9 && high - low > 1.0 / LARGEST {
        return (low, high);
    }
    let around = if largest < 1e-9 { 1.0 } else { largest * 0.05 };
    (low - around, high + around)
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `step`.
fn nice(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let nice = [1.0, 2.0, 5.0].iter().map(|m| m * decade).find(|n| *n >= step * (1.0 - 1e-9));
    nice.unwrap_or(10.0 * decade)
}

/// `value` with as many digits as ticks `step` apart need.
fn label(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    if value == 0.0 {
        return "0".into();
    }
    if step < 1e-4 || value.abs() >= 1e9 {
        let digits = (value.abs().log10().floor() - step.log10().floor()).clamp(0.0, 6.0);
        return format!("{value:.0$e}", digits as usize);
    }
    for (unit, sign) in [(1e6, "M"), (1e3, "k")] {
        if value.abs() >= unit && value.abs() >= 1e4 {
            return format!("{}{sign}", decimal(value / unit, step / unit));
        }
    }
    decimal(value, step)
}

fn decimal(value: f64, step: f64) -> String {
    let digits = (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0);
    format!("{value:.0$}", digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let tight = |values: &[f64]| Axis::tight(values.iter().copied());
        assert_eq!(labels(&tight(&[1.0, 4.0])), ["1", "2", "3", "4"]);
        assert_eq!(labels(&tight(&[0.0, 21_000.0])), ["0", "5000", "10k", "15k", "20k"]);
        let linear = |values: &[f64]| Axis::linear(values.iter().copied());
        assert_eq!(labels(&linear(&[0.0, 1.0])), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&linear(&[0.913, 0.9934])), ["0.90", "0.92", "0.94", "0.96", "0.98", "1.00"]);
        assert_eq!(labels(&linear(&[0.0, 4e-5])), ["0", "1e-5", "2e-5", "3e-5", "4e-5"]);
        let log = |values: &[f64]| Axis::logarithmic(values.iter().copied());
        assert_eq!(labels(&log(&[0.03, 2.3])), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(&log(&[1e-3, 0.3])), ["0.001", "0.01", "0.1"]);
    }

    #[test]
    fn odd_values_still_give_an_axis() {
        let odd: [&[f64]; 9] = [
            &[],
            &[f64::NAN, f64::INFINITY],
            &[0.5],
            &[3.0],
            &[-2.0, -2.0],
            &[1e300, 1.0],
            &[1.0, 1.0 + f64::EPSILON],
            &[1e100, -1e100],
            &[1e-300, 5e-324],
        ];
        for values in odd {
            let values = || values.iter().copied();
            for axis in [Axis::tight(values()), Axis::linear(values()), Axis::logarithmic(values())] {
                assert!(axis.low < axis.high, "{axis:?}");
                assert!((1..=30).contains(&axis.ticks.len()), "{axis:?}");
                for place in values().filter_map(|v| axis.place(v)) {
                    assert!((-1e-6..=1.0 + 1e-6).contains(&place), "{place} on {axis:?}");
                }
            }
        }
    }
}
