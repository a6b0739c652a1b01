//! Many at once, and those who keep others waiting.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::Server;

/// A request for something that takes a while, sent and not waited for.
fn order(server: &Server) -> TcpStream {
    let wish = json!({"model": "l", "n": 64, "stream": true}).to_string();
    let (host, length) = (&server.host, wish.len());
    let mut stream = server.connect();
    write!(
        stream,
        "POST /api/generate HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{wish}"
    )
    .unwrap();
    stream
}

/// Waits until the models have nothing to do.
fn rest(server: &Server) {
    let begun = Instant::now();
    while server.count("mnist_ordered") > 0.0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "who went away is waited for");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn status(stream: TcpStream) -> (u16, Value) {
    let mut answer = String::new();
    let mut stream = BufReader::new(stream);
    stream.read_line(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(found) = line.to_lowercase().strip_prefix("content-length: ") {
            length = found.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// A server of a classifier `a` and of `l`, which makes images token by token.
pub(crate) fn is_served(server: &Server) {
    // Who sends a head and no body is told so in the end, and keeps nobody waiting till then.
    let mut idle = server.connect();
    let host = &server.host;
    write!(
        idle,
        "POST /api/predict HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
    )
    .unwrap();

    // Who goes away is not waited for.
    let mut lines = BufReader::new(order(server)).lines().map(|line| line.unwrap());
    assert!(lines.any(|line| line.starts_with("data: {\"patches\"")));
    drop(lines);
    rest(server);

    // A class is told while something is made: in one of some attempts, as it may be made by then.
    let between = (0..10).any(|_| {
        let mut lines = BufReader::new(order(server)).lines().map(|line| line.unwrap());
        assert!(lines.any(|line| line.starts_with("data: {\"patches\"")));
        let found = server.post("/api/predict", &json!({"model": "a", "images": [vec![0; 784]]}));
        assert_eq!(found["answers"].as_array().unwrap().len(), 1);
        server.count("mnist_ordered") > 0.0
    });
    assert!(between, "who wants to know a class waits for the last token of another's image");
    rest(server);

    // Of too many the last are sent away.
    let mut crowd: Vec<TcpStream> = (0..128).map(|_| order(server)).collect();
    let (found, reason) = status(crowd.pop().unwrap());
    assert!(found == 429 && reason["error"].as_str().unwrap().contains("64 requests wait"), "{reason}");
    // Who only wants to know a class is no part of that crowd.
    server.post("/api/predict", &json!({"model": "a", "images": [vec![0; 784]]}));
    drop(crowd);
    rest(server);

    let (found, reason) = status(idle);
    assert!(found == 408 && reason["error"].as_str().unwrap().contains("did not arrive"), "{reason}");
}
