//! `serve` as a browser and a program meet it: answers, limits, live curves, a graceful end.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

mod crowd;
mod texts;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use image::{GrayImage, Luma};
use serde_json::{Value, json};

fn command(runs: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnist-cli"));
    command.args(args).arg("--runs").arg(runs).stdin(Stdio::null());
    command
}

fn ok(runs: &Path, args: &[&str]) -> String {
    let output = command(runs, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A server of some runs on a free port; killed when dropped.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    host: String,
}

impl Server {
    fn start(runs: &Path, models: &[&str]) -> Self {
        let mut command = command(runs, &[&["serve", "--port", "0", "--quiet"], models].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let host = line.trim().strip_prefix("http://").unwrap().trim_end_matches('/').to_string();
        Self { child, out, host }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Status, headers in small letters, and body of an answer.
    fn raw(&self, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // The server may answer and close before it has read all.
        stream.write_all(body).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head, answer[end + 4..].to_vec())
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let (host, length) = (&self.host, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        self.raw(&head, body)
    }

    fn get(&self, path: &str) -> Value {
        let (status, _, body) = self.ask("GET", path, "", b"");
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let (status, _, answer) = self.ask("POST", path, "application/json", body.to_string().as_bytes());
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// What is told of an answer while it is made, and the whole of it.
    fn stream(&self, wish: &Value) -> (Vec<Value>, Value) {
        let mut wish = wish.clone();
        wish["stream"] = json!(true);
        let body = wish.to_string();
        let (status, head, answer) = self.ask("POST", "/api/generate", "application/json", body.as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        let data = answer.lines().filter_map(|line| line.strip_prefix("data: "));
        let mut news: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
        let made = news.pop().unwrap()["made"].take();
        assert!(news.iter().all(|news| news["made"].is_null() && news["error"].is_null()), "{answer}");
        (news, made)
    }

    /// Sends what is wrong, and looks at what is said of it.
    fn refuses(&self, cases: &[Case<'_>]) {
        for (method, path, kind, body, wanted, words) in cases {
            let (status, _, answer) = self.ask(method, path, kind, body);
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(status, *wanted, "{method} {path} {kind}: {answer}");
            let reason: Value = serde_json::from_str(&answer).unwrap();
            assert!(
                reason["error"].as_str().unwrap().contains(words),
                "{method} {path}: {answer}, wanted {words}"
            );
        }
    }

    /// A count of `/metrics`.
    fn count(&self, name: &str) -> f64 {
        let (_, _, counts) = self.ask("GET", "/metrics", "", b"");
        let counts = String::from_utf8(counts).unwrap();
        let line =
            counts.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{counts}"));
        line.trim().parse().unwrap()
    }

    /// Asks it to end, and waits for it.
    fn end(mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A seven as one draws it, black on white.
fn seven() -> Vec<u8> {
    let mut image = GrayImage::from_pixel(120, 120, Luma([255]));
    for i in 0..60 {
        let slant = (90 - i / 2, 30 + i);
        for (x, y) in [(30 + i, 30), slant] {
            for (dx, dy) in (0..7).flat_map(|dx| (0..7).map(move |dy| (dx, dy))) {
                image.put_pixel(x + dx, y + dy, Luma([0]));
            }
        }
    }
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

const SMALL: &[&str] = &["--set", "data.limit=2000", "--epochs", "1", "--quiet"];

/// Method, path, kind of content, body; the status and some words of the answer.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);

/// One server for all: a classifier, a model of codes, one of tokens that goes on, one that finds hidden ones.
#[test]
fn models_answer_within_limits() {
    let home = tempfile::tempdir().unwrap();
    let runs = &home.path().join("runs");
    ok(runs, &[&["train", "--name", "a", "--set", "net=mlp", "--set", "mlp.hidden=[32]"], SMALL].concat());
    let small = |settings: &[&'static str]| -> Vec<&str> {
        settings.iter().flat_map(|s| ["--set", s]).chain(SMALL.iter().copied()).collect()
    };
    ok(runs, &[&["pretrain", "vae", "--name", "v"], &*small(&["mlp.hidden=[32]", "vae.code=3"])].concat());
    let transformer = [
        "transformer.width=16",
        "transformer.hidden=32",
        "transformer.layers=1",
        "tokens.patch=[7,7]",
        "tokens.codebook=16",
    ];
    ok(runs, &[&["pretrain", "masked", "--name", "m"], &*small(&transformer)].concat());
    let transformer = [&transformer[..3], &["tokens.patch=[2,4]"]].concat();
    ok(runs, &[&["pretrain", "language-model", "--name", "l"], &*small(&transformer)].concat());
    ok(runs, &[&["pretrain", "contrastive", "--name", "c", "--set", "net=mlp"], SMALL].concat());

    let server = Server::start(runs, &["a", "v", "m", "l"]);
    assert_eq!(server.get("/healthz"), json!({"status": "ok", "models": 4}));
    let models = server.get("/api/models");
    assert_eq!(models[0]["classes"].as_array().unwrap().len(), 10);
    assert_eq!(models[1]["makes"]["width"], 3);
    let kinds: Vec<_> = (1..4).map(|i| models[i]["makes"]["from"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["codes", "parts", "upper"]);

    // The same answer as from `predict`, and what counted.
    let png = home.path().join("7.png");
    fs::write(&png, seven()).unwrap();
    let wanted = ok(runs, &["predict", "a", "--json", png.to_str().unwrap()]);
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    let (status, head, body) = server.ask("POST", "/api/predict?model=a&heat=true", "image/png", &seven());
    assert_eq!(status, 200);
    for header in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff"] {
        assert!(head.contains(header), "{head}");
    }
    let found: Value = serde_json::from_slice(&body).unwrap();
    let answer = &found["answers"][0];
    assert_eq!(answer["probabilities"], wanted["probabilities"]);
    assert_eq!(answer["label"], wanted["label"]);
    let seen: Vec<u8> = serde_json::from_value(answer["seen"].clone()).unwrap();
    let heat: Vec<f32> = serde_json::from_value(answer["heat"].clone()).unwrap();
    assert_eq!((seen.len(), heat.len()), (784, 784));
    assert!(heat.iter().any(|h| *h != 0.0));
    assert!(heat[..28].iter().all(|h| *h == 0.0), "paper far from the ink does not count");
    // Pixels that are prepared already, several at once: each as if it were alone.
    let pair = server.post("/api/predict", &json!({"images": [seen, vec![0; 784]]}));
    assert_eq!(pair["answers"][0]["label"], wanted["label"]);
    assert!(pair["answers"][0]["heat"].is_null());
    for (a, b) in pair["answers"][0]["probabilities"]
        .as_array()
        .unwrap()
        .iter()
        .zip(wanted["probabilities"].as_array().unwrap())
    {
        assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5);
    }

    // New images: the same of the same wish; what is given stays.
    let code = |numbers: [f32; 3]| server.post("/api/generate", &json!({"code": numbers}));
    assert_eq!(code([0.0; 3])["model"], "v");
    assert_eq!(code([0.5, 1.0, 0.0]), code([0.5, 1.0, 0.0]));
    assert_ne!(code([0.5, 1.0, 0.0])["images"], code([-2.0, 1.0, 0.0])["images"]);
    let grey: Vec<u8> = (0..784).map(|i| u8::from(i % 3 == 0) * 255).collect();
    let erased: Vec<bool> = (0..784).map(|i| i >= 14 * 28).collect();
    for model in ["m", "l"] {
        let made =
            server.post("/api/generate", &json!({"model": model, "n": 2, "image": grey, "erased": erased}));
        let images: Vec<Vec<u8>> = serde_json::from_value(made["images"].clone()).unwrap();
        assert_eq!(images.iter().map(Vec::len).collect::<Vec<_>>(), [784, 784]);
        assert_eq!(images[0][..14 * 28], images[1][..14 * 28], "{model}: what was given differs");
        if model == "l" {
            assert_eq!(images[0][..14 * 28], grey[..14 * 28]);
        }
    }

    // The same while it is made: patch by patch, in rounds, at once.
    for (model, parts) in [("m", 9), ("l", 49), ("v", 0)] {
        let mut wish = json!({"model": model, "n": 2, "seed": 3});
        if parts > 0 {
            wish["image"] = json!(grey);
            wish["erased"] = json!(erased);
        }
        let whole = server.post("/api/generate", &wish);
        let (news, made) = server.stream(&wish);
        assert_eq!(made, whole, "{model}");
        assert!(news.len() <= parts && (parts == 0 || news.len() > 1), "{model}: {} news", news.len());
        // What was told is what came out, with what was given as the model reads it.
        let [tall, wide] = if model == "m" { [7, 7] } else { [2, 4] };
        let images: Vec<Vec<u8>> = serde_json::from_value(made["images"].clone()).unwrap();
        let mut grown = vec![vec![128_u8; 784]; 2];
        for patch in news.iter().flat_map(|news| news["patches"].as_array().unwrap()) {
            let [image, at] = ["image", "patch"].map(|key| patch[key].as_u64().unwrap() as usize);
            let pixels: Vec<u8> = serde_json::from_value(patch["pixels"].clone()).unwrap();
            assert_eq!(pixels.len(), tall * wide);
            for (i, pixel) in pixels.into_iter().enumerate() {
                let (y, x) = (at / (28 / wide) * tall + i / wide, at % (28 / wide) * wide + i % wide);
                grown[image][y * 28 + x] = pixel;
            }
        }
        assert!(parts == 0 || grown == images, "{model}");
    }
    // What cannot be done, and how it is told.
    let bomb = {
        let mut png = seven();
        png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
        png
    };
    let blank = {
        let mut png = std::io::Cursor::new(Vec::new());
        GrayImage::from_pixel(50, 50, Luma([255])).write_to(&mut png, image::ImageFormat::Png).unwrap();
        png.into_inner()
    };
    let large = vec![b' '; (8 << 20) + 1];
    let many = json!({"images": vec![vec![0; 784]; 65]}).to_string();
    let cases: &[Case<'_>] = &[
        ("GET", "/nothing", "", b"", 404, "/openapi.json"),
        ("GET", "/api/predict", "", b"", 405, "method"),
        ("POST", "/api/predict", "text/plain", b"7", 415, "image/png, image/jpeg or application/json"),
        ("POST", "/api/predict", "image/png", b"GIF89a", 415, "PNG or JPEG"),
        ("POST", "/api/predict", "image/png", &seven()[..300], 422, "damaged or cut off"),
        ("POST", "/api/predict", "image/png", &bomb, 413, "at most"),
        ("POST", "/api/predict", "image/png", &blank, 422, "blank paper"),
        ("POST", "/api/predict", "application/json", &large[..(1 << 20) + 1], 413, "1 MiB"),
        ("POST", "/api/predict", "image/png", &large, 413, "8 MiB"),
        ("POST", "/api/predict", "application/json", b"{", 422, "JSON"),
        ("POST", "/api/predict", "application/json", b"{\"images\": [[0, 300]]}", 422, "300"),
        ("POST", "/api/predict", "application/json", b"{\"images\": [[0]]}", 422, "image 0 has 1 numbers"),
        ("POST", "/api/predict", "application/json", b"{\"images\": []}", 422, "send 1 to 64"),
        ("POST", "/api/predict", "application/json", b"{\"pictures\": []}", 422, "pictures"),
        ("POST", "/api/predict", "application/json", many.as_bytes(), 413, "65 images"),
        ("POST", "/api/predict?model=z", "image/png", b"", 404, "there are: a, v, m, l"),
        ("POST", "/api/predict?model=..%2Fa", "image/png", b"", 404, "no model"),
        ("POST", "/api/predict?model=v", "image/png", b"", 422, "classifies"),
        ("POST", "/api/predict?colour=1", "image/png", b"", 400, "colour"),
        ("POST", "/api/generate", "image/png", b"", 415, "application/json"),
        ("POST", "/api/generate", "application/json", b"{\"n\": 0}", 422, "1 to 64"),
        ("POST", "/api/generate", "application/json", b"{\"n\": 65}", 422, "1 to 64"),
        ("POST", "/api/generate", "application/json", b"{\"code\": [1]}", 422, "it has to have 3"),
        ("POST", "/api/generate", "application/json", b"{\"temperature\": -1}", 422, "0 to 10"),
        (
            "POST",
            "/api/generate",
            "application/json",
            b"{\"image\": [1]}",
            422,
            "does not go on from an image",
        ),
        ("POST", "/api/generate", "application/json", b"{\"prompt\": \"In\"}", 422, "from a text"),
        ("POST", "/api/generate", "application/json", b"{\"model\": \"l\", \"image\": [1]}", 422, "784"),
        ("POST", "/api/generate", "application/json", b"{\"model\": \"a\"}", 422, "makes anything new"),
        ("POST", "/api/generate", "application/json", b"{\"n\": 65, \"stream\": true}", 422, "1 to 64"),
        (
            "POST",
            "/api/generate",
            "application/json",
            b"{\"model\": \"z\", \"stream\": true}",
            404,
            "no model",
        ),
        (
            "POST",
            "/api/predict",
            "application/json",
            b"{\"model\": \"a\", \"text\": \"In\"}",
            422,
            "it takes images",
        ),
        (
            "POST",
            "/api/predict",
            "application/json",
            b"{\"text\": \"In\"}",
            422,
            "no model that is served classifies text",
        ),
        ("POST", "/api/predict", "application/json", b"{}", 422, "one of images, text and texts"),
    ];
    server.refuses(cases);
    let (status, _, answer) =
        server.raw("GET /api/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n", b"");
    assert_eq!((status, String::from_utf8_lossy(&answer).contains("--bind")), (421, true));
    assert_eq!(server.raw("nonsense\r\n\r\n", b"").0, 400);

    // The page and all that it loads, the description of the interface, the counts.
    let (status, head, page) = server.ask("GET", "/", "", b"");
    assert!(status == 200 && head.contains("text/html"), "{head}");
    assert!(String::from_utf8(page).unwrap().contains("/app.js"));
    for part in ["app", "make", "pad", "parts", "read", "runs", "words"] {
        assert_eq!(server.ask("GET", &format!("/{part}.js"), "", b"").0, 200, "{part}.js");
    }
    let described = server.get("/openapi.json");
    let paths = described["paths"].as_object().unwrap();
    assert_eq!(
        paths.keys().collect::<Vec<_>>(),
        [
            "/api/generate",
            "/api/models",
            "/api/predict",
            "/api/runs",
            "/api/runs/events",
            "/healthz",
            "/metrics"
        ]
    );
    let whole = &described["paths"]["/api/generate"]["post"]["responses"]["200"]["content"];
    for kind in ["application/json", "text/event-stream"] {
        assert!(whole[kind]["schema"].is_object(), "{whole}");
    }
    // Two types of one name would be one.
    let told = &described["components"]["schemas"]["Told"]["oneOf"];
    assert_eq!(told.as_array().map(Vec::len), Some(5), "{told}");
    let (_, _, counts) = server.ask("GET", "/metrics", "", b"");
    let counts = String::from_utf8(counts).unwrap();
    for wanted in [
        "mnist_http_requests_total{path=\"/api/predict\",status=\"415\"} 2",
        "mnist_images_total 3",
        "mnist_waiting 0",
    ] {
        assert!(counts.contains(wanted), "{counts}");
    }

    crowd::is_served(&server);

    // Curves: what there is, then what comes.
    let mut stream = server.connect();
    write!(stream, "GET /api/runs/events HTTP/1.1\r\nhost: {}\r\n\r\n", server.host).unwrap();
    let mut events = BufReader::new(stream).lines().map(|line| line.unwrap());
    let mut next = || -> Value {
        let line = events.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str(line.trim_start_matches("data: ")).unwrap()
    };
    let mut names: Vec<String> = (0..5).map(|_| next()["run"].as_str().unwrap().to_string()).collect();
    names.sort();
    assert_eq!(names, ["a", "c", "l", "m", "v"]);
    let line =
        json!({"split": "valid", "step": 99, "epoch": 2, "learning_rate": 0.1, "values": {"accuracy": 0.5}});
    let metrics = runs.join("a/metrics.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(metrics).unwrap();
    writeln!(file, "{line}").unwrap();
    assert_eq!(next(), json!({"run": "a", "again": false, "lines": [line]}));
    let rows = server.get("/api/runs");
    assert_eq!(rows.as_array().unwrap().len(), 5);
    assert!(rows[0]["test_accuracy"].as_f64().unwrap() > 0.3);

    // It ends though somebody listens.
    server.end();
    let refused = command(runs, &["serve", "c", "--port", "0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("neither classifies"));
    for (args, code, words) in [
        (&["serve"][..], 2, "RUN"),
        (&["serve", "nothing"], 2, "nothing"),
        (&["serve", "a", "a"], 2, "two of the runs"),
        (&["serve", "a", "--port", "0", "--bind", "192.0.2.1"], 1, "cannot listen on 192.0.2.1"),
    ] {
        let refused = command(runs, args).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}
