//! Tests of the learner and what it leaves on disk, in one program.

mod checkpoints;
mod common;
mod learner;
mod optimizer;
mod resume;
