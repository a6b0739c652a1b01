//! Models of text: what they say of a text, and text as it grows.

use serde_json::{Value, json};

use super::{Server, ok, seven};

/// Small enough a Transformer of text for a second or two.
const TEXT: &[&str] = &[
    "--set",
    "transformer.width=16",
    "--set",
    "transformer.layers=1",
    "--set",
    "transformer.hidden=16",
    "--set",
    "tokens.vocabulary=300",
    "--set",
    "tokens.context=32",
    "--set",
    "steps=4",
    "--epochs",
    "1",
    "--quiet",
];

/// One server of models of text: one that tells classes, one that tells punctuation, one that goes on, one that finds
/// hidden tokens.
#[test]
fn texts_are_read_and_written() {
    let home = tempfile::tempdir().unwrap();
    let runs = &home.path().join("runs");
    ok(runs, &[&["pretrain", "masked", "--data", "text", "--name", "b"], TEXT].concat());
    ok(runs, &[&["pretrain", "language-model", "--data", "text", "--name", "g"], TEXT].concat());
    let tune = ["finetune", "--from", "b", "--labels", "64", "--set", "steps=4", "--epochs", "1", "--quiet"];
    ok(runs, &[&tune[..], &["--name", "t"]].concat());
    ok(runs, &[&tune[..], &["punctuation", "--name", "p"]].concat());

    let server = Server::start(runs, &["b", "g", "t", "p"]);
    let models = server.get("/api/models");
    let kinds: Vec<_> = (0..4).map(|i| models[i]["classifies"].as_str()).collect();
    assert_eq!(kinds, [None, None, Some("texts"), Some("words")]);
    assert_eq!(models[2]["classes"].as_array().unwrap().len(), 2);
    assert_eq!(models[1]["makes"]["from"], "text");

    // The same answers as from `predict`; of a long text as much is read.
    let long = "And God said, Let there be light: ".repeat(20);
    let texts = ["In the beginning", "Jesus answered \u{4e66} them", &long];
    for model in ["t", "p"] {
        let asked: Vec<&str> = texts.iter().flat_map(|text| ["--text", text]).collect();
        let wanted = ok(runs, &[&["predict", model, "--json"], &asked[..]].concat());
        let wanted: Vec<Value> = wanted.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut found = server.post("/api/predict", &json!({"model": model, "texts": texts}));
        assert_eq!(found["model"], model);
        let cut = found["answers"][2].as_object_mut().unwrap().remove("cut");
        assert_eq!(
            cut.is_some_and(|cut| cut["read"] == 30 && cut["tokens"].as_u64() > Some(30)),
            model == "t"
        );
        assert_eq!(found["answers"], json!(wanted));
        let one = server.post(&format!("/api/predict?model={model}"), &json!({"text": texts[0]}));
        let (of_one, of_all) = (&one["answers"][0], &found["answers"][0]);
        assert_eq!((&of_one["text"], &of_one["label"]), (&of_all["text"], &of_all["label"]));
    }
    assert_eq!(server.post("/api/predict", &json!({"text": "a"}))["model"], "t");
    assert_eq!(server.count("mnist_texts_total"), 9.0);

    // Text as it grows is the text; of hidden tokens what is found of them.
    let wish = json!({"model": "g", "n": 3, "seed": 5, "prompt": "In the \u{4e66}"});
    let whole = server.post("/api/generate", &wish);
    let (news, made) = server.stream(&wish);
    assert_eq!(made, whole);
    assert!(news.len() > 3, "{news:?}");
    for i in 0..3 {
        let grown: String = news.iter().map(|news| news["more"][i].as_str().unwrap()).collect();
        let text = made["texts"][i].as_str().unwrap();
        assert_eq!(grown, text.trim_end_matches('\u{fffd}'));
        assert!(text.starts_with("\nIn the \u{4e66}"), "{text:?}");
    }
    let wish = json!({"model": "b", "n": 2, "rounds": 4, "prompt": "In the"});
    let (news, made) = server.stream(&wish);
    assert_eq!(made, server.post("/api/generate", &wish));
    assert_eq!(news.len(), 4, "{news:?}");
    let gaps = |news: &Value| news["texts"][1].as_str().unwrap().matches('_').count();
    assert!(gaps(&news[0]) > gaps(&news[3]), "{news:?}");
    assert_eq!(news[3]["texts"], made["texts"]);

    let many = json!({"texts": vec!["a"; 65]}).to_string();
    let large = json!({"text": "a".repeat((64 << 10) + 1)}).to_string();
    let word = json!({"model": "p", "text": "a".repeat(600)}).to_string();
    let json = |body: &'static str, status, words| {
        ("POST", "/api/predict", "application/json", body.as_bytes(), status, words)
    };
    server.refuses(&[
        json(r#"{"text": ""}"#, 422, "text 1 is empty"),
        json(r#"{"texts": ["a", " \n "]}"#, 422, "text 2 is empty"),
        json(r#"{"text": " , "}"#, 422, "wanted at least one word"),
        json(r#"{"texts": []}"#, 422, "send 1 to 64"),
        json(r#"{"texts": "a"}"#, 422, "JSON"),
        json(r#"{"text": "a", "images": []}"#, 422, "one of images, text and texts"),
        json(r#"{"model": "t", "images": [[0]]}"#, 422, "send {\"text\""),
        json(r#"{"images": [[0]]}"#, 422, "no model that is served classifies images"),
        json(r#"{"model": "g", "text": "a"}"#, 422, "classifies text"),
        json(r#"{"model": "z", "text": "a"}"#, 404, "there are: b, g, t, p"),
        ("POST", "/api/predict", "application/json", many.as_bytes(), 413, "65 texts"),
        ("POST", "/api/predict", "application/json", large.as_bytes(), 413, "64 KiB"),
        ("POST", "/api/predict", "application/json", word.as_bytes(), 422, "the model reads 30 at once"),
        (
            "POST",
            "/api/predict?model=p",
            "application/json",
            br#"{"model": "t", "text": "a"}"#,
            422,
            "the body",
        ),
        ("POST", "/api/predict?heat=true", "application/json", br#"{"text": "a"}"#, 422, "leave heat out"),
        ("POST", "/api/predict?model=t", "image/png", &seven(), 422, "it takes text"),
        (
            "POST",
            "/api/generate",
            "application/json",
            br#"{"image": [0], "stream": true}"#,
            422,
            "from an image",
        ),
    ]);
    server.end();
}
