//! Puts the commit of the sources into the binary, so that a run can say what made it, and the place of
//! libtorch, so that the program finds it when it runs.

use std::{env, process::Command};

fn main() {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=MNIST_GIT_COMMIT={commit}");
    println!("cargo::rerun-if-changed=build.rs");
    // HEAD changes on checkout, its log on each commit.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    link_libtorch();
}

/// torch-sys tells those who depend on it where it found libtorch, but cannot pass arguments to their linker.
fn link_libtorch() {
    let Ok(libraries) = env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    let system = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if ["linux", "macos"].contains(&system.as_str()) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    }
    if system == "linux" {
        // libtorch.so has no symbol that is called, but brings the CUDA part with it.
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
}
