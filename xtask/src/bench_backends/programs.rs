//! The programs that work: builds of mnist-cli, one or more backends each, and the peer's Python.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Args, PEER, worker::Worker};
use crate::workspace;

/// Backends that one build holds together; every other one gets a build of its own.
const TOGETHER: [&str; 2] = ["flex", "ndarray"];
/// Variable with the directories of shared libraries.
const LIBRARIES: &str = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// A backend and how its worker is started.
#[derive(Clone)]
pub(crate) struct Program {
    /// Name of the backend.
    pub(crate) backend: String,
    file: PathBuf,
    /// All but the last one, which is the number of threads.
    arguments: Vec<String>,
    threads: usize,
    variables: Vec<(&'static str, OsString)>,
}

impl Program {
    /// Starts a worker.
    pub(crate) fn start(&self) -> Result<Worker> {
        let mut command = Command::new(&self.file);
        command.args(&self.arguments).arg(self.threads.to_string());
        if self.backend != PEER {
            command.env("OMP_NUM_THREADS", self.threads.to_string()); // libtorch's
        }
        command.envs(self.variables.iter().cloned());
        Worker::start(command)
    }

    /// The same on another number of threads.
    pub(crate) fn on_threads(&self, threads: usize) -> Self {
        Self { threads, ..self.clone() }
    }
}

/// A backend that cannot be measured here.
#[derive(Serialize)]
pub(crate) struct Unavailable {
    pub(crate) backend: String,
    pub(crate) reason: String,
}

/// All programs of a run.
pub(crate) struct Programs {
    pub(crate) ready: Vec<Program>,
    pub(crate) unavailable: Vec<Unavailable>,
    /// PyTorch's version.
    pub(crate) torch: Option<String>,
}

impl Programs {
    /// The backend that ratios refer to: the peer if there is one, else the first.
    ///
    /// # Errors
    /// If no backend works here.
    pub(crate) fn baseline(&self) -> Result<String> {
        let peer = self.ready.iter().find(|program| program.backend == PEER);
        let first = peer.or(self.ready.first()).context("no backend can be measured here")?;
        Ok(first.backend.clone())
    }
}

/// Builds what is needed and asks each backend whether it works.
pub(crate) fn ready(args: &Args, threads: usize, out: &Path) -> Result<Programs> {
    let mut backends: Vec<String> = Vec::new();
    for backend in args.backends.iter().chain(&args.with) {
        if !backends.contains(backend) {
            backends.push(backend.clone());
        }
    }
    let mut builds = BTreeMap::new();
    let mut programs = Programs { ready: Vec::new(), unavailable: Vec::new(), torch: None };
    for backend in &backends {
        let together = TOGETHER.contains(&backend.as_str());
        let group: Vec<&str> = match together {
            true => TOGETHER.into_iter().filter(|b| backends.iter().any(|wanted| wanted == b)).collect(),
            false => vec![backend],
        };
        let features = group.join(",");
        let built = builds.entry(features.clone()).or_insert_with(|| build(&features, out));
        let program = match built {
            Ok(built) => cli(backend, built, args, threads, out),
            Err(reason) => {
                programs.leave(backend, reason);
                continue;
            }
        };
        programs.take(program);
    }
    if let Some(python) = &args.peer {
        programs.take(peer(python, args, threads));
    }
    Ok(programs)
}

impl Programs {
    /// Keeps the program if its worker answers.
    fn take(&mut self, program: Program) {
        match program.start().and_then(|mut worker| worker.ask(&json!({"do": "hello"}))) {
            Ok(answer) => {
                if program.backend == PEER {
                    self.torch = answer["version"].as_str().map(str::to_owned);
                }
                self.ready.push(program);
            }
            Err(error) => self.leave(&program.backend, &error),
        }
    }

    /// Goes on without a backend, and says so.
    fn leave(&mut self, backend: &str, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        eprintln!("{backend} cannot be measured here: {reason}");
        self.unavailable.push(Unavailable { backend: backend.into(), reason });
    }
}

/// A build: the program, out of the way of the next build, and where its shared libraries are.
struct Built {
    file: PathBuf,
    libraries: Vec<PathBuf>,
}

/// Builds mnist-cli in release with these backends alone.
fn build(features: &str, out: &Path) -> Result<Built> {
    eprintln!("building mnist-cli for {features}");
    let arguments = ["--no-default-features", "--features", features];
    let output = workspace::cargo_cli("build", &arguments)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .output()
        .context("cannot start cargo build")?;
    if !output.status.success() {
        bail!("build failed: {}", workspace::reason(&String::from_utf8_lossy(&output.stderr)));
    }
    let (program, libraries) = read_messages(&String::from_utf8_lossy(&output.stdout));
    let program = program.context("cargo build names no program")?;
    let file = out.join(format!("mnist-cli-{}{}", features.replace(',', "-"), std::env::consts::EXE_SUFFIX));
    std::fs::copy(&program, &file)
        .with_context(|| format!("cannot copy {} to {}", program.display(), file.display()))?;
    Ok(Built { file, libraries })
}

/// The program and the directories of libraries in Cargo's messages, one JSON object a line.
fn read_messages(messages: &str) -> (Option<PathBuf>, Vec<PathBuf>) {
    let (mut program, mut libraries) = (None, Vec::new());
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if message["target"]["name"] == "mnist-cli" {
            program = message["executable"].as_str().map(PathBuf::from).or(program);
        }
        for path in message["linked_paths"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            libraries.push(PathBuf::from(path.split_once('=').map_or(path, |(_kind, path)| path)));
        }
    }
    (program, libraries)
}

/// mnist-cli's worker on a backend.
fn cli(backend: &str, built: &Built, args: &Args, threads: usize, out: &Path) -> Program {
    let [runs, data] = [out.join("runs"), data_dir(args)].map(|path| path.display().to_string());
    let arguments =
        ["bench-worker", "--quiet", "--backend", backend, "--runs", &runs, "--data-dir", &data, "--threads"]
            .map(str::to_owned)
            .to_vec();
    let given = std::env::var_os(LIBRARIES).unwrap_or_default();
    let given: Vec<PathBuf> = std::env::split_paths(&given).collect();
    let libraries = std::env::join_paths(built.libraries.iter().chain(&given)).unwrap_or_default();
    let variables = vec![(LIBRARIES, libraries)];
    Program { backend: backend.into(), file: built.file.clone(), arguments, threads, variables }
}

/// The peer's worker.
fn peer(python: &Path, args: &Args, threads: usize) -> Program {
    let script = workspace::root().join("xtask/peer/peer.py");
    let arguments = [script, data_dir(args)].map(|path| path.display().to_string()).to_vec();
    Program { backend: PEER.into(), file: python.into(), arguments, threads, variables: Vec::new() }
}

fn data_dir(args: &Args) -> PathBuf {
    args.data_dir.clone().unwrap_or_else(|| workspace::root().join("datasets/mnist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_messages_name_program_and_libraries() {
        let messages = concat!(
            r#"{"reason":"build-script-executed","linked_libs":[],"linked_paths":["native=/a/lib","/b"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"mnist-cli"},"executable":null}"#,
            "\nno message\n",
            r#"{"reason":"compiler-artifact","target":{"name":"mnist-cli"},"executable":"/t/mnist-cli"}"#,
        );
        let (program, libraries) = read_messages(messages);
        assert_eq!(program, Some("/t/mnist-cli".into()));
        assert_eq!(libraries, [PathBuf::from("/a/lib"), "/b".into()]);
        assert_eq!(read_messages(""), (None, Vec::new()));
    }
}
