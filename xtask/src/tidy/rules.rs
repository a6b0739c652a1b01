//! The rules on Rust files, as a table: what a file may not name, where, and what is wanted.

use super::Finding;
use super::mentions::{Mention, mentions};
use super::rust_text::{RustText, is_word};

/// Files with more lines than this are listed as questions.
const LONG_FILE: usize = 400;

/// Names that some files may not use.
struct Rule {
    /// Patterns of [`Mention::matches`].
    names: &'static [&'static str],
    /// Whether the rule holds for the file.
    applies: fn(&str) -> bool,
    /// Whether it holds in tests as well.
    in_tests: bool,
    wanted: &'static str,
}

const RULES: [Rule; 7] = [
    Rule {
        names: &[
            "burn_candle",
            "burn_cuda",
            "burn_flex",
            "burn_ndarray",
            "burn_rocm",
            "burn_wgpu",
            "burn_tch",
            "backend::Flex",
            "backend::NdArray",
            "backend::Wgpu",
            "backend::LibTorch",
        ],
        applies: |path| {
            in_src(path)
                && path != "crates/mnist-cli/src/device.rs"
                && !path.starts_with("crates/cpu-ops/src/")
        },
        in_tests: false,
        wanted: "code generic over `B: Backend`; only mnist-cli's device.rs and cpu-ops name a backend",
    },
    Rule {
        names: &["burn::record", "*Recorder", "into_record", "load_record", "to_record"],
        applies: |path| in_src(path) && !is_module(path, "crates/mnist-train/src/checkpoint"),
        in_tests: false,
        wanted: "a function of mnist-train's checkpoint.rs; only that names Burn's record API",
    },
    Rule {
        names: &[
            "std::fs",
            "std::io",
            "std::time",
            "std::env",
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
            "rand::rng",
            "rand::random",
            "thread_rng",
            "B::seed",
            "Backend::seed",
            "<_>::seed",
        ],
        applies: |path| path.starts_with("crates/mnist-model/src/"),
        in_tests: false,
        wanted: "mnist-model without I/O, clock, environment, printing and global random state",
    },
    Rule {
        names: &["print!", "println!"],
        applies: |path| in_src(path) && !path.starts_with("crates/mnist-cli/") && !path.starts_with("xtask/"),
        in_tests: false,
        wanted: "`tracing` in libraries; only mnist-cli and xtask print",
    },
    Rule {
        names: &["todo!", "unimplemented!", "dbg!"],
        applies: |_| true,
        in_tests: true,
        wanted: "finished code",
    },
    Rule {
        names: &["unsafe"],
        applies: |path| path != "crates/cpu-ops/src/gemm.rs",
        in_tests: true,
        wanted: "safe Rust; only crates/cpu-ops/src/gemm.rs calls code that is not",
    },
    Rule {
        names: &[".test()"],
        applies: |path| {
            in_src(path)
                && !path.starts_with("crates/mnist-data/")
                && !path.ends_with("/evaluate.rs")
                && !is_module(path, "crates/mnist-cli/src/cmd/data")
        },
        in_tests: false,
        wanted: "the validation split; only evaluate.rs reads the test split",
    },
];

/// What the Rust file at `path` does that a rule forbids.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let views = RustText::new(text);
    let all = mentions(&views.code);
    let shipped = if is_test_file(path) { Vec::new() } else { mentions(&views.shipped) };
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.applies)(path)) {
        let scope: &[Mention] = if rule.in_tests { &all } else { &shipped };
        for mention in scope {
            if rule.names.iter().any(|name| mention.matches(name)) {
                let found = format!("`{}`", mention.path);
                findings.push(Finding::new(path, mention.line, found, rule.wanted));
            }
        }
    }
    findings.extend(check_opening(path, text));
    findings.extend(check_notes(path, &views.prose));
    findings
}

/// A warning about a file that has grown long.
pub(super) fn question(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let wanted = format!("at most {LONG_FILE} lines, or a reason to be longer");
    (lines > LONG_FILE).then(|| Finding::new(path, 1, format!("{lines} lines"), wanted))
}

/// A file under `src` opens with `//!`.
fn check_opening(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("an empty file");
    let wanted = "a `//!` header: what the file is, whose idea, where we depart";
    (in_src(path) && !first.starts_with("//!")).then(|| Finding::new(path, 1, format!("`{first}`"), wanted))
}

/// No notes to self are left in comments.
fn check_notes(path: &str, prose: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in prose.lines().enumerate() {
        for word in line.split(|c| !is_word(c)).filter(|word| matches!(*word, "FIXME" | "XXX")) {
            findings.push(Finding::new(path, index + 1, word, "the thing done, or an issue"));
        }
    }
    findings
}

fn in_src(path: &str) -> bool {
    // What stands in examples/ is another workspace, a program of its readers.
    !path.starts_with("examples/") && path.contains("/src/") && path.ends_with(".rs")
}

/// `base.rs` or a file below `base/`.
fn is_module(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// A file that only tests and benchmarks compile.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests" || part == "benches")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "crates/mnist-model/src/blocks.rs";
    const LEARNER: &str = "crates/mnist-train/src/learner.rs";
    const CHECKPOINT: &str = "crates/mnist-train/src/checkpoint.rs";
    const DEVICE: &str = "crates/mnist-cli/src/device.rs";
    const GEMM: &str = "crates/cpu-ops/src/gemm.rs";
    const HOST: &str = "crates/cpu-ops/src/host.rs";
    const EVALUATE: &str = "crates/mnist-train/src/evaluate.rs";

    /// Lines of the findings in `code` after a header line.
    fn lines(path: &str, code: &str) -> Vec<usize> {
        check(path, &format!("//! Header.\n{code}")).into_iter().map(|found| found.line).collect()
    }

    #[test]
    fn each_rule_fires() {
        let cases = [
            (LEARNER, "use burn_flex::Flex;"),
            (LEARNER, "use burn::backend::{Autodiff, NdArray};"),
            (LEARNER, "type B = burn::backend::Wgpu;"),
            ("xtask/src/main.rs", "use burn::{backend::LibTorch, tensor::Tensor};"),
            (LEARNER, "use burn::record::Record;"),
            (LEARNER, "let r = BinFileRecorder::new();"),
            (LEARNER, "let r = model.into_record();"),
            ("crates/mnist-train/src/checkpoint_list.rs", "let r = optim.load_record(r);"),
            (MODEL, "use std::{fmt, fs};"),
            (MODEL, "use std::io;"),
            (MODEL, "let t = std::time::Instant::now();"),
            (MODEL, "let v = std::env::var(name);"),
            (MODEL, "eprintln!(x);"),
            (MODEL, "let mut rng = rand::rng();"),
            (MODEL, "let mut rng = thread_rng();"),
            (MODEL, "B::seed(&device, 1);"),
            (MODEL, "<B as Backend>::seed(&device, 1);"),
            (LEARNER, "println!(x);"),
            ("crates/mnist-data/src/idx.rs", "print!(x);"),
            (EVALUATE, "todo!();"),
            ("crates/mnist-cli/tests/cli/main.rs", "unimplemented!();"),
            (LEARNER, "#[cfg(test)] mod tests { fn f() { dbg!(1); } }"),
            (LEARNER, "// FIXME: later"),
            (LEARNER, "/* XXX */"),
            (DEVICE, "unsafe { f() }"),
            (HOST, "unsafe { f() }"),
            ("crates/mnist-model/src/gemm.rs", "unsafe { f() }"),
            (LEARNER, "let images = data.test();"),
            ("crates/mnist-cli/src/cmd/train.rs", "let n = data.test().len();"),
        ];
        for (path, code) in cases {
            let found = lines(path, code);
            assert!(!found.is_empty() && found.iter().all(|&line| line == 2), "{path}: {code}");
        }
    }

    #[test]
    fn no_rule_fires_where_it_should_not() {
        let cases = [
            (DEVICE, "use burn_flex::Flex; type N = burn::backend::NdArray;"),
            (HOST, "use burn_flex::Flex; impl Host for burn_ndarray::NdArray {}"),
            (GEMM, "unsafe { f() }"),
            (LEARNER, "#[cfg(test)] mod tests { use burn_flex::Flex; }"),
            ("crates/mnist-train/tests/resume.rs", "use burn_ndarray::NdArray;"),
            ("crates/mnist-data/benches/batch.rs", "use burn_ndarray::NdArray;"),
            (LEARNER, "use burn::backend::Autodiff; // burn_flex"),
            (LEARNER, "use burn::tensor::backend::Backend;"),
            (CHECKPOINT, "use burn::record::Recorder; m.load_record(m.into_record());"),
            ("crates/mnist-train/src/checkpoint/files.rs", "let r = m.into_record();"),
            (LEARNER, "fn record(&mut self) {} // burn::record"),
            (MODEL, "use std::fmt; use rand::rngs::StdRng; let s = Self::seed(); let m = \"std::fs\";"),
            (LEARNER, "use std::fs; use std::time::Instant;"),
            ("crates/mnist-cli/src/main.rs", "println!(x);"),
            ("xtask/src/main.rs", "println!(x);"),
            ("examples/downstream/own-head/src/main.rs", "use burn_flex::Flex; fn f() { println!(x) }"),
            (LEARNER, "/// println!(x)\nfn f() {}"),
            (LEARNER, "let s = \"FIXME XXX todo!() unsafe\"; let todo = 1; // XXXL"),
            (DEVICE, "#![forbid(unsafe_code)]"),
            (EVALUATE, "let images = data.test();"),
            ("crates/mnist-data/src/split.rs", "let images = self.test();"),
            ("crates/mnist-cli/src/cmd/data.rs", "let images = data.test();"),
            (LEARNER, "#[test] fn f() { data.validation(); data.test_loss(); }"),
        ];
        for (path, code) in cases {
            assert_eq!(lines(path, code), [] as [usize; 0], "{path}: {code}");
        }
    }

    #[test]
    fn files_under_src_open_with_a_header() {
        assert_eq!(check(LEARNER, "use std::fmt;").len(), 1);
        assert_eq!(check(LEARNER, "").len(), 1);
        assert_eq!(check(LEARNER, "//! The learner.\nuse std::fmt;"), []);
        assert_eq!(check("crates/mnist-cli/tests/cli/main.rs", "use std::fmt;"), []);
    }

    #[test]
    fn long_files_are_questions() {
        assert_eq!(question(LEARNER, &"\n".repeat(400)), None);
        assert!(question(LEARNER, &"\n".repeat(401)).unwrap().found.contains("401 lines"));
    }
}
