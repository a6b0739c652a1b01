//! `cargo xtask exchange`: other programs read what ours write. Small nets are trained and exported; onnxruntime (and,
//! with --torch, PyTorch) has to come to the same probabilities, TensorBoard to the same curves.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::workspace::{self, step};

/// What is installed.
const PACKAGES: [&str; 4] = ["numpy", "onnxruntime", "tensorboard", "setuptools<81"];
/// What is installed with --torch.
const TORCH: [&str; 2] = ["torch", "safetensors"];

/// Nets that are exported, with settings that make them small, and whether ONNX has them.
const NETS: [(&str, &[&str], bool); 8] = [
    ("mlp", &["net=mlp", "mlp.hidden=[32, 16]"], true),
    ("cnn", &["net=cnn", "cnn.channels=[4, 6, 8]", "cnn.width=16"], true),
    (
        "cnn-strided",
        &["net=cnn", "cnn.channels=[4, 6, 8]", "cnn.pool=false", "cnn.norm=false", "cnn.width=0"],
        true,
    ),
    ("cnn-double", &["net=cnn", "cnn.channels=[4, 6]", "cnn.kernels=[5, 3]", "cnn.convolutions=2"], true),
    ("resnet", &["net=resnet", "resnet.width=4"], true),
    ("resnet18", &["net=resnet18", "resnet18.width=4"], true),
    ("pytorch_example_cnn", &["net=pytorch_example_cnn", "pytorch_example_cnn.channels=[4, 6]"], true),
    ("vit", &["net=vit", "vit.width=16", "vit.hidden=32", "vit.layers=2"], false),
];

/// Options of `cargo xtask exchange`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// PyTorch too (up to 3 GB to download, once)
    #[arg(long)]
    torch: bool,
    /// Python to make the environment with
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// The mnist-cli that exports [default: built, in the dev profile]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Trains, exports, compares.
pub(crate) fn run(args: &Args) -> Result<()> {
    compare(&environment(args)?, args.torch, args.program.clone())
}

/// As [`run`] without PyTorch; on a machine where its packages cannot be installed only says so, unless it is GitHub's.
pub(crate) fn where_possible() -> Result<()> {
    match environment(&Args { torch: false, python: "python3".into(), program: None }) {
        Ok(python) => compare(&python, false, None),
        Err(error) if workspace::on_github() => Err(error),
        Err(error) => {
            println!(
                "left out, for the Python packages that read our files cannot be installed here: {error:#}"
            );
            Ok(())
        }
    }
}

/// Trains and exports small nets, and has the Python's packages read them.
fn compare(python: &Path, with_torch: bool, program: Option<PathBuf>) -> Result<()> {
    let program = match program {
        Some(program) => program,
        None => workspace::built_cli()?,
    };
    let home = workspace::home("exchange")?;
    let ours = |arguments: &[&str], what: &str| {
        step(Command::new(&program).args(arguments).arg("--runs").arg(&home), what)
    };
    for (name, sets, in_onnx) in NETS {
        let mut train = vec![
            "train",
            "--quiet",
            "--tensorboard",
            "--epochs",
            "1",
            "--set",
            "data.limit=2000",
            "--name",
            name,
        ];
        sets.iter().for_each(|set| train.extend(["--set", set]));
        ours(&train, "train a small net")?;
        if name == "mlp" {
            let script = workspace::root().join("xtask/peer/read_events.py");
            step(Command::new(python).arg(script).arg(home.join(name)), "read the event files")?;
        }
        let torch = [("pytorch", "load.py"), ("safetensors", "load.py")];
        let onnx = in_onnx.then_some(("onnx", "check.py"));
        for (format, script) in onnx.into_iter().chain(torch.into_iter().filter(|_| with_torch)) {
            println!("{name}, {format}");
            ours(&["export", name, "--format", format], "export")?;
            let script = home.join(name).join(format!("export-{format}")).join(script);
            step(Command::new(python).arg(script), "compare")?;
        }
    }
    Ok(())
}

/// The Python of an environment of its own that has all packages, made if it is not there.
fn environment(args: &Args) -> Result<PathBuf> {
    let home = workspace::target_directory()?.join("exchange-python");
    let inside = if cfg!(windows) { home.join("Scripts/python.exe") } else { home.join("bin/python") };
    if !inside.exists() {
        let make = ["-m", "venv", "--clear"];
        step(Command::new(&args.python).args(make).arg(&home), "make a Python environment").context(
            "`exchange` needs Python 3 with venv (Debian and Ubuntu: apt-get install python3-venv)",
        )?;
    }
    let torch = TORCH.iter().filter(|_| args.torch);
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    step(Command::new(&inside).args(install).args(PACKAGES).args(torch), "install the Python packages")?;
    Ok(inside)
}
