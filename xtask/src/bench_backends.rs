//! `cargo xtask bench-backends`: the same works on each backend, and in PyTorch where one is named.
//!
//! Each backend is a worker process (mnist-cli's `bench-worker`, the peer's peer.py) that does what it is asked
//! to, so that all can take turns: round 1 of every backend, then round 2, and so on. What the machine does
//! beside falls on all of them alike, and a ratio of two medians says more than two figures of two runs.

mod machine;
mod measure;
mod programs;
mod rows;
mod table;
mod worker;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::json;

use crate::workspace;

/// Options of `cargo xtask bench-backends`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Backends to measure, each a feature of mnist-cli
    #[arg(long, value_delimiter = ',', default_value = "flex,ndarray", value_name = "LIST")]
    backends: Vec<String>,
    /// Backends to measure as well: wgpu, tch
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
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
}

impl Work {
    /// Its name in options, requests and files.
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Infer => "infer",
            Self::Latency => "latency",
            Self::Op => "op",
        }
    }

    /// Images in a batch.
    fn batch(self) -> usize {
        match self {
            Self::Train | Self::Op => 64,
            Self::Infer => 256,
            Self::Latency => 1,
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
/// The name of the peer among the backends.
const PEER: &str = "pytorch";

/// How long the rounds are, and how many.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    count: u32,
    seconds: f64,
    warm_up: f64,
}

/// Builds, measures, prints and writes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => workspace::target_directory()?.join("bench-backends"),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let threads = args.threads.map_or_else(machine::cores, |threads| threads as usize);
    let rounds = Rounds {
        count: args.rounds.unwrap_or(if args.quick { 3 } else { 5 }),
        seconds: if args.quick { 0.3 } else { 1.0 },
        warm_up: if args.quick { 0.3 } else { 1.0 },
    };
    let programs = programs::ready(args, threads, &out)?;
    let tasks = tasks(args)?;
    let mut rows = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        eprintln!("[{}/{}] {} {}", number + 1, tasks.len(), task.work.name(), task.net);
        rows.extend(measure::interleaved(task, &programs.ready, rounds));
    }
    let baseline = programs.baseline()?;
    rows::compare(&mut rows, &baseline);

    let report = json!({
        "date": machine::date(),
        "machine": machine::describe(),
        "versions": machine::versions(&programs)?,
        "threads": threads,
        "rounds": rounds.count,
        "seconds_per_round": rounds.seconds,
        "baseline": baseline,
        "unavailable": programs.unavailable,
        "rows": rows,
    });
    print!("{}", table::table(&rows, &programs.unavailable, &baseline));
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("bench.json", &format!("{report:#}\n"))?;
    write("bench.csv", &rows::csv(&rows))?;
    println!("{}", out.join("bench.json").display());
    Ok(())
}

/// The works asked for.
fn tasks(args: &Args) -> Result<Vec<measure::Task>> {
    let all = &Work::value_variants()[..if args.quick { 3 } else { 4 }];
    let works = args.works.as_deref().unwrap_or(all);
    let nets: Vec<String> = match &args.nets {
        Some(nets) => nets.clone(),
        None => {
            NETS[..if args.quick { QUICK_NETS } else { NETS.len() }].iter().map(|n| (*n).into()).collect()
        }
    };
    let mut tasks = Vec::new();
    for net in &nets {
        for work in works.iter().filter(|work| **work != Work::Op) {
            tasks.push(measure::Task { work: *work, net: net.clone() });
        }
    }
    if works.contains(&Work::Op) {
        let operations = args.ops.clone().unwrap_or_else(|| OPERATIONS.map(str::to_owned).to_vec());
        tasks.extend(operations.into_iter().map(|net| measure::Task { work: Work::Op, net }));
    }
    Ok(tasks)
}
