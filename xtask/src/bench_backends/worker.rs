//! A worker: a process that does works on one backend when it is asked to, by JSON lines.
//!
//! Where a worker dies, the last lines that it wrote to stderr say why.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::workspace;

/// A running worker. Dropping it ends its process.
pub(super) struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    messages: std::thread::JoinHandle<String>,
}

impl Worker {
    /// Starts the process.
    ///
    /// # Errors
    /// If it cannot be started; what goes wrong in it shows at the first request.
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let (Some(requests), Some(answers), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("a worker has no pipes");
        };
        // Read all the time: a full pipe would stop the worker.
        let messages = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
        Ok(Self { child, requests: Some(requests), answers: BufReader::new(answers), messages })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// What the worker answers in `error`; if it ended instead, what it said last.
    pub(super) fn ask(&mut self, request: &Value) -> Result<Value> {
        let mut line = String::new();
        let sent = self
            .requests
            .as_mut()
            .is_some_and(|pipe| writeln!(pipe, "{request}").and_then(|()| pipe.flush()).is_ok());
        if !sent || self.answers.read_line(&mut line).unwrap_or(0) == 0 {
            return Err(self.death());
        }
        let answer: Value =
            serde_json::from_str(&line).with_context(|| format!("no answer but {:?}", line.trim()))?;
        match answer["error"].as_str() {
            Some(error) => Err(anyhow!("{error}")),
            None => Ok(answer),
        }
    }

    /// Why the process has ended.
    fn death(&mut self) -> anyhow::Error {
        self.requests = None;
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        let quiet = std::thread::spawn(String::new);
        let said = std::mem::replace(&mut self.messages, quiet).join().unwrap_or_default();
        anyhow!("the worker ended ({status}): {}", workspace::reason(&said))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None; // the end of its stdin ends it
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("a worker (process {}) does not end", self.child.id());
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use serde_json::json;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn answers_errors_and_deaths_are_told_apart() {
        let script = r#"read a; echo "$a"; read b; echo '{"error":"no such net"}'; read c; echo 'error: no device' >&2"#;
        let mut worker = Worker::start(shell(script)).unwrap();
        assert_eq!(worker.ask(&json!({"do": "hello"})).unwrap(), json!({"do": "hello"}));
        assert_eq!(worker.ask(&json!({})).unwrap_err().to_string(), "no such net");
        let death = worker.ask(&json!({})).unwrap_err().to_string();
        assert!(death.ends_with("error: no device"), "{death}");
        assert!(worker.ask(&json!({})).is_err());
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let mut worker = Worker::start(shell("read a; echo hello; read b")).unwrap();
        let error = worker.ask(&json!({})).unwrap_err();
        assert!(error.to_string().contains("hello"), "{error}");
    }
}
