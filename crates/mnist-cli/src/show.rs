//! How things are shown: progress of a training, figures, colours or none.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mnist_train::{figures::Figures, finetune::Plan, learner::Event, log::MetricsLine, metrics::Evaluation};

/// Whether stderr may have colours: a terminal, and no NO_COLOR (no-color.org).
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A line on stderr. One that cannot be written (`2>&1 | head`, a full disk) is left out: work does not end for it.
pub(crate) fn tell(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Whether an error only says that nobody reads our output any more (`| head`).
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// An error with its causes, each said once: most of ours quote their cause already.
pub(crate) fn report(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}

/// Progress of a training: a bar on a terminal, lines elsewhere, nothing with --quiet.
pub(crate) struct Progress {
    bar: ProgressBar,
    lines: bool,
    epochs: usize,
    compiling: bool,
    last_line: Instant,
    begun: Instant,
    first_step: usize,
    total: usize,
}

impl Progress {
    /// Nothing is shown before the first event.
    ///
    /// `compiling`: whether the first steps have to wait for shaders to be compiled, which is said.
    pub(crate) fn new(quiet: bool, epochs: usize, compiling: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::hidden();
        if terminal && !quiet {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
        let now = Instant::now();
        Self {
            bar,
            lines: !terminal && !quiet,
            epochs,
            compiling,
            last_line: now,
            begun: now,
            first_step: 0,
            total: 0,
        }
    }

    /// Shows an event.
    pub(crate) fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Begun { step, total, parameters, .. } => {
                let template = if colours() {
                    "{prefix} {bar:28.cyan/dim} {percent:>3} % {msg} {eta} left"
                } else {
                    "{prefix} {bar:28} {percent:>3} % {msg} {eta} left"
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    self.bar.set_style(style.progress_chars("━╸─"));
                }
                self.bar.set_length(total as u64);
                self.bar.set_position(step as u64);
                self.bar.reset_eta();
                (self.first_step, self.total, self.begun) = (step, total, Instant::now());
                let from = if step > 0 { format!(", from step {step}") } else { String::new() };
                self.say(&format!(
                    "{parameters} trainable parameters, {total} steps in {} epochs{from}",
                    self.epochs
                ));
                if self.compiling {
                    let waiting = "compiling shaders for this device, which makes the first steps slow";
                    self.bar.set_message(waiting);
                    self.bar.tick();
                    if self.lines {
                        self.say(waiting);
                    }
                }
            }
            Event::Logged { line, examples_per_second } => {
                self.bar.set_position(line.step as u64);
                self.bar.set_prefix(format!("epoch {}/{}", line.epoch, self.epochs));
                self.bar.set_message(format!("{} {examples_per_second:.0} examples/s", values(line)));
                if self.lines && self.last_line.elapsed() >= Duration::from_secs(10) {
                    self.last_line = Instant::now();
                    tell!(
                        "epoch {}/{} step {}/{} {} {examples_per_second:.0} examples/s, {} s left",
                        line.epoch,
                        self.epochs,
                        line.step,
                        self.total,
                        values(line),
                        self.seconds_left(line.step)
                    );
                }
            }
            Event::Validated { line, best } => {
                let best = if best { "  best so far" } else { "" };
                self.say(&format!("epoch {}/{} validation: {}{best}", line.epoch, self.epochs, values(line)));
            }
            Event::Saved { path } => tracing::info!("saved {}", path.display()),
            _ => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// A line above the bar.
    fn say(&self, text: &str) {
        if self.lines {
            tell!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    fn seconds_left(&self, step: usize) -> u64 {
        let done = step.saturating_sub(self.first_step).max(1) as f64;
        (self.begun.elapsed().as_secs_f64() / done * self.total.saturating_sub(step) as f64) as u64
    }
}

fn values(line: &MetricsLine) -> String {
    line.values
        .iter()
        .map(|(name, value)| format!("{} {value:.4}", name.replace('_', " ")))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a model takes from another one, module by module.
pub(crate) fn start(from: &str, plan: &Plan) -> String {
    let mut text = format!("from {from}:\n");
    for (path, shape, how) in &plan.adapted {
        text.push_str(&format!("  adapted   {path:<28} {shape:?}: {}\n", how.about()));
    }
    let name = |path: &str| path.rsplit('.').next().unwrap_or(path).to_string();
    for (what, tensors) in [("loaded", &plan.loaded), ("left out", &plan.left_out), ("new", &plan.new)] {
        let module = |path: &str| path.rsplit_once('.').map_or(path, |(module, _)| module).to_string();
        for tensors in tensors.chunk_by(|(a, _), (b, _)| module(a) == module(b)) {
            let Some((path, _)) = tensors.first() else { continue };
            let shapes: Vec<_> =
                tensors.iter().map(|(path, shape)| format!("{} {shape:?}", name(path))).collect();
            text.push_str(&format!("  {what:<8}  {:<28} {}\n", module(path), shapes.join(", ")));
        }
    }
    text
}

/// Figures of a split, for reading.
///
/// # Errors
/// Writing.
pub(crate) fn figures(out: &mut impl Write, split: &str, figures: &Figures) -> std::io::Result<()> {
    match figures {
        Figures::Classification(e) => evaluation(out, split, e),
        Figures::Scores(found) => {
            let pixels = found.binarised();
            for (name, value) in &found.scores {
                let (name, examples) = (name.replace('_', " "), found.examples);
                writeln!(out, "{split} {name} {value:.4}   ({examples} examples{pixels})")?;
            }
            Ok(())
        }
    }
}

/// The figures of an evaluation, for reading.
///
/// # Errors
/// Writing.
fn evaluation(out: &mut impl Write, split: &str, e: &Evaluation) -> std::io::Result<()> {
    let [low, high] = e.accuracy_interval;
    writeln!(
        out,
        "{split} accuracy {:.2} % (95 % interval {:.2}-{:.2}, {} examples)",
        100.0 * e.accuracy,
        100.0 * low,
        100.0 * high,
        e.examples
    )?;
    writeln!(
        out,
        "macro F1 {:.4}   weighted F1 {:.4}   top-2 accuracy {:.2} %",
        e.macro_f1,
        e.weighted_f1,
        100.0 * e.top2_accuracy
    )?;
    writeln!(out, "cross-entropy {:.4} nats   Brier {:.4}   ECE {:.4}", e.cross_entropy, e.brier, e.ece)
}

/// Per-class figures and the confusion matrix, for reading.
///
/// # Errors
/// Writing.
pub(crate) fn details(out: &mut impl Write, e: &Evaluation) -> std::io::Result<()> {
    let wide = e.per_class.iter().map(|c| c.class.chars().count()).max().unwrap_or(0).max(5);
    writeln!(out, "\n{:>wide$}  precision  recall      F1  examples", "class")?;
    for c in &e.per_class {
        writeln!(
            out,
            "{:>wide$}     {:.4}  {:.4}  {:.4}  {:>6}",
            c.class, c.precision, c.recall, c.f1, c.support
        )?;
    }
    writeln!(out, "\nconfusion matrix: rows are the truth, columns the prediction")?;
    write!(out, "{:>wide$}", "")?;
    for c in &e.per_class {
        write!(out, " {:>6}", c.class.chars().take(6).collect::<String>())?;
    }
    writeln!(out)?;
    for (c, row) in e.per_class.iter().zip(&e.confusion_matrix) {
        write!(out, "{:>wide$}", c.class)?;
        for count in row {
            write!(out, " {:>6}", if *count == 0 { ".".to_string() } else { count.to_string() })?;
        }
        writeln!(out)?;
    }
    Ok(())
}
