//! `cargo xtask bench-backends`: training speed of the same nets on each backend.
//!
//! Each backend gets its own release build of `mnist-cli` and trains through the command line, so
//! the figures are those that a user sees. A backend that does not build or run is a row too.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace;

/// Options of `cargo xtask bench-backends`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Backends to measure, each a feature of mnist-cli: flex, ndarray, wgpu, tch
    #[arg(long, value_delimiter = ',', default_value = "flex,ndarray", value_name = "LIST")]
    backends: Vec<String>,
    /// Nets to train
    #[arg(long, value_delimiter = ',', default_value = "mlp,cnn", value_name = "LIST")]
    nets: Vec<String>,
    /// A setting of the trainings, after data.limit=2048
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
}

/// Images per second in training, or why there is no figure.
type Speed = std::result::Result<f64, String>;

/// One line of the table.
struct Row {
    net: String,
    backend: String,
    speed: Speed,
}

/// Builds, trains and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runs = workspace::target_directory()?.join("bench-backends");
    if runs.exists() {
        std::fs::remove_dir_all(&runs).with_context(|| format!("cannot remove {}", runs.display()))?;
    }
    let mut rows = Vec::new();
    for backend in &args.backends {
        eprintln!("building mnist-cli for {backend}");
        let built = succeed(&mut workspace::cargo_cli("build", &features(backend)), "build");
        for net in &args.nets {
            let speed = match &built {
                Ok(()) => {
                    eprintln!("training {net} on {backend}");
                    train(backend, net, &runs, &args.settings)
                }
                Err(reason) => Err(reason.clone()),
            };
            rows.push(Row { net: net.clone(), backend: backend.clone(), speed });
        }
    }
    // One net under the other, so that each ratio stands below the figure that it refers to.
    rows.sort_by_key(|row| args.nets.iter().position(|net| *net == row.net));
    print!("{}", table(&rows, args.markdown));
    Ok(())
}

/// The arguments that make Cargo build mnist-cli with this backend alone.
fn features(backend: &str) -> [&str; 4] {
    ["--quiet", "--no-default-features", "--features", backend]
}

/// One epoch of a short training; its speed as the run directory tells it.
///
/// Through `cargo run`, which finds the shared libraries of a backend that has some.
fn train(backend: &str, net: &str, runs: &Path, settings: &[String]) -> Speed {
    let name = format!("{backend}-{net}");
    let mut command = workspace::cargo_cli("run", &features(backend));
    command.args(["--", "train", "--backend", backend, "--epochs", "1", "--quiet", "--name", &name]);
    command.arg("--runs").arg(runs);
    command.args(["--set", "data.limit=2048", "--set", &format!("net={net}")]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    succeed(&mut command, "training")?;
    let timing = std::fs::read_to_string(runs.join(&name).join("timing.jsonl"))
        .map_err(|error| format!("cannot read timing.jsonl: {error}"))?;
    speed(&timing).ok_or_else(|| "timing.jsonl tells no speed of the whole training".to_owned())
}

/// Runs the command with its output held back; a failure gives the reason from its messages.
fn succeed(command: &mut Command, what: &str) -> std::result::Result<(), String> {
    let output = command.output().map_err(|error| format!("{what} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what} failed: {}", workspace::reason(&messages)))
}

/// `images_per_second` of the last line whose `event` is `end`.
fn speed(timing: &str) -> Option<f64> {
    let end = |line: &str| {
        let value: Value = serde_json::from_str(line).ok()?;
        (value["event"] == "end").then(|| value["images_per_second"].as_f64())?
    };
    timing.lines().rev().find_map(end)
}

/// The table, with ratios to the first backend of the same net.
fn table(rows: &[Row], markdown: bool) -> String {
    let header = ["net", "backend", "images/s", "ratio"].map(str::to_owned);
    let mut cells = vec![header];
    for row in rows {
        let (speed, ratio) = match &row.speed {
            Ok(speed) => (format!("{speed:.0}"), ratio(rows, row, *speed)),
            // A bar would end the cell.
            Err(reason) => ("-".to_owned(), reason.replace('|', "/")),
        };
        cells.push([row.net.clone(), row.backend.clone(), speed, ratio]);
    }
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for (index, [net, backend, speed, ratio]) in cells.iter().enumerate() {
        if markdown {
            text += &format!("| {net} | {backend} | {speed} | {ratio} |\n");
            if index == 0 {
                text += "|---|---|---:|---:|\n";
            }
        } else {
            let [a, b, c] = widths;
            text += &format!("{net:a$}  {backend:b$}  {speed:>c$}  {ratio}\n");
        }
    }
    text
}

fn ratio(rows: &[Row], row: &Row, speed: f64) -> String {
    match rows.iter().find(|first| first.net == row.net).map(|first| &first.speed) {
        Some(Ok(first)) if *first > 0.0 => format!("{:.2}", speed / first),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(net: &str, backend: &str, speed: Speed) -> Row {
        Row { net: net.into(), backend: backend.into(), speed }
    }

    #[test]
    fn ratios_refer_to_the_first_backend_of_the_net() {
        let rows = [
            row("mlp", "flex", Ok(2000.0)),
            row("mlp", "tch", Ok(5000.0)),
            row("cnn", "flex", Err("build failed: error: a|b".into())),
            row("cnn", "tch", Ok(10.4)),
        ];
        let plain = "net  backend  images/s  ratio\nmlp  flex         2000  1.00\n\
                     mlp  tch          5000  2.50\ncnn  flex            -  build failed: error: a/b\n\
                     cnn  tch            10  -\n";
        assert_eq!(table(&rows, false), plain);
        let markdown = table(&rows, true);
        assert!(markdown.starts_with("| net | backend | images/s | ratio |\n|---|---|---:|---:|\n"));
        assert!(markdown.contains("| mlp | tch | 5000 | 2.50 |\n"));
    }

    #[test]
    fn the_speed_is_that_of_the_end() {
        let timing = "{\"event\":\"epoch\",\"images_per_second\":1.0}\n\
                      {\"event\":\"end\",\"train_seconds\":2.5,\"images_per_second\":3.5}\n";
        assert_eq!(speed(timing), Some(3.5));
        assert_eq!(speed("{\"event\":\"epoch\",\"images_per_second\":1.0}\n"), None);
        assert_eq!(speed("torn {"), None);
    }
}
