//! Weights that PyTorch made, as a user brings them; `mnist-train/tests/data/make.py` makes the files.

use std::{fs, path::PathBuf};

use safetensors::{Dtype, serialize, tensor::TensorView};

use crate::{Home, stderr};

fn theirs(name: &str) -> String {
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../mnist-train/tests/data", name].iter().collect();
    file.to_str().unwrap().into()
}

#[test]
fn the_net_of_pytorchs_example_comes_in_is_used_and_goes_out_again() {
    let home = Home::new();
    let file = theirs("mnist_cnn-narrow.pt");
    let output = home.run(&["import", &file, "--net", "pytorch_example_cnn"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("fc1                          weight [8, 576], bias [8]"),
        "{}",
        stderr(&output)
    );
    let run = home.runs().join("mnist_cnn-narrow");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("test accuracy") && said.contains("report.html"), "{said}");
    let card = String::from_utf8(home.file("mnist_cnn-narrow", "model-card.md")).unwrap();
    assert!(
        card.contains(r"weights are those of mnist\_cnn-narrow.pt") && !card.contains("Trained by"),
        "{card}"
    );
    assert!(run.join("evaluation.json").exists() && !run.join("curves.png").exists());
    let out = home.ok(&["export", "mnist_cnn-narrow", "--format", "pytorch"]);
    let again = mnist_train::foreign::read(&PathBuf::from(out.trim()).join("model.pt")).unwrap();
    assert_eq!(again, mnist_train::foreign::read(file.as_ref()).unwrap());
    // A second import takes another name; there is no training to go on with, but one can begin.
    home.ok(&["import", &file, "--net", "pytorch_example_cnn", "--quiet"]);
    assert!(home.runs().join("mnist_cnn-narrow-2").exists());
    let error = home.fails(2, &["train", "--resume", "mnist_cnn-narrow"]);
    assert!(error.contains("finetune --from"), "{error}");
    let brief = ["--set", "data.limit=320", "--epochs", "1", "--quiet", "--name", "further"];
    home.ok(&[&["finetune", "--from", "mnist_cnn-narrow"][..], &brief].concat());
}

#[test]
fn what_does_not_fit_is_listed_and_nothing_is_written() {
    let home = Home::new();
    let (example, resnet) = (theirs("mnist_cnn-narrow.pt"), theirs("resnet18-narrow.safetensors"));
    let deeper = theirs("resnet50-narrow.safetensors");
    for (file, net, wanted) in [
        (
            &example,
            "resnet18",
            &["missing: ", "layer4.1.bn2.weight [16]", "of no use", "fc2.weight [10, 8]"][..],
        ),
        (
            &resnet,
            "resnet18",
            &["fc.weight is [7, 32], wanted [10, 32]", "the encoder fits: `finetune --from"],
        ),
        (&deeper, "resnet50", &["fc.weight is [7, 64], wanted [10, 64]"]),
        (&example, "mlp", &["missing: hidden.0.weight [8, 784]", "head.bias [10]", "conv1.bias [2]"]),
    ] {
        let error = home.fails(1, &["import", file, "--net", net, "--set", "mlp.hidden=[8]"]);
        wanted.iter().for_each(|wanted| assert!(error.contains(wanted), "{net}: {error}"));
    }
    let error = home.fails(2, &["import", &example, "--net", "lenet"]);
    assert!(error.contains("pytorch_example_cnn"), "{error}");
    home.fails(1, &["import", "nothing.pt", "--net", "mlp"]);
    // A name that leaves the directory of the runs.
    let error =
        home.fails(2, &["import", &example, "--net", "pytorch_example_cnn", "--name", "../elsewhere"]);
    assert!(error.contains("not a plain name"), "{error}");
    assert!(!home.runs().exists());
    // Its encoder alone fits; the net is known by its names, and it is trained from the top.
    let brief = ["--epochs", "1", "--set", "data.limit=64"];
    let from = ["finetune", "--from", &deeper, "--net", "resnet50", "--method", "gradual", "--name", "d"];
    let output = home.run(&[&from[..], &brief].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 epochs are too few"), "{}", stderr(&output));
}

#[test]
fn weights_that_are_no_numbers_and_those_of_no_use_are_named() {
    let home = Home::new();
    let named = mnist_train::foreign::read(theirs("mnist_cnn-narrow.pt").as_ref()).unwrap();
    let write = |name: &str, change: &dyn Fn(&mut Vec<f32>), with: Option<&str>| {
        let bytes = |(name, tensor): (&String, &mnist_train::foreign::Values)| {
            let mut values = tensor.values.clone();
            if name == "conv2.weight" {
                change(&mut values);
            }
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
            (name.clone(), tensor.shape.clone(), bytes)
        };
        let mut all: Vec<_> = named.iter().map(bytes).collect();
        all.extend(with.map(|name| (name.to_string(), vec![1], vec![0; 4])));
        let views = all
            .iter()
            .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        let path = home.0.path().join(name);
        fs::write(&path, serialize(views, None).unwrap()).unwrap();
        path.to_str().unwrap().to_string()
    };
    let net = ["--net", "pytorch_example_cnn"];
    let nan = write("nan.safetensors", &|values| values[3] = f32::NAN, None);
    let error = home.fails(1, &[&["import", &nan][..], &net].concat());
    assert!(error.contains("conv2.weight holds infinite values or NaN"), "{error}");
    let more = write("more.safetensors", &|_| (), Some("fc3.bias"));
    let error = home.fails(1, &[&["import", &more][..], &net].concat());
    assert!(error.contains("(--allow-unused leaves such out): fc3.bias [1]"), "{error}");
    home.ok(&[&["import", &more, "--allow-unused", "--quiet"][..], &net].concat());
    assert!(home.runs().join("more/model.safetensors").exists());
}
