//! Damaged, truncated and foreign checkpoints: named, never loaded, and the one before is offered.

use std::{fs, path::Path};

use crate::common::{Lab, alone, settings};
use burn::tensor::Tensor;
use burn_flex::Flex;
use mnist_model::parameters::Parameter;
use mnist_train::{
    TrainError,
    checkpoint::{self, Checkpoint, CheckpointError, LearnerState},
    optimizer::Slot,
    weights,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn parameters() -> Vec<Parameter> {
    [("net.weight", vec![2, 3]), ("net.bias", vec![3])]
        .map(|(path, shape)| Parameter { path: path.into(), shape, trained: true })
        .to_vec()
}

fn sample(step: usize) -> Checkpoint<Flex> {
    let tensor = |n: usize| Tensor::from_floats(&vec![step as f32 + 0.1; n][..], &Default::default());
    Checkpoint {
        model: vec![tensor(6), tensor(3)],
        average: Some(vec![tensor(6), tensor(3)]),
        slots: vec![Some(Slot { time: step, first: tensor(6), second: Some(tensor(6)) }), None],
        state: LearnerState {
            step,
            settings: "mine".into(),
            window: vec![vec![0.1, 1e-42]],
            train_seconds: 0.1 + 0.2,
            ..Default::default()
        },
    }
}

fn load(path: &Path) -> Result<Checkpoint<Flex>, CheckpointError> {
    checkpoint::load(path, &parameters(), "mine", &Default::default())
}

fn save(dir: &Path, step: usize) -> std::path::PathBuf {
    checkpoint::save(dir, &parameters(), &sample(step)).unwrap()
}

#[test]
fn what_was_saved_is_loaded_bit_for_bit() {
    let tmp = tempfile::tempdir().unwrap();
    let found = load(&save(tmp.path(), 7)).unwrap();
    assert_eq!(found.state, sample(7).state);
    assert_eq!(found.model[0].to_data(), sample(7).model[0].to_data());
    assert_eq!(found.average.unwrap()[1].to_data(), sample(7).model[1].to_data());
    assert_eq!(found.slots[0].as_ref().unwrap().time, 7);
    assert!(found.slots[1].is_none());
}

#[test]
fn every_damage_is_named_and_the_checkpoint_before_is_offered() {
    let tmp = tempfile::tempdir().unwrap();
    save(tmp.path(), 1);
    for file in ["tensors.safetensors", "state.json"] {
        let path = save(tmp.path(), 2).join(file);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for (what, bytes) in
            [("flipped", Some(flipped)), ("cut", Some(whole[..whole.len() - 9].to_vec())), ("gone", None)]
        {
            match bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = load(path.parent().unwrap()).unwrap_err().to_string();
            assert!(error.contains("step-00000002 is damaged") && error.contains(file), "{what}: {error}");
            assert!(error.contains("--checkpoint step-00000001"), "{what}: {error}");
        }
    }
    fs::write(tmp.path().join("step-00000001/state.json"), "{}").unwrap();
    let error = load(&tmp.path().join("step-00000002")).unwrap_err().to_string();
    assert!(!error.contains("--checkpoint"), "a damaged one is offered: {error}");
}

#[test]
fn a_foreign_checkpoint_and_other_shapes_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let path = save(tmp.path(), 1);
    let foreign = checkpoint::load::<Flex>(&path, &parameters(), "yours", &Default::default());
    assert!(foreign.unwrap_err().to_string().contains("under other settings"));

    let mut other = parameters();
    other[0].shape = vec![3, 2];
    other[1].path = "net.offset".into();
    let error = checkpoint::load::<Flex>(&path, &other, "mine", &Default::default()).unwrap_err().to_string();
    for wanted in ["model.net.weight is F32 [2, 3], wanted F32 [3, 2]", "model.net.offset is missing"] {
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn weights_have_to_fit_as_well() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("model.safetensors");
    weights::save_weights(&path, &parameters(), &sample(1).model, "mine").unwrap();
    let mut fewer = parameters();
    fewer.pop();
    let error =
        weights::load_weights::<Flex>(&path, &fewer, "mine", &Default::default()).unwrap_err().to_string();
    assert!(error.contains("net.bias is not part of the model"), "{error}");
    let whole = fs::read(&path).unwrap();
    for (settings, at, wanted) in
        [("yours", None, "under other settings"), ("mine", Some(whole.len() - 3), "SHA-256")]
    {
        let mut bytes = whole.clone();
        if let Some(at) = at {
            bytes[at] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
        let error = weights::load_weights::<Flex>(&path, &parameters(), settings, &Default::default());
        assert!(error.unwrap_err().to_string().contains(wanted));
    }
    fs::write(&path, b"not a safetensors file").unwrap();
    let error =
        weights::load_weights::<Flex>(&path, &fewer, "mine", &Default::default()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors is damaged"), "{error}");
}

#[test]
fn the_newest_and_the_best_are_kept_and_leftovers_swept() {
    let tmp = tempfile::tempdir().unwrap();
    for step in 1..=6 {
        save(tmp.path(), step);
    }
    fs::create_dir(tmp.path().join(".tmp-half")).unwrap();
    checkpoint::prune(tmp.path(), 2, Some(3)).unwrap();
    checkpoint::sweep(tmp.path()).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(tmp.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["step-00000003", "step-00000005", "step-00000006"]);
}

#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let tmp = tempfile::tempdir().unwrap();
    save(tmp.path(), 1);
    let mut bad = sample(2);
    bad.model[1] = bad.model[1].clone().div_scalar(0.0);
    let error = checkpoint::save(tmp.path(), &parameters(), &bad).unwrap_err().to_string();
    assert!(error.contains("net.bias holds inf"), "{error}");
    assert_eq!(checkpoint::list(tmp.path()).unwrap().len(), 1);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_nothing_is_lost() {
    let tmp = tempfile::tempdir().unwrap();
    let first = save(tmp.path(), 1);
    let gone = tmp.path().join("not-there");
    let error = checkpoint::save(&gone, &parameters(), &sample(2)).unwrap_err();
    assert!(matches!(error, TrainError::Io { .. }) && error.to_string().contains("not-there"), "{error}");
    load(&first).unwrap();
}

#[test]
fn a_training_refuses_a_checkpoint_of_another_run() {
    let _alone = alone();
    let sets = ["net=mlp", "mlp.hidden=[8]", "epochs=1"];
    let (a, b) = (Lab::new(settings(&sets)), Lab::new(settings(&[&sets[..], &["seed=2"]].concat())));
    a.fit().unwrap();
    let error = b.fit_on::<Flex>(a.newest(), None).unwrap_err().to_string();
    assert!(error.contains("under other settings"), "{error}");
}

/// Gives damaged files the digests of sound ones, so that the parsers behind the digests are met too.
fn forge(dir: &Path, tensors: &[u8], state: &[u8]) {
    fs::write(dir.join("tensors.safetensors"), tensors).unwrap();
    let text = String::from_utf8_lossy(state).into_owned();
    let digest: String = Sha256::digest(tensors).iter().map(|b| format!("{b:02x}")).collect();
    let forged = match text.split_once("\"tensors\": \"") {
        Some((before, after)) => format!("{before}\"tensors\": \"{digest}{}", after.get(64..).unwrap_or("")),
        None => text,
    };
    fs::write(dir.join("state.json"), forged).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]
    #[test]
    fn no_damaged_checkpoint_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        in_state in any::<bool>(),
        do_cut in any::<bool>(),
    ) {
        thread_local! {
            static SOUND: (tempfile::TempDir, Vec<u8>, Vec<u8>) = {
                let tmp = tempfile::tempdir().unwrap();
                let path = save(tmp.path(), 3);
                let read = |name: &str| fs::read(path.join(name)).unwrap();
                let (tensors, state) = (read("tensors.safetensors"), read("state.json"));
                (tmp, tensors, state)
            };
        }
        SOUND.with(|(tmp, tensors, state)| {
            let (mut tensors, mut state) = (tensors.clone(), state.clone());
            let target = if in_state { &mut state } else { &mut tensors };
            for (at, byte) in &edits {
                // Half of the edits in the header, where the structure is.
                let reach = if byte % 2 == 0 { target.len() } else { target.len().min(700) };
                target[at.index(reach)] = *byte;
            }
            if do_cut {
                target.truncate(cut.index(target.len()));
            }
            let dir = tmp.path().join("step-00000003");
            forge(&dir, &tensors, &state);
            let _ = load(&dir);
            let _ = weights::load_weights::<Flex>(&dir.join("tensors.safetensors"), &parameters(), "mine", &Default::default());
        });
    }
}
