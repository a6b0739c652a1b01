//! Every objective and net in the tables learns, saves and loads; the learner stops where it has to.

use crate::common::{Lab, alone, settings};
use burn_flex::Flex;
use mnist_model::nets::NetSettings;
use mnist_train::{TrainError, learner::Outcome, log::read_metrics, registry, rundir::RunDir};

#[test]
fn everything_in_the_tables_learns_64_images_and_reloads_bit_equal() {
    let _alone = alone();
    for (objective, _) in registry::TABLE {
        // Every net with the first objective, every other objective with one net.
        let (nets, share) = match *objective {
            "classify" => (NetSettings::TABLE, 0.35),
            _ => (&NetSettings::TABLE[1..2], 0.8),
        };
        for (net, _) in nets {
            let (objective, net) = (format!("objective={objective}"), format!("net={net}"));
            let mut sets = vec![objective.as_str(), net.as_str(), "data.limit=64", "batch_size=16"];
            // Twelve passes; each part ends with a validation and pictures, which take longer.
            sets.extend(["steps=48", "epochs=3"]);
            if net == "net=resnet" {
                sets.extend([
                    "resnet.width=8",
                    "resnet.blocks=[1, 1, 1]",
                    "schedule.learning_rate=0.02",
                    "steps=120",
                    "epochs=2",
                ]);
            }
            if net == "net=resnet18" {
                sets.extend(["resnet18.width=8", "schedule.learning_rate=0.02", "steps=120", "epochs=2"]);
            }
            if net == "net=resnet34" {
                sets.extend(["resnet34.width=4", "schedule.learning_rate=0.02", "steps=120", "epochs=2"]);
            }
            if net == "net=resnet50" {
                sets.extend(["resnet50.width=4", "schedule.learning_rate=0.01", "steps=160", "epochs=2"]);
            }
            if net == "net=vit" {
                sets.extend(["vit.layers=2", "schedule.learning_rate=0.003", "steps=160", "epochs=2"]);
            }
            if objective == "objective=fixmatch" {
                sets.extend(["data.labels=32", "fixmatch.labelled=8", "steps=96"]);
            }
            if objective == "objective=contrastive" {
                sets.push("augment.shift=1");
            }
            if objective == "objective=vae" {
                sets.push("data.binarise=dynamic");
            }
            // Of two players the first one learns fast enough to tell.
            let loss_name = if objective == "objective=gan" { "discriminator_loss" } else { "loss" };
            if registry::on_tokens().iter().any(|name| objective == format!("objective={name}")) {
                sets.extend(["transformer.width=32", "transformer.layers=2", "transformer.hidden=64"]);
                sets.extend(["tokens.patch=[4, 4]", "data.binarise=static", "schedule.learning_rate=0.01"]);
            }
            let lab = Lab::new(settings(&sets));
            lab.fit().unwrap();

            let lines = read_metrics(&lab.dir.metrics()).unwrap();
            let loss = |line: &&mnist_train::log::MetricsLine| line.split == "train";
            let (first, last) = (lines.iter().find(loss).unwrap(), lines.iter().rfind(loss).unwrap());
            assert!(
                last.values[loss_name] < share * first.values[loss_name],
                "{objective} {net}: {} to {}",
                first.values[loss_name],
                last.values[loss_name]
            );

            let saved = RunDir::find(lab.dir.path().to_str().unwrap(), "".as_ref()).unwrap().load().unwrap();
            assert_eq!(saved, lab.saved, "{objective} {net}: settings do not read back");
            let device = Default::default();
            let answer = || -> Vec<f64> {
                let model = registry::load::<Flex>(
                    &saved.run,
                    &saved.facts,
                    &lab.dir.model(),
                    &lab.dir.settings_digest().unwrap(),
                    &device,
                )
                .unwrap();
                model.scores(&lab.data.valid, &device).unwrap().into_values().collect()
            };
            assert_eq!(answer(), answer(), "{objective} {net}");
        }
    }
}

#[test]
fn a_loss_that_is_no_number_stops_with_step_and_rate_and_keeps_the_last_checkpoint() {
    let _alone = alone();
    let sets = ["net=mlp", "mlp.hidden=[8]", "batch_size=16", "optimizer.rule=sgd", "schedule.kind=constant"];
    let lab = Lab::new(settings(
        &[&sets[..], &["schedule.learning_rate=1e30", "checkpoint.every_steps=1"]].concat(),
    ));
    let error = lab.fit().unwrap_err();
    let text = error.to_string();
    match error {
        TrainError::NotFinite { step, learning_rate, .. } => {
            assert!(step >= 2 && learning_rate > 1e29, "{text}");
            assert!(
                text.contains(&format!("step {step}")) && text.contains(&format!("{learning_rate:.3e}")),
                "{text}"
            );
        }
        TrainError::Checkpoint(_) => assert!(text.contains("diverged"), "{text}"),
        other => panic!("{other}"),
    }
    if let Some(newest) = lab.newest() {
        assert!(newest.join("tensors.safetensors").exists());
    }
}

#[test]
fn early_stopping_ends_training_and_of_equals_the_later_is_best() {
    let _alone = alone();
    let sets = ["net=mlp", "mlp.hidden=[8]", "epochs=50", "early_stopping.patience=2"];
    // A rate of almost nothing: every epoch is as good as the first.
    let lab = Lab::new(settings(&[&sets[..], &["schedule.learning_rate=1e-12"]].concat()));
    let Outcome::Finished(state) = lab.fit().unwrap() else { panic!("not finished") };
    assert_eq!((state.step, state.epochs_without_gain), (3 * 3, 2), "{state:?}");
    assert_eq!(state.best.unwrap().epoch, 3);
    assert!(lab.dir.model().exists());
}

#[test]
fn accumulated_batches_equal_one_large_batch() {
    let _alone = alone();
    let train = |sets: &[&str]| {
        let lab = Lab::new(settings(
            &[&["net=mlp", "mlp.hidden=[16]", "epochs=1", "log.every_steps=1"], sets].concat(),
        ));
        lab.fit().unwrap();
        read_metrics(&lab.dir.metrics()).unwrap()
    };
    // 192 images: batches of 80 leave a remainder of 32, as 5 batches of 16 and 2 of 16 do.
    let (large, small) = (train(&["batch_size=80"]), train(&["batch_size=16", "accumulate=5"]));
    assert_eq!(large.len(), small.len());
    for (a, b) in large.iter().zip(&small) {
        assert_eq!((a.step, &a.split), (b.step, &b.split));
        for (name, value) in &a.values {
            assert!(
                (value - b.values[name]).abs() < 1e-5,
                "{name} at step {}: {value} {}",
                a.step,
                b.values[name]
            );
        }
    }
}

/// One CPU stands for several devices: what is sent and summed is the same.
#[test]
fn devices_that_share_a_batch_train_as_one_does() {
    let _alone = alone();
    // 192 images in batches of 25: the last one has 17. BatchNorm would see other batches.
    let sets = ["net=cnn", "cnn.channels=[4]", "cnn.kernels=[5]", "cnn.width=16", "cnn.norm=false"];
    let more =
        ["cnn.dropout=0", "batch_size=25", "accumulate=3", "log.every_steps=1", "optimizer.clip_norm=1"];
    let train = |devices: usize| {
        let lab = Lab::new(settings(&[&sets[..], &more].concat()));
        lab.fit_shared::<Flex>(None, None, &vec![Default::default(); devices]).unwrap();
        (read_metrics(&lab.dir.metrics()).unwrap(), lab.results())
    };
    let (single, shared) = (train(1).0, train(3));
    assert_eq!(single.len(), shared.0.len());
    for (a, b) in single.iter().zip(&shared.0) {
        for (name, value) in &a.values {
            let other = b.values[name];
            assert!((value - other).abs() < 1e-4, "{name} at step {}: {value} {other}", a.step);
        }
    }
    assert!(train(3).1 == shared.1, "the same devices give other bits");

    let lab = Lab::new(settings(&["net=mlp", "mlp.hidden=[8]", "batch_size=2"]));
    let error = lab.fit_shared::<Flex>(None, None, &[Default::default(); 3]).unwrap_err();
    assert!(error.to_string().contains("3 devices need an image each"), "{error}");

    let few = ["objective=fixmatch", "net=mlp", "mlp.hidden=[8]", "data.labels=20", "fixmatch.labelled=8"];
    let lab = Lab::new(settings(&few));
    let error = lab.fit_shared::<Flex>(None, None, &[Default::default(); 2]).unwrap_err();
    assert!(error.to_string().contains("a batch of the objective fixmatch has to stay whole"), "{error}");
}

/// A net with memory outside its weights: the statistics of BatchNorm are the first device's.
#[test]
fn devices_share_a_net_with_batch_norm_and_dropout() {
    let _alone = alone();
    let sets = [
        "net=cnn",
        "cnn.channels=[4]",
        "cnn.kernels=[5]",
        "cnn.width=16",
        "cnn.norm=true",
        "cnn.dropout=0.2",
    ];
    let lab = Lab::new(settings(&[&sets[..], &["batch_size=16", "epochs=12"]].concat()));
    lab.fit_shared::<Flex>(None, None, &[Default::default(); 2]).unwrap();
    let lines = read_metrics(&lab.dir.metrics()).unwrap();
    let (first, last) =
        (&lines[0].values["loss"], &lines.iter().rfind(|l| l.split == "train").unwrap().values["loss"]);
    assert!(last < &(0.6 * first), "{first} to {last}");
}
