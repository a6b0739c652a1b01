//! Ctrl-C: the first asks training to save and stop, the second leaves at once.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit code after an interruption, as shells use it for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Listens for Ctrl-C and SIGTERM from now on. The returned flag is set by the first.
///
/// # Errors
/// The system refuses the handler.
pub(crate) fn listen() -> anyhow::Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("\nstopping after this step, with a checkpoint; once more to leave at once");
    })?;
    Ok(&ASKED)
}
