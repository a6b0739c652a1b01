//! Fine-tuning: what is frozen does not move by a bit, what is killed goes on in the same bits, adapters merge.

use std::collections::BTreeMap;

use burn_flex::Flex;
use mnist_model::nets::NetSettings;
use mnist_train::{
    finetune::{Method, Source},
    learner::Outcome,
    log::read_metrics,
    registry,
    run::Run,
};

use crate::common::{Lab, alone, settings};

/// Small nets, with everything that has a memory.
fn small(net: &str) -> Vec<&'static str> {
    let own: &[&str] = match net {
        "mlp" => &["mlp.hidden=[24, 16]", "mlp.dropout=0.2"],
        "cnn" => &["cnn.channels=[4, 6]", "cnn.kernels=[3, 3]", "cnn.width=16", "cnn.dropout=0.2"],
        "resnet18" => &["resnet18.width=4", "resnet18.channels=1"],
        "resnet34" => &["resnet34.width=4"],
        "resnet50" => &["resnet50.width=4"],
        "resnet" => &["resnet.width=4", "resnet.blocks=[1, 1]"],
        "vit" => &[
            "vit.layers=2",
            "vit.width=16",
            "vit.heads=2",
            "vit.hidden=24",
            "vit.dropout=0.2",
            "vit.patch=7",
        ],
        _ => &["pytorch_example_cnn.channels=[2, 3]", "pytorch_example_cnn.width=12"],
    };
    let shared = ["data.limit=64", "batch_size=16", "ema.decay=0.9", "optimizer.weight_decay=0.1"];
    [own, &shared].concat()
}

/// A run's tensors by name.
fn tensors(lab: &Lab) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(lab.dir.model()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// A short pretraining of a net.
fn pretrained(net: &str) -> Lab {
    let net_set = format!("net={net}");
    let lab =
        Lab::new(settings(&[&small(net)[..], &["objective=autoencoder", "epochs=1", &net_set]].concat()));
    lab.fit().unwrap();
    lab
}

/// A fine-tuning from a run, not yet trained.
fn tuning(from: &Lab, method: &str, sets: &[&str]) -> Lab {
    let path = from.dir.path().to_str().unwrap();
    let own = [
        format!("net={}", from.run.net),
        format!("finetune.from={path}"),
        format!("finetune.method={method}"),
        "finetune.lora_rank=2".into(),
    ];
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let mut lab = Lab::new(settings(&[&small(&from.run.net)[..], &own, sets].concat()));
    lab.source = Some(Source::find(path, "".as_ref()).unwrap());
    lab
}

#[test]
fn the_sources_net_goes_before_a_recipes() {
    let _alone = alone();
    for (net, _) in NetSettings::TABLE {
        let from = pretrained(net);
        let source = Source::find(from.dir.path().to_str().unwrap(), "".as_ref()).unwrap();
        let recipe =
            "net = \"cnn\"\n[cnn]\nchannels = [3]\nkernels = [3]\ndropout = 0.4\n[mlp]\ndropout = 0.4\n";
        let recipe = Some((recipe, "recipe.toml".as_ref()));
        let run = Run::resolve_over(source.defaults().unwrap(), recipe, &source.structure()).unwrap();
        let [mut wanted, mut found] = [&from.run, &run].map(|run| run.nets.clone());
        assert_eq!(run.net, *net);
        // A recipe may say how much is dropped out, and what nets would be that are not used.
        for nets in [&mut wanted, &mut found] {
            nets.mlp.dropout = 0.0;
            nets.cnn.dropout = 0.0;
            if *net != "cnn" {
                nets.cnn = Default::default();
            }
        }
        assert_eq!(format!("{wanted:?}"), format!("{found:?}"), "{net}");
        let dropout = if *net == "cnn" { run.nets.cnn.dropout } else { run.nets.mlp.dropout };
        assert_eq!(dropout, 0.4, "{net}");
    }
}

#[test]
fn frozen_tensors_keep_every_bit_and_the_others_move() {
    let _alone = alone();
    // The deeper ones have the layers of `resnet18`, which images as small as these hardly get through.
    let nets = NetSettings::TABLE.iter().filter(|(net, _)| !["resnet34", "resnet50"].contains(net));
    for (net, _) in nets {
        let from = pretrained(net);
        let before = tensors(&from);
        for method in ["head", "bias", "lora", "gradual", "full"] {
            let lab = tuning(&from, method, &["epochs=2", "finetune.unfreeze_every=1"]);
            if method == "lora" && net.starts_with("resnet") {
                let error = lab.fit().unwrap_err().to_string();
                assert!(error.contains("no linear layers"), "{error}");
                continue;
            }
            lab.fit().unwrap();
            let after = tensors(&lab);
            assert!(after.keys().all(|name| !name.contains("lora")), "{net}: adapters are left over");
            let settings = &lab.run.finetune;
            let params = registry::trained::<Flex>(&lab.run, &lab.data.facts, &Default::default()).unwrap();
            let adapted = |path: &str| {
                let layer = path.strip_suffix(".weight").map(|layer| format!("{layer}.lora.a"));
                params.iter().any(|p| Some(&p.path) == layer.as_ref())
            };
            for (p, frozen) in params.iter().zip(settings.frozen(&params, lab.run.epochs - 1, lab.run.epochs))
            {
                let (Some(old), Some(new)) = (before.get(&p.path), after.get(&p.path)) else { continue };
                if frozen && !adapted(&p.path) {
                    assert!(old == new, "{net}, {method}: {} moved", p.path);
                } else if lab.run.finetune.method != Method::Gradual {
                    assert!(old != new, "{net}, {method}: {} did not move", p.path);
                }
            }
        }
    }
}

/// A frozen net drops nothing out: two passes with other draws give the same loss.
#[test]
fn frozen_layers_answer_in_training_as_in_use() {
    let _alone = alone();
    for net in ["mlp", "cnn", "vit", "resnet"] {
        let from = pretrained(net);
        // At a rate of almost nothing the head stays what it is: the training loss of an epoch is that of the images.
        let still =
            ["schedule.learning_rate=1e-30", "optimizer.weight_decay=0", "epochs=1", "log.every_steps=4"];
        let loss = |batch: &str| {
            let lab = tuning(&from, "head", &[&still[..], &[batch]].concat());
            lab.fit().unwrap();
            let lines = read_metrics(&lab.dir.metrics()).unwrap();
            lines.iter().find(|line| line.split == "train").unwrap().values["loss"]
        };
        let (a, b) = (loss("batch_size=16"), loss("batch_size=32"));
        assert!((a - b).abs() < 1e-5, "{net}: {a} {b}");
    }
}

#[test]
fn a_fine_tuning_that_is_stopped_and_resumed_ends_in_the_same_bits() {
    let _alone = alone();
    let from = pretrained("cnn");
    for method in ["gradual", "lora", "layer-decay"] {
        let sets = ["steps=10", "epochs=4", "log.every_steps=1", "augment.rotation=10"];
        let whole = tuning(&from, method, &sets);
        whole.fit().unwrap();
        for stop_at in [1, 4, 8] {
            let mut lab = tuning(&from, method, &sets);
            let first = lab.fit_on::<Flex>(None, Some(stop_at)).unwrap();
            assert!(matches!(first, Outcome::Interrupted { .. }), "{first:?}");
            lab.source = None;
            lab.fit_on::<Flex>(lab.newest(), None).unwrap();
            assert!(lab.results() == whole.results(), "{method}, stopped at {stop_at}: differs");
        }
    }
}

#[test]
fn merged_adapters_answer_as_the_unmerged_do() {
    let _alone = alone();
    for net in ["mlp", "cnn", "vit"] {
        let from = pretrained(net);
        let lab = tuning(&from, "lora", &["epochs=3", "schedule.learning_rate=0.01", "checkpoint.keep=9"]);
        let Outcome::Finished(state) = lab.fit().unwrap() else { panic!("not finished") };
        let (facts, digest) = (&lab.data.facts, lab.dir.settings_digest().unwrap());
        let device = Default::default();
        let best = mnist_train::checkpoint::path_of(&lab.dir.checkpoints(), state.best.unwrap().step);
        let apart = registry::load_checkpoint::<Flex>(&lab.run, facts, &best, &digest, &device).unwrap();
        let merged = registry::load::<Flex>(&lab.run, facts, &lab.dir.model(), &digest, &device).unwrap();
        let answers = |model: &dyn registry::Trained<Flex>| {
            model.probabilities(&lab.data.valid, &device).unwrap().unwrap().values
        };
        let (apart, merged) = (answers(&*apart), answers(&*merged));
        let far = apart.iter().zip(&merged).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-6, "{net}: {far}");
    }
}

#[test]
fn few_labels_are_drawn_by_the_seed_each_class_in_its_share() {
    let _alone = alone();
    let drawn = |sets: &[&str]| {
        let lab = Lab::new(settings(&[&["data.limit=0", "data.labels=100"], sets].concat()));
        let [train, _] = lab.data.loaders::<mnist_data::HostBatch>().unwrap();
        let mut counts = [0; 10];
        train.indices().iter().for_each(|&i| counts[usize::from(train.data().label(i).unwrap())] += 1);
        (train.indices().to_vec(), counts)
    };
    let (one, counts) = drawn(&["seed=1"]);
    assert_eq!((one.len(), counts.iter().all(|&n| (8..=12).contains(&n))), (100, true), "{counts:?}");
    assert_eq!(one, drawn(&["seed=1", "batch_size=200"]).0);
    assert_ne!(one, drawn(&["seed=2"]).0);
    for (labels, wanted) in [("9", "10 at least"), ("193", "at most the 192 training examples")] {
        let run = settings(&[&format!("data.labels={labels}")]);
        let error = mnist_train::data::TrainingData::load(&run, None).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn steps_end_a_training_and_epochs_divide_them() {
    let _alone = alone();
    // 64 images in batches of 16: passes of 4 steps.
    let lab = Lab::new(settings(&[&small("mlp")[..], &["net=mlp", "steps=11", "epochs=3"]].concat()));
    let Outcome::Finished(state) = lab.fit().unwrap() else { panic!("not finished") };
    assert_eq!(state.step, 11);
    let lines = read_metrics(&lab.dir.metrics()).unwrap();
    let valid: Vec<_> = lines.iter().filter(|l| l.split == "valid").map(|l| (l.step, l.epoch)).collect();
    assert_eq!(valid, [(4, 1), (8, 2), (11, 3)]);
    let line = lines.iter().rfind(|l| l.split == "valid").unwrap();
    assert!(line.values["macro_f1"] > 0.0 && line.values["macro_f1"] <= 1.0, "{line:?}");
}
