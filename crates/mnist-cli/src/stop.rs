//! Ctrl-C: the first asks training to save and stop, the second leaves at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Exit code after an interruption, as shells use it for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;
/// How soon the first is answered.
const ANSWER: Duration = Duration::from_millis(100);
/// Whether it was: of several who listen one answers.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C and SIGTERM from now on. The returned flag is set by the first, which is answered; a second one ends
/// the process. SIGHUP stays as it is, for `nohup`.
///
/// # Errors
/// The system refuses the handler or a thread.
pub(crate) fn listen() -> anyhow::Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first finds the flag still down.
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    let heard = Arc::downgrade(&asked);
    // A handler may not print.
    thread::Builder::new().name("stop".into()).spawn(move || {
        while let Some(asked) = heard.upgrade() {
            if asked.load(Ordering::Relaxed) {
                if !ANSWERED.swap(true, Ordering::Relaxed) {
                    tell!("stopping as soon as what is done can be kept; once more leaves at once");
                }
                return;
            }
            drop(asked);
            thread::sleep(ANSWER);
        }
    })?;
    Ok(asked)
}
