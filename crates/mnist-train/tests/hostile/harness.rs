//! Runs a target: the corpus, then mutations, each input watched for panics, time and memory.

use std::{
    fs,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use mnist_data::Key;

use crate::{TARGETS, below::Below, mutate::mutated};

/// Mutations of each target in an ordinary test.
const ROUNDS: u64 = 300;
/// Seconds after which an input is one that does not end.
const PATIENCE: u64 = 60;
/// Bytes of the stack that a parser has: those of a thread in Rust.
const STACK: usize = 2 << 20;

/// A parser under attack.
pub(crate) struct Target {
    pub name: &'static str,
    /// Gives it the bytes; the reason if it refuses them.
    pub run: fn(&[u8]) -> Result<(), String>,
    /// Part of the corpus that it has in common with others; empty: none.
    pub also: &'static str,
    pub below: Below,
    /// By how much memory may grow on one input.
    pub mib: u64,
}

/// The corpus of a target, by name: its own files and those that it has in common with others, unpacked.
pub(crate) fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = [target.name, target.also]
        .into_iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| files(&directory(part)))
        .collect();
    found.sort();
    let read = |path: PathBuf| {
        let (name, bytes) =
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
        match name.strip_suffix(".packed") {
            Some(name) => (name.to_owned(), Below::Gzip.inside(&bytes, 0).unwrap().0),
            None => (name, bytes),
        }
    };
    found.into_iter().map(read).collect()
}

/// All files of the corpus.
pub(crate) fn committed() -> Vec<PathBuf> {
    fs::read_dir(directory("")).unwrap().flat_map(|part| files(&part.unwrap().path())).collect()
}

/// Files of a directory; none where there is none.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

/// The directory of a part of the corpus.
pub(crate) fn directory(part: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "hostile", "corpus", part].iter().collect()
}

/// Runs one target. One at a time: the memory of a process is that of all its threads.
pub(crate) fn attack(name: &'static str) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let target = find(name);
    let (beat, beats) = channel();
    let builder = thread::Builder::new().name(name.into()).stack_size(STACK);
    let worker = builder.spawn(move || Session::new(target, beat).run()).unwrap();
    loop {
        match beats.recv_timeout(Duration::from_secs(PATIENCE)) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{name}: no end after {PATIENCE} s; the input is {}", last(name).display())
            }
        }
    }
    if let Err(panic) = worker.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The target of this name.
pub(crate) fn find(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// Where an input is while it is tried.
fn last(name: &str) -> PathBuf {
    outputs().join(format!("{name}.last"))
}

/// Writes a file over the one before; cutting that to nothing first would make some file systems wait for the disk.
fn keep(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

fn outputs() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    fs::create_dir_all(&dir).unwrap();
    dir
}

struct Session {
    target: &'static Target,
    beat: Sender<()>,
    refused: usize,
    slowest: Duration,
}

impl Session {
    fn new(target: &'static Target, beat: Sender<()>) -> Self {
        Self { target, beat, refused: 0, slowest: Duration::ZERO }
    }

    fn run(mut self) {
        let name = self.target.name;
        if let Some(file) = std::env::var_os("HOSTILE_FILE") {
            let outcome = self.try_out(&fs::read(&file).unwrap(), "file");
            return println!("{name}: {}: {outcome:?}", file.display());
        }
        let (files, begun) = (corpus(self.target), Instant::now());
        assert!(
            files.iter().any(|(file, _)| file.starts_with("good-")),
            "{name}: nothing good in the corpus"
        );
        for (file, bytes) in &files {
            let outcome = self.try_out(bytes, file);
            match &outcome {
                Err(reason) if file.starts_with("good-") => panic!("{name}: {file} is refused: {reason}"),
                Ok(()) if file.starts_with("bad-") => panic!("{name}: {file} is read"),
                _ => {}
            }
        }
        let (names, seeds): (Vec<String>, Vec<Vec<u8>>) = files.into_iter().unzip();
        let good = names.iter().zip(&seeds).filter(|(file, _)| file.starts_with("good-"));
        let sound: Vec<Vec<u8>> = good.map(|(_, bytes)| bytes.clone()).collect();
        let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
        let key = Key::new(number("HOSTILE_SEED").unwrap_or(1)).named(name);
        let end = Instant::now() + Duration::from_secs(number("HOSTILE_SECONDS").unwrap_or(0));
        self.refused = 0;
        let mut round = 0;
        while round < ROUNDS || Instant::now() < end {
            let input = mutated(key.with(round), &sound, &seeds, self.target.below);
            let refused = self.try_out(&input, &format!("round-{round}")).is_err();
            self.refused += usize::from(refused);
            round += 1;
        }
        fs::remove_file(last(name)).ok();
        println!(
            "{name}: {} files, {round} mutations, {} of them refused, {:.1} s, the slowest input {} ms",
            seeds.len(),
            self.refused,
            begun.elapsed().as_secs_f64(),
            self.slowest.as_millis()
        );
    }

    /// Gives the parser one input.
    fn try_out(&mut self, input: &[u8], label: &str) -> Result<(), String> {
        let Target { name, run, mib, .. } = self.target;
        keep(&last(name), input);
        self.beat.send(()).unwrap();
        let (before, begun) = (most_memory(), Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| run(input)));
        self.slowest = self.slowest.max(begun.elapsed());
        let grown = most_memory().saturating_sub(before) >> 20;
        match outcome {
            Ok(outcome) if grown <= *mib => outcome,
            Ok(_) => self.fail(input, label, &format!("takes {grown} MiB; {mib} is the most that it may")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panics");
                self.fail(input, label, text)
            }
        }
    }

    fn fail(&self, input: &[u8], label: &str, what: &str) -> ! {
        let name = self.target.name;
        let path = outputs().join(format!("{name}-{label}"));
        fs::write(&path, input).unwrap();
        panic!(
            "{name}, {label}: {what}\nthe input is {}; mend the parser and put it into {}",
            path.display(),
            directory(name).display()
        );
    }
}

/// The most address space that this process has had, bytes: memory that was asked for and not used counts too. 0 where
/// the system does not tell.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}
