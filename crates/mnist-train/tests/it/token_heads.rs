//! Fine-tuning on tokens: the source's tokeniser, longer sequences, more tokens; classes of sequences and of positions.

use crate::common::{Lab, alone, settings};
use burn_flex::Flex;
use mnist_train::{
    data::TrainingData,
    evaluate::{SplitName, load_split, predictions},
    finetune::{Adaptation, Source},
    registry,
    token_data::TOKENISER,
};

const SMALL: [&str; 7] = [
    "transformer.width=16",
    "transformer.layers=2",
    "transformer.hidden=24",
    "transformer.dropout=0.1",
    "batch_size=16",
    "epochs=1",
    "steps=6",
];
const TEXT: [&str; 4] =
    ["data.name=text", "tokens.tokeniser=bpe", "tokens.vocabulary=300", "tokens.context=32"];
const DIGITS: [&str; 3] = ["tokens.patch=[7, 7]", "tokens.codebook=8", "data.limit=64"];

fn pretrained(objective: &str, sets: &[&str]) -> Lab {
    let objective = format!("objective={objective}");
    let lab = Lab::new(settings(&[&SMALL[..], &["data.limit=64", &objective], sets].concat()));
    lab.fit().unwrap();
    lab
}

/// A fine-tuning from a run as the command line begins it, with settings over those of the source.
fn tuning(from: &Lab, method: &str, sets: &[&str]) -> Result<Lab, String> {
    let path = from.dir.path().to_str().unwrap();
    let source = Source::find(path, "".as_ref()).unwrap();
    let own = [
        format!("data.name={}", from.run.data.name),
        format!("finetune.from={path}"),
        format!("finetune.method={method}"),
        "finetune.lora_rank=2".into(),
        "objective=classify-tokens".into(),
    ];
    let structure = source.structure();
    let own: Vec<&str> = own.iter().chain(&structure).map(String::as_str).collect();
    let run = settings(&[&SMALL[..], &["data.limit=0", "data.labels=64"], &own, sets].concat());
    let data = TrainingData::load_for(&run, None, source.given.as_ref()).map_err(|e| e.to_string())?;
    registry::check(&run, &data.facts)?;
    let params =
        registry::trained::<Flex>(&run, &data.facts, &Default::default()).map_err(|e| e.to_string())?;
    source.plan(&params).map_err(|e| e.to_string())?;
    let mut lab = Lab::with(run, data);
    lab.source = Some(source);
    Ok(lab)
}

fn tokeniser(lab: &Lab) -> Vec<u8> {
    std::fs::read(lab.dir.path().join(TOKENISER)).unwrap()
}

/// The scores of a trained run on the first examples of its test split, and how many answers it gave.
fn tested(lab: &Lab, first: usize) -> (std::collections::BTreeMap<String, f64>, usize) {
    let device = Default::default();
    let digest = lab.dir.settings_digest().unwrap();
    let model =
        registry::load::<Flex>(&lab.saved.run, &lab.saved.facts, &lab.dir.model(), &digest, &device).unwrap();
    let test = load_split(&lab.saved, SplitName::Test, None, lab.dir.path()).unwrap().first(first);
    let classes = lab.saved.facts.classes.len();
    let answers = predictions(&*model, &test, classes, &device).unwrap().len();
    (model.scores(&test, &device).unwrap(), answers)
}

#[test]
fn a_testament_is_told_by_the_encoder_and_with_the_tokeniser_of_a_masked_model() {
    let _alone = alone();
    // Learned of a text of its own, so that nobody could learn the same tokens again.
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("own.txt");
    let lines: String = (0..2000).map(|i| format!("Zebra {} zigzags by lake {i}.\n", i * 7 % 13)).collect();
    std::fs::write(&path, lines).unwrap();
    let own = format!("data.path={}", path.display());
    let from = pretrained("masked", &[&TEXT[..], &[&own]].concat());
    let tune = |method: &str| tuning(&from, method, &["data.path="]).unwrap();
    let lab = tune("full");
    assert_eq!(tokeniser(&lab), tokeniser(&from));
    assert_eq!(lab.data.train.len(), 64);
    lab.fit().unwrap();
    let (scores, answers) = tested(&lab, 200);
    assert_eq!(answers, 200);
    let names: Vec<_> = scores.keys().map(String::as_str).collect();
    assert_eq!(names, ["accuracy", "cross_entropy", "macro_f1"]);

    // Killed and resumed: the same bits.
    let other = tune("full");
    other.fit_on::<Flex>(None, Some(4)).unwrap();
    other.fit_on::<Flex>(other.newest(), None).unwrap();
    // The directories differ, and with them the names of the sources in the settings and their digest.
    assert!(other.results().1 == lab.results().1);

    for method in ["head", "lora", "bias"] {
        let lab = tune(method);
        lab.fit().unwrap();
        let bytes = std::fs::read(lab.dir.model()).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert!(file.names().iter().all(|name| !name.contains("lora")), "{method}");
        let before = std::fs::read(from.dir.model()).unwrap();
        let before = safetensors::SafeTensors::deserialize(&before).unwrap();
        let same = |name: &str| before.tensor(name).unwrap().data() == file.tensor(name).unwrap().data();
        assert!(same("net.tokens") && same("net.positions"), "{method}");
        assert_eq!(same("net.transformer.blocks.1.qkv.weight"), method != "lora", "{method}");
        assert_eq!(same("net.transformer.blocks.1.qkv.bias"), method != "bias", "{method}");
    }
}

#[test]
fn longer_sequences_and_more_tokens_are_adapted_and_a_decoder_stays_one() {
    let _alone = alone();
    for (objective, decoder) in [("masked", false), ("language-model", true)] {
        let from = pretrained(objective, &TEXT);
        let lab = tuning(&from, "full", &["tokens.vocabulary=320", "tokens.context=48"]).unwrap();
        assert_eq!(lab.run.classify_tokens.causal, decoder);
        let params = registry::trained::<Flex>(&lab.run, &lab.data.facts, &Default::default()).unwrap();
        let plan = lab.source.as_ref().unwrap().plan(&params).unwrap();
        let adapted: Vec<_> =
            plan.adapted.iter().map(|(name, shape, how)| (name.as_str(), &shape[..], *how)).collect();
        let wanted = [
            ("net.tokens", &[324, 16][..], Adaptation::Extended(300)),
            ("net.positions", &[48, 16], Adaptation::Stretched([32, 48])),
        ];
        assert_eq!(adapted, wanted, "{objective}");
        lab.fit().unwrap();
        tested(&lab, 64);
        if !decoder {
            let error = tuning(&from, "full", &["tokens.vocabulary=280"]).err().unwrap_or_default();
            assert!(error.contains("do not go on with the 300"), "{error}");
        }
    }
}

#[test]
fn classes_of_positions_are_told_of_verses_and_of_strips() {
    let _alone = alone();
    let text = pretrained("masked", &TEXT);
    let digits = pretrained("masked", &DIGITS);
    for (from, classes) in [(&text, 7), (&digits, 10)] {
        let lab = tuning(from, "full", &["objective=label-sequence"]).unwrap();
        assert_eq!((lab.data.facts.classes.len(), lab.data.train.len()), (classes, 64));
        lab.fit().unwrap();
        let (scores, answers) = tested(&lab, 32);
        let names: Vec<_> = scores.keys().map(String::as_str).collect();
        assert_eq!(names, ["accuracy", "cross_entropy", "macro_f1"]);
        // A strip of five digits of 4x4 patches; a verse has words.
        if classes == 10 {
            assert_eq!(answers, 32 * 5 * 16);
        } else {
            assert!((32 * 5..32 * 60).contains(&answers), "{answers}");
        }
    }
    let lab = tuning(&digits, "lora", &[]).unwrap();
    assert_eq!(lab.data.facts.tokens.as_ref().unwrap().length, 19);
    lab.fit().unwrap();
    assert_eq!(tested(&lab, 32).1, 32);
}

#[test]
fn what_does_not_fit_is_refused() {
    let _alone = alone();
    // Bytes are quick to read.
    let text = pretrained("masked", &["data.name=text", "tokens.tokeniser=bytes", "tokens.context=32"]);
    let digits = pretrained("masked", &DIGITS);
    for (from, sets, wanted) in [
        (
            &text,
            &["objective=classify"][..],
            "classify learns from images, not text; objectives on tokens are",
        ),
        (&digits, &["objective=classify"], "classify learns from images, not tokens"),
        (&text, &["data.name=mnist"], "reads text, not images"),
        (&digits, &["data.name=text"], "reads images as tokens, not text"),
        (
            &text,
            &["data.labels=1"],
            "data.labels is 1; it has to be 0 (all) or 2 at least, one for each class",
        ),
        (&text, &["data.labels=40000"], "at most the 28400 training examples"),
        (&text, &["data.limit=64", "data.labels=0"], "no training example is of the New Testament"),
        (&text, &["tokens.tokeniser=bpe"], "tokens.tokeniser is not that of the model"),
        (&text, &["transformer.width=32"], "net.tokens is [260, 16], wanted [260, 32]"),
        (&text, &["transformer.layers=3"], "net.transformer.blocks.2"),
        (&text, &["classify_tokens.causal=true"], "net.segments [2, 16] is not part of the model's encoder"),
        (&text, &["classify_tokens.causal=true", "classify_tokens.pool=first"], "sees only itself"),
        (&digits, &["tokens.codebook=9"], "other patches are other tokens"),
        (&text, &["finetune.method=lora", "finetune.lora_rank=64"], "LoRA on the Transformer"),
    ] {
        let error = tuning(from, "full", sets).err().unwrap_or_default();
        assert!(error.contains(wanted), "{sets:?}: {error:?} lacks {wanted:?}");
    }
    // An encoder of images for tokens: no tensor fits.
    let images = Lab::new(settings(&["objective=autoencoder", "net=mlp", "mlp.hidden=[8]", "epochs=1"]));
    images.fit().unwrap();
    let error = tuning(&images, "full", &["data.name=text"]).err().unwrap_or_default();
    assert!(error.contains("does not fit the model: net.tokens is missing, wanted [260, 16]"), "{error}");
}
