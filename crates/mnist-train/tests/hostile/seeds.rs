//! Seeds that our own programs write.

use std::{collections::BTreeMap, fs};

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use mnist_data::{Manifest, Patches, Tokeniser};
use mnist_train::{
    checkpoint::{self, Best, Checkpoint, LearnerState},
    few_labels::Cell,
    figures::{Figures, Scores},
    log::{MetricsLine, TimingLine},
    metrics::{Evaluation, Predictions},
    optimizer::Slot,
    run::Run,
    tune::{Dimension, Trial},
    weights::save_weights,
};
use serde::Serialize;

use crate::{
    data::four_digests,
    harness::directory,
    runs::{SETTINGS, home, parameters, saved},
};

/// Writes them into the corpus.
pub(crate) fn write() {
    let manifest = Manifest {
        format: 1,
        source: "a folder".into(),
        classes: vec!["a".into(), "b".into()],
        preparation: Default::default(),
        sha256: four_digests(),
        files: None,
    };
    put("manifest", "good-ours", &json(&manifest));
    let list = |split: &str| (0..6).map(|i| format!("{split}/{i}.png")).collect::<Vec<_>>();
    put("files", "good-ours", &json(&BTreeMap::from([("train", list("train")), ("test", list("test"))])));
    let texts = ["the cat and the hat\n", "the end of the cat\n", "that is that\n"];
    let bpe = Tokeniser::learn(262, texts.into_iter()).unwrap();
    put("tokeniser", "good-ours", bpe.to_json().unwrap().unwrap().as_bytes());
    put("patches", "good-ours", &json(&Patches::lossless([6, 8], [2, 4]).unwrap()));
    put("patches", "good-codebook", br#"{"size":[2,4],"patch":[1,2],"codebook":[0,0,1,0,0,1,1,1]}"#);

    let saved = saved();
    put("run", "good-ours", saved.to_toml().unwrap().as_bytes());
    let run = Run::resolve(None, &["objective=masked".into(), "transformer.size=0.1m".into()]).unwrap();
    put("recipe", "good-ours", toml::to_string(&run.to_table().unwrap()).unwrap().as_bytes());

    let (device, parameters, home) = (Default::default(), parameters(), home());
    let values = |factor: f32| -> Vec<Tensor<Flex, 1>> {
        let tensor = |length: usize| {
            let values: Vec<f32> = (0..length).map(|i| i as f32 * factor - 0.5).collect();
            Tensor::from_data(TensorData::new(values, [length]), &device)
        };
        parameters.iter().map(|p| tensor(p.len())).collect()
    };
    let path = home.path().join("model.safetensors");
    save_weights(&path, &parameters, &values(0.125), SETTINGS).unwrap();
    let bytes = fs::read(&path).unwrap();
    put("weights", "good-ours", &bytes);
    put("safetensors", "good-ours", &bytes);
    let slots = values(0.5).into_iter().zip(values(0.25));
    let slots = slots.map(|(first, second)| Some(Slot { time: 3, first, second: Some(second) })).collect();
    let state = LearnerState {
        step: 3,
        settings: SETTINGS.into(),
        window: vec![vec![0.5, 1.25]],
        best: Some(Best { step: 2, epoch: 1, score: 0.5 }),
        epochs_without_gain: 1,
        metrics_length: 100,
        train_seconds: 1.5,
        finished: false,
    };
    let kept = Checkpoint { model: values(0.125), average: Some(values(0.0625)), slots, state };
    let dir = checkpoint::save(home.path(), &parameters, &kept).unwrap();
    put("checkpoint_state", "good-ours", &fs::read(dir.join("state.json")).unwrap());
    put("checkpoint_tensors", "good-ours", &fs::read(dir.join("tensors.safetensors")).unwrap());

    let line = |split: &str, step: usize| MetricsLine {
        split: split.into(),
        step,
        epoch: 1,
        learning_rate: 1e-3,
        values: BTreeMap::from([("accuracy".into(), 0.5 + step as f64 / 100.0), ("loss".into(), 1.5)]),
    };
    put("metrics", "good-ours", &lines(&[line("train", 4), line("train", 8), line("valid", 8)]));
    let end = |event: &str| TimingLine {
        event: event.into(),
        step: 8,
        examples_per_second: 1234.5,
        train_seconds: 6.5,
    };
    put("timing", "good-ours", &lines(&[end("epoch"), end("end")]));
    let predictions = Predictions::new(2, vec![0.75, 0.25, 0.5, 0.5, 0.125, 0.875], vec![0, 0, 1]).unwrap();
    let figures = Evaluation::of(&predictions, &["a".into(), "b".into()]).unwrap();
    put("evaluation", "good-ours", &json(&Figures::Classification(Box::new(figures))));
    let scores = BTreeMap::from([("negative_elbo".to_string(), 98.5)]);
    let scores = Scores { objective: "vae".into(), examples: 3, binarise: Default::default(), scores };
    put("evaluation", "good-scores", &json(&Figures::Scores(scores)));
    let cell = Cell {
        way: "knn".into(),
        labels: 10,
        seed: 1,
        valid: 0.5,
        test: 0.5,
        test_f1: 0.25,
        learning_rate: None,
    };
    put("cell", "good-ours", &json(&cell));
    let typed = "cnn.dropout=0.0..0.5\nnet=mlp|cnn\nschedule.learning_rate=1e-4..1e-1:log\n";
    let dimension: Dimension = "batch_size=16..256".parse().unwrap();
    let trial = |number: usize| Trial {
        number,
        places: vec![0.125 * (number % 8) as f64, 0.5, 0.75, 0.25],
        sets: vec!["cnn.dropout=0.1".into()],
        curve: vec![0.5, 0.5 + number as f64 / 100.0],
        pruned: false,
        failed: None,
    };
    let trials: Vec<Trial> = (1..=12).map(trial).collect();
    put("search", "good-ours", &[typed.as_bytes(), &lines(&[dimension]), &lines(&trials)].concat());
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    let dir = directory(target);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), bytes).unwrap();
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap()
}

fn lines<T: Serialize>(all: &[T]) -> Vec<u8> {
    all.iter().flat_map(|line| [serde_json::to_vec(line).unwrap(), b"\n".to_vec()].concat()).collect()
}
