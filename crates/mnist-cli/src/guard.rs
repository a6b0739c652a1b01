//! Failures of a device as errors: Burn and the drivers under it tell them by panics, some of them in threads
//! of their own, and a user shall read neither a panic nor its backtrace.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, Once, PoisonError},
};

/// What the first panic since the last [`guarded`] said: later ones only follow from it.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// A device or its library gave up.
#[derive(Debug)]
pub(crate) struct DeviceError {
    backend: &'static str,
    said: String,
}

impl DeviceError {
    /// Whether it could not make room for something.
    pub(crate) fn out_of_memory(&self) -> bool {
        let said = self.said.to_lowercase();
        let words =
            ["out of memory", "outofmemory", "out_of_memory", "buffertoobig", "allocate", "enough memory"];
        words.iter().any(|words| said.contains(words))
    }
}

impl std::fmt::Display for DeviceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "backend {} failed: {}", self.backend, self.said)
    }
}

impl std::error::Error for DeviceError {}

/// Does something on a device; a panic there becomes an error. From the first use on panics are not printed but
/// logged (`-vv`, with their place).
pub(crate) fn guarded<T>(backend: &'static str, work: impl FnOnce() -> T) -> Result<T, DeviceError> {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let said = info.payload_as_str().unwrap_or("no message");
            match info.location() {
                Some(place) => tracing::debug!("panic at {place}: {said}"),
                None => tracing::debug!("panic: {said}"),
            }
            first().get_or_insert_with(|| said.to_string());
        }));
    });
    first().take();
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let said = first().take().unwrap_or_else(|| "no message".into());
        DeviceError { backend, said: brief(&said) }
    })
}

/// One line of a panic's message, without what Rust puts before it and a stack behind it.
fn brief(said: &str) -> String {
    const MOST: usize = 300;
    let said = said.trim_start_matches("called `Result::unwrap()` on an `Err` value: ");
    let said = said.split("\\nframe #").next().unwrap_or_default().trim_end_matches("No backtrace available");
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > MOST { line.chars().take(MOST).chain("...".chars()).collect() } else { line }
}

fn first() -> std::sync::MutexGuard<'static, Option<String>> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_any_thread_becomes_an_error_in_its_first_words() {
        let found = guarded("test", || {
            let driver = std::thread::spawn(|| panic!("BufferTooBig {{\n  size: {} }}", 9));
            driver.join().map_err(|_| ()).unwrap();
        });
        let error = found.unwrap_err();
        assert_eq!(error.to_string(), "backend test failed: BufferTooBig { size: 9 }");
        assert!(error.out_of_memory());
        assert_eq!(guarded("test", || 3).unwrap(), 3);
        let torch =
            "called `Result::unwrap()` on an `Err` value: Torch(\"can't allocate memory\\nframe #0: f\")";
        assert_eq!(brief(torch), "Torch(\"can't allocate memory");
        assert!(!guarded("test", || panic!("no adapter")).map(|()| 0).unwrap_err().out_of_memory());
    }
}
