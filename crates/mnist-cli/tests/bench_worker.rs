//! `bench-worker`'s protocol: answers to good requests, error lines to bad ones, in the order asked.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// The answers to these lines, one each.
fn answers(lines: &[String]) -> Vec<Value> {
    let runs = tempfile::tempdir().unwrap();
    let mut worker = Command::new(env!("CARGO_BIN_EXE_mnist-cli"))
        .args(["bench-worker", "--quiet", "--runs"])
        .arg(runs.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(worker.stdin.take().unwrap(), "{}", lines.join("\n")).unwrap();
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(runs.path().read_dir().unwrap().count(), 0, "it tidies up after its trainings");
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), lines.len());
    answers
}

fn prepare(work: &str, net: &str, batch: usize, settings: Value) -> String {
    json!({"do": "prepare", "work": work, "net": net, "batch": batch, "settings": settings}).to_string()
}

#[test]
fn each_kind_of_work_is_done() {
    let once = json!({"do": "round", "seconds": 0}).to_string();
    let mlp = json!({"hidden": [16]});
    let found = answers(&[
        json!({"do": "hello"}).to_string(),
        prepare("train", "mlp", 4, mlp.clone()),
        once.clone(),
        prepare("infer", "mlp", 4, mlp.clone()),
        once.clone(),
        prepare("latency", "mlp", 1, mlp),
        json!({"do": "round", "seconds": 0.01}).to_string(),
        prepare("op", "linear", 1, Value::Null),
        once.clone(),
        prepare("train", "transformer", 1, Value::Null),
        once,
    ]);
    assert_eq!(found[0], json!({}));
    assert_eq!(found[1]["parameters"], 784 * 16 + 16 + 16 * 10 + 10);
    assert_eq!(found[1]["settings"], json!({"hidden": [16], "dropout": 0.0}), "all settings, for the peer");
    for round in [2, 4, 8, 10].map(|i| &found[i]) {
        assert_eq!(round["iterations"], 1, "a round is one iteration at least: {round}");
        assert!(round["seconds"].as_f64().unwrap() > 0.0 && round["median_ms"].as_f64().unwrap() > 0.0);
    }
    assert!(found[6]["iterations"].as_u64().unwrap() > 1);
    assert_eq!(found[7]["parameters"], 128 * 512 + 512);
    // layer, norm = nn.TransformerEncoderLayer(128, 4, 512), nn.LayerNorm(128)
    // sum(p.numel() for p in nn.TransformerEncoder(layer, 4, norm).parameters())
    assert_eq!(found[9]["parameters"], 793_344);
}

#[test]
fn trainings_are_timed_and_leave_nothing_behind() {
    let small = ["net=mlp", "mlp.hidden=[8]", "data.limit=640", "data.validation=100", "epochs=1"];
    let found = answers(&[
        json!({"do": "train", "set": small}).to_string(),
        json!({"do": "reach", "accuracy": 0.02, "every": 4, "seed": 1, "set": small}).to_string(),
        json!({"do": "reach", "accuracy": 1.0, "every": 4, "seed": 1, "set": small}).to_string(),
    ]);
    assert!(found[0]["seconds"].as_f64().unwrap() > 0.0 && found[0]["images_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(found[1]["steps"], 4, "the first measurement is good enough: {}", found[1]);
    assert!(found[1]["seconds"].as_f64().unwrap() > 0.0);
    assert!(found[1]["accuracy"].as_f64().unwrap() >= 0.02);
    assert_eq!((&found[2]["seconds"], &found[2]["steps"]), (&Value::Null, &json!(10)), "it never gets there");
}

#[test]
fn bad_requests_are_answered_and_the_next_one_is_served() {
    let bad = [
        ("no json".to_owned(), "no request"),
        (json!({"do": "dance"}).to_string(), "dance"),
        (json!({"do": "round", "seconds": 1}).to_string(), "nothing has been prepared"),
        (prepare("train", "vgg", 4, Value::Null), "no net is called"),
        (prepare("op", "vgg", 4, Value::Null), "no operation"),
        (prepare("dance", "mlp", 4, Value::Null), "dance"),
        (prepare("train", "mlp", 0, Value::Null), "batch is 0"),
        (prepare("infer", "mlp", 60_001, Value::Null), "batch is 60001 of 60000 images"),
        (prepare("train", "mlp", 4, json!({"hidden": []})), "hidden"),
        (prepare("train", "mlp", 4, json!({"hidden": "wide"})), "wide"),
        (json!({"do": "train", "set": ["epoch=1"]}).to_string(), "no setting epoch"),
        (json!({"do": "reach", "accuracy": 2, "every": 1, "seed": 1}).to_string(), "accuracy is 2"),
        (json!({"do": "reach", "accuracy": 1, "every": 0, "seed": 1}).to_string(), "every is 0"),
    ];
    let mut lines: Vec<String> = bad.iter().map(|(line, _)| line.clone()).collect();
    lines.push(json!({"do": "hello"}).to_string());
    let found = answers(&lines);
    for ((line, wanted), answer) in bad.iter().zip(&found) {
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{line}: {answer}"));
        assert!(error.contains(wanted), "{line}: {error:?} lacks {wanted:?}");
    }
    assert_eq!(found.last(), Some(&json!({})));
}
