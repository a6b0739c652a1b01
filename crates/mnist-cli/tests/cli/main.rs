//! The program as a user types it: real images, small models, wrong input, kills.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

mod import;
mod own;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use image::{GrayImage, Luma};
use mnist_data::DataSet;
use serde_json::Value;

/// Small enough for a second or two.
const SMALL: &[&str] =
    &["--set", "net=mlp", "--set", "mlp.hidden=[32]", "--set", "data.limit=2000", "--epochs", "2"];

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn runs(&self) -> PathBuf {
        self.0.path().join("runs")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mnist-cli"));
        command.args(args).arg("--runs").arg(self.runs()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that has to succeed; its stdout.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that has to fail with this exit code; its stderr.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        stderr(&output)
    }

    fn train(&self, name: &str) -> String {
        self.ok(&[&["train", "--quiet", "--name", name], SMALL].concat())
    }

    fn file(&self, run: &str, name: &str) -> Vec<u8> {
        fs::read(self.runs().join(run).join(name)).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn checkpoints(run: &Path) -> usize {
    fs::read_dir(run.join("checkpoints")).map_or(0, |entries| {
        entries
            .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("step-")))
            .count()
    })
}

#[test]
fn train_evaluate_predict() {
    let home = Home::new();
    let said = home.train("a");
    assert!(said.contains("test accuracy"), "{said}");
    for name in
        ["run.toml", "metrics.jsonl", "timing.jsonl", "model.safetensors", "evaluation.json", "curves.png"]
    {
        assert!(!home.file("a", name).is_empty(), "{name}");
    }
    let report = String::from_utf8(home.file("a", "report.html")).unwrap();
    assert!(report.contains("mlp") && !report.contains("src=\"http"));
    let card = String::from_utf8(home.file("a", "model-card.md")).unwrap();
    let accuracy = said.lines().find_map(|line| line.strip_prefix("test accuracy ")).unwrap();
    let accuracy = accuracy.split(" (").next().unwrap();
    for wanted in [accuracy, "95 % interval", "CC BY-SA 3.0", "| 7 |", "mnist-cli predict a picture.png"] {
        assert!(card.contains(wanted), "{wanted:?} is not in {card}");
    }
    // What the card says: run.toml is a recipe as well.
    let again = home.runs().join("a/run.toml").display().to_string();
    home.ok(&["train", &again, "--name", "b"]);
    assert!(home.file("a", "model.safetensors") == home.file("b", "model.safetensors"));
    fs::remove_dir_all(home.runs().join("b")).unwrap();

    // One JSON object with the promised keys, and figures that follow from the predictions.
    let csv = home.0.path().join("p.csv");
    let json = home.ok(&["evaluate", "a", "--json", "--predictions", csv.to_str().unwrap()]);
    let e: Value = serde_json::from_str(&json).unwrap();
    for key in ["macro_f1", "weighted_f1", "cross_entropy", "brier", "ece", "top2_accuracy"] {
        assert!(e[key].is_f64(), "{key} in {json}");
    }
    assert_eq!((e["examples"].as_u64(), e["per_class"].as_array().unwrap().len()), (Some(10_000), 10));
    let rows: Vec<Vec<f64>> = fs::read_to_string(&csv)
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|v| v.parse().unwrap()).collect())
        .collect();
    // The truth, the answer, ten probabilities, and the names of both, which are digits here.
    assert!(rows.len() == 10_000 && rows.iter().all(|row| row.len() == 14));
    assert!(rows.iter().all(|row| row[0] == row[12] && row[1] == row[13]));
    let right = rows.iter().filter(|row| row[0] == row[1]).count() as f64;
    assert!((e["accuracy"].as_f64().unwrap() - right / 10_000.0).abs() < 1e-12);
    assert!(right > 7_500.0, "it learns nothing: {right}");
    let matrix = e["confusion_matrix"].as_array().unwrap();
    let zeros: u64 = matrix[0].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(zeros, 980, "rows are the truth: 980 zeros in the test split");
    for split in ["valid", "train"] {
        let e: Value =
            serde_json::from_str(&home.ok(&["evaluate", "a", "--split", split, "--json"])).unwrap();
        assert_eq!(e["examples"].as_u64(), Some(if split == "valid" { 5_000 } else { 2_000 }));
    }

    // Pictures: a real digit in its own size and enlarged in black on white, and bad files between them.
    let images = DataSet::open("mnist", None).unwrap().train().unwrap();
    let path = |name: &str| home.0.path().join(name).to_str().unwrap().to_string();
    let wanted: Vec<u64> = (0..8).map(|i| u64::from(images.label(i).unwrap())).collect();
    let mut command = vec!["predict".to_string(), "a".into(), "--json".into()];
    for i in 0..8 {
        let pixels = images.image(i).unwrap().to_vec();
        let digit = GrayImage::from_raw(28, 28, pixels).unwrap();
        let large = image::imageops::resize(&digit, 200, 200, image::imageops::FilterType::Triangle);
        let paper = GrayImage::from_fn(300, 260, |x, y| {
            let ink = if (40..240).contains(&x) && (30..230).contains(&y) {
                large.get_pixel(x - 40, y - 30)[0]
            } else {
                0
            };
            Luma([255 - ink])
        });
        let name = path(&format!("{i}.png"));
        if i % 2 == 0 {
            digit.save(&name).unwrap()
        } else {
            paper.save(&name).unwrap()
        }
        command.push(name);
    }
    fs::write(path("text.png"), "no image").unwrap();
    GrayImage::from_pixel(50, 50, Luma([255])).save(path("blank.png")).unwrap();
    command.insert(3, path("text.png"));
    command.push(path("blank.png"));
    command.push(path("gone.png"));
    let output = home.run(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let complaints = stderr(&output);
    for bad in ["text.png", "blank.png", "gone.png"] {
        assert!(complaints.contains(bad), "{bad} in {complaints}");
    }
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 8, "the other images are answered");
    let right = answers
        .iter()
        .zip(&wanted)
        .filter(|(answer, wanted)| {
            answer["label"] == wanted.to_string() && answer["probabilities"].as_array().unwrap().len() == 10
        })
        .count();
    assert!(right >= 6, "{answers:?} for {wanted:?}");
    assert!(home.ok(&["predict", "a", &path("0.png")]).contains(" %, "));
    let folder = home.0.path().display().to_string();
    assert_eq!(
        home.run(&["predict", "a", &folder]).stdout.iter().filter(|byte| **byte == b'\n').count(),
        wanted.len()
    );

    let runs = home.ok(&["runs"]);
    let words: Vec<_> = runs.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..8], ["a", "classify", "mlp", "mnist", "1", "flex", "2/2", "accuracy"], "{runs}");
    let row: Value = serde_json::from_str(home.ok(&["runs", "--json"]).trim()).unwrap();
    assert_eq!((&row["test_accuracy"], &row["test"]), (&e["accuracy"], &e["accuracy"]));
    let json: Value = serde_json::from_str(&home.ok(&["compare", "a", "a", "--json"])).unwrap();
    assert_eq!(json["runs"][1]["accuracy"], e["accuracy"]);
    assert_eq!(
        (json["pairs"][0]["difference"].as_f64(), json["pairs"][0]["exact_p"].as_f64()),
        (Some(0.0), Some(1.0))
    );
}

#[test]
fn a_killed_and_resumed_run_equals_an_uninterrupted_one() {
    let home = Home::new();
    let often = [&["--set", "checkpoint.every_steps=3"][..], SMALL].concat();
    home.ok(&[&["train", "--quiet", "--name", "whole"], &often[..]].concat());
    let run = home.runs().join("killed");
    let mut child =
        home.command(&[&["train", "--quiet", "--name", "killed"], &often[..]].concat()).spawn().unwrap();
    wait_for("a checkpoint", || checkpoints(&run) > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    home.ok(&["train", "--quiet", "--resume", "killed", "--threads", "1"]);
    for name in ["model.safetensors", "metrics.jsonl", "evaluation.json"] {
        assert!(home.file("whole", name) == home.file("killed", name), "{name} differs");
    }
    // A finished run stays as it is.
    let before = home.file("killed", "model.safetensors");
    assert!(home.ok(&["train", "--resume", "killed"]).contains("test accuracy"));
    assert!(before == home.file("killed", "model.safetensors"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on_and_the_directory_is_locked_meanwhile() {
    let home = Home::new();
    let long = [
        "--set",
        "net=mlp",
        "--set",
        "mlp.hidden=[64]",
        "--epochs",
        "500",
        "--set",
        "checkpoint.every_steps=50",
    ];
    let child = home
        .command(&[&["train", "--name", "long"], &long[..]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let run = home.runs().join("long");
    wait_for("a checkpoint", || checkpoints(&run) > 0);
    let refused = home.fails(1, &["train", "--resume", "long"]);
    assert!(refused.contains("another process") && refused.contains(&child.id().to_string()), "{refused}");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(stderr(&output).contains("mnist-cli train --resume"), "{}", stderr(&output));
    let unfinished = home.fails(1, &["evaluate", "long"]);
    assert!(unfinished.contains("no trained model yet"), "{unfinished}");

    // The newest checkpoint is damaged: named, and the one before is offered, and works.
    let mut names: Vec<_> =
        fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let damaged = names.pop().unwrap();
    fs::write(damaged.join("tensors.safetensors"), "damaged").unwrap();
    let error = home.fails(1, &["train", "--resume", "long"]);
    assert!(error.contains("is damaged") && error.contains("--checkpoint step-"), "{error}");
    let before = names.pop().unwrap();
    let before = before.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(before), "{error} offers not {before}");
    let child = home
        .command(&["train", "--resume", "long", "--checkpoint", before])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let newest = || fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).max();
    wait_for("a checkpoint after the damaged one", || newest().is_some_and(|path| path > damaged));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn mistakes_in_typing_are_answered_with_what_to_do() {
    let home = Home::new();
    for (args, wanted) in [
        (&["train", "--set", "epoch=3"][..], "there is no setting epoch; the nearest are epochs"),
        (&["train", "no-such-recipe"], "the built-in ones are default, autoencoder"),
        (&["train", "--set", "net=vgg"], "no net is called \"vgg\"; there are: mlp, cnn, resnet"),
        (&["train", "--set", "cnn.channels=[0]"], "channels"),
        (&["train", "--set", "augment.scale=7"], "scale"),
        (&["train", "--set", "data.validation=60000"], "data.validation"),
        (&["train", "--set", "objective=guess"], "no objective is called"),
        (&["train", "--name", "../x"], "not a plain name"),
        (
            &["train", "--backend", "tpu"],
            "there are cuda, rocm, metal, vulkan, tch, wgpu, candle, ndarray, flex",
        ),
        (&["train", "--set", "batch_size=0"], "batch_size is 0; it has to be 1"),
        (&["train", "--set", "batch_size=60000"], "batch_size is 60000, more than the 55000 training images"),
        (&["train", "--set", "vit.size=huge"], "no size is called \"huge\"; there are: 0.1m, 0.3m"),
        (&["train", "--set", "recompute=true"], "the net cnn has none"),
        (&["plan", "no-such-recipe"], "the built-in ones are default, autoencoder"),
        (&["plan", "--set", "transformer.size=2m"], "no size is called \"2m\""),
        (&["plan", "--set", "cnn.channels=[0]"], "channels"),
        (&["plan", "--check", "1"], "--check"),
        (&["train", "--threads", "0"], "--threads"),
        (&["train", "--epochs", "-1"], "invalid value '-1' for '--epochs <N>'"),
        (&["generate", "a", "--temperature", "-1"], "--temperature -1 has to be 0 or more"),
        (&["train", "--backend", "flex", "--devices", "1"], "backend flex has one device here, number 0"),
        (&["train", "--backend", "flex", "--devices", "0,1"], "backend flex has one device here, number 0"),
        (&["train", "--backend", "flex", "--devices", "0,0"], "--devices names device 0 twice"),
        (&["train", "--devices", "first"], "--devices"),
        (&["train", "mlp", "--labels", "0"], "--set data.labels=0 learns from all"),
        (&["train", "pipeline-quick"], "pipeline-quick is a pipeline, not a recipe: it is for `pipeline`"),
        (&["pipeline", "mlp"], "mlp is a recipe, not a pipeline"),
        (&["train", "--resume", "nothing"], "is not a run: looked for run.toml in"),
        (&["train", "--resume", "a", "--seed", "3"], "--seed"),
        (&["train", "mlp", "--checkpoint", "step-1"], "say --resume RUN too"),
        (&["train", "--name", "a\u{1b}[31m", "--dry-run"], "nothing that cannot be seen"),
        (&["train", "--data", "notes.txt"], "there is no such file"),
        (&["pretrain", "contrastive", "autoencoder"], "nothing in [augment] distorts"),
        (&["tune", "mlp", "--set", "data.limit=5"], "batch_size is"),
        (&["pipeline", "pipeline-quick", "--set", "data.lmit=200"], "data.lmit"),
        (&["probe", "a", "--labels", "0"], "1 or more"),
        (&["evaluate", "nothing"], "is not a run"),
        (&["predict", "nothing"], "IMAGE"),
        (&["recipes", "nothing"], "tiny, pipeline-quick, "),
        (&["completions", "tcsh"], "bash"),
        (&["teach"], "teach"),
    ] {
        let error = home.fails(2, args);
        assert!(error.contains(wanted), "{args:?}: {error:?} lacks {wanted:?}");
    }
    assert!(
        !home.runs().exists() || fs::read_dir(home.runs()).unwrap().count() == 0,
        "something was written"
    );

    let error = home.fails(1, &["train", "--data-dir", "/nowhere"]);
    assert!(error.contains("/nowhere") && error.contains("data fetch mnist"), "{error}");
    home.train("a");
    assert!(home.fails(2, &[&["train", "--name", "a"], SMALL].concat()).contains("exists already"));
    assert!(home.ok(&["completions", "bash"]).contains("mnist-cli"));
    assert!(home.ok(&["recipes"]).contains("fixmatch  "));
    assert_eq!(home.ok(&["recipes", "mlp"]), include_str!("../../../../recipes/mlp.toml"));
    assert!(home.ok(&["train", "--dry-run"]).contains("trainable parameters"));
    let output = home.run(&["train", "--dry-run", "--set", "mlp.hidden=[9]"]);
    assert!(stderr(&output).contains("changes nothing: the net is cnn, not mlp"), "{}", stderr(&output));
}

/// `2>&1 | head -1` closes it; nothing of a training is lost for that.
#[test]
fn nobody_has_to_read_what_is_said() {
    let home = Home::new();
    // At such a rate nothing is gained.
    let sets = ["net=mlp", "data.limit=2000", "early_stopping.patience=1", "schedule.learning_rate=1e-12"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let train = [&["train", "--name", "a", "--epochs", "9"], &sets[..]].concat();
    let mut child = home.command(&train).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    // What is done is said again and not done again.
    let output = home.run(&["train", "--resume", "a"]);
    assert!(stderr(&output).starts_with("trained before: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("stopped early at step "), "{}", stderr(&output));

    let small = ["--set", "net=mlp", "--set", "data.limit=500", "--epochs", "1", "--quiet", "--name", "r"];
    let found = home.ok(&[&["train", "regression"], &small[..]].concat());
    assert!(found.contains("chosen by validation: epoch 1, squared error"), "{found}");
    let picture = home.0.path().join("one.png");
    let ink = |x: u32, _| image::Luma([if (13..16).contains(&x) { 0 } else { 255 }]);
    image::GrayImage::from_fn(28, 28, ink).save(&picture).unwrap();
    let found = home.ok(&["predict", "r", "--json", picture.to_str().unwrap()]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert!(found["value"].as_f64().is_some_and(f64::is_finite), "{found}");
}

/// Of the MLP 784-32-10: 784 * 32 + 32 + 32 * 10 + 10 values; forward 2 * 64 * (784 * 32 + 32 * 10) multiplications and
/// additions, backward as many for the weights and 2 * 64 * 32 * 10 for what is between the layers.
#[test]
fn a_plan_counts_what_can_be_counted_by_hand() {
    let home = Home::new();
    let plan = |more: &[&str]| -> Value {
        let mlp = ["plan", "mlp", "--json", "--seconds", "0.2", "--set", "mlp.hidden=[32]", "--epochs", "3"];
        serde_json::from_str(&home.ok(&[&mlp[..], more].concat())).unwrap()
    };
    let found = plan(&["--set", "batch_size=64", "--set", "ema.decay=0.9"]);
    let values = 784 * 32 + 32 + 32 * 10 + 10;
    assert_eq!(found["parameters"].as_u64(), Some(values));
    assert_eq!(found["flops"].as_u64(), Some(2 * 64 * (2 * (784 * 32 + 320) + 320)));
    assert_eq!((found["steps_per_epoch"].as_u64(), found["steps"].as_u64()), (Some(860), Some(2580)));
    let memory = &found["memory"];
    for (name, times) in [("weights", 1), ("gradients", 1), ("optimizer", 2), ("average", 1)] {
        assert_eq!(memory[name].as_u64(), Some(4 * values * times), "{name}");
    }
    // The images, what ReLU lets pass, and of the loss something for each class.
    let kept = memory["activations"].as_u64().unwrap();
    assert!((4 * 64 * (784 + 32)..4 * 64 * (784 + 32 + 24)).contains(&kept), "{kept}");
    assert!(found["time"]["run"].as_f64().unwrap() > 2580.0 * found["time"]["step"].as_f64().unwrap());

    let twice = plan(&["--set", "batch_size=64", "--set", "accumulate=2", "--set", "ema.decay=0"]);
    assert_eq!(twice["flops"].as_u64(), found["flops"].as_u64().map(|flops| 2 * flops));
    assert_eq!(twice["memory"]["gradients"].as_u64(), Some(8 * values));
    assert_eq!((twice["memory"]["average"].as_u64(), twice["steps"].as_u64()), (Some(0), Some(1290)));
    assert!(!home.runs().exists(), "something was written");

    // Fine-tuned, the new layer alone: 32 * 10 + 10 values move, and nothing goes back below them.
    let small = ["--set", "data.limit=128", "--epochs", "1", "--quiet"];
    home.ok(&[&["train", "mlp", "--name", "source", "--set", "mlp.hidden=[32]"], &small[..]].concat());
    let head =
        ["--set", "finetune.method=head", "--set", "batch_size=64", "--check", "2", "--seconds", "0.2"];
    let said = home.ok(&[&["plan", "--json", "--from", "source"], &small[..], &head].concat());
    let found: Value = serde_json::from_str(&said).unwrap();
    // Its weights are it.
    let weights = home.runs().join("source/model.safetensors").display().to_string();
    let said = home.ok(&[&["plan", "--json", "--from", &weights], &small[..], &head].concat());
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["parts"], found["parts"]);
    assert_eq!((found["parameters"].as_u64(), found["moved"].as_u64()), (Some(values), Some(330)));
    assert_eq!(found["memory"]["gradients"].as_u64(), Some(4 * 330));
    assert_eq!(found["flops"].as_u64(), Some(2 * 64 * (784 * 32 + 2 * 320)));
    assert!(found["measured"]["step_seconds"].as_f64().unwrap() > 0.0);
    let mut names: Vec<_> = std::fs::read_dir(home.runs()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["source"], "a plan wrote something");
}

#[test]
fn a_plan_is_told_for_every_kind_of_recipe_and_can_be_checked() {
    let home = Home::new();
    let small = ["--seconds", "0.1", "--set", "data.limit=128", "--set", "batch_size=4"];
    for recipe in ["vae-quick", "gan-quick", "contrastive", "masked", "tiny"] {
        let said = home.ok(&[&["plan", recipe], &small[..]].concat());
        assert!(said.contains("parameters") && said.contains("FLOPs of a step: "), "{said}");
    }
    let vit = ["--set", "net=vit", "--set", "vit.size=0.1m", "--set", "vit.patch=14", "--check", "2"];
    let said = home.ok(&[&["plan"], &small[..], &vit].concat());
    assert!(said.contains("net.Vit.transformer") && said.contains("planned against 2 steps"), "{said}");
    let json = home.ok(&[&["plan", "--json"], &small[..], &vit].concat());
    let found: Value = serde_json::from_str(&json).unwrap();
    assert!(found["measured"]["step_seconds"].as_f64().unwrap() > 0.0);
}

/// A recipe too large for a test is planned, not run: of what its name says, and within the memory it promises.
#[test]
fn the_large_recipe_is_what_its_name_says() {
    let home = Home::new();
    let sets =
        ["--set", "vit.layers=1", "--set", "vit.patch=28", "--set", "data.limit=64", "--seconds", "0.1"];
    let json = home.ok(&[&["plan", "vit-100m", "--json"], &sets[..]].concat());
    let found: Value = serde_json::from_str(&json).unwrap();
    let layer = found["parts"].as_array().unwrap().iter().find(|part| part[0] == "net.Vit.transformer");
    let layer = layer.unwrap()[1].as_f64().unwrap();
    assert!((12.0 * layer / 1e8 - 1.0).abs() < 0.05, "{layer}");
    assert!(
        home.ok(&["train", "vit-100m", "--dry-run", "--set", "vit.layers=1"]).contains("recompute = true")
    );
}

#[cfg(not(feature = "tch"))]
/// What load.py does, written down once more for an MLP: other programs themselves are asked by `cargo xtask exchange`.
#[test]
fn an_exported_classifier_gives_the_same_probabilities() {
    let home = Home::new();
    home.train("mlp");
    for (format, weights) in
        [("safetensors", "model.safetensors"), ("pytorch", "model.pt"), ("onnx", "model.onnx")]
    {
        let out = PathBuf::from(home.ok(&["export", "mlp", "--format", format]).trim());
        let json =
            |name: &str| -> Value { serde_json::from_slice(&fs::read(out.join(name)).unwrap()).unwrap() };
        let (config, reference) = (json("config.json"), json("reference.json"));
        assert_eq!(config["classes"].as_array().unwrap().len(), 10);
        assert_eq!(reference["images"].as_array().unwrap().len(), 16);
        if format == "onnx" {
            assert!(fs::metadata(out.join(weights)).unwrap().len() > 4 * 784 * 32);
            continue;
        }
        let tensors = mnist_train::foreign::read(&out.join(weights)).unwrap();
        let number = |value: &Value| value.as_f64().unwrap();
        let numbers = |value: &Value| value.as_array().unwrap().iter().map(number).collect::<Vec<f64>>();
        let linear = |name: &str, x: &[f64]| -> Vec<f64> {
            let (weight, bias) = (&tensors[&format!("{name}.weight")], &tensors[&format!("{name}.bias")]);
            assert_eq!(weight.shape, [bias.values.len(), x.len()]);
            let row = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
            weight.values.chunks(x.len()).zip(&bias.values).map(|(w, b)| row(w) + f64::from(*b)).collect()
        };
        let first = &config["layers"][0];
        let (mean, std) = (number(&first["mean"]), number(&first["std"]));
        for (image, wanted) in reference["images"]
            .as_array()
            .unwrap()
            .iter()
            .zip(reference["log_probabilities"].as_array().unwrap())
        {
            let pixels: Vec<f64> = numbers(image).iter().map(|pixel| (pixel - mean) / std).collect();
            let hidden: Vec<f64> = linear("hidden.0", &pixels).iter().map(|x| x.max(0.0)).collect();
            let logits = linear("head", &hidden);
            let sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
            let distance = |(found, wanted): (&f64, f64)| (found - sum - wanted).abs();
            assert!(logits.iter().zip(numbers(wanted)).map(distance).all(|distance| distance < 1e-4));
        }
    }
    let brief = ["--set", "data.limit=320", "--epochs", "1", "--quiet"];
    let sizes = ["--set", "mlp.hidden=[8]", "--set", "vae.decoder.hidden=[8]"];
    home.ok(&[&["pretrain", "vae", "--name", "vae"][..], &sizes, &brief].concat());
    let error = home.fails(2, &["export", "vae", "--format", "onnx"]);
    assert!(error.contains("objective is vae") && error.contains("classifiers of images"), "{error}");
    let sizes =
        ["--set", "vit.width=8", "--set", "vit.heads=1", "--set", "vit.layers=1", "--set", "vit.hidden=8"];
    home.ok(&[&["train", "--name", "vit", "--set", "net=vit"][..], &sizes, &brief].concat());
    let error = home.fails(2, &["export", "vit", "--format", "onnx"]);
    assert!(error.contains("--format safetensors or pytorch"), "{error}");
    assert!(!home.runs().join("vit/export-onnx").exists());
}

#[test]
fn event_files_for_tensorboard_hold_each_line_once() {
    let home = Home::new();
    home.ok(&[&["train", "--quiet", "--tensorboard", "--name", "board"], SMALL].concat());
    let length = |split: &str| {
        let folder = home.runs().join("board/tensorboard").join(split);
        let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        assert!(file.file_name().to_string_lossy().contains("tfevents"));
        file.metadata().unwrap().len()
    };
    let before = [length("train"), length("valid")];
    // A finished run that is resumed has nothing to add, and its files are written anew.
    home.ok(&["train", "--quiet", "--resume", "board"]);
    assert_eq!([length("train"), length("valid")], before);
}

#[test]
fn a_backend_that_is_not_compiled_in_names_its_feature_flag() {
    let error = Home::new().fails(2, &["train", "--backend", "tch"]);
    assert!(error.contains("--features tch"), "{error}");
}

/// Small enough a Transformer for a second or two.
const TOKENS: &[&str] = &[
    "--set",
    "transformer.width=16",
    "--set",
    "transformer.layers=1",
    "--set",
    "transformer.hidden=16",
    "--set",
    "tokens.vocabulary=300",
    "--set",
    "tokens.context=32",
    "--set",
    "steps=4",
    "--epochs",
    "1",
];

#[test]
fn a_masked_model_of_text_is_fine_tuned_to_tell_testaments() {
    let home = Home::new();
    let ok = |args: &[&str]| {
        let output = home.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let (_, said) = ok(&[&["pretrain", "masked", "--data", "text", "--name", "m"], TOKENS].concat());
    assert!(said.contains("masked (transformer) on text"), "{said}");
    let shown = String::from_utf8(home.file("m", "pictures/masked-predicted-true.txt")).unwrap();
    let first: Vec<_> = shown.lines().take(3).collect();
    assert!(
        first[0].contains("[MASK]") && !first[1].contains("[MASK]") && !first[2].contains("[MASK]"),
        "{shown}"
    );
    assert!(first[2].starts_with("true       ") && first[2].contains(" | "), "{shown}");
    assert!(String::from_utf8(home.file("m", "report.html")).unwrap().contains("masked predicted true"));

    let tune = ["finetune", "--from", "m", "--labels", "64", "--set", "steps=4", "--epochs", "1"];
    let (found, said) = ok(&[&tune[..], &["--name", "t", "--set", "tokens.context=40"]].concat());
    assert!(
        said.contains("adapted   net.positions") && said.contains("32 positions interpolated to 40"),
        "{said}"
    );
    assert!(said.contains("classify-tokens (transformer) on text, 64 training"), "{said}");
    assert!(found.contains("test accuracy") && found.contains("macro F1"), "{found}");
    assert_eq!(home.file("t", "tokenizer.json"), home.file("m", "tokenizer.json"));
    home.ok(&["evaluate", "t", "--split", "valid", "--first", "50"]);
    let (_, said) = ok(&[&tune[..], &["punctuation", "--name", "p"]].concat());
    assert!(said.contains("label-sequence (transformer)"), "{said}");

    // An encoder of text has no place in a model of images, planned or trained.
    for command in ["plan", "finetune"] {
        let error = stderr(&home.run(&[command, "--from", "m", "finetune", "--data", "mnist"]));
        assert!(error.contains("learns from images, not tokens"), "{command}: {error}");
    }
    let out = home.0.path().join("made.txt").display().to_string();
    let said = home.ok(&["generate", "m", "--out", &out, "-n", "2"]);
    let text = fs::read_to_string(&out).unwrap();
    assert!(said.starts_with("2 texts in ") && text.contains("----\n"), "{said}: {text}");

    let found = home.ok(&["probe", "m", "--labels", "64", "--seeds", "2"]);
    assert!(found.contains("16 features") && found.lines().count() == 3, "{found}");
    let table = home.0.path().join("table").display().to_string();
    let few = ["few-labels", "--from", "m", "classify-tokens", "--labels", "64", "--seeds", "1"];
    let found = home.ok(&[&few[..], &["--ways", "knn,logistic", "--out", &table]].concat());
    assert!(found.contains("logistic") && found.contains("test macro F1"), "{found}");
    // Two learning rates for each training, of which validation picks one.
    let table = home.0.path().join("rates");
    let out = table.display().to_string();
    let rates = ["--ways", "scratch", "--rates", "1e-4,1e-2", "--set", "steps=4", "--set", "epochs=1"];
    home.ok(&[&few[..], &rates, &["--out", &out]].concat());
    let cell = std::fs::read(table.join("cells/scratch-00064-seed1.json")).unwrap();
    let cell: Value = serde_json::from_slice(&cell).unwrap();
    assert!([1e-4, 1e-2].contains(&cell["learning_rate"].as_f64().unwrap()), "{cell}");
    let error = stderr(&home.run(&[&few[..], &["--ways", "scratch", "--out", &out]].concat()));
    assert!(error.contains("other settings"), "{error}");
    let error = stderr(&home.run(&["probe", "p"]));
    assert!(error.contains("has a class at each place"), "{error}");
    let further = ["finetune", "--from", "m", "masked-text", "--data", "text", "--method", "lora"];
    let error = home.fails(2, &[&further[..], &["--set", "data.limit=2000"]].concat());
    assert!(error.contains("--method lora is for classifiers"), "{error}");
    let error = home.fails(2, &["compare", "p", "p"]);
    assert!(error.contains("the run p tells a class at each place"), "{error}");

    // Texts: a class each, or the marks behind the words, of a text longer than the context too.
    let found =
        home.ok(&["predict", "t", "--json", "--text", "In the beginning", "--text", "And Jesus said"]);
    let answers: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2, "{found}");
    assert_eq!(answers[1]["text"], "And Jesus said");
    let probabilities = answers[0]["probabilities"].as_array().unwrap();
    assert!((probabilities.iter().map(|p| p.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-5, "{found}");
    let long = "And God said, Let there be light: ".repeat(20);
    let found = home.ok(&["predict", "p", "--text", &long]);
    let bare = |text: &str| text.replace([',', '.', ';', ':', '?', '!'], "").trim().to_string();
    assert_eq!(bare(&found), bare(&long));
    let (_, said) = ok(&["predict", "t", "--text", "In the beginning", "--text", &long]);
    assert!(said.contains("warning: text 2 has") && said.contains("that of the first 38"), "{said}");
    let picture = home.0.path().join("none.png").display().to_string();
    for (args, wanted) in [
        (&["m", "--text", "a b"][..], "this run's model tells no class of a text"),
        (&["t", "--text", " , "], "wanted at least one word"),
        (&["t", &picture], "ask with --text"),
        (&["t", &picture, "--text", "a b"], "cannot be used with"),
    ] {
        let error = stderr(&home.run(&[&["predict"], args].concat()));
        assert!(error.contains(wanted), "{args:?}: {error:?} lacks {wanted:?}");
    }

    for (args, wanted) in [
        (&["finetune"][..], "learns from images, not text; objectives on tokens are"),
        (&["classify-tokens", "--data", "mnist"], "the model to start from reads text, not images as tokens"),
        (&["--labels", "1"], "data.labels is 1; it has to be 0 (all) or 2 at least"),
        (&["--labels", "40000"], "at most the 28400 training examples"),
        (&["--set", "transformer.width=24"], "net.tokens is [304, 16], wanted [304, 24]"),
        (
            &["--set", "tokens.binarise=static"],
            "there is no setting tokens.binarise any more; it is data.binarise",
        ),
    ] {
        let output = home.run(&[&["finetune", "--from", "m"], args].concat());
        let error = stderr(&output);
        assert!(!output.status.success() && error.contains(wanted), "{args:?}: {error:?} lacks {wanted:?}");
    }
    assert_eq!(fs::read_dir(home.runs()).unwrap().count(), 3, "something was written");
}

/// Three small stages.
const PIPELINE: &str = r#"
[[stage]]
name = "pretrained"
recipe = "autoencoder"
set = ["net=mlp", "mlp.hidden=[32]", "data.limit=2000", "steps=160", "epochs=4"]

[[stage]]
name = "finetuned"
recipe = "few-labels"
from = "pretrained"
set = ["data.limit=500", "steps=20", "epochs=1", "batch_size=32"]

[[stage]]
name = "scratch"
like = "finetuned"
set = ["finetune.method=scratch"]
"#;

#[test]
fn a_killed_pipeline_goes_on_to_the_same_report() {
    let home = Home::new();
    let file = home.0.path().join("small.toml");
    fs::write(&file, PIPELINE).unwrap();
    let file = file.to_str().unwrap();
    let pipeline = |name: &'static str| ["pipeline", file, "--name", name];
    let whole = home.ok(&pipeline("whole"));
    assert!(whole.contains("finetuned - scratch: ") && whole.contains("exact McNemar p "), "{whole}");
    assert!(
        home.ok(&["runs"]).lines().any(|line| line.starts_with("whole/finetuned ")),
        "{}",
        home.ok(&["runs"])
    );
    assert!(home.fails(2, &["evaluate", "whole"]).contains("; there are the runs "));

    let mut child =
        home.command(&pipeline("cut")).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let first = home.runs().join("cut").join("pretrained");
    wait_for("a checkpoint of the first stage", || checkpoints(&first) > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!first.join("report.html").exists(), "killed too late to tell anything");
    let output = home.run(&pipeline("cut"));
    assert!(stderr(&output).contains("going on with"), "{}", stderr(&output));
    for stage in ["pretrained", "finetuned", "scratch"] {
        let [cut, whole] =
            ["cut", "whole"].map(|name| home.file(&format!("{name}/{stage}"), "evaluation.json"));
        assert_eq!(cut, whole, "{stage}");
    }
    let again = home.run(&pipeline("cut"));
    assert_eq!(stderr(&again).matches("done before").count(), 3, "{}", stderr(&again));
    assert!(fs::read_to_string(home.runs().join("cut/report.html")).unwrap().contains("McNemar"));

    let error = home.fails(2, &["pipeline", file, "--name", "cut", "--seed", "2"]);
    assert!(error.contains("choose another --name"), "{error}");
    let error = home.fails(2, &["pipeline", "no-such"]);
    assert!(error.contains("the built-in ones are pipeline-quick"), "{error}");
    fs::write(file, PIPELINE.replace("from = \"pretrained\"", "from = \"scratch\"")).unwrap();
    let error = home.fails(2, &["pipeline", file]);
    assert!(error.contains("stage finetuned: there is no stage scratch before it"), "{error}");
}
