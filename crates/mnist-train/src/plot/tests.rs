//! Nothing that a run can log makes drawing fail; the pictures themselves were looked at.

use super::*;

fn series(name: &str, points: &[(f64, f64)]) -> Series {
    Series::curve(name, points.to_vec())
}

fn chart(log_y: bool, series: Vec<Series>) -> Chart {
    Chart { title: "Loss".into(), x: "epoch".into(), y: "nats".into(), log_y, series }
}

/// Curves like those of a run.
fn run() -> Vec<Chart> {
    let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
    let steps = |f: &dyn Fn(f64, f64) -> f64| -> Vec<(f64, f64)> {
        (1..4300).map(|i| (f64::from(i), f(f64::from(i), noise(i)))).collect()
    };
    let epochs = |f: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
        (1..=10).map(|e| (430.0 * f64::from(e), f(f64::from(e)))).collect()
    };
    let loss = steps(&|i, n| 2.3 * (-i / 300.0).exp() + 0.02 + 0.06 * n);
    let lr =
        steps(&|i, _| 3e-3 * (1.0 + (i / 4300.0 * std::f64::consts::PI).cos()) / 2.0 * (i / 400.0).min(1.0));
    let axes = |title: &str, y: &str, log_y, series| Chart {
        title: title.into(),
        x: "step".into(),
        y: y.into(),
        log_y,
        series,
    };
    vec![
        axes(
            "Loss",
            "cross-entropy (nats)",
            true,
            vec![series("train", &loss), series("validation", &epochs(&|e| 0.08 / e + 0.025))],
        ),
        axes(
            "Accuracy",
            "share of right answers",
            false,
            vec![
                series("train", &epochs(&|e| 0.995 - 0.06 / e)),
                series("validation", &epochs(&|e| 0.992 - 0.03 / e)),
                series("validation, mean of weights", &epochs(&|e| 0.993 - 0.05 / e)),
            ],
        ),
        axes("Learning rate", "per step", false, vec![series("lr", &lr)]),
        axes(
            "One of each colour",
            "unit",
            false,
            (0..7).map(|k| series(&format!("series {k}"), &epochs(&|e| f64::from(k) + e / 10.0))).collect(),
        ),
    ]
}

#[test]
fn a_run_gives_a_picture() {
    let bytes = png(&run()).unwrap();
    let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
    assert_eq!((picture.width(), picture.height()), (2196, 1236));
    let blue = picture.pixels().filter(|p| p.0 == [0, 114, 178]).count();
    assert!(blue > 5_000, "{blue} pixels of the first colour");
    if let Some(copy) = std::env::var_os("KEEP_PICTURES") {
        std::fs::write(copy, &bytes).unwrap();
    }
}

#[test]
fn odd_series_are_drawn() {
    let odd: Vec<Vec<Series>> = vec![
        vec![],
        vec![series("", &[])],
        vec![series("one", &[(1.0, 0.5)])],
        vec![series("same", &[(1.0, 0.5), (1.0, 0.5)])],
        vec![series("flat", &[(0.0, 0.0), (1.0, 0.0)]), series("none", &[])],
        vec![series("nan", &[(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, f64::NEG_INFINITY)])],
        vec![series("huge", &[(0.0, f64::MAX), (1.0, f64::MIN), (f64::MAX, 1.0)])],
        vec![series("tiny", &[(0.0, 5e-324), (5e-324, 1e-300)])],
        vec![series("negative", &[(-1.0, -1.0), (-2.0, -1e9)])],
        vec![series("a very long name ".repeat(20).as_str(), &[(0.0, 1.0)]); 30],
        vec![series("控制\n\u{7}\u{0}", &[(0.0, 1.0), (1.0, 1e15)])],
    ];
    for (i, series) in odd.into_iter().enumerate() {
        for log_y in [true, false] {
            let chart = chart(log_y, series.clone());
            png(std::slice::from_ref(&chart)).unwrap();
            let text = svg(&chart).unwrap();
            assert!(text.ends_with("</svg>\n"), "case {i}");
            assert!(!text.contains("NaN") && !text.contains("inf"), "case {i}");
        }
    }
    png(&[]).unwrap();
}

#[test]
fn svg_fits_any_page() {
    let mut chart = run().remove(0);
    chart.title = "<script>alert(1)</script> & \"x\"".into();
    let text = svg(&chart).unwrap();
    assert!(text.starts_with("<svg role=\"img\" viewBox=\"0 0 2160 1200\""), "{}", &text[..80]);
    assert!(text.contains("currentColor") && !text.contains(draw::INK_HEX));
    assert!(!text.contains("<script>") && text.contains("&lt;script&gt;"));
    assert!(text.len() < 150_000, "{} bytes for 4,300 points", text.len());
}
