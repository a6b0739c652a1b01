//! The workplace of the kill test: starts trainings, kills them, resumes them, reads the results.

use std::fmt;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::compare::Artifacts;
use super::run_state::{self, Left};
use super::schedule::Plan;
use super::{Args, remove};
use crate::workspace;

/// Settings that make a short training with many checkpoints; `--set` overrides them.
const SETTINGS: [&str; 3] = ["epochs=2", "data.limit=4096", "checkpoint.every_steps=20"];
/// How often a training is asked whether it has ended.
const POLL: Duration = Duration::from_millis(1);
/// Tries to kill a training before it ends, each earlier than the last.
const TRIES: usize = 20;

/// One kill, and the state that it left.
pub(super) struct Kill {
    /// Time from the start of the process.
    pub(super) at: Duration,
    /// Last step in the metrics.
    pub(super) reached: Option<u64>,
    /// What the next start goes on from.
    pub(super) left: Left,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = run_state::shown(self.reached);
        write!(f, "killed at {} ms ({reached}), {}", self.at.as_millis(), self.left)
    }
}

/// The program under test and where it works.
pub(super) struct Lab<'a> {
    pub(super) args: &'a Args,
    /// The built `mnist-cli`.
    pub(super) program: PathBuf,
    /// Holds `runs/`, `logs/` and `predictions/`.
    pub(super) directory: PathBuf,
}

impl Lab<'_> {
    pub(super) fn runs(&self) -> PathBuf {
        self.directory.join("runs")
    }

    pub(super) fn run_directory(&self, name: &str) -> PathBuf {
        self.runs().join(name)
    }

    /// Makes its directories.
    pub(super) fn make(&self) -> Result<()> {
        for below in [self.runs(), self.directory.join("logs"), self.directory.join("predictions")] {
            std::fs::create_dir_all(&below).with_context(|| format!("cannot create {}", below.display()))?;
        }
        Ok(())
    }

    /// The uninterrupted run: what it leaves behind, and its wall time.
    pub(super) fn reference(&self) -> Result<(Artifacts, Duration)> {
        let name = "reference";
        let start = Instant::now();
        let mut child = self.spawn(name, self.train(name, None))?;
        let status = child.wait().context("cannot wait for the training")?;
        self.must_succeed(name, "the uninterrupted training", status)?;
        let wall = start.elapsed();
        let artifacts = self.artifacts(name)?;
        let step = run_state::step_reached(&self.run_directory(name));
        println!("{name}: {} ms, {}", wall.as_millis(), run_state::shown(step));
        Ok((artifacts, wall))
    }

    /// One killed and resumed training; `kills` tells how it went.
    pub(super) fn trial(
        &self,
        name: &str,
        plan: &Plan,
        wall: Duration,
        kills: &mut Vec<Kill>,
    ) -> Result<Artifacts> {
        self.first_kill(name, plan, kills)?;
        let mut done = false;
        let later = plan.delays.iter().zip(&plan.threads).skip(1);
        for (&delay, &threads) in later {
            if done {
                break;
            }
            let mut child = self.spawn(name, self.go_on(name, Some(threads)))?;
            done = !self.kill_after(name, &mut child, delay, kills)?;
        }
        if !done {
            let threads = plan.threads.last().copied();
            let mut child = self.spawn(name, self.go_on(name, threads))?;
            // Far more than it can take: a training that hangs is a failure, not a long wait.
            let limit = wall * 10 + Duration::from_secs(60);
            match wait_at_most(&mut child, limit)? {
                Some(status) => self.must_succeed(name, "the resumed training", status)?,
                None => {
                    kill(&mut child)?;
                    bail!("the resumed training had not ended after {} s", limit.as_secs());
                }
            }
        }
        self.artifacts(name)
    }

    /// Starts and kills; where the training ends before its moment, again and somewhat earlier.
    fn first_kill(&self, name: &str, plan: &Plan, kills: &mut Vec<Kill>) -> Result<()> {
        let (Some(&first), threads) = (plan.delays.first(), plan.threads.first().copied()) else {
            bail!("a plan without a kill");
        };
        let mut delay = first;
        for _ in 0..TRIES {
            let mut child = self.spawn(name, self.train(name, threads))?;
            if self.kill_after(name, &mut child, delay, kills)? {
                return Ok(());
            }
            remove(&self.run_directory(name))?;
            delay = delay * 9 / 10;
        }
        bail!("the training ended {TRIES} times before it could be killed");
    }

    /// Kills the training after `delay`; false when it had ended (well) before that.
    fn kill_after(
        &self,
        name: &str,
        child: &mut Child,
        delay: Duration,
        kills: &mut Vec<Kill>,
    ) -> Result<bool> {
        let status = match wait_at_most(child, delay)? {
            Some(status) => Some(status),
            // It may have ended between the last look and the kill.
            None => Some(kill(child)?).filter(ExitStatus::success),
        };
        if let Some(status) = status {
            self.must_succeed(name, "a training that was to be killed", status)?;
            return Ok(false);
        }
        let directory = self.run_directory(name);
        let reached = run_state::step_reached(&directory);
        kills.push(Kill { at: delay, reached, left: run_state::left(&directory) });
        Ok(true)
    }

    /// The program, in the workspace's root and without what Cargo told us of our own package.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(workspace::root()).env_remove("CARGO_MANIFEST_DIR");
        command
    }

    /// The first command of a run.
    pub(super) fn train(&self, name: &str, threads: Option<usize>) -> Command {
        let mut command = self.command();
        command.arg("train").args(&self.args.recipe).args(["--name", name]);
        command.arg("--runs").arg(self.runs());
        command.args(["--seed", &self.args.seed.to_string(), "--quiet"]);
        for setting in SETTINGS.into_iter().chain(self.args.settings.iter().map(String::as_str)) {
            command.args(["--set", setting]);
        }
        self.with_threads(command, threads)
    }

    /// `--resume`; the first command once more when the kill came before there was a `run.toml`.
    pub(super) fn go_on(&self, name: &str, threads: Option<usize>) -> Command {
        if run_state::left(&self.run_directory(name)) == Left::Nothing {
            return self.train(name, threads);
        }
        let mut command = self.command();
        command.args(["train", "--resume", name, "--runs"]).arg(self.runs());
        self.with_threads(command, threads)
    }

    fn with_threads(&self, mut command: Command, threads: Option<usize>) -> Command {
        if self.args.threads_mix
            && let Some(threads) = threads
        {
            command.args(["--threads", &threads.to_string()]);
        }
        command
    }

    /// Evaluates the finished run and reads all that must be equal.
    pub(super) fn artifacts(&self, name: &str) -> Result<Artifacts> {
        let predictions = self.directory.join("predictions").join(format!("{name}.csv"));
        let mut command = self.command();
        command.args(["evaluate", name, "--split", "test", "--json", "--runs"]).arg(self.runs());
        command.arg("--predictions").arg(&predictions);
        let output = command.output().context("cannot start mnist-cli evaluate")?;
        if !output.status.success() {
            let messages = String::from_utf8_lossy(&output.stderr);
            bail!("evaluate ended with {}: {}", output.status, workspace::reason(&messages));
        }
        Artifacts::read(&self.run_directory(name), output.stdout, &predictions)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{name}.log"))
    }

    /// Starts the command with its output at the end of the run's log.
    pub(super) fn spawn(&self, name: &str, mut command: Command) -> Result<Child> {
        let path = self.log(name);
        let out = OpenOptions::new().create(true).append(true).open(&path);
        let out = out.with_context(|| format!("cannot write {}", path.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot write {}", path.display()))?;
        command.stdout(out).stderr(err);
        command.spawn().with_context(|| format!("cannot start {}", self.program.display()))
    }

    pub(super) fn must_succeed(&self, name: &str, what: &str, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
        let reason = workspace::reason(&log);
        bail!("{what} ended with {status}: {reason} (all of it: {})", self.log(name).display())
    }
}

/// The exit status, or `None` when the child still runs after `limit`.
fn wait_at_most(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        let status = child.try_wait().context("cannot wait for the training")?;
        if status.is_some() || start.elapsed() >= limit {
            return Ok(status);
        }
        sleep(POLL.min(limit));
    }
}

/// SIGKILL, and the end of the child.
pub(super) fn kill(child: &mut Child) -> Result<ExitStatus> {
    child.kill().context("cannot kill the training")?;
    child.wait().context("cannot wait for the killed training")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_child_or_at_the_limit() {
        let mut quick = Command::new("true").spawn().unwrap();
        assert!(wait_at_most(&mut quick, Duration::from_secs(20)).unwrap().unwrap().success());

        let mut slow = Command::new("sleep").arg("30").spawn().unwrap();
        assert_eq!(wait_at_most(&mut slow, Duration::from_millis(5)).unwrap(), None);
        assert_eq!(kill(&mut slow).unwrap().code(), None);
    }
}
