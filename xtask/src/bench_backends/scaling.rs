//! How cost grows: with batch size, images, width, threads and epochs, and the exponent that fits best.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::{PEER, Work, programs::Program, rows::median};

/// The net whose cost is looked at.
const NET: &str = "cnn";
const BATCHES: [usize; 6] = [1, 4, 16, 64, 256, 1024];
const WIDTHS: [usize; 4] = [1, 2, 3, 4];
/// Training images; one thousand of the 60,000 is left for validation.
const IMAGES: [usize; 4] = [1_000, 4_000, 16_000, 59_000];
const EPOCHS: [usize; 4] = [1, 2, 4, 8];
const ROUNDS: usize = 3;
/// Images of an epoch where their number is not looked at.
const FEW: usize = 2_000;

/// One backend's cost along one axis.
#[derive(Serialize)]
pub(crate) struct Curve {
    /// What grows.
    pub(crate) axis: &'static str,
    /// What it costs, with its unit.
    pub(crate) cost: &'static str,
    pub(crate) backend: String,
    /// `(x, cost)`.
    pub(crate) points: Vec<(f64, f64)>,
    /// Cost grows as x to this power, by least squares on logarithms.
    pub(crate) exponent: Option<f64>,
    /// Why there are no more points.
    pub(crate) error: Option<String>,
}

/// Something that grows.
struct Axis {
    name: &'static str,
    cost: &'static str,
    points: Vec<usize>,
    /// The cost at a point, for a net with these settings.
    measure: fn(&Program, usize, &Value) -> Result<f64>,
    /// Whether the peer can do it too: it has no recipes.
    peer: bool,
}

fn axes(threads: usize) -> [Axis; 5] {
    let step = "ms a step";
    let threads = (1..=threads).filter(|n| n.is_power_of_two() || *n == threads).collect();
    let axis = |name, cost, points, measure, peer| Axis { name, cost, points, measure, peer };
    [
        axis("batch size", step, BATCHES.into(), step_ms, true),
        axis("width", step, WIDTHS.into(), |program, n, net| step_ms(program, 64, &widened(net, n)), true),
        axis("threads", step, threads, |program, n, net| step_ms(&program.on_threads(n), 64, net), true),
        axis("training images", "s an epoch", IMAGES.into(), |p, n, _| train(p, n, 1, "seconds"), false),
        axis("epochs", "peak MiB", EPOCHS.into(), |p, n, _| train(p, FEW, n, "peak_mib"), false),
    ]
}

/// All curves of all backends.
///
/// # Errors
/// If no backend tells the settings of its net; what fails later is noted in its curve.
pub(crate) fn curves(programs: &[Program], threads: usize) -> Result<Vec<Curve>> {
    let known =
        programs.iter().find(|program| program.backend != PEER).context("only the peer works here")?;
    let settings = known.start()?.ask(&prepare(64, &Value::Null))?["settings"].clone();
    let mut curves = Vec::new();
    for axis in axes(threads) {
        for program in programs.iter().filter(|program| axis.peer || program.backend != PEER) {
            eprintln!("{} over {} on {}", axis.cost, axis.name, program.backend);
            curves.push(curve(&axis, program, &settings));
        }
    }
    Ok(curves)
}

/// One curve, up to the point that fails.
fn curve(axis: &Axis, program: &Program, settings: &Value) -> Curve {
    let (mut points, mut error) = (Vec::new(), None);
    for &x in &axis.points {
        match (axis.measure)(program, x, settings) {
            Ok(cost) => points.push((x as f64, cost)),
            Err(reason) => {
                error = Some(format!("at {x}: {reason:#}"));
                break;
            }
        }
    }
    let exponent = exponent(&points);
    Curve { axis: axis.name, cost: axis.cost, backend: program.backend.clone(), points, exponent, error }
}

fn prepare(batch: usize, settings: &Value) -> Value {
    json!({"do": "prepare", "work": Work::Train.name(), "net": NET, "batch": batch, "settings": settings})
}

/// Median milliseconds of a training step.
fn step_ms(program: &Program, batch: usize, settings: &Value) -> Result<f64> {
    let mut worker = program.start()?;
    worker.ask(&prepare(batch, settings))?;
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        let answer = worker.ask(&json!({"do": "round", "seconds": 0.4}))?;
        let number = |name: &str| answer[name].as_f64().with_context(|| format!("there is no {name}"));
        times.push(1e3 * number("seconds")? / number("iterations")?);
    }
    median(&times[1..]).context("there was no round") // the first one warms up
}

/// A figure of a training by the default recipe.
fn train(program: &Program, images: usize, epochs: usize, figure: &str) -> Result<f64> {
    let set = ["data.validation=1000".to_owned(), format!("data.limit={images}"), format!("epochs={epochs}")];
    let answer = program.start()?.ask(&json!({"do": "train", "set": set}))?;
    answer[figure].as_f64().with_context(|| format!("there is no {figure}"))
}

/// The settings of a net with every layer `times` as wide.
fn widened(settings: &Value, times: usize) -> Value {
    let wider = |value: &Value| value.as_u64().map_or(value.clone(), |n| (n * times as u64).into());
    let mut settings = settings.clone();
    for name in ["channels", "width"] {
        if let Some(value) = settings.get_mut(name) {
            *value = match value.as_array() {
                Some(list) => list.iter().map(wider).collect(),
                None => wider(value),
            };
        }
    }
    settings
}

/// Slope of the straight line through the logarithms of the points; `None` without two different x above 0.
fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = logs.iter().map(|p| p.1).sum::<f64>() / count;
    let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_law_is_found() {
        let points: Vec<_> = [1.0, 2.0, 8.0, 64.0f64].map(|x| (x, 5.0 * x.powf(0.7))).to_vec();
        assert!((exponent(&points).unwrap() - 0.7).abs() < 1e-12);
        assert!(exponent(&[(1.0, 3.0), (4.0, 3.0)]).unwrap().abs() < 1e-12);
        assert_eq!(exponent(&[(2.0, 3.0)]), None);
        assert_eq!(exponent(&[]), None);
    }

    // numpy.polyfit(numpy.log([1, 2, 4, 8]), numpy.log([10, 13, 26, 41]), 1)[0] = 0.710687172919216
    #[test]
    fn the_fit_is_numpys() {
        let found = exponent(&[(1.0, 10.0), (2.0, 13.0), (4.0, 26.0), (8.0, 41.0)]).unwrap();
        assert!((found - 0.710687172919216).abs() < 1e-9, "{found}");
    }

    #[test]
    fn widening_leaves_kernels_alone() {
        let settings = json!({"channels": [24, 48], "kernels": [3, 3], "width": 128, "pool": true});
        let wanted = json!({"channels": [72, 144], "kernels": [3, 3], "width": 384, "pool": true});
        assert_eq!(widened(&settings, 3), wanted);
    }
}
