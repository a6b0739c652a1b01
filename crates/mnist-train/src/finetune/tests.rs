//! What is loaded, left out and frozen, on tables of tensors.

use super::*;

fn parameter(path: &str, shape: &[usize]) -> Parameter {
    Parameter { path: path.into(), shape: shape.into(), trained: !path.contains("running") }
}

fn list(paths: &[&str]) -> Vec<Parameter> {
    paths.iter().map(|path| parameter(path, &[2])).collect()
}

const RESNET: &[&str] = &[
    "net.stem.weight",
    "net.norm.gamma",
    "net.norm.running_mean",
    "net.blocks.0.conv1.weight",
    "net.blocks.0.norm1.gamma",
    "net.blocks.1.conv1.weight",
    "net.blocks.1.downsample.conv.weight",
    "head.weight",
    "head.bias",
];

#[test]
fn groups_follow_lists_and_weights_and_the_head_is_the_last() {
    let vit = [
        "net.embed.weight",
        "net.embed.bias",
        "net.class",
        "net.positions",
        "net.transformer.blocks.0.qkv.weight",
        "net.transformer.blocks.1.qkv.weight",
        "net.transformer.norm.gamma",
        "head.weight",
    ];
    let cnn = ["net.layers.0.conv.weight", "net.layers.0.norm.gamma", "net.layers.1.conv.weight"];
    let cnn = [&cnn[..], &["net.features.weight", "net.features.bias", "head.weight"]].concat();
    for (paths, wanted) in [
        (RESNET, vec![0, 0, 0, 1, 1, 2, 2, 3, 3]),
        (&vit, vec![0, 0, 0, 0, 1, 2, 2, 3]),
        (&cnn, vec![0, 0, 1, 2, 2, 3]),
        (&["head.weight"], vec![0]),
    ] {
        assert_eq!(groups(&list(paths)), wanted, "{paths:?}");
    }
}

#[test]
fn each_method_freezes_what_it_says() {
    let frozen = |method, epoch| -> String {
        let settings = FinetuneSettings { method, unfreeze_every: 2, ..Default::default() };
        let adapted = [RESNET, &["net.blocks.1.qkv.lora.a", "net.blocks.1.qkv.bias"]].concat();
        settings.frozen(&list(&adapted), epoch, 10).iter().map(|f| if *f { '-' } else { 'x' }).collect()
    };
    for (method, epoch, wanted) in [
        (Method::Full, 0, "xxxxxxxxxxx"),
        (Method::LayerDecay, 0, "xxxxxxxxxxx"),
        (Method::Head, 9, "-------xx--"),
        (Method::Lora, 0, "-------xxx-"),
        (Method::Bias, 0, "-xx-x--xx-x"),
        (Method::Gradual, 0, "-------xx--"),
        (Method::Gradual, 1, "-------xx--"),
        (Method::Gradual, 9, "xxxxxxxxxxx"),
    ] {
        assert_eq!(frozen(method, epoch), wanted, "{method:?} in epoch {epoch}");
    }
    let settings = FinetuneSettings { method: Method::Gradual, unfreeze_every: 2, ..Default::default() };
    let trained = |epoch| settings.frozen(&list(RESNET), epoch, 10).iter().filter(|f| !**f).count();
    assert_eq!([0, 1, 2, 3, 4, 6].map(trained), [2, 2, 4, 4, 6, 9]);
    // Spread: the last epoch trains all, whatever their number; a single one trains the head.
    let settings = FinetuneSettings { method: Method::Gradual, ..Default::default() };
    let trained =
        |(epoch, epochs)| settings.frozen(&list(RESNET), epoch, epochs).iter().filter(|f| !**f).count();
    assert_eq!([(0, 4), (1, 4), (2, 4), (3, 4)].map(trained), [2, 4, 6, 9]);
    assert_eq!([(0, 2), (1, 2), (0, 1)].map(trained), [2, 9, 2]);
}

#[test]
fn rates_decay_from_the_top() {
    for method in [Method::LayerDecay, Method::Gradual] {
        let settings = FinetuneSettings { method, layer_decay: 0.5, ..Default::default() };
        let wanted = [0.125, 0.125, 0.125, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0];
        assert_eq!(settings.rates(&list(RESNET)), wanted);
    }
    assert_eq!(FinetuneSettings::default().rates(&list(RESNET)), [1.0; 9]);
}

#[test]
fn a_source_has_to_fit_and_says_what_does_not() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("encoder.safetensors");
    let wanted =
        [parameter("net.Mlp.a.weight", &[2, 3]), parameter("net.Mlp.b", &[4]), parameter("head.bias", &[5])];
    let write = |tensors: &[(&str, &[usize])]| {
        let named = tensors
            .iter()
            .map(|(name, shape)| {
                let bytes = vec![0; 4 * shape.iter().product::<usize>()];
                ((*name).to_string(), (shape.to_vec(), bytes))
            })
            .collect();
        fs::write(&path, crate::weights::serialize(&named, None, &path).unwrap()).unwrap();
        Source::find(path.to_str().unwrap(), tmp.path()).unwrap().plan(&wanted)
    };
    for tensors in [
        &[("net.Mlp.a.weight", &[2, 3][..]), ("net.Mlp.b", &[4]), ("decoder.bias", &[1])][..],
        &[("a.weight", &[2, 3]), ("b", &[4]), ("decoder.bias", &[1])],
    ] {
        let plan = write(tensors).unwrap();
        let names =
            |list: &[(String, Vec<usize>)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&plan.loaded), ["net.Mlp.a.weight", "net.Mlp.b"]);
        assert_eq!(names(&plan.left_out), ["decoder.bias"]);
        assert_eq!(names(&plan.new), ["head.bias"]);
    }
    let error = write(&[("net.a.weight", &[3, 2]), ("net.c", &[1])]).unwrap_err().to_string();
    for part in [
        "net.Mlp.a.weight is [3, 2], wanted [2, 3]",
        "net.Mlp.b is missing, wanted [4]",
        "net.c [1] is not part of the model's encoder",
    ] {
        assert!(error.contains(part), "{error}");
    }
    fs::write(&path, "no weights").unwrap();
    let error = Source::find(path.to_str().unwrap(), tmp.path()).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
    assert!(matches!(Source::find("nowhere", tmp.path()), Err(TrainError::NoRun { .. })));
}
