//! Pictures of one's own, grey and in colour, from the folder to the prediction.

use std::{fs, path::Path};

use image::{GrayImage, Luma, Rgb, RgbImage};
use mnist_data::DataSet;
use serde_json::Value;

use crate::{Home, stderr};

/// Bars that lie and bars that stand, each a little elsewhere.
fn bars(dir: &Path) {
    for (class, lies) in [("lying", true), ("standing", false)] {
        fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..60u32 {
            let inside = |x: u32, y: u32| {
                let (along, across) = if lies { (x, y) } else { (y, x) };
                (2 + i % 5..18 + i % 7).contains(&along) && (6 + i % 9..9 + i % 9).contains(&across)
            };
            let grey = |x, y| Luma([if inside(x, y) { 220 } else { 20 + (i % 30) as u8 }]);
            GrayImage::from_fn(32, 24, grey).save(dir.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn pictures_of_ones_own_are_imported_trained_on_and_predicted() {
    let home = Home::new();
    let photos = home.0.path().join("photos");
    bars(&photos);
    let data = home.0.path().join("data").display().to_string();
    let photos = photos.display().to_string();
    let told = home.ok(&["data", "import", &photos, "--name", "bars", "--data-dir", &data]);
    for words in [" to test, 24x32 pixels", "lying: ", "--data bars"] {
        assert!(told.contains(words), "{told}");
    }
    assert!(
        home.ok(&["data", "verify", "--data", "bars", "--data-dir", &data]).contains("as they were imported")
    );
    assert!(home.ok(&["data", "info", "--data", "bars", "--data-dir", &data]).contains("standing"));
    for split in ["train", "valid", "test"] {
        home.ok(&["data", "show", "--data", "bars", "--data-dir", &data, "--count", "1", "--split", split]);
    }
    let again = home.run(&["data", "import", &photos, "--name", "bars", "--data-dir", &data]);
    assert!(!again.status.success() && stderr(&again).contains("choose another name"), "{}", stderr(&again));

    // By its path: imported, kept under a name of its contents, a tenth of it validates.
    let settings = ["net=mlp", "mlp.hidden=[16]", "batch_size=8", "augment.rotation=0"];
    let settings: Vec<&str> = settings.iter().flat_map(|s| ["--set", s]).collect();
    let train = ["train", "--data", &photos, "--epochs", "6", "--name", "b", "--data-dir", &data];
    let said = home.run(&[&train[..], &settings].concat());
    assert!(said.status.success(), "{}", stderr(&said));
    assert!(stderr(&said).contains("kept as the data set own-photos-"), "{}", stderr(&said));
    let run: toml::Table = toml::from_str(&String::from_utf8(home.file("b", "run.toml")).unwrap()).unwrap();
    let validation = run["data"]["validation"].as_integer().unwrap();
    assert!((8..=11).contains(&validation), "a tenth of what does not test: {validation}");
    assert_eq!(run["model"]["preparation"].as_str(), Some("middle"));
    let figures: Value = serde_json::from_slice(&home.file("b", "evaluation.json")).unwrap();
    assert!(figures["accuracy"].as_f64().unwrap() > 0.9, "{figures}");

    // A picture of another size, cut and scaled as the others were.
    let wide = home.0.path().join("wide.png");
    GrayImage::from_fn(128, 48, |x, y| Luma([if x > 36 && x < 92 && y > 18 && y < 26 { 220 } else { 25 }]))
        .save(&wide)
        .unwrap();
    let answer = home.ok(&["predict", "b", "--json", wide.to_str().unwrap()]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["label"], "lying");

    // Other data of the same classes, and a model of theirs from this one.
    let others = home.0.path().join("others");
    bars(&others);
    fs::remove_file(others.join("lying/3.png")).unwrap();
    let others = others.display().to_string();
    let on = ["--data", &others, "--data-dir", &data];
    let found: Value =
        serde_json::from_str(&home.ok(&[&["evaluate", "b", "--json"][..], &on].concat())).unwrap();
    assert!(found["accuracy"].as_f64().unwrap() > 0.9, "{found}");
    let table = home.0.path().join("said.csv");
    home.ok(&[&["evaluate", "b", "--predictions", table.to_str().unwrap()][..], &on].concat());
    let table = fs::read_to_string(table).unwrap();
    let right = |row: &str| row.starts_with("1,1,") && row.contains(",standing,standing,standing/");
    assert!(table.lines().next().unwrap().ends_with(",label_name,prediction_name,file"), "{table}");
    assert!(table.lines().any(right) && table.lines().skip(1).all(|row| row.ends_with(".png")), "{table}");
    let found = home.ok(&[&["probe", "b", "--labels", "10", "--seeds", "1"][..], &on].concat());
    assert!(found.contains("16 features"), "{found}");
    let few = ["few-labels", "--from", "b", "--labels", "10", "--seeds", "1", "--ways", "scratch,head,knn"];
    let brief = ["--set", "steps=4", "--set", "epochs=1", "--set", "batch_size=8"];
    let found = home.ok(&[&few[..], &brief, &on].concat());
    assert!(found.contains("knn") && found.contains("head"), "{found}");
    // What is done is kept, and told for a program.
    let found: Value =
        serde_json::from_str(&home.ok(&[&few[..], &brief, &on, &["--json"]].concat())).unwrap();
    let ways: Vec<_> = found["cells"].as_array().unwrap().iter().map(|cell| &cell["way"]).collect();
    assert_eq!(ways, ["scratch", "head", "knn"]);
    assert!(found["conclusion"].as_str().unwrap().starts_with("With 10 labels"), "{found}");
    let pair: Value =
        serde_json::from_str(&home.ok(&[&["compare", "b", "b", "--json"][..], &on].concat())).unwrap();
    let table_rows = |text: &str| text.lines().count() - 1;
    assert_eq!(pair["pairs"][0]["examples"], table_rows(&table));
    // The same said twice is measured once, and one seed tells nothing.
    let twice =
        ["few-labels", "--from", "b", "--labels", "10,10", "--seeds", "1", "--ways", "head,scratch,head"];
    let found: Value =
        serde_json::from_str(&home.ok(&[&twice[..], &brief, &on, &["--json"]].concat())).unwrap();
    assert_eq!(found["cells"].as_array().unwrap().len(), 2);
    assert!(found["conclusion"].as_str().unwrap().contains("too few seeds to tell"), "{found}");
    // Nobody's files are written over.
    let foreign = home.0.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("config.json"), "{}").unwrap();
    let out = ["--out", foreign.to_str().unwrap()];
    for command in [&["export", "b", "--format", "onnx"][..], &few] {
        let on = if command[0] == "export" { &on[2..] } else { &on[..] };
        let error = home.fails(2, &[command, &out, on].concat());
        assert!(error.contains("is there and not empty; choose another --out"), "{error}");
    }
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    let misfit = ["--from", "b", "--set", "mlp.hidden=[7]", "--set", "batch_size=8"];
    for command in ["plan", "finetune"] {
        let error = home.fails(1, &[&[command][..], &misfit, &on].concat());
        assert!(error.contains("does not fit the model"), "{command}: {error}");
    }
    let search = ["tune", "mlp", "--trials", "2", "--pruning", "none", "--name", "s", "--json", "--quiet"];
    let small = ["--epochs", "1", "--set", "batch_size=8", "--search", "schedule.learning_rate=1e-3|1e-2"];
    let found: Value = serde_json::from_str(&home.ok(&[&search[..], &small, &on].concat())).unwrap();
    let [first, second] = [0, 1].map(|i| &found["trials"][i]);
    assert_eq!((found["score"].as_str(), &found["best"]), (Some("accuracy"), &first["trial"]));
    assert!(first["score"].as_f64().unwrap() >= second["score"].as_f64().unwrap(), "{found}");
    let table = fs::read_to_string(home.runs().join("few-labels-b/settings.toml")).unwrap();
    assert!(table.contains("own-others-"), "{table}");
    for told in [&["evaluate", "b", "--data", "mnist"][..], &["compare", "b", "b", "--data", "mnist"]] {
        let error = home.fails(2, told);
        assert!(error.contains("its classes are 0, 1, 2") && error.contains("lying, standing"), "{error}");
    }

    for (args, code, words) in [
        (&["train", "--data", "no/such/folder"][..], 2, "no/such/folder"),
        (&["data", "import", "no/such", "--name", "x"], 1, "no/such"),
        (&["data", "import", &photos, "--name", "../x"], 2, "letters, digits"),
        (&["data", "import", &photos, "--name", "mnist"], 2, "a known data set"),
        (&["data", "import", &photos, "--name", "x", "--size", "big"], 2, "28x28"),
        (&["data", "import", &photos, "--name", "x", "--size", "9999x9999"], 2, "512x512"),
    ] {
        let said = home.fails(code, args);
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

/// Discs of two colours that are the same grey, on grounds of any grey.
fn discs(dir: &Path) {
    for (class, colour) in [("green", [0, 88, 0]), ("red", [255, 12, 0])] {
        fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..60u32 {
            let (x0, y0) = (6 + i % 14, 6 + i / 4);
            let ground = (i * 37 % 200) as u8;
            let disc = |x: u32, y: u32| x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2) <= 25;
            let pixel = |x, y| if disc(x, y) { Rgb(colour) } else { Rgb([ground; 3]) };
            RgbImage::from_fn(28, 28, pixel).save(dir.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn pictures_in_colour_keep_it_in_every_command() {
    let home = Home::new();
    let photos = home.0.path().join("discs");
    discs(&photos);
    let (data, photos) = (home.0.path().join("data").display().to_string(), photos.display().to_string());
    let told = home.ok(&["data", "import", &photos, "--name", "discs", "--data-dir", &data]);
    assert!(told.contains(" to test, 28x28 pixels, colour: mean"), "{told}");
    let set = ["--data", "discs", "--data-dir", &data];
    let info = home.ok(&[&["data", "info"][..], &set].concat());
    for words in
        ["3 channels x 28 x 28 pixels = 2352 numbers", "[64, 3, 28, 28]", "as a matrix of its red, 28 x 28"]
    {
        assert!(info.contains(words), "{words} is not in {info}");
    }
    let grid = home.0.path().join("grid.png").display().to_string();
    home.ok(&[&["data", "show", "--class", "1", "--count", "4", "--out", &grid][..], &set].concat());
    let red = |path: &str| {
        let picture = image::open(path).unwrap().into_rgb8();
        picture.pixels().any(|p| p.0[0] > 200 && p.0[2] < 60)
    };
    assert!(red(&grid));
    let unpacked = home.0.path().join("unpacked").display().to_string();
    home.ok(&[&["data", "unpack", "--out", &unpacked][..], &set].concat());
    home.ok(&["data", "import", &unpacked, "--name", "again", "--data-dir", &data]);
    let [first, again] =
        ["discs", "again"].map(|name| DataSet::open(name, Some(Path::new(&data))).unwrap().test().unwrap());
    let images = |set: &mnist_data::LabelledImages| {
        let mut all: Vec<Vec<u8>> = set.images().map(<[u8]>::to_vec).collect();
        all.sort();
        all
    };
    assert!(images(&first) == images(&again));

    // Told apart by their colour alone, by a net for it, and by one that begins with grey images' weights.
    let train = |name: &str, more: &[&str]| {
        let usual = [
            "--epochs",
            "8",
            "--set",
            "batch_size=8",
            "--set",
            "augment.rotation=0",
            "--quiet",
            "--name",
            name,
        ];
        let said = home.ok(&[more, &usual, &set].concat());
        let figures: Value = serde_json::from_slice(&home.file(name, "evaluation.json")).unwrap();
        assert!(figures["accuracy"].as_f64().unwrap() > 0.9, "{said}");
    };
    train("colour", &["train", "--set", "cnn.channels=[4,4,8]"]);
    let grey = ["--set", "cnn.channels=[4,4,8]", "--set", "data.limit=400", "--epochs", "1", "--quiet"];
    home.ok(&[&["train", "--name", "grey"][..], &grey].concat());
    let plan =
        home.run(&[&["finetune", "--from", "grey", "--epochs", "1", "--name", "x"][..], &set].concat());
    assert!(
        stderr(&plan).contains("layers.0.conv.weight [4, 3, 3, 3]: weights of one channel repeated for 3"),
        "{}",
        stderr(&plan)
    );
    train("tuned", &["finetune", "--from", "grey"]);

    let picture = home.0.path().join("large.png");
    RgbImage::from_fn(64, 64, |x, y| {
        if x.abs_diff(30) + y.abs_diff(34) < 14 { Rgb([255, 12, 0]) } else { Rgb([90; 3]) }
    })
    .save(&picture)
    .unwrap();
    let answer = home.ok(&["predict", "colour", "--json", picture.to_str().unwrap()]);
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["label"], "red");
    let out = home.ok(&["export", "colour", "--format", "onnx", "--data-dir", &data]);
    let config: Value =
        serde_json::from_slice(&fs::read(Path::new(out.trim()).join("config.json")).unwrap()).unwrap();
    assert_eq!(config["input"]["shape"], serde_json::json!([3, 28, 28]));
    let card = String::from_utf8(home.file("colour", "model-card.md")).unwrap();
    assert!(card.contains("It reads images of 28x28 pixels, colour."), "{card}");

    // Makers of images make colours; tokens are made of grey images only.
    let small = ["--set", "vae.decoder.channels=[8,8]", "--set", "cnn.channels=[4,4,8]"];
    let make = ["pretrain", "vae", "--epochs", "2", "--set", "batch_size=8", "--quiet", "--name", "v"];
    home.ok(&[&make[..], &small, &set].concat());
    home.ok(&["generate", "v", "--n", "4", "--out", &grid]);
    assert_eq!(image::open(&grid).unwrap().color(), image::ColorType::Rgb8);
    let error = home.fails(2, &[&["pretrain", "masked"][..], &set].concat());
    assert!(error.contains("grey images only"), "{error}");
}

#[test]
fn texts_of_ones_own_are_told_by_their_folder() {
    let home = Home::new();
    let mail = home.0.path().join("mail");
    for (folder, words) in [("bills", "please pay number"), ("greetings", "warm wishes to house")] {
        fs::create_dir_all(mail.join(folder)).unwrap();
        let lines: String = (0..200).map(|i| format!("{words} {i}\n")).collect();
        fs::write(mail.join(folder).join("all.txt"), lines).unwrap();
    }
    let mail = mail.display().to_string();
    let small =
        ["tokens.tokeniser=bytes", "tokens.context=32", "transformer.width=32", "transformer.hidden=64"];
    let small = [&small[..], &["transformer.heads=2", "transformer.layers=1", "batch_size=16"]].concat();
    let small: Vec<&str> = small.into_iter().flat_map(|s| ["--set", s]).collect();
    let train = ["train", "classify-tokens", "--data", &mail, "--epochs", "6", "--quiet", "--name", "m"];
    home.ok(&[&train[..], &small].concat());
    let figures: Value = serde_json::from_slice(&home.file("m", "evaluation.json")).unwrap();
    assert!(figures["accuracy"].as_f64().unwrap() > 0.9, "{figures}");
    let answer = home.ok(&["predict", "m", "--json", "--text", "please pay the number 12"]);
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["label"], "bills");
    fs::remove_dir_all(Path::new(&mail).join("greetings")).unwrap();
    let error = home.fails(1, &["train", "classify-tokens", "--data", &mail]);
    assert!(error.contains("1 folders with .txt files"), "{error}");
}
