//! Runs on tokens: what is kept with them, what is refused, and that they resume to the same bits.

use crate::common::{Lab, alone, settings};
use burn_flex::Flex;
use mnist_model::generate::{GenerateRequest, Generated};
use mnist_train::{
    TrainError,
    data::{AnyLoader, TrainingData},
    evaluate::{SplitName, load_for_features, load_split},
    probe::Features,
    registry,
    token_data::{Coder, PATCHES, TOKENISER},
};

const SMALL: [&str; 6] = [
    "transformer.width=16",
    "transformer.layers=1",
    "transformer.hidden=32",
    "batch_size=16",
    "data.limit=64",
    "tokens.vocabulary=300",
];

fn lab(sets: &[&str]) -> Lab {
    Lab::new(settings(&[&SMALL[..], sets].concat()))
}

#[test]
fn text_runs_keep_their_tokeniser_measure_in_bytes_and_resume_to_the_same_bits() {
    let _alone = alone();
    let sets = ["objective=language-model", "data.name=text", "tokens.tokeniser=bpe", "tokens.context=32"];
    let lab = lab(&sets);
    lab.fit().unwrap();
    assert!(lab.dir.path().join(TOKENISER).is_file());
    let said = std::fs::read_to_string(lab.dir.pictures().join("epoch-0001-samples.txt")).unwrap();
    assert_eq!(said.lines().filter(|line| !line.is_empty()).count(), 3, "{said}");
    let device = Default::default();
    let digest = lab.dir.settings_digest().unwrap();
    let model =
        registry::load::<Flex>(&lab.saved.run, &lab.saved.facts, &lab.dir.model(), &digest, &device).unwrap();
    let valid = load_split(&lab.saved, SplitName::Valid, None, lab.dir.path()).unwrap();
    let scores = model.scores(&valid.first(250), &device).unwrap();
    let names: Vec<_> = scores.keys().map(String::as_str).collect();
    assert_eq!(names, ["bits_per_byte", "nats_per_token", "perplexity_per_token"]);
    assert!((scores["nats_per_token"].exp() - scores["perplexity_per_token"]).abs() < 1e-9);
    assert!((2.0..8.0).contains(&scores["bits_per_byte"]), "{scores:?}");

    // For a probe each verse is read whole, with its testament; what stands beside it in a batch changes nothing.
    let verses = load_for_features(&lab.saved, SplitName::Valid, None, lab.dir.path()).unwrap();
    let features = |count| Features::of(&*model, &verses.clone().first(count), &device).unwrap();
    let (some, more) = (features(3), features(9));
    assert_eq!((some.width, more.labels.len()), (lab.saved.run.transformer.width, 9));
    assert!(some.values.iter().zip(&more.values).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(some.values.len(), 3 * some.width);
    let AnyLoader::Tokens(all) = &verses else { panic!("not tokens") };
    assert_eq!(all.len(), 1370);
    let new = all.source().labels().iter().filter(|&&label| label == 1).count();
    assert_eq!(new, 708, "verses of the New Testament");

    let request = GenerateRequest { count: 2, start: vec![10, 11], length: 5, ..Default::default() };
    let Some(Generated::Tokens(rows)) = model.generate(&request, &Default::default()) else {
        panic!("no tokens")
    };
    assert!(rows.iter().all(|row| row.len() == 7 && row[..2] == [10, 11]), "{rows:?}");

    let other = self::lab(&sets);
    other.fit_on::<Flex>(None, Some(4)).unwrap();
    other.fit_on::<Flex>(other.newest(), None).unwrap();
    assert!(other.results() == lab.results());
}

#[test]
fn a_codebook_is_kept_and_a_masked_model_finds_what_is_hidden() {
    let _alone = alone();
    let lab = lab(&["objective=masked", "tokens.patch=[7, 7]", "tokens.codebook=8", "data.binarise=none"]);
    lab.fit().unwrap();
    let Coder::Images(patches) = Coder::load(&lab.saved, lab.dir.path()).unwrap() else {
        panic!("not of images")
    };
    assert_eq!((patches.vocabulary(), patches.tokens()), (8, 16));
    let device = Default::default();
    let model = registry::load::<Flex>(
        &lab.saved.run,
        &lab.saved.facts,
        &lab.dir.model(),
        &lab.dir.settings_digest().unwrap(),
        &device,
    )
    .unwrap();
    let test = load_split(&lab.saved, SplitName::Test, None, lab.dir.path()).unwrap().first(64);
    let scores = model.scores(&test, &device).unwrap();
    for name in ["masked_accuracy", "masked_cross_entropy", "next_accuracy", "next_cross_entropy"] {
        assert!(scores[name] >= 0.0, "{scores:?}");
    }
    assert_eq!(model.pictures(&test, &device).unwrap().len(), 1);
    let mut start = vec![-1; 19];
    (start[0], start[9], start[18], start[3]) = (8, 9, 9, 5);
    let request = GenerateRequest { count: 2, start, rounds: 4, ..Default::default() };
    let Some(Generated::Tokens(rows)) = model.generate(&request, &Default::default()) else {
        panic!("no tokens")
    };
    assert!(rows.iter().all(|row| row[3] == 5 && row.iter().all(|&t| (0..10).contains(&t))), "{rows:?}");

    std::fs::write(lab.dir.path().join(PATCHES), b"{}").unwrap();
    assert!(matches!(Coder::load(&lab.saved, lab.dir.path()), Err(TrainError::Damaged { .. })));
    assert!(matches!(lab.dir.keep(&lab.data.kept), Err(TrainError::Changed { .. })));
}

#[test]
fn settings_and_data_that_do_not_fit_are_refused() {
    let error = |sets: &[&str]| {
        let run = settings(&[&SMALL[..], &["data.binarise=static"], sets].concat());
        TrainingData::load(&run, None)
            .and_then(|data| registry::check(&run, &data.facts).map_err(TrainError::Settings))
    };
    for (sets, wanted) in [
        (&["data.name=text"][..], "learns from images, not text; objectives on tokens are"),
        (&["objective=language-model", "data.binarise=none"], "data.binarise is none"),
        (&["objective=language-model", "tokens.patch=[3, 3]"], "divides 28x28"),
        (&["objective=language-model", "tokens.patch=[7, 7]"], "at most 16 pixels"),
        (&["objective=masked", "tokens.codebook=1"], "2 to 65536"),
        (&["objective=language-model", "data.name=text", "tokens.context=4"], "8 tokens or more"),
        (
            &["objective=language-model", "data.name=text", "tokens.tokeniser=bpe", "tokens.vocabulary=9"],
            "257",
        ),
        (&["objective=language-model", "transformer.heads=3"], "heads"),
        (&["objective=masked", "masked.hiding.share=0"], "share"),
    ] {
        let text = error(sets).unwrap_err().to_string();
        assert!(text.contains(wanted), "{sets:?}: {text:?} lacks {wanted:?}");
    }
}
