//! `cargo xtask bench-backends`: the same works on each backend, and in PyTorch where one is named.
//!
//! Each backend is a worker process (mnist-cli's `bench-worker`, the peer's peer.py) that does what it is asked
//! to, so that all can take turns: round 1 of every backend, then round 2, and so on. What the machine does
//! beside falls on all of them alike, and a ratio of two medians says more than two figures of two runs.

mod accuracy;
mod chart;
mod gate;
mod machine;
mod measure;
mod programs;
mod report;
mod rows;
mod scaling;
mod table;
mod worker;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

pub(crate) use self::machine::describe as this_machine;
use self::{gate::Gate, measure::Task, report::Report};
use crate::workspace;

/// Features of mnist-cli that are backends.
const BACKENDS: [&str; 9] = ["flex", "ndarray", "wgpu", "tch", "cuda", "rocm", "metal", "vulkan", "candle"];

/// Options of `cargo xtask bench-backends`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Backends to measure, each a feature of mnist-cli
    #[arg(long, value_delimiter = ',', default_value = "flex,ndarray", value_name = "LIST", value_parser = BACKENDS)]
    backends: Vec<String>,
    /// Backends to measure as well
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = BACKENDS)]
    with: Vec<String>,
    /// A Python with PyTorch, to do the same works in the same rounds; ratios then refer to it
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Nets to measure [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    nets: Option<Vec<String>>,
    /// Operations to measure, of the work `op` [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    ops: Option<Vec<String>>,
    /// Works to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    works: Option<Vec<Work>>,
    /// Fewer nets and works, shorter rounds: under two minutes once built
    #[arg(long)]
    quick: bool,
    /// Rounds, of which the median counts [default: 5, quick: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Threads of every backend [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Trainings whose mean time to 99 % counts
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: u32,
    /// Measure as well how cost grows with batch, width, threads, images and epochs
    #[arg(long)]
    scaling: bool,
    /// Fail if a ratio is more than 15 % under that of this bench.json
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// Directory of MNIST's files [default: the repository's]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where bench.json, bench.csv and the charts go [default: target/bench-backends]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What is done with a net.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Forward, loss, backward and update by Adam, 64 images a step
    Train,
    /// Forward without gradients, 256 images together
    Infer,
    /// Forward without gradients, one image, until the result is read
    Latency,
    /// Forward and backward of single operations
    Op,
    /// Training by the default recipe until 99.0 % of the test images are right
    Accuracy,
}

impl Work {
    /// Its name in options, requests and files.
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Infer => "infer",
            Self::Latency => "latency",
            Self::Op => "op",
            Self::Accuracy => "accuracy",
        }
    }

    /// Images in a batch, where the work has one of its own.
    fn batch(self) -> Option<usize> {
        match self {
            Self::Train | Self::Op => Some(64),
            Self::Infer => Some(256),
            Self::Latency => Some(1),
            Self::Accuracy => None,
        }
    }
}

/// The nets, those of `--quick` first.
const NETS: [&str; 5] = ["pytorch-example-cnn", "mlp", "cnn", "resnet", "transformer"];
const QUICK_NETS: usize = 3;
/// The operations, as bench-worker's ops.rs and peer.py have them.
const OPERATIONS: [&str; 9] = [
    "conv2d",
    "conv-transpose2d",
    "batch-norm",
    "group-norm",
    "layer-norm",
    "gelu",
    "silu",
    "dropout",
    "linear",
];
/// A load from which on something else takes part of the processors.
const BUSY: f64 = 0.7;
/// The name of the peer among the backends.
const PEER: &str = "pytorch";

/// How many rounds, and the seconds of each and of the one before that does not count.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    count: u32,
    seconds: f64,
    warm_up: f64,
}

impl Rounds {
    fn of(args: &Args) -> Self {
        let (count, seconds) = if args.quick { (3, 0.3) } else { (5, 1.0) };
        Self { count: args.rounds.unwrap_or(count), seconds, warm_up: seconds }
    }
}

/// Builds, measures, prints and writes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => workspace::target_directory()?.join("bench-backends"),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    // Read before the minutes of measuring.
    let gate = args.gate.as_deref().map(read_gate).transpose()?;
    let threads = args.threads.map_or_else(machine::cores, |threads| threads as usize);
    let load = machine::load(); // before the build, which is a load of its own
    if let Some(load) = load.filter(|load| *load > BUSY) {
        eprintln!("the machine is busy (load {load}): figures will be too low and ratios off");
    }
    let programs = programs::ready(args, threads, &out)?;
    let baseline = programs.baseline()?;

    let mut rows = Vec::new();
    let rounds = Rounds::of(args);
    let (tasks, accuracy) = works(args);
    for (number, task) in tasks.iter().enumerate() {
        eprintln!("[{}/{}] {} {}", number + 1, tasks.len(), task.work.name(), task.net);
        rows.extend(measure::interleaved(task, &programs.ready, rounds));
    }
    if accuracy {
        eprintln!("training until 99.0 % of the test images are right");
        rows.extend(accuracy::rows(&programs.ready, args.seeds));
    }
    rows::compare(&mut rows, &baseline);
    let scaling = if args.scaling { scaling::curves(&programs.ready, threads)? } else { Vec::new() };

    let report = Report {
        args,
        threads,
        load,
        programs: &programs,
        baseline: &baseline,
        rows: &rows,
        scaling: &scaling,
    };
    report.print();
    report.write(&out)?;
    println!("written to {}", out.display());
    let Some(gate) = gate else { return Ok(()) };
    let fallen = gate.check(&rows, &baseline)?;
    ensure!(fallen.is_empty(), "ratios fell by more than 15 %:\n{}", fallen.join("\n"));
    Ok(())
}

fn read_gate(path: &Path) -> Result<Gate> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Gate::read(&text).with_context(|| format!("{} is no gate", path.display()))
}

/// The pieces of work asked for, and whether the time to 99 % is one.
fn works(args: &Args) -> (Vec<Task>, bool) {
    let all = Work::value_variants();
    let quick = [Work::Train, Work::Infer, Work::Latency];
    let works = args.works.as_deref().unwrap_or(if args.quick { &quick } else { all });
    let named = |given: &Option<Vec<String>>, all: &[&str]| match given {
        Some(names) => names.clone(),
        None => all.iter().map(|name| (*name).to_owned()).collect(),
    };
    let nets = named(&args.nets, if args.quick { &NETS[..QUICK_NETS] } else { &NETS });
    let mut tasks = Vec::new();
    for net in nets {
        for work in quick.into_iter().filter(|work| works.contains(work)) {
            tasks.push(Task { work, net: net.clone() });
        }
    }
    if works.contains(&Work::Op) {
        tasks.extend(named(&args.ops, &OPERATIONS).into_iter().map(|net| Task { work: Work::Op, net }));
    }
    (tasks, works.contains(&Work::Accuracy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.args)
    }

    fn tasks(line: &str) -> Vec<String> {
        let (tasks, accuracy) = works(&parse(line).unwrap());
        let mut names: Vec<_> = tasks.iter().map(|t| format!("{} {}", t.work.name(), t.net)).collect();
        names.extend(accuracy.then(|| "accuracy".to_owned()));
        names
    }

    #[test]
    fn options_choose_nets_and_works() {
        assert_eq!(tasks("x").len(), 3 * NETS.len() + OPERATIONS.len() + 1);
        assert_eq!(tasks("x --quick").len(), 3 * QUICK_NETS);
        assert_eq!(tasks("x --nets mlp,cnn --works train"), ["train mlp", "train cnn"]);
        assert_eq!(tasks("x --works op,accuracy --ops gelu"), ["op gelu", "accuracy"]);
        let args = parse("x --with wgpu,tch").unwrap();
        assert_eq!(
            (args.backends.join(","), args.with.join(",")),
            ("flex,ndarray".into(), "wgpu,tch".into())
        );
    }

    #[test]
    fn numbers_of_nothing_and_unknown_works_are_refused() {
        for line in ["x --rounds 0", "x --threads 0", "x --seeds 0", "x --works training", "x --peer"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
