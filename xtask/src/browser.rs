//! `cargo xtask browser`: the page of `serve` in a real Chromium. Draws a digit by mouse and by keyboard, reads the answer,
//! looks at every view, and keeps what it saw as pictures.
//!
//! Chromium is driven by ChromeDriver through WebDriver (w3.org/TR/webdriver2), JSON over HTTP.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    http::{Connection, Server},
    workspace,
};

/// Longest that something on the page is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// What Debian calls the browser, what drives it, and letters to draw with.
const PACKAGES: [&str; 3] = ["chromium", "chromium-driver", "fonts-liberation"];

/// Options of `cargo xtask browser`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The mnist-cli that serves [default: built, in the dev profile]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Trains, serves, looks.
pub(crate) fn run(args: &Args) -> Result<()> {
    let driver = driver()?;
    look(&driver, args.program.clone())
}

/// As [`run`]; on a machine without a Chromium that can be installed only says so, unless it is GitHub's.
pub(crate) fn where_possible() -> Result<()> {
    match driver() {
        Ok(driver) => look(&driver, None),
        Err(error) if workspace::on_github() => Err(error),
        Err(error) => {
            println!("left out, for there is no browser here: {error:#}");
            Ok(())
        }
    }
}

/// ChromeDriver, installed where Debian's packages can be.
fn driver() -> Result<PathBuf> {
    let found = || {
        let path = std::env::var_os("PATH")?;
        let place = |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
        place("chromium").or_else(|| place("google-chrome")).and(place("chromedriver"))
    };
    if let Some(driver) = found() {
        return Ok(driver);
    }
    let apt = |arguments: &[&str]| {
        let status =
            Command::new("apt-get").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if apt(&["update", "-qq"]) {
        apt(&[&["install", "-y", "-qq", "--no-install-recommends"][..], &PACKAGES].concat());
    }
    found().context(
        "no chromium and chromedriver on the PATH, and apt-get cannot install them (Debian: apt-get install chromium \
         chromium-driver)",
    )
}

/// Small models, one of each kind that the page shows.
const MODELS: [(&str, &[&str], &[&str]); 7] = [
    ("digits", &["train"], &["data.limit=6000"]),
    (
        "codes",
        &["pretrain", "vae"],
        &["data.limit=4000", "mlp.hidden=[64]", "vae.code=10", "vae.decoder.hidden=[64]"],
    ),
    ("parts", &["pretrain", "masked"], &["data.limit=1000", "transformer.layers=1", "transformer.width=32"]),
    (
        "upper",
        &["pretrain", "language-model"],
        &["data.limit=1000", "transformer.layers=1", "transformer.width=32"],
    ),
    (
        "testaments",
        &["train", "classify-tokens"],
        &["data.labels=200", "steps=10", "transformer.layers=1", "transformer.width=32"],
    ),
    ("marks", &["train", "punctuation"], &["steps=10", "transformer.layers=1", "transformer.width=32"]),
    (
        "verses",
        &["pretrain", "language-model", "--data", "text"],
        &["steps=10", "transformer.layers=1", "transformer.width=32"],
    ),
];

fn look(driver: &Path, program: Option<PathBuf>) -> Result<()> {
    let program = program.map_or_else(workspace::built_cli, Ok)?;
    let home = workspace::home("browser")?;
    for (name, command, sets) in MODELS {
        let mut train = Command::new(&program);
        train.args(command).args(["--quiet", "--epochs", "1", "--name", name]);
        for set in sets {
            train.args(["--set", set]);
        }
        let status = train.arg("--runs").arg(&home).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{name} cannot be trained");
    }
    let names: Vec<&str> = MODELS.iter().map(|(name, ..)| *name).collect();
    let server = Server::start(&program, &home, &names)?;
    let browser = Browser::start(driver, &home)?;
    let done = see(&browser, &server, &home);
    if done.is_err() {
        browser.picture(&home.join("failed.png")).ok();
    }
    done?;
    println!("pictures of what was seen: {}", home.display());
    Ok(())
}

/// All that is looked at.
fn see(browser: &Browser, server: &Server, home: &Path) -> Result<()> {
    browser.open(&format!("http://{}/", server.address))?;
    let label = "document.querySelector('[data-model=digits] .label').textContent";
    browser.until("the page", "document.body.dataset.ready")?;

    // A seven, by mouse.
    let [left, top, width] = browser.numbers("const r = document.querySelector('#pad canvas').getBoundingClientRect(); return [r.left, r.top, r.width]")?;
    let at = |x: f64, y: f64| json!({"type": "pointerMove", "duration": 60, "x": (left + x * width) as i64, "y": (top + y * width) as i64});
    let press = |kind: &str| json!({"type": kind, "button": 0});
    let strokes = json!([
        at(0.28, 0.24),
        press("pointerDown"),
        at(0.5, 0.23),
        at(0.72, 0.24),
        at(0.62, 0.45),
        at(0.52, 0.65),
        at(0.46, 0.82),
        press("pointerUp"),
    ]);
    browser.act(
        json!({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": strokes}),
    )?;
    browser.until("an answer to what was drawn", label)?;
    thread::sleep(Duration::from_millis(500));
    let said = browser.text(label)?;
    ensure!(said == "7", "a seven was drawn, the answer is {said:?}");
    let coloured = "const c = document.querySelectorAll('[data-model=digits] canvas')[1]; \
                    const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
                    return d.some((v, i) => i % 4 === 0 && Math.abs(v - d[i + 2]) > 40)";
    ensure!(browser.script(coloured)? == json!(true), "the heat map has no colours");
    browser.picture(&home.join("draw.png"))?;

    // A one, by keyboard, on cleared paper.
    browser.script("document.querySelector('#pad canvas').focus()")?;
    let key =
        |value: &str| [json!({"type": "keyDown", "value": value}), json!({"type": "keyUp", "value": value})];
    let (delete, up, down) = ("\u{E017}", "\u{E013}", "\u{E015}");
    let mut keys: Vec<Value> = key(delete).to_vec();
    (0..7).for_each(|_| keys.extend(key(up)));
    keys.extend(key(" "));
    (0..16).for_each(|_| keys.extend(key(down)));
    keys.extend(key(" "));
    browser.act(json!({"type": "key", "id": "keys", "actions": keys}))?;
    browser.until("an answer to what was drawn by keyboard", &format!("{label} === '1'"))?;

    // In Chinese, dark.
    browser
        .script("document.getElementById('language').click(); document.getElementById('theme').click()")?;
    ensure!(
        browser.text("document.getElementById('tab-make').textContent")? == "生成",
        "the page is not in Chinese"
    );
    browser.picture(&home.join("draw-zh.png"))?;
    browser.script("document.getElementById('language').click()")?;

    // Texts, while one writes.
    browser.script("document.getElementById('tab-read').click()")?;
    browser.script(
        "const t = document.querySelector('#read textarea'); t.value = 'In the beginning God created'; \
         t.dispatchEvent(new Event('input'))",
    )?;
    browser.until(
        "the testament of a text",
        "document.querySelector('[data-model=testaments] .label').textContent",
    )?;
    let shares = "return [...document.querySelectorAll('[data-model=testaments] .share')].map((s) => parseFloat(s.textContent))";
    let shares: Vec<f64> = serde_json::from_value(browser.script(shares)?)?;
    ensure!(
        shares.len() == 2 && (shares.iter().sum::<f64>() - 100.0).abs() < 0.2,
        "the shares are {shares:?}"
    );
    browser.until(
        "the punctuation of a text",
        "/beginning.* God/.test(document.querySelector('[data-model=marks] pre').textContent)",
    )?;
    browser.picture(&home.join("read.png"))?;

    // What models make.
    browser.script("document.getElementById('tab-make').click()")?;
    let drawn = |model: &str, canvas: &str| {
        format!(
            "(() => {{ const c = document.querySelector('[data-model={model}] {canvas}'); if (!c) return false; \
             return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 !== 3 && v > 90) }})()"
        )
    };
    let busy = |model: &str| {
        format!(
            "[...document.querySelectorAll('[data-model={model}] button')].at(-1).getAttribute('aria-busy')"
        )
    };
    browser.until("an image of the mean code", &drawn("codes", "canvas.large"))?;
    let before = "document.querySelector('[data-model=codes] canvas.large').toDataURL()";
    let mean = browser.text(before)?;
    browser.script("const s = document.querySelector('[data-model=codes] input[type=range][min=\"-3\"]'); s.value = 3; s.oninput()")?;
    browser.until("another image of another code", &format!("{before} !== {}", json!(mean)))?;
    browser.script("document.querySelectorAll('[data-model=codes] button')[2].click()")?;
    browser.until("new images", &drawn("codes", "canvas.samples"))?;
    for model in ["parts", "upper"] {
        browser.script(&format!(
            "const b = [...document.querySelectorAll('[data-model={model}] button')].at(-1); b.click()"
        ))?;
        browser.until(
            "completions",
            &format!("document.querySelectorAll('[data-model={model}] .results canvas').length === 4"),
        )?;
        browser.until("the end of them", &format!("{} === 'false'", busy(model)))?;
    }
    // Text that grows.
    browser.script(
        "window.grown = []; const p = document.querySelector('[data-model=verses] pre'); \
         new MutationObserver(() => window.grown.push(p.textContent.length)).observe(p, {childList: true}); \
         document.querySelector('[data-model=verses] button').click()",
    )?;
    browser.until("the end of a text", &format!("{} === 'false'", busy("verses")))?;
    let grown: Vec<usize> = serde_json::from_value(browser.script("return window.grown")?)?;
    ensure!(grown.len() > 3 && grown.is_sorted(), "the text grew by {grown:?}");
    browser.picture(&home.join("make.png"))?;

    // Curves.
    browser.script("document.getElementById('tab-runs').click()")?;
    browser.until("a curve", "document.querySelector('#chart path')")?;
    let rows = browser.script("return document.querySelectorAll('#run-table tbody tr').length")?;
    ensure!(rows == json!(MODELS.len()), "the table has {rows} runs");
    browser.picture(&home.join("runs.png"))?;

    let trouble = browser.text("document.getElementById('trouble').textContent")?;
    ensure!(trouble.is_empty(), "the page says: {trouble}");
    let log = browser.call("POST", "/se/log", &json!({"type": "browser"}))?;
    // What 422 says to blank paper is no trouble, but Chromium logs it as such.
    let severe = |entry: &&Value| {
        entry["level"] == "SEVERE" && !entry["message"].as_str().unwrap_or_default().contains("status of 422")
    };
    if let Some(entry) = log.as_array().into_iter().flatten().find(severe) {
        bail!("the browser's console says: {entry}");
    }
    Ok(())
}

/// A Chromium.
struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    fn start(driver: &Path, home: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(driver)
            .arg(format!("--port={}", port.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start chromedriver")?;
        let mut browser = Self { driver: child, address: port, session: String::new() };
        let begun = Instant::now();
        while Connection::open(port).is_err() {
            ensure!(begun.elapsed() < PATIENCE, "chromedriver does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        let data = format!("--user-data-dir={}", home.join("chromium").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--lang=en",
            "--window-size=1200,950",
            &data,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = browser.call("POST", "", &wanted).context("cannot start Chromium")?;
        browser.session = format!("/{}", made["sessionId"].as_str().context("no session")?);
        Ok(browser)
    }

    /// A command of WebDriver; what it gives.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let path = format!("/session{}{path}", self.session);
        let body = if method == "GET" { Vec::new() } else { serde_json::to_vec(body)? };
        let mut connection = Connection::open(self.address)?;
        let (status, answer) = connection.ask(method, &path, "application/json", &body)?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        ensure!(status == 200, "{path}: {}", answer["value"]["message"]);
        Ok(answer["value"].take())
    }

    fn open(&self, url: &str) -> Result<()> {
        self.call("POST", "/url", &json!({"url": url})).map(drop)
    }

    fn script(&self, script: &str) -> Result<Value> {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    fn text(&self, expression: &str) -> Result<String> {
        let found = self.script(&format!("return {expression}"))?;
        Ok(found.as_str().with_context(|| format!("{expression} is {found}"))?.to_owned())
    }

    fn numbers(&self, script: &str) -> Result<[f64; 3]> {
        Ok(serde_json::from_value(self.script(script)?)?)
    }

    /// Waits until an expression is true.
    fn until(&self, what: &str, expression: &str) -> Result<()> {
        let begun = Instant::now();
        while self.script(&format!("return Boolean({expression})"))? != json!(true) {
            ensure!(begun.elapsed() < PATIENCE, "{what} does not appear");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn act(&self, actions: Value) -> Result<()> {
        self.call("POST", "/actions", &json!({"actions": [actions]})).map(drop)
    }

    /// What is to be seen, as a PNG.
    fn picture(&self, path: &Path) -> Result<()> {
        let shot = self.call("GET", "/screenshot", &Value::Null)?;
        let png = STANDARD.decode(shot.as_str().context("no picture")?)?;
        std::fs::write(path, png).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.call("DELETE", "", &Value::Null).ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}
