//! What a page holds and what it must not; its looks were checked in a browser, light and dark.

use super::*;
use crate::{metrics::Predictions, plot::Series};

/// A string that would break out of any place that forgets to escape.
const EVIL: &str = "</pre><script>alert('1')</script>\"&<b>";

fn evaluation(names: &[String]) -> Evaluation {
    let classes = names.len();
    let (mut probabilities, mut labels) = (Vec::new(), Vec::new());
    for i in 0..classes * 100 {
        let (truth, slip) = (i % classes, i % 23 == 0);
        let given = if slip { (truth * 3 + i / 23) % classes } else { truth };
        let rest = 0.1 / classes as f32;
        probabilities.extend((0..classes).map(|c| rest + if c == given { 0.9 } else { 0.0 }));
        labels.push(truth);
    }
    Evaluation::of(&Predictions::new(classes, probabilities, labels).unwrap(), names).unwrap()
}

fn mistake(index: usize, name: &str) -> Mistake {
    let (rows, cols) = (28, 28);
    let ring = |i: usize| {
        let (y, x) = ((i / cols) as f32 - 13.5, (i % cols) as f32 - 13.5 + index as f32 % 3.0);
        (255.0 - 60.0 * ((x * x * 1.6 + y * y).sqrt() - 8.0).abs()).max(0.0) as u8
    };
    Mistake {
        index,
        file: (index == 3).then(|| "a & b/<3>.png".into()),
        pixels: (0..rows * cols).map(ring).collect(),
        size: [rows, cols].into(),
        truth: name.into(),
        predicted: "8".into(),
        probability: 0.987,
        truth_probability: 0.009,
    }
}

fn chart(title: &str) -> Chart {
    let points = |a: f64| (1..=20).map(|i| (f64::from(i), a / f64::from(i) + 0.03)).collect();
    let series = ["train", "validation"].map(|name| Series::curve(name, points(name.len() as f64 / 5.0)));
    Chart { title: title.into(), x: "epoch".into(), y: "nats".into(), log_y: true, series: series.into() }
}

#[test]
fn everything_is_there_and_nothing_from_elsewhere() {
    let names: Vec<String> = (0..10).map(|c: u8| c.to_string()).collect();
    let evaluation = evaluation(&names);
    let mistakes: Vec<Mistake> = (0..12).map(|i| mistake(i, "0")).collect();
    let summary: Vec<(String, String)> = [
        ("net", "resnet"),
        ("parameters", "176,290"),
        ("seed", "1"),
        ("backend", "flex"),
        ("time", "3 min 41 s"),
    ]
    .map(|(a, b)| (a.into(), b.into()))
    .into();
    let report = Report {
        title: "resnet, seed 1",
        settings_toml: "seed = 1\n[model]\nnet = \"resnet\"\n",
        summary: &summary,
        charts: &["Loss", "Loss again", "Third"].map(chart),
        evaluation: Some(&evaluation),
        split: "test",
        mistakes: &mistakes,
        pictures: &[],
    };
    let page = html(&report).unwrap();
    for wanted in [
        "176,290",
        "Confusion matrix",
        "net = &quot;resnet&quot;",
        "0 → 8",
        "98.70 %",
        "test split, 1000 images",
        "<small>no. 4</small>",
        "<small>a &amp; b/&lt;3&gt;.png</small>",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert_eq!(page.matches("<svg ").count(), 3);
    assert_eq!(page.matches("data:image/png;base64,").count(), 12);
    let without_names = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for foreign in ["http", "<script", "@import", "<link", "url("] {
        assert!(!without_names.contains(foreign), "{foreign}");
    }
    let encoded = page.split("base64,").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let picture = image::load_from_memory(&STANDARD.decode(encoded).unwrap()).unwrap().into_luma8();
    assert_eq!(picture.into_raw(), mistakes[0].pixels);
    if let Some(copy) = std::env::var_os("KEEP_PAGE") {
        std::fs::write(copy, &page).unwrap();
    }
}

#[test]
fn strings_from_outside_stay_text() {
    let names = vec![EVIL.to_owned(), "1".to_owned()];
    let summary = [(EVIL.to_owned(), EVIL.to_owned())];
    let mut curve = chart(EVIL);
    (curve.x, curve.y, curve.series[0].name) = (EVIL.into(), EVIL.into(), EVIL.into());
    let wrong = Mistake { predicted: EVIL.into(), ..mistake(0, EVIL) };
    let report = Report {
        title: EVIL,
        settings_toml: EVIL,
        summary: &summary,
        charts: &[curve],
        evaluation: Some(&evaluation(&names)),
        split: EVIL,
        mistakes: &[wrong],
        pictures: &[],
    };
    let page = html(&report).unwrap();
    assert!(!page.contains("<script") && !page.contains("alert('1')"));
    assert_eq!(page.matches("</pre>").count(), 1);
}

#[test]
fn a_bare_run_has_a_page() {
    let report = Report {
        title: "",
        settings_toml: "",
        summary: &[],
        charts: &[],
        evaluation: None,
        split: "",
        mistakes: &[],
        pictures: &[],
    };
    let page = html(&report).unwrap();
    assert!(page.ends_with("</html>\n") && !page.contains("<section>"));
}

#[test]
fn wrong_pixels_are_named() {
    for (pixels, sides) in [(vec![0; 5], [2, 3]), (vec![], [0, 0]), (vec![0; 4], [usize::MAX, 2])] {
        let wrong = Mistake { pixels, size: sides.into(), ..mistake(7, "0") };
        let report = Report {
            title: "",
            settings_toml: "",
            summary: &[],
            charts: &[],
            evaluation: None,
            split: "",
            mistakes: &[wrong],
            pictures: &[],
        };
        let error = html(&report).unwrap_err().to_string();
        assert!(error.starts_with("mistake 7: "), "{error}");
    }
}
