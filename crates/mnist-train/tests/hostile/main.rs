//! Every parser that takes bytes from outside, given bytes that nobody should give it.
//!
//! A target hands bytes to a real parser of ours. It may refuse them; it must not panic, end the process, run on or take
//! more memory than its limits say. `corpus/TARGET/` holds what each has been given: `good-*` must be read, `bad-*`
//! refused, others may be either. After it come mutations of it, a function of (seed, target, round) as all randomness
//! of ours is, so that a failure comes back:
//!
//! ```text
//! cargo test -p mnist-train --test hostile            the corpus and 300 mutations a target
//! cargo xtask fuzz --minutes 10 --target pytorch      as many as fit into ten minutes
//! HOSTILE_FILE=PATH cargo test -p mnist-train --test hostile -- pytorch --show-output     what it says of one file
//! ```
//!
//! What fails is kept in a file that the message names. If it ends the process itself (a stack that overflows, no
//! memory), the last input of each target is in `target/tmp/hostile/`. A parser that is mended gets its input into the
//! corpus.
//!
//! The corpus is made by `corpus/make.py` (what other programs write, and all that is hostile) and by `seeds.rs` (what
//! ours write): `cargo test -p mnist-train --test hostile -- --ignored seeds`.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod below;
mod data;
mod harness;
mod mutate;
mod runs;
mod seeds;

use below::Below;
use harness::{Target, attack};

macro_rules! targets {
    ($($name:ident: $run:path, $also:literal, $below:expr, $mib:expr;)*) => {
        /// All targets.
        const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $run, also: $also, below: $below, mib: $mib },)*];

        $(#[test]
        fn $name() {
            attack(stringify!($name));
        })*
    };
}

// The function, the part of the corpus that it has in common with others, what lies below a checksum or a compression,
// and by how much memory may grow, MiB. Pictures: a decoder may take 768 MiB, and what it gives is copied.
targets! {
    images: data::images, "", Below::Gzip, 256;
    labels: data::labels, "", Below::Gzip, 256;
    table: data::table, "", Below::Nothing, 256;
    scan: data::scan, "pictures", Below::Png, 2048;
    picture: data::picture, "pictures", Below::Png, 2048;
    manifest: data::manifest, "json", Below::Nothing, 256;
    files: data::files, "json", Below::Nothing, 256;
    text: data::text, "", Below::Gzip, 256;
    tokeniser: data::tokeniser, "json", Below::Nothing, 256;
    patches: data::patches, "json", Below::Nothing, 256;
    recipe: runs::recipe, "toml", Below::Nothing, 256;
    run: runs::run, "toml", Below::Nothing, 256;
    safetensors: runs::safetensors, "tensors", Below::Nothing, 256;
    pytorch: runs::pytorch, "", Below::Zip, 256;
    weights: runs::weights, "tensors", Below::Nothing, 256;
    checkpoint_state: runs::checkpoint_state, "json", Below::Nothing, 256;
    checkpoint_tensors: runs::checkpoint_tensors, "tensors", Below::Nothing, 256;
    metrics: runs::metrics, "json", Below::Nothing, 256;
    timing: runs::timing, "json", Below::Nothing, 256;
    evaluation: runs::evaluation, "json", Below::Nothing, 256;
    cell: runs::cell, "json", Below::Nothing, 256;
    search: runs::search, "", Below::Nothing, 256;
}

/// Writes the seeds that our own programs make.
#[test]
#[ignore = "writes into the corpus"]
fn seeds() {
    seeds::write();
}

/// What is committed stays small.
#[test]
fn the_corpus_is_small() {
    let total: u64 = harness::committed().into_iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(total < 200_000, "{total} bytes");
}
