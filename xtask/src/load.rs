//! `cargo xtask load`: how many requests a second `mnist-cli serve` answers, how fast, and whether it stands what it
//! should not be sent.
//!
//! The rate is kept whether answers come or not, and a latency counts from the moment at which its request was due: a
//! server that stalls is not asked less (Tene's "coordinated omission").

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use image::{GrayImage, Luma};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    http::{Connection, Server},
    workspace::{self, step},
};

/// Connections that requests go over.
const CONNECTIONS: usize = 32;
/// Connections over which the server is sent what it should not be.
const HOSTILE: usize = 16;
/// By how much memory may have grown at the end of that, beyond what it was in its first quarter.
const GROWTH: u64 = 32 << 20;

/// Share of the rate that ready pixels have to reach, and the slowest answer to 99 in 100 of them, milliseconds.
const LEAST_SHARE: f64 = 0.99;
const MOST_P99: f64 = 50.0;

/// Options of `cargo xtask load`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Requests a second
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds of each kind of request
    #[arg(long, value_name = "S", default_value = "10")]
    seconds: u64,
    /// Seconds of malformed, oversized, slow and cut-off requests
    #[arg(long, value_name = "S", default_value = "60")]
    hostile: u64,
}

/// What is sent: its name, path, kind and body.
struct Kind {
    name: &'static str,
    path: &'static str,
    kind: &'static str,
    body: Vec<u8>,
}

/// Measures, then attacks.
pub(crate) fn run(args: &Args) -> Result<()> {
    step(&mut workspace::cargo_cli("build", &[]), "build mnist-cli")?;
    let (program, home) = (workspace::cli_program()?, workspace::home("load")?);
    let train =
        ["train", "--quiet", "--name", "default", "--epochs", "1", "--set", "data.limit=6000", "--runs"];
    step(Command::new(&program).args(train).arg(&home), "train a model to serve")?;
    let mut server = Server::start(&program, &home, &["default"])?;
    println!(
        "the default net, {CONNECTIONS} connections, {} requests a second due for {} s",
        args.rate, args.seconds
    );
    println!(
        "{:<28} {:>9} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "request", "answers/s", "p50 ms", "p99 ms", "p99.9 ms", "most ms", "errors"
    );
    let mut short = Vec::new();
    for (kind, has_to) in [(pixels()?, true), (drawing()?, false)] {
        let (rate, mut latencies, errors) = measure(server.address, &kind, args)?;
        latencies.sort();
        let at = |share: f64| {
            let i = (latencies.len() as f64 * share) as usize;
            latencies
                .get(i.min(latencies.len().saturating_sub(1)))
                .map_or(f64::NAN, |l| l.as_secs_f64() * 1e3)
        };
        println!(
            "{:<28} {rate:>9.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {errors:>7}",
            kind.name,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        if has_to && (rate < LEAST_SHARE * f64::from(args.rate) || at(0.99) > MOST_P99 || errors > 0) {
            short.push(kind.name);
        }
    }
    attack(&mut server, args)?;
    ensure!(
        short.is_empty(),
        "{}: less than {} % of the rate that was due, more than {MOST_P99} ms at the 99th percentile, or errors",
        short.join(", "),
        100.0 * LEAST_SHARE
    );
    Ok(())
}

/// 28x28 pixels as JSON.
fn pixels() -> Result<Kind> {
    let image: Vec<u8> = seven(28).into_raw().into_iter().map(|p| 255 - p).collect();
    let body = serde_json::to_vec(&serde_json::json!({ "images": [image] }))?;
    Ok(Kind { name: "28x28 pixels, JSON", path: "/api/predict", kind: "application/json", body })
}

/// A drawing, as the page sends it.
fn drawing() -> Result<Kind> {
    let mut png = std::io::Cursor::new(Vec::new());
    seven(280).write_to(&mut png, image::ImageFormat::Png)?;
    Ok(Kind { name: "280x280 drawing, PNG", path: "/api/predict", kind: "image/png", body: png.into_inner() })
}

/// A seven, black on white.
fn seven(side: u32) -> GrayImage {
    let at = |share: f64| share * f64::from(side);
    GrayImage::from_fn(side, side, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let bar = (at(0.25)..at(0.72)).contains(&x) && (at(0.22)..at(0.30)).contains(&y);
        let slant =
            (at(0.22)..at(0.80)).contains(&y) && (x - (at(0.68) - (y - at(0.22)) * 0.5)).abs() < at(0.04);
        Luma([if bar || slant { 0 } else { 255 }])
    })
}

/// Answers a second, the latency of each, and requests that failed.
fn measure(address: SocketAddr, kind: &Kind, args: &Args) -> Result<(f64, Vec<Duration>, usize)> {
    // The first of all fills caches.
    Connection::open(address)?.ask("POST", kind.path, kind.kind, &kind.body)?;
    let total = usize::try_from(u64::from(args.rate) * args.seconds)?;
    let (next, errors) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = Instant::now();
    let send = || -> Result<Vec<Duration>> {
        let mut connection = Connection::open(address)?;
        let mut latencies = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                return Ok(latencies);
            }
            let due = begun + Duration::from_secs_f64(number as f64 / f64::from(args.rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
            match connection.ask("POST", kind.path, kind.kind, &kind.body) {
                Ok((200, _)) => latencies.push(due.elapsed()),
                _ => {
                    errors.fetch_add(1, Ordering::Relaxed);
                    connection = Connection::open(address)?;
                }
            }
        }
    };
    let latencies = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(send)).collect();
        let mut all = Vec::new();
        for thread in threads {
            let found = thread.join().unwrap_or_else(|_| bail!("a thread of the client gave up"));
            all.extend(found?);
        }
        anyhow::Ok(all)
    })?;
    let rate = latencies.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((rate, latencies, errors.into_inner()))
}

/// Sends what should not be sent; the server has to go on, refuse it, and not grow.
fn attack(server: &mut Server, args: &Args) -> Result<()> {
    let (address, end) = (server.address, AtomicBool::new(false));
    let (refused, closed, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |outcome: Result<u16>| match outcome {
        Ok(400..=499 | 503) => refused.fetch_add(1, Ordering::Relaxed),
        Ok(_) => wrong.fetch_add(1, Ordering::Relaxed),
        Err(_) => closed.fetch_add(1, Ordering::Relaxed),
    };
    let (count, end) = (&count, &end);
    let memory = thread::scope(|scope| -> Result<Vec<u64>> {
        for seed in 0..HOSTILE {
            scope.spawn(move || {
                let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
                while !end.load(Ordering::Relaxed) {
                    count(hostile(address, &mut rng));
                }
            });
        }
        let begun = Instant::now();
        let mut memory = Vec::new();
        while begun.elapsed() < Duration::from_secs(args.hostile) && server.runs()? {
            thread::sleep(Duration::from_millis(250));
            memory.extend(server.memory());
        }
        end.store(true, Ordering::Relaxed);
        Ok(memory)
    })?;
    let [refused, closed, wrong] = [refused, closed, wrong].map(AtomicUsize::into_inner);
    println!(
        "{} s of malformed, oversized, slow and cut-off requests over {HOSTILE} connections: {refused} refused, \
         {closed} closed by either side, {wrong} answered as if they were right",
        args.hostile
    );
    if !server.runs()? {
        bail!("the server ended");
    }
    let kind = pixels()?;
    let (status, _) = Connection::open(address)?.ask("POST", kind.path, kind.kind, &kind.body)?;
    if status != 200 || wrong > 0 {
        bail!(
            "a request that is right is answered with {status} after it, {wrong} wrong ones as if they were right"
        );
    }
    let quarter = memory.len() / 4;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, last) = (most(&memory[..quarter]), most(&memory[memory.len() - quarter..]));
    println!("memory: at most {} MiB in the first quarter, {} MiB in the last", first >> 20, last >> 20);
    if last > first + GROWTH {
        bail!("memory grew by more than {} MiB", GROWTH >> 20);
    }
    Ok(())
}

/// One request of a kind that should not be sent; the status that it is answered with.
fn hostile(address: SocketAddr, rng: &mut ChaCha8Rng) -> Result<u16> {
    let mut connection = Connection::open(address)?;
    let head = |length: usize, kind: &str| {
        format!("POST /api/predict HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
            .into_bytes()
    };
    let noise = |rng: &mut ChaCha8Rng, most: usize| -> Vec<u8> {
        let length = rng.random_range(1..most);
        (0..length).map(|_| rng.random()).collect()
    };
    match rng.random_range(0..10) {
        0 => connection.send(&[noise(rng, 2000), b"\r\n\r\n".to_vec()].concat())?,
        1 => {
            let body = noise(rng, 5000);
            connection.send(&[head(body.len(), "application/json"), body].concat())?;
        }
        2 => connection.send(&head(usize::MAX >> 1, "application/json"))?,
        3 => {
            // More than is told, in pieces.
            connection.send(format!(
                "POST /api/predict HTTP/1.1\r\nhost: {address}\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"
            ).as_bytes())?;
            let piece = [b"100000\r\n".to_vec(), vec![7; 1 << 20], b"\r\n".to_vec()].concat();
            for _ in 0..9 {
                connection.send(&piece)?;
            }
        }
        4 => {
            // A picture of 30,000 x 30,000 pixels, if one believes it.
            let mut png = drawing()?.body;
            if let Some(size) = png.get_mut(16..24) {
                size.copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
            }
            connection.send(&[head(png.len(), "image/png"), png].concat())?;
        }
        5 => {
            let mut png = drawing()?.body;
            let at = rng.random_range(30..png.len() * 2 / 3);
            png.truncate(at);
            connection.send(&[head(png.len(), "image/png"), png].concat())?;
        }
        6 => {
            // Cut off in the middle of its body.
            connection.send(&[head(5000, "application/json"), b"{\"images\": [[".to_vec()].concat())?;
            bail!("closed by us");
        }
        7 => {
            // One byte at a time, and then no more.
            for byte in head(10, "application/json").iter().take(rng.random_range(10..60)) {
                connection.send(&[*byte])?;
                thread::sleep(Duration::from_millis(20));
            }
            bail!("closed by us");
        }
        8 => {
            let long = vec![b'a'; 200_000];
            connection.send(&[b"GET /?".to_vec(), long, b" HTTP/1.1\r\n\r\n".to_vec()].concat())?;
        }
        _ => {
            let images = vec![vec![0_u8; 784]; 65];
            let body = serde_json::to_vec(&serde_json::json!({ "images": images }))?;
            connection.send(&[head(body.len(), "application/json"), body].concat())?;
        }
    }
    Ok(connection.answer()?.0)
}
