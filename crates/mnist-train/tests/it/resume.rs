//! A training that is stopped and resumed ends in the same bits as one that is not.

use crate::common::{Lab, alone, settings};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mnist_train::learner::Outcome;

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
