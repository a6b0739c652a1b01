//! Ctrl-C: the first asks training to save and stop, the second leaves at once.

use std::sync::{Arc, atomic::AtomicBool};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Exit code after an interruption, as shells use it for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Listens for Ctrl-C and SIGTERM from now on. The returned flag is set by the first; a second one ends the
/// process. SIGHUP stays as it is, for `nohup`.
///
/// # Errors
/// The system refuses the handler.
pub(crate) fn listen() -> anyhow::Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first finds the flag still down.
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    Ok(asked)
}
