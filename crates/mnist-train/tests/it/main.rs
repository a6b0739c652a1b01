//! Tests of the learner and what it leaves on disk, in one program.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

mod checkpoints;
mod common;
mod finetune;
mod foreign;
mod learner;
mod optimizer;
mod resume;
mod token_heads;
mod tokens;
