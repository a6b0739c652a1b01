//! torchvision's files: names, layouts, logits. `tests/data/make.py` makes the files and prints the numbers.

use std::{fs, path::PathBuf};

use burn::tensor::{Tensor, TensorData, activation::log_softmax, backend::Backend};
use burn_flex::Flex;
use mnist_model::{
    nets::{Encoder, EncoderConfig},
    objectives::{ClassifyConfig, ObjectiveConfig},
    parameters::parameters,
};
use mnist_train::{
    TrainError,
    finetune::Adaptation,
    foreign::{from_torchvision, read, torchvision_net},
    import::Import,
    registry,
    run::Run,
    tensors::unflatten,
    weights::load_weights,
};

use crate::common::Lab;

const CLASSES: usize = 7;

fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

/// `[2, 3, 40, 36]`, as in make.py.
fn image() -> Tensor<Flex, 4> {
    let values: Vec<f32> = (0..2 * 3 * 40 * 36).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [2, 3, 40, 36]), &Default::default())
}

fn logits(file: &str, net: &str, channels: usize, images: Tensor<Flex, 4>) -> Vec<f32> {
    let device = Default::default();
    Flex::seed(&device, 1);
    let path = data(file);
    let sets =
        [Import::read(&path).unwrap().settings(net), vec![format!("{net}.channels={channels}")]].concat();
    let nets = Run::resolve(None, &sets).unwrap().nets;
    let encoder = EncoderConfig::new(net, nets, [40, 36]);
    let config = ClassifyConfig { encoder, classes: CLASSES, settings: Default::default() };
    let model = config.init::<Flex>(&device).unwrap();
    let named = read(&path).unwrap();
    assert_eq!(torchvision_net(&named), Some(net));
    let mut named = from_torchvision(named, net).unwrap();
    let take = |p: &mnist_model::parameters::Parameter| {
        let found = named.remove(&p.path).unwrap_or_else(|| panic!("{} is missing", p.path));
        let values = if found.shape == p.shape {
            found.values
        } else {
            assert!(p.path.ends_with(".stem.weight"), "{}", p.path);
            let how = Adaptation::of("stem.weight", &found.shape, &p.shape).unwrap();
            how.apply(&found.values, &[], &p.shape)
        };
        Tensor::from_data(TensorData::new(values, [p.len()]), &device)
    };
    let values = parameters(&model).iter().map(take).collect();
    let model = unflatten(model, values);
    assert!(named.is_empty(), "left over: {:?}", named.keys());
    let features = model.net.forward(images);
    model.head.forward(features).into_data().to_vec().unwrap()
}

/// Numbers of make.py: of an image in colour and of a grey one.
const THEIRS: [(&str, [[f32; 14]; 2]); 3] = [
    (
        "resnet18",
        [
            [
                -0.076957, 0.404727, -0.505752, 0.168841, -0.184552, -0.34979, 0.034502, -0.061795, 0.424976,
                -0.506361, 0.153037, -0.200315, -0.315806, 0.061093,
            ],
            [
                -0.181844, 0.607501, -0.761769, 0.265693, -0.411073, -0.581695, 0.120332, -0.15332, 0.510432,
                -0.668468, 0.285781, -0.378179, -0.42962, 0.169407,
            ],
        ],
    ),
    (
        "resnet34",
        [
            [
                -0.257467, 1.172277, -3.413264, -0.316115, 1.413222, 3.059469, -1.291157, 0.391876, 1.445526,
                -3.722259, -0.469032, 1.232338, 3.223385, -1.309145,
            ],
            [
                -0.156274, 0.492586, -2.653309, -0.031685, 1.155433, 2.278275, -0.752097, -0.763749,
                0.521451, -3.081481, 0.015661, 1.510059, 2.337629, -0.705103,
            ],
        ],
    ),
    (
        "resnet50",
        [
            [
                -1.769277, 1.06166, -2.027502, -4.176349, 7.719933, 1.714332, -4.056297, -1.895031, 0.772489,
                -1.732895, -4.056845, 7.09164, 1.514656, -3.684904,
            ],
            [
                -1.828955, 0.943942, -2.135875, -4.183182, 7.504842, 1.839224, -3.871127, -2.029523,
                0.866709, -2.244572, -4.674666, 8.26383, 2.189639, -4.421915,
            ],
        ],
    ),
];

#[test]
fn logits_are_torchvisions_from_both_formats() {
    let close = |what: &str, found: Vec<f32>, theirs: [f32; 14]| {
        assert_eq!(found.len(), theirs.len());
        let same = found.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(same, "{what}: {found:?} {theirs:?}");
    };
    for (net, [colour, grey]) in THEIRS {
        for end in ["safetensors", "pth"] {
            let file = format!("{net}-narrow.{end}");
            if end == "pth" && net != "resnet18" {
                continue; // one file of PyTorch's is enough
            }
            close(&file, logits(&file, net, 3, image()), colour);
            let image = image().narrow(1, 0, 1);
            close(&file, logits(&file, net, 3, image.clone()), grey);
            close(&file, logits(&file, net, 1, image), grey);
        }
    }
}

/// Numbers of make.py.
#[test]
fn an_imported_net_of_pytorchs_example_gives_its_log_probabilities() {
    const THEIRS: [f32; 10] = [
        -2.505124, -2.309813, -2.331566, -2.421331, -2.663167, -2.295987, -2.070385, -2.496653, -1.924697,
        -2.222836,
    ];
    let file = Import::read(&data("mnist_cnn-narrow.pt")).unwrap();
    let sets = file.settings("pytorch_example_cnn");
    assert_eq!(sets, ["pytorch_example_cnn.channels=[2, 4]", "pytorch_example_cnn.width=8"]);
    let run = Run::resolve(None, &[vec!["net=pytorch_example_cnn".into()], sets].concat()).unwrap();
    let mut lab = Lab::new(run);
    (lab.saved.facts.mean, lab.saved.facts.std) = (0.1307, 0.3081);
    let device = Default::default();
    let (run, facts) = (&lab.saved.run, &lab.saved.facts);
    let parameters = registry::trained::<Flex>(run, facts, &device).unwrap();
    let model = file.fit(&run.net, &run.nets, &parameters, false).unwrap();
    assert_eq!((model.plan.loaded.len(), model.plan.left_out.len()), (8, 0));
    model.save::<Flex>(&lab.dir, &parameters, &device).unwrap();
    let values =
        load_weights::<Flex>(&lab.dir.model(), &parameters, &lab.dir.settings_digest().unwrap(), &device)
            .unwrap();
    let mut encoder = EncoderConfig::new(&run.net, run.nets.clone(), facts.size);
    (encoder.mean, encoder.std) = (facts.mean, facts.std);
    let config = ClassifyConfig { encoder, classes: 10, settings: Default::default() };
    let model = unflatten(config.init::<Flex>(&device).unwrap(), values);
    let pixels: Vec<f32> = (0..28 * 28).map(|i| if i % 2 == 1 { 200.0 / 255.0 } else { 0.0 }).collect();
    let image = Tensor::<Flex, 4>::from_data(TensorData::new(pixels, [1, 1, 28, 28]), &device);
    let found: Vec<f32> = log_softmax(model.forward(image), 1).into_data().to_vec().unwrap();
    assert!(found.iter().zip(THEIRS).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
}

#[test]
fn files_that_are_no_weights_are_named() {
    let tmp = tempfile::tempdir().unwrap();
    let whole = fs::read(data("resnet18-narrow.pth")).unwrap();
    let bad = |name: &str, bytes: &[u8]| {
        let path = tmp.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, TrainError::Damaged { .. }), "{name}: {error}");
        error.to_string()
    };
    bad("empty.pth", &[]);
    bad("text.pth", b"not weights");
    bad("text.safetensors", b"not weights");
    for cut in [1, 40, whole.len() / 3, whole.len() - 50] {
        bad("cut.pth", &whole[..cut]);
    }
    // A pickle that calls os.system: pickletools.dis tells the letters. Nothing is run.
    let canary = tmp.path().join("canary");
    let hostile = format!("cposix\nsystem\n(S'touch {}'\ntR.", canary.display());
    bad("hostile.pth", hostile.as_bytes());
    assert!(!canary.exists());
}

#[test]
fn what_is_no_part_of_a_resnet_is_named() {
    for (net, more) in [("resnet18", "layer2.2.conv1.weight"), ("resnet50", "layer3.6.conv1.weight")] {
        let mut named = read(&data(&format!("{net}-narrow.safetensors"))).unwrap();
        let tensor = named["conv1.weight"].clone();
        named.insert(more.into(), tensor);
        let error = from_torchvision(named, net).unwrap_err();
        assert_eq!(error, format!("{more} is not part of torchvision's {net}"));
    }
}
