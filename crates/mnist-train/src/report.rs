//! A run as one HTML page: figures, curves, confusion matrix, worst mistakes, settings.
//!
//! The page is one file without scripts and without addresses: it can be mailed, and reads the
//! same in ten years. It is light or dark as the reader's system is. Every string that comes from
//! outside passes through `escape`.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use mnist_data::ImageSize;

use crate::{
    grid,
    metrics::Evaluation,
    plot::{self, Chart, PlotError},
};

/// Why a page could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A chart could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The picture of a mistake has other pixels than its size says, or none.
    #[error("mistake {index}: {found} bytes, wanted {size}")]
    Pixels {
        /// Position of the example in its split.
        index: usize,
        /// Bytes found.
        found: usize,
        /// Size wanted.
        size: ImageSize,
    },
}

/// What a page shows.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Heading: the run's name.
    pub title: &'a str,
    /// Every resolved setting, as TOML.
    pub settings_toml: &'a str,
    /// `(label, value)` shown on top.
    pub summary: &'a [(String, String)],
    /// Curves of the run.
    pub charts: &'a [Chart],
    /// Figures at the end, if there are any.
    pub evaluation: Option<&'a Evaluation>,
    /// Name of the split that the figures and the mistakes are of.
    pub split: &'a str,
    /// Wrong answers, the worst first.
    pub mistakes: &'a [Mistake],
    /// What the model does: names and bytes of files, `.png` or `.txt`.
    pub pictures: &'a [(String, Vec<u8>)],
}

/// One wrong answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// Position of the example in its split.
    pub index: usize,
    /// File that it is from, where that is known.
    pub file: Option<String>,
    /// `[channels, rows, cols]`, 0 paper, 255 ink.
    pub pixels: Vec<u8>,
    /// Size of the image.
    pub size: ImageSize,
    /// Name of the true class.
    pub truth: String,
    /// Name of the class given.
    pub predicted: String,
    /// Probability given to the predicted class, 0-1.
    pub probability: f32,
    /// Probability given to the true class, 0-1.
    pub truth_probability: f32,
}

/// The page of `report`.
///
/// # Errors
/// A chart that the pen refuses, or a mistake whose pixels are not of its size.
pub fn html(report: &Report<'_>) -> Result<String, ReportError> {
    let title = escape(report.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        include_str!("report/style.css")
    );
    page += &summary(report.summary);
    if let Some(evaluation) = report.evaluation {
        page += &figures(evaluation, report.split);
    }
    if !report.charts.is_empty() {
        page += "<section>\n<h2>Curves</h2>\n<div class=\"charts\">\n";
        for chart in report.charts {
            page += &format!("<figure>{}</figure>\n", plot::svg(chart)?);
        }
        page += "</div>\n</section>\n";
    }
    if let Some(evaluation) = report.evaluation {
        page += &confusion(evaluation);
        page += &per_class(evaluation);
    }
    page += &mistakes(report)?;
    if !report.pictures.is_empty() {
        page += "<section>\n<h2>Pictures</h2>\n";
        for (file, bytes) in report.pictures {
            let (name, kind) = file.rsplit_once('.').unwrap_or((file, ""));
            let name = escape(&name.replace(['-', '_'], " "));
            let shown = match kind {
                "txt" => format!("<pre>{}</pre>", escape(&String::from_utf8_lossy(bytes))),
                _ => format!("<img alt=\"{name}\" src=\"data:image/png;base64,{}\">", STANDARD.encode(bytes)),
            };
            page += &format!("<figure>{shown}<figcaption>{name}</figcaption></figure>\n");
        }
        page += "</section>\n";
    }
    if !report.settings_toml.is_empty() {
        page += &format!(
            "<section>\n<details>\n<summary><h2>Settings</h2></summary>\n<pre>{}</pre>\n</details>\n</section>\n",
            escape(report.settings_toml)
        );
    }
    Ok(page + "</main>\n</body>\n</html>\n")
}

fn summary(rows: &[(String, String)]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rows: String = rows
        .iter()
        .map(|(label, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(label), escape(value)))
        .collect();
    format!("<dl class=\"summary\">\n{rows}</dl>\n")
}

fn figures(e: &Evaluation, split: &str) -> String {
    let [low, high] = e.accuracy_interval;
    let tiles = [
        ("accuracy", percent(e.accuracy), format!("95 %: {:.2} – {}", low * 100.0, percent(high))),
        ("macro F1", format!("{:.4}", e.macro_f1), format!("weighted {:.4}", e.weighted_f1)),
        ("cross-entropy", format!("{:.4}", e.cross_entropy), "nats an image".to_owned()),
        ("Brier score", format!("{:.4}", e.brier), "0 best, 2 worst".to_owned()),
        ("calibration error", percent(e.ece), "expected, 15 bins".to_owned()),
        ("top 2", percent(e.top2_accuracy), "true class among two".to_owned()),
    ];
    let tiles: String = tiles
        .iter()
        .map(|(name, value, note)| {
            format!("<div class=\"tile\"><span>{name}</span><b>{value}</b><small>{note}</small></div>\n")
        })
        .collect();
    format!(
        "<section>\n<h2>Figures <small>{} split, {} images</small></h2>\n<div class=\"tiles\">\n{tiles}</div>\n</section>\n",
        escape(split),
        e.examples
    )
}

fn confusion(e: &Evaluation) -> String {
    let names: Vec<String> = e.per_class.iter().map(|c| escape(&c.class)).collect();
    let head: String = names.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    let mut rows = String::new();
    let wrong = |(row, counts): (usize, &Vec<u64>)| {
        counts.iter().enumerate().filter(|(col, _)| *col != row).map(|(_, n)| *n).max().unwrap_or(0)
    };
    let worst = e.confusion_matrix.iter().enumerate().map(wrong).max().unwrap_or(0).max(1);
    for (row, (counts, name)) in e.confusion_matrix.iter().zip(&names).enumerate() {
        rows += &format!("<tr><th scope=\"row\">{name}</th>");
        let support = counts.iter().map(|count| *count as f64).sum::<f64>().max(1.0);
        for (col, count) in counts.iter().enumerate() {
            // Right answers by their share of the row, wrong ones by the most frequent mistake:
            // on one scale the mistakes of a good classifier would all be white.
            let (class, shade) = if row == col {
                ("right", *count as f64 / support)
            } else {
                ("wrong", (*count as f64 / worst as f64).sqrt())
            };
            let class = if *count == 0 { "none" } else { class };
            rows += &format!("<td class=\"{class}\" style=\"--s:{:.0}%\">{count}</td>", shade * 100.0);
        }
        rows += "</tr>\n";
    }
    format!(
        "<section>\n<h2>Confusion matrix <small>rows: true class, columns: given class</small></h2>\n\
         <div class=\"wide\"><table class=\"confusion\">\n<thead><tr><td></td>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

fn per_class(e: &Evaluation) -> String {
    let rows: String = e
        .per_class
        .iter()
        .map(|c| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{:.4}</td><td>{:.4}</td><td>{:.4}</td><td>{}</td></tr>\n",
                escape(&c.class),
                c.precision,
                c.recall,
                c.f1,
                c.support
            )
        })
        .collect();
    format!(
        "<section>\n<h2>Each class</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>class</th>\
         <th>precision</th><th>recall</th><th>F1</th><th>images</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

fn mistakes(report: &Report<'_>) -> Result<String, ReportError> {
    if report.mistakes.is_empty() {
        return Ok(String::new());
    }
    let mut cards = String::new();
    for m in report.mistakes {
        let (truth, predicted) = (escape(&m.truth), escape(&m.predicted));
        let _ = writeln!(
            // writing to a string cannot fail
            cards,
            "<figure><img alt=\"image {index}: a {truth} taken for {predicted}\" src=\"data:image/png;base64,{}\">\
             <figcaption><b>{truth} → {predicted}</b><br>{} for {predicted}<br>{} for {truth}<br>\
             <small>{from}</small></figcaption></figure>",
            STANDARD.encode(picture(m)?),
            percent(f64::from(m.probability)),
            percent(f64::from(m.truth_probability)),
            index = m.index,
            from = m.file.as_deref().map_or_else(|| format!("no. {}", m.index), escape),
        );
    }
    Ok(format!(
        "<section>\n<h2>Worst mistakes <small>{} split: true → given class</small></h2>\n\
         <div class=\"mistakes\">\n{cards}</div>\n</section>\n",
        escape(report.split)
    ))
}

/// `mistake` as a PNG, ink white on black or in its colours, as the model sees it.
fn picture(mistake: &Mistake) -> Result<Vec<u8>, ReportError> {
    let &Mistake { index, ref pixels, size, .. } = mistake;
    if pixels.is_empty() || size.values() != pixels.len() {
        return Err(ReportError::Pixels { index, found: pixels.len(), size });
    }
    Ok(grid::image(pixels, size)?)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// `text` safe between tags and inside quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
