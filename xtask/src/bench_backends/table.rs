//! The figures as a table for people.

use super::{Work, programs::Unavailable, rows::Row, scaling::Curve};

/// Nets, then operations, then what could not be measured and why.
pub(crate) fn table(rows: &[Row], unavailable: &[Unavailable], baseline: &str) -> String {
    let mut text = String::new();
    let nets = pairs(rows.iter().filter(|row| !row.is(Work::Op) && !row.is(Work::Accuracy)));
    if !nets.is_empty() {
        let header = ["net", "backend", "train images/s", "infer images/s", "one image ms", "peak MiB"];
        let mut lines = vec![header.map(str::to_owned).to_vec()];
        for (net, backend) in nets {
            let find = |work| rows.iter().find(|r| r.net == net && r.backend == backend && r.is(work));
            let train = find(Work::Train);
            let peak = train.or(find(Work::Infer)).or(find(Work::Latency)).and_then(|row| row.peak_mib);
            lines.push(vec![
                net.into(),
                backend.into(),
                figure(train, |row| row.images_per_s, 0),
                figure(find(Work::Infer), |row| row.images_per_s, 0),
                figure(find(Work::Latency), |row| row.latency_ms, 3),
                peak.map_or("-".into(), |mib| format!("{mib:.0}")),
            ]);
        }
        text += &aligned(&lines);
        text.push('\n');
    }
    let lists =
        [(Work::Op, "operation", "forward + backward ms"), (Work::Accuracy, "until 99.0 %", "seconds")];
    for (work, what, unit) in lists {
        let mut lines = vec![[what, "backend", unit].map(str::to_owned).to_vec()];
        for row in rows.iter().filter(|row| row.is(work)) {
            let time = figure(Some(row), |row| row.latency_ms.or(row.seconds_to_99), 2);
            lines.push(vec![row.net.clone(), row.backend.clone(), time]);
        }
        if lines.len() > 1 {
            text += &aligned(&lines);
            text.push('\n');
        }
    }
    text += &format!("In brackets: how many times as fast as {baseline}.\n");
    for row in rows {
        if let Some(error) = &row.error {
            text += &format!("{}, {} {}: {error}\n", row.backend, row.work, row.net);
        }
    }
    for Unavailable { backend, reason } in unavailable {
        text += &format!("{backend} cannot be measured here: {reason}\n");
    }
    text
}

/// The powers by which cost grows.
pub(crate) fn powers(curves: &[Curve]) -> String {
    let mut lines = vec![["cost", "backend", "power", "from", "to"].map(str::to_owned).to_vec()];
    let mut errors = String::new();
    for Curve { axis, cost, backend, points, exponent, error } in curves {
        if let Some(error) = error {
            errors += &format!("{backend}, {cost} over {axis}: {error}\n");
        }
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let end = |(x, y): &(f64, f64)| format!("{y:.1} at {x}");
        let power = exponent.map_or("-".into(), |power| format!("{power:.2}"));
        lines.push(vec![format!("{cost} over {axis}"), backend.clone(), power, end(first), end(last)]);
    }
    aligned(&lines) + &errors
}

/// Net and backend of the rows, each pair once, one net under the other.
fn pairs<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<(&'a str, &'a str)> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        let pair = (row.net.as_str(), row.backend.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
}

/// The figure with its ratio in brackets.
fn figure(row: Option<&Row>, value: impl Fn(&Row) -> Option<f64>, digits: usize) -> String {
    let Some((row, value)) = row.and_then(|row| Some((row, value(row)?))) else { return "-".into() };
    match row.ratio {
        Some(ratio) => format!("{value:.digits$} ({ratio:.2}x)"),
        None => format!("{value:.digits$}"),
    }
}

/// Columns of equal width, the first two to the left.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 | 1 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_backends::rows::{self, tests::row};

    #[test]
    fn powers_stand_with_both_ends_of_their_curve() {
        let (axis, cost) = ("width", "ms a step");
        let curves = [
            Curve {
                axis,
                cost,
                backend: "flex".into(),
                points: vec![(1.0, 2.0), (4.0, 16.0)],
                exponent: Some(1.5),
                error: None,
            },
            Curve {
                axis,
                cost,
                backend: "tch".into(),
                points: Vec::new(),
                exponent: None,
                error: Some("no".into()),
            },
        ];
        let wanted = "\
cost                  backend  power      from         to
ms a step over width  flex      1.50  2.0 at 1  16.0 at 4
tch, ms a step over width: no
";
        assert_eq!(powers(&curves), wanted);
    }

    #[test]
    fn each_net_has_its_backends_below_each_other() {
        let mut rows = vec![
            row("flex", "mlp", Work::Train, 8.0),
            row("pytorch", "mlp", Work::Train, 16.0),
            row("flex", "mlp", Work::Latency, 0.25),
            row("flex", "gelu", Work::Op, 2.0),
            Row {
                error: Some("no memory".into()),
                latency_ms: None,
                ..row("pytorch", "gelu", Work::Op, 2.0)
            },
        ];
        rows::compare(&mut rows, "pytorch");
        let unavailable = [Unavailable { backend: "tch".into(), reason: "no libtorch".into() }];
        let wanted = "\
net  backend  train images/s  infer images/s  one image ms  peak MiB
mlp  flex       8000 (2.00x)               -         0.250         -
mlp  pytorch    4000 (1.00x)               -             -         -

operation  backend  forward + backward ms
gelu       flex                      2.00
gelu       pytorch                      -

In brackets: how many times as fast as pytorch.
pytorch, op gelu: no memory
tch cannot be measured here: no libtorch
";
        assert_eq!(table(&rows, &unavailable, "pytorch"), wanted);
    }
}
