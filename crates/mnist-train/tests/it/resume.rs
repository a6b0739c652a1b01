//! A training that is stopped and resumed ends in the same bits as one that is not.

use crate::common::{Lab, alone, settings};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mnist_train::{learner::Outcome, log::read_metrics, registry};

/// Everything that has a memory: BatchNorm statistics, dropout, momentum, moving average, augmentation,
/// accumulation with a remainder (12 batches of 16 in groups of 5), a schedule, a partly filled log window.
const STATEFUL: &[&str] = &[
    "batch_size=16",
    "accumulate=5",
    "cnn.norm=true",
    "cnn.channels=[4, 8]",
    "cnn.kernels=[5, 3]",
    "cnn.width=16",
    "cnn.dropout=0.2",
    "ema.decay=0.9",
    "augment.rotation=10",
    "augment.elastic_alpha=4",
    "augment.elastic_sigma=4",
    "optimizer.clip_norm=1",
    "log.every_steps=2",
    "epochs=4",
];

fn stopped_everywhere_equals_uninterrupted<B: burn::tensor::backend::Backend>(sets: &[&str]) {
    let whole = Lab::new(settings(sets));
    assert!(matches!(whole.fit_on::<B>(None, None).unwrap(), Outcome::Finished(_)));
    for stop_at in [1, 3, 5, 8] {
        let lab = Lab::new(settings(sets));
        let first = lab.fit_on::<B>(None, Some(stop_at)).unwrap();
        assert!(matches!(first, Outcome::Interrupted { step } if step >= stop_at), "{first:?}");
        // Lines written after the checkpoint, as a kill leaves them, are cut off.
        let mut noise = std::fs::read(lab.dir.metrics()).unwrap();
        noise.extend(b"{\"half\":");
        std::fs::write(lab.dir.metrics(), noise).unwrap();
        assert!(matches!(lab.fit_on::<B>(lab.newest(), None).unwrap(), Outcome::Finished(_)));
        assert!(lab.results() == whole.results(), "stopped at {stop_at}: differs");
    }
}

#[test]
fn on_flex_with_adamw() {
    let _alone = alone();
    stopped_everywhere_equals_uninterrupted::<Flex>(STATEFUL);
}

#[test]
fn on_flex_with_nesterov_momentum() {
    let _alone = alone();
    let sgd = ["optimizer.rule=sgd", "optimizer.nesterov=true", "schedule.learning_rate=0.05"];
    stopped_everywhere_equals_uninterrupted::<Flex>(&[STATEFUL, &sgd].concat());
}

#[test]
fn on_ndarray_with_adam_and_resnet() {
    let _alone = alone();
    let sets =
        ["net=resnet", "resnet.width=2", "resnet.blocks=[1, 1]", "batch_size=48", "optimizer.rule=adam"];
    stopped_everywhere_equals_uninterrupted::<NdArray>(
        &[&sets[..], &["log.every_steps=1", "epochs=3"]].concat(),
    );
}

#[test]
fn the_seed_matters_and_nothing_else_does() {
    let _alone = alone();
    let train = |sets: &[&str]| {
        let lab = Lab::new(settings(&[&["net=mlp", "mlp.hidden=[8]", "mlp.dropout=0.5"], sets].concat()));
        lab.fit().unwrap();
        let (model, metrics) = lab.results();
        // Behind the header, which holds the digest of the settings: the values.
        let header = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
        (model[8 + header..].to_vec(), metrics)
    };
    let one = train(&["seed=1"]);
    assert!(one == train(&["seed=1", "data.workers=3"]), "the number of workers changes the bits");
    assert!(one == train(&["seed=1", "checkpoint.every_steps=1"]), "saving changes the bits");
    assert!(one.0 != train(&["seed=2"]).0, "the seed changes nothing");
}

#[test]
fn from_an_older_checkpoint_the_newer_ones_are_given_up_and_the_end_is_the_same() {
    let _alone = alone();
    let sets = [
        "net=mlp",
        "mlp.hidden=[8]",
        "log.every_steps=1",
        "checkpoint.every_steps=1",
        "checkpoint.keep=9",
        "epochs=6",
    ];
    let whole = Lab::new(settings(&sets));
    whole.fit().unwrap();
    let lab = Lab::new(settings(&sets));
    lab.fit().unwrap();
    let list = || mnist_train::checkpoint::list(&lab.dir.checkpoints()).unwrap();
    let oldest = list().remove(0);
    let steps = list().len();
    assert!(steps >= 3, "{steps}");
    let stopped = lab.fit_on::<Flex>(Some(oldest.clone()), Some(1)).unwrap();
    assert!(matches!(stopped, Outcome::Interrupted { .. }), "{stopped:?}");
    let newest = lab.newest().unwrap();
    assert!(newest > oldest, "the checkpoint of the interruption is not there");
    lab.fit_on::<Flex>(Some(newest), None).unwrap();
    assert!(lab.results() == whole.results());
}

#[test]
fn layers_that_are_computed_again_change_no_bit() {
    let _alone = alone();
    let vit = ["net=vit", "vit.width=16", "vit.heads=2", "vit.layers=2", "vit.hidden=24", "vit.patch=7"];
    let tokens = [
        "transformer.width=16",
        "transformer.layers=2",
        "transformer.hidden=24",
        "tokens.patch=[2, 2]",
        "data.binarise=static",
    ];
    let small = ["batch_size=16", "accumulate=2", "data.limit=64", "epochs=2", "log.every_steps=1"];
    for (objective, sets) in [
        ("classify", &vit[..]),
        ("autoencoder", &vit),
        ("contrastive", &[&vit[..], &["augment.shift=1"]].concat()),
        ("vae", &[&vit[..], &["data.binarise=dynamic"]].concat()),
        ("language-model", &tokens),
        ("masked", &tokens),
    ] {
        let objective = format!("objective={objective}");
        let train = |recompute: bool, stop_at| {
            let recompute = format!("recompute={recompute}");
            let lab = Lab::new(settings(&[&small[..], sets, &[&objective, &recompute]].concat()));
            registry::check(&lab.run, &lab.data.facts).unwrap();
            if stop_at > 0 {
                lab.fit_on::<Flex>(None, Some(stop_at)).unwrap();
            }
            lab.fit_on::<Flex>(lab.newest(), None).unwrap();
            let (model, metrics) = lab.results();
            // Behind the header, which holds the digest of the settings: the values.
            let header = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
            (model[8 + header..].to_vec(), metrics)
        };
        let kept = train(false, 0);
        assert!(kept == train(true, 0), "{objective}");
        assert!(kept == train(true, 1), "{objective}, resumed");
    }
}

/// A discriminator is called three times in an update: the sums of its gradients are in another order.
#[test]
fn layers_of_a_net_that_is_called_more_than_once_can_be_computed_again() {
    let _alone = alone();
    let train = |recompute: &str| {
        let net = ["net=vit", "vit.width=16", "vit.heads=2", "vit.layers=2", "vit.hidden=24", "vit.patch=7"];
        let how = ["objective=gan", "batch_size=16", "data.limit=64", "log.every_steps=1", recompute];
        let lab = Lab::new(settings(&[&net[..], &how].concat()));
        lab.fit().unwrap();
        read_metrics(&lab.dir.metrics()).unwrap()
    };
    let (kept, again) = (train("recompute=false"), train("recompute=true"));
    assert_eq!(kept.len(), again.len());
    for (a, b) in kept.iter().zip(&again) {
        for (name, value) in &a.values {
            let other = b.values[name];
            assert!((value - other).abs() < 1e-3, "{name} at step {}: {value} {other}", a.step);
        }
    }
}

#[test]
fn where_nothing_can_be_computed_again_it_is_said() {
    let _alone = alone();
    for (sets, wanted) in [
        (&["net=mlp"][..], "the net mlp has none"),
        (&["net=vit", "vit.dropout=0.1"], "set vit.dropout, which is 0.1, to 0"),
    ] {
        let lab = Lab::new(settings(&[&["recompute=true", "vit.patch=7"], sets].concat()));
        let error = registry::check(&lab.run, &lab.data.facts).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
    let lab = Lab::new(settings(&["net=vit", "recompute=true"]));
    let error = lab.fit_shared::<Flex>(None, None, &[Default::default(); 2]).unwrap_err();
    assert!(error.to_string().contains("one device"), "{error}");
}
