//! One file over HTTP into a `.part` file, resumed by `Range` (RFC 9110, section 14).

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

use crate::error::DataError;

/// Connections for one file: each must bring it forward, so this many cuts are survived.
const MOST_CONNECTIONS: usize = 10;
/// Larger than any file of the known sets; a server that sends more is not trusted.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a file could not be had.
pub(crate) enum Failure {
    /// The place is to blame: try the next one.
    Mirror(String),
    /// This machine is to blame: no other place helps.
    Local(DataError),
}

/// An HTTP client.
pub(crate) struct Downloader {
    agent: Agent,
}

/// Where one connection has led.
enum Outcome {
    Complete,
    Cut(String),
}

impl Downloader {
    pub(crate) fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding("identity") // the file itself, so that ranges count its bytes
            .user_agent(concat!("mnist-burn/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .build();
        Self { agent: config.into() }
    }

    /// Completes `part` with the bytes at `url`. `progress` gets the bytes so far and, if known, of all.
    pub(crate) fn get(
        &self,
        url: &str,
        part: &Path,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), Failure> {
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(part);
        let mut file = open.map_err(DataError::io("create", part)).map_err(Failure::Local)?;
        if let Err(error) = file.try_lock() {
            return Err(Failure::Mirror(format!(
                "{} is in use by another process ({error})",
                part.display()
            )));
        }
        let mut reason = String::new();
        for _ in 0..MOST_CONNECTIONS {
            let before = length(&file, part)?;
            match self.connect(url, &mut file, part, progress)? {
                Outcome::Complete => return Ok(()),
                Outcome::Cut(why) => reason = why,
            }
            if length(&file, part)? <= before {
                break;
            }
        }
        Err(Failure::Mirror(format!("connection cut: {reason}; what came is kept, run it again to go on")))
    }

    /// One request for what is missing.
    fn connect(
        &self,
        url: &str,
        file: &mut File,
        part: &Path,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Outcome, Failure> {
        let local = |error| Failure::Local(DataError::io("write", part)(error));
        let have = length(file, part)?;
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let mut response = request.call().map_err(|error| Failure::Mirror(error.to_string()))?;
        let mut at = match response.status() {
            StatusCode::OK => 0, // the whole file, asked for or not
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have) => have,
            StatusCode::PARTIAL_CONTENT => {
                return Err(Failure::Mirror("answered with another range than asked for".to_owned()));
            }
            // Nothing follows what is there: it is complete, or wrong, which its digest will show.
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(Outcome::Complete),
            status => return Err(Failure::Mirror(format!("HTTP {status}"))),
        };
        file.set_len(at).and_then(|()| file.seek(SeekFrom::Start(at))).map_err(local)?;

        let total = response.body().content_length().and_then(|left| at.checked_add(left));
        if total.is_some_and(|total| total > MOST_BYTES) {
            return Err(Failure::Mirror(format!("file of more than {MOST_BYTES} bytes")));
        }
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if total.is_some_and(|total| at < total) => {
                    return Ok(Outcome::Cut("end of stream".to_owned()));
                }
                Ok(0) => return Ok(Outcome::Complete),
                Ok(count) => count,
                Err(error) => return Ok(Outcome::Cut(error.to_string())),
            };
            file.write_all(buffer.get(..count).unwrap_or_default()).map_err(local)?;
            at += count as u64;
            if at > MOST_BYTES {
                file.set_len(0).map_err(local)?;
                return Err(Failure::Mirror(format!("more than {MOST_BYTES} bytes")));
            }
            progress(at, total);
        }
    }
}

fn length(file: &File, part: &Path) -> Result<u64, Failure> {
    file.metadata()
        .map(|metadata| metadata.len())
        .map_err(|error| Failure::Local(DataError::io("read", part)(error)))
}

/// First byte of a `Content-Range: bytes 100-199/200`.
fn range_start<T>(response: &Response<T>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
