//! MNIST as data: files, digests, splits, statistics, batches and augmentation.
//!
//! From bytes on disk to tensors on a device, in the order of the modules:
//! [`idx`] reads a file, [`sources`] knows what the published files are, [`DataSet`] finds and
//! checks them, [`LabelledImages`] holds them, [`Split`] puts validation aside, [`Loader`] makes
//! batches, [`Augment`] distorts them. All randomness is a function of a [`Key`].
//!
//! The crate does not print, and reads the test files only in [`DataSet::test`] and
//! [`DataSet::verify`].

pub mod augment;
pub mod batch;
pub mod dataset;
pub mod digest;
#[cfg(feature = "fetch")]
mod download;
pub mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod idx;
pub mod images;
pub mod loader;
pub mod manifest;
#[cfg(feature = "scan")]
pub mod own;
pub mod patches;
pub mod places;
pub mod punctuation;
pub mod rng;
#[cfg(feature = "scan")]
pub mod scan;
pub mod sequences;
pub mod set;
pub mod size;
pub mod sources;
pub mod split;
pub mod stats;
pub mod text;
pub mod tokeniser;
pub mod tokens;
mod warp;

pub use augment::Augment;
pub use batch::{Batch, Examples, HostBatch};
pub use dataset::{DataSet, FileCheck};
pub use error::{DataError, Result};
pub use images::{Binarise, Images, UNLABELLED};
pub use loader::{Batches, Loader, Purpose, epoch_order};
pub use manifest::{Manifest, Preparation};
pub use patches::Patches;
pub use rng::Key;
pub use sequences::{Hiding, Sequences, Stream, Task};
pub use set::{Example, LabelledImages};
pub use size::ImageSize;
pub use sources::Source;
pub use split::Split;
pub use stats::Statistics;
pub use text::Text;
pub use tokeniser::Tokeniser;
pub use tokens::{HostTokens, Tokens};
