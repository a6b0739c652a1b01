//! One file for each command.

pub(crate) mod bench_worker;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod evaluate;
pub(crate) mod few_labels;
pub(crate) mod generate;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod predict;
pub(crate) mod probe;
pub(crate) mod runs;
pub(crate) mod train;
pub(crate) mod tune;
