//! Fetching from servers on 127.0.0.1 that misbehave in one way each.
#![cfg(feature = "fetch")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use mnist_data::fetch::{Progress, fetch};
use mnist_data::sources::{FILE_NAMES, Source};
use mnist_data::{DataError, Preparation, idx};
use sha2::{Digest, Sha256};

/// The contents of file number `i`, unpacked: an IDX file too large for one buffer, hard to pack.
fn content(i: usize) -> Vec<u8> {
    let size = 150_000_u32;
    let mut bytes = vec![0, 0, 8, 1];
    bytes.extend(size.to_be_bytes());
    let mut state = i as u32 + 1;
    bytes.extend((0..size).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    bytes
}

fn packed(i: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&content(i)).unwrap();
    encoder.finish().unwrap()
}

/// A set whose files are [`content`].
fn source(mirrors: &[&Server]) -> Source {
    let hex = |bytes: Vec<u8>| -> &'static str {
        let text: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        text.leak()
    };
    let urls: Vec<&'static str> =
        mirrors.iter().map(|server| -> &'static str { server.url().leak() }).collect();
    Source {
        name: "tiny",
        title: "",
        sha256: [0, 1, 2, 3].map(|i| hex(content(i))),
        class_names: &["0"],
        preparation: Preparation::Digit,
        mirrors: urls.leak(),
        licence: "",
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Each connection ends after this many bytes of the file.
    Cut(usize),
    /// As `Cut`, and ranges are not understood.
    CutNoRanges(usize),
    WrongBytes,
    NotFound,
    /// The connection is closed without an answer.
    Silent,
    /// More bytes than anyone wants.
    Endless,
}

struct Server {
    port: u16,
    /// File and first byte of each request.
    requests: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Server {
    /// Serves until the test process ends.
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // The client may hang up at any time.
                let _ = answer(&mut stream.unwrap(), fault, &log);
            }
        });
        Self { port, requests }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/data/", self.port)
    }

    fn requests(&self) -> Vec<(usize, usize)> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(stream: &mut TcpStream, fault: Fault, log: &Mutex<Vec<(usize, usize)>>) -> std::io::Result<()> {
    let mut lines =
        BufReader::new(stream.try_clone()?).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let target = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let range = lines.find_map(|line| {
        let line = line.to_lowercase();
        line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let file = FILE_NAMES.iter().position(|name| target == format!("/data/{name}.gz")).unwrap_or(usize::MAX);
    let start = range.unwrap_or(0);
    log.lock().unwrap().push((file, start));
    if fault == Fault::Silent {
        return Ok(());
    }
    if fault == Fault::NotFound || file == usize::MAX {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if fault == Fault::Endless {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        let chunk = vec![7; 1 << 20];
        loop {
            stream.write_all(&chunk)?;
        }
    }

    let mut body = packed(file);
    if fault == Fault::WrongBytes {
        body = packed((file + 1) % 4);
    }
    let ranges = !matches!(fault, Fault::CutNoRanges(_));
    let start = if ranges { start } else { 0 };
    if start >= body.len() && start > 0 {
        return stream.write_all(
            b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    let rest = &body[start..];
    let status = match range {
        Some(_) if ranges => {
            format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{}", body.len() - 1, body.len())
        }
        _ => "200 OK".to_owned(),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    let sent = match fault {
        Fault::Cut(bytes) | Fault::CutNoRanges(bytes) => bytes.min(rest.len()),
        _ => rest.len(),
    };
    stream.write_all(&rest[..sent])
}

fn run(source: &Source, into: &Path, from: Option<&str>) -> Result<Vec<String>, DataError> {
    let mut events = Vec::new();
    fetch(source, into, from, &mut |progress| match progress {
        Progress::Kept { file } => events.push(format!("kept {file}")),
        Progress::Done { file, .. } => events.push(format!("done {file}")),
        Progress::Failed { reason, .. } => events.push(format!("failed: {reason}")),
        _ => {}
    })?;
    Ok(events)
}

/// All four files are right and nothing else lies about.
fn check_complete(into: &Path) {
    let dir = into.join("tiny");
    for (i, name) in FILE_NAMES.iter().enumerate() {
        assert_eq!(idx::read(&dir.join(format!("{name}.gz"))).unwrap().data, content(i)[8..]);
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), 4);
}

#[test]
fn a_good_mirror_is_fetched_once() {
    let (server, into) = (Server::start(Fault::None), tempfile::tempdir().unwrap());
    let source = source(&[&server]);
    assert_eq!(run(&source, into.path(), None).unwrap().len(), 4);
    check_complete(into.path());
    assert!(run(&source, into.path(), None).unwrap().iter().all(|event| event.starts_with("kept")));
    assert_eq!(server.requests(), [(0, 0), (1, 0), (2, 0), (3, 0)]);
}

#[test]
fn a_cut_connection_is_resumed_where_it_ended() {
    let (server, into) = (Server::start(Fault::Cut(100_000)), tempfile::tempdir().unwrap());
    run(&source(&[&server]), into.path(), None).unwrap();
    check_complete(into.path());
    assert_eq!(server.requests()[..3], [(0, 0), (0, 100_000), (1, 0)]);
}

#[test]
fn a_part_left_by_another_process_is_resumed() {
    let (server, into) = (Server::start(Fault::Cut(10_000)), tempfile::tempdir().unwrap());
    let source = source(&[&server]);
    // Ten connections of 10,000 bytes are not enough: this call gives up and keeps what it has.
    let error = run(&source, into.path(), None).unwrap_err().to_string();
    assert!(error.contains("connection cut"), "{error}");
    run(&source, into.path(), None).unwrap_err();
    assert_eq!(server.requests()[10], (0, 100_000));
    for _ in 0..6 {
        let _ = run(&source, into.path(), None);
    }
    check_complete(into.path());
}

#[test]
fn without_ranges_a_cut_file_begins_again_and_is_given_up() {
    let (server, good) = (Server::start(Fault::CutNoRanges(100_000)), Server::start(Fault::None));
    let into = tempfile::tempdir().unwrap();
    let events = run(&source(&[&server, &good]), into.path(), None).unwrap();
    assert!(events[0].contains("connection cut"), "{events:?}");
    for name in FILE_NAMES {
        assert!(into.path().join("tiny").join(format!("{name}.gz")).exists());
    }
}

#[test]
fn a_damaged_part_is_thrown_away_and_fetched_anew() {
    let server = Server::start(Fault::Cut(100_000));
    let source = source(&[&server]);
    // The part of a whole download, with one byte changed, and one longer than the file.
    for damage in
        [packed(0).into_iter().skip(1).chain([0]).collect::<Vec<u8>>(), [packed(0), vec![1; 9]].concat()]
    {
        let into = tempfile::tempdir().unwrap();
        run(&source, into.path(), None).unwrap();
        let dir = into.path().join("tiny");
        fs::remove_file(dir.join(format!("{}.gz", FILE_NAMES[0]))).unwrap();
        let url = format!("{}{}.gz", server.url(), FILE_NAMES[0]);
        let tag: String =
            Sha256::digest(url.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        fs::write(dir.join(format!("{}.{tag}.part", FILE_NAMES[0])), damage).unwrap();
        run(&source, into.path(), None).unwrap();
        check_complete(into.path());
    }
}

#[test]
fn wrong_bytes_and_404_lead_to_the_next_mirror() {
    let faults = [Fault::WrongBytes, Fault::NotFound, Fault::Silent, Fault::None];
    let servers = faults.map(Server::start);
    let into = tempfile::tempdir().unwrap();
    let events = run(&source(&servers.each_ref()), into.path(), None).unwrap();
    assert!(events[0].contains("wrong contents: SHA-256 found"), "{events:?}");
    assert!(events[1].contains("HTTP 404"), "{events:?}");
    assert!(events[2].starts_with("failed"), "{events:?}");
    assert!(events[3].starts_with("done"), "{events:?}");
    check_complete(into.path());
}

#[test]
fn when_all_fail_each_is_listed_with_its_reason() {
    let (wrong, missing, silent) =
        (Server::start(Fault::WrongBytes), Server::start(Fault::NotFound), Server::start(Fault::Silent));
    let closed = Server {
        port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        requests: Arc::default(),
    };
    let into = tempfile::tempdir().unwrap();
    let servers = [&wrong, &missing, &silent, &closed];
    let error = run(&source(&servers), into.path(), None).unwrap_err().to_string();
    for server in servers {
        assert!(error.contains(&server.url()), "{error}");
    }
    for part in ["wrong contents", "HTTP 404", "refused", FILE_NAMES[0], "--from DIR"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(fs::read_dir(into.path().join("tiny")).unwrap().count(), 0, "nothing wrong stays behind");
}

#[test]
fn an_endless_answer_is_cut_off() {
    let (server, into) = (Server::start(Fault::Endless), tempfile::tempdir().unwrap());
    let error = run(&source(&[&server]), into.path(), None).unwrap_err().to_string();
    assert!(error.contains("more than 268435456 bytes"), "{error}");
    assert_eq!(fs::read_dir(into.path().join("tiny")).unwrap().count(), 0);
}

#[test]
fn a_local_mirror_is_a_directory_or_a_url() {
    let mirror = tempfile::tempdir().unwrap();
    fs::create_dir(mirror.path().join("tiny")).unwrap();
    for (i, name) in FILE_NAMES.iter().enumerate() {
        fs::write(mirror.path().join("tiny").join(format!("{name}.gz")), packed(i)).unwrap();
    }
    let (server, path) = (Server::start(Fault::None), mirror.path().to_str().unwrap());
    let source = source(&[]);
    for from in [path.to_owned(), format!("file://{path}"), format!("{path}/tiny"), server.url()] {
        let into = tempfile::tempdir().unwrap();
        run(&source, into.path(), Some(&from)).unwrap();
        check_complete(into.path());
    }

    fs::write(mirror.path().join("tiny").join(format!("{}.gz", FILE_NAMES[2])), packed(0)).unwrap();
    let into = tempfile::tempdir().unwrap();
    let error = run(&source, into.path(), Some(path)).unwrap_err().to_string();
    assert!(error.contains("wrong contents") && error.contains(FILE_NAMES[2]), "{error}");
    let error = run(&source, into.path(), Some("/no/such/place")).unwrap_err().to_string();
    assert!(error.contains("/no/such/place"), "{error}");
}

#[test]
fn a_wrong_file_that_is_there_is_replaced() {
    let (server, into) = (Server::start(Fault::None), tempfile::tempdir().unwrap());
    let dir = into.path().join("tiny");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(FILE_NAMES[0]), content(1)).unwrap();
    fs::write(dir.join(format!("{}.gz", FILE_NAMES[1])), packed(0)).unwrap();
    run(&source(&[&server]), into.path(), None).unwrap();
    assert!(!dir.join(FILE_NAMES[0]).exists(), "would be found before the right one");
    assert_eq!(fs::read(dir.join(format!("{}.wrong", FILE_NAMES[0]))).unwrap(), content(1));
    fs::remove_file(dir.join(format!("{}.wrong", FILE_NAMES[0]))).unwrap();
    check_complete(into.path());
}
