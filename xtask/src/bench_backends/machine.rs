//! What was measured on, and with: processor, system, versions, date.

use std::process::Command;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::programs::Programs;
use crate::workspace;

/// Logical processors of this process.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Processes that wanted a processor in the last minute, on average, where the system tells.
pub(crate) fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Processor, cores, memory and system; what is not told is null.
pub(crate) fn describe() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kib: Option<f64> = field(&read("/proc/meminfo"), "MemTotal", ':')
        .and_then(|text| text.trim_end_matches("kB").trim().parse().ok());
    let release = field(&read("/etc/os-release"), "PRETTY_NAME", '=');
    json!({
        "cpu": field(&read("/proc/cpuinfo"), "model name", ':'),
        "cores": cores(),
        "memory_mib": kib.map(|kib| (kib / 1024.0).round()),
        "os": release.unwrap_or_else(|| std::env::consts::OS.into()),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "architecture": std::env::consts::ARCH,
    })
}

/// Versions of the crate, its commit, Burn, the compiler and the peer.
pub(crate) fn versions(programs: &Programs) -> Value {
    let lock = std::fs::read_to_string(workspace::root().join("Cargo.lock")).unwrap_or_default();
    let git = |arguments: &[&str]| said(Command::new("git").args(arguments).current_dir(workspace::root()));
    let changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    json!({
        "mnist-cli": locked(&lock, "mnist-cli"),
        "commit": git(&["rev-parse", "HEAD"]).map(|c| if changed { format!("{c}, changed") } else { c }),
        "burn": locked(&lock, "burn"),
        "rustc": said(Command::new("rustc").arg("--version")),
        "torch": programs.torch,
    })
}

/// What a command prints, if it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The value of the first line `name<separator>value`, without quotes.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    };
    text.lines().find_map(value)
}

/// Version of a package in the text of Cargo.lock.
fn locked(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let entry = lock.split("[[package]]").find(|entry| entry.lines().any(|line| line == name))?;
    field(entry, "version", '=')
}

/// Today in UTC: `2026-01-31`.
pub(crate) fn date() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    civil(seconds / 86_400)
}

/// The date that lies `days` after 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // months from March
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_versions_are_found() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(field(text, "model name", ':').as_deref(), Some("AMD EPYC"));
        assert_eq!(field("PRETTY_NAME=\"Debian 12\"", "PRETTY_NAME", '=').as_deref(), Some("Debian 12"));
        let lock = "[[package]]\nname = \"burn-nn\"\nversion = \"1\"\n\n[[package]]\nname = \"burn\"\nversion = \"0.21.0\"\n";
        assert_eq!(locked(lock, "burn").as_deref(), Some("0.21.0"));
        assert_eq!(locked(lock, "torch"), None);
    }

    // python3 -c "import datetime as d; print([str(d.date(1970,1,1)+d.timedelta(n)) for n in (0, 59, 11016, 20786)])"
    #[test]
    fn dates() {
        let wanted = ["1970-01-01", "1970-03-01", "2000-02-29", "2026-11-29"];
        assert_eq!([0, 59, 11_016, 20_786].map(civil), wanted);
    }
}
