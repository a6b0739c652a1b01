//! What kind of command a line is, and how one of ours becomes small.

/// The data set that trains.
pub(super) const SET: &str = "book";
/// Labels that it has more of.
const LABELS: usize = 300;
/// What begins a command of ours.
const OURS: &str = "cargo run --release -p mnist-cli -- ";
/// Commands that train, and `tune` and `pipeline`, which take no --data.
const TRAINING: [&str; 3] = ["train", "pretrain", "finetune"];
/// Settings of a small Transformer.
const TRANSFORMER: [(&str, usize); 4] = [("width", 32), ("heads", 2), ("layers", 1), ("hidden", 64)];

/// What is done with a line.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// Run, small: what stands behind `--`.
    Ours(String),
    /// Run as it is.
    Shell,
    /// Not run, and why.
    Left(&'static str),
}

/// The kind of a line.
pub(super) fn kind(line: &str) -> Kind {
    if let Some(arguments) = line.strip_prefix(OURS) {
        return match arguments.split(' ').next() {
            Some("serve") => Kind::Left("waits for requests; cargo xtask browser runs it"),
            _ if arguments.starts_with("data fetch") => Kind::Left("needs a network"),
            _ => Kind::Ours(arguments.to_owned()),
        };
    }
    match line.split(' ').next().unwrap_or_default() {
        "cargo" if line.contains("mnist-cli") => Kind::Left("another build"),
        "cargo" | "bash" => Kind::Left("a task of the repository"),
        "curl" => Kind::Left("asks a server that runs"),
        "apt-get" | "eval" | "docker" | "mnist-cli" => Kind::Left("for a machine of one's own"),
        _ => Kind::Shell,
    }
}

/// A command made small.
#[derive(Debug, PartialEq)]
pub(super) struct Small {
    /// The arguments.
    pub(super) line: String,
    words: Vec<String>,
}

impl Small {
    pub(super) fn of(arguments: &str) -> Self {
        let (arguments, redirected) = match arguments.split_once(" > ") {
            Some((arguments, file)) => (arguments, format!(" > {file}")),
            None => (arguments, String::new()),
        };
        let mut words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let original = words.clone();
        for i in 1..words.len() {
            let (before, word) = (original[i - 1].as_str(), &mut words[i]);
            match before {
                "--epochs" | "--seeds" => *word = "1".into(),
                "--trials" => *word = "2".into(),
                "--labels" => *word = labels(word),
                _ => {}
            }
        }
        let command = original.first().map(String::as_str).unwrap_or_default();
        let has = |word: &str| original.iter().any(|w| w == word);
        let mut more = Vec::new();
        let mut set = |key: &str, value: &str| more.extend(["--set".to_owned(), format!("{key}={value}")]);
        if TRAINING.contains(&command) && !has("--resume") && !has("--dry-run") {
            set("steps", "4");
            let text = original.iter().any(|word| word.contains("text") || word.contains("punctuation"));
            if command != "finetune" {
                TRANSFORMER
                    .iter()
                    .for_each(|(key, value)| set(&format!("transformer.{key}"), &value.to_string()));
            }
            if text {
                set("data.limit", "400");
            } else if !has("--data") {
                more.extend(["--data".to_owned(), SET.to_owned()]);
            }
            if !has("--epochs") {
                more.extend(["--epochs".to_owned(), "1".to_owned()]);
            }
        } else if ["tune", "pipeline"].contains(&command) {
            [("steps", "4"), ("data.name", SET), ("data.validation", "40")]
                .iter()
                .for_each(|(k, v)| set(k, v));
            if command == "pipeline" {
                set("epochs", "1");
            }
        } else if command == "few-labels" {
            set("steps", "4");
            set("epochs", "1");
            if !has("--seeds") {
                more.extend(["--seeds".to_owned(), "1".to_owned()]);
            }
        }
        let line = [words.join(" "), more.join(" ")].join(" ").trim_end().to_owned() + &redirected;
        Self { line, words: original }
    }

    /// Runs that it names and does not make.
    pub(super) fn needs(&self) -> Vec<String> {
        let from = |i: usize| i > 0 && self.words[i - 1] == "--from";
        let makes = self.words.first().is_some_and(|word| ["train", "pretrain"].contains(&word.as_str()));
        let named = self
            .words
            .iter()
            .enumerate()
            .filter(|(i, word)| (from(*i) || !makes) && word.ends_with("-seed1"));
        named.map(|(_, word)| word.clone()).collect()
    }
}

/// Those numbers of labels that there are.
fn labels(list: &str) -> String {
    let few: Vec<&str> =
        list.split(',').filter(|number| number.parse().is_ok_and(|number: usize| number <= LABELS)).collect();
    if few.is_empty() { "100".into() } else { few.join(",") }
}

/// The command that trains a recipe, whose text this is.
pub(super) fn training(recipe: &str, text: &str) -> String {
    let objective = text.lines().find_map(|line| line.strip_prefix("objective = \"")?.strip_suffix('"'));
    match objective {
        None | Some("classify" | "fixmatch" | "label-sequence" | "classify-tokens" | "regression") => {
            format!("train {recipe}")
        }
        Some(objective) => format!("pretrain {objective} {recipe}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_small() {
        for (line, wanted) in [
            (
                "train mlp --seed 2",
                "train mlp --seed 2 --set steps=4 --set transformer.width=32 --set transformer.heads=2 --set \
                 transformer.layers=1 --set transformer.hidden=64 --data book --epochs 1",
            ),
            ("train --resume first", "train --resume first"),
            ("probe a-seed1 --labels 100,1000,55000 --seeds 5", "probe a-seed1 --labels 100 --seeds 1"),
            (
                "finetune --from a-seed1 --labels 1000",
                "finetune --from a-seed1 --labels 100 --set steps=4 --data book --epochs 1",
            ),
            ("completions bash > x.bash", "completions bash > x.bash"),
        ] {
            assert_eq!(Small::of(line).line, wanted);
        }
        assert_eq!(Small::of("finetune --from a-seed1 --name b-seed1 x").needs(), ["a-seed1", "b-seed1"]);
        assert!(Small::of("train mlp --name mlp-seed1").needs().is_empty());
    }

    #[test]
    fn lines_are_of_their_kind() {
        assert_eq!(kind("cargo run --release -p mnist-cli -- runs"), Kind::Ours("runs".into()));
        assert_eq!(kind("cmp a b"), Kind::Shell);
        for left in
            ["cargo xtask tidy", "cargo run -p mnist-cli --features wgpu -- train", "docker build -t x ."]
        {
            assert!(matches!(kind(left), Kind::Left(_)), "{left}");
        }
    }

    #[test]
    fn a_recipe_is_trained_as_its_objective_wants() {
        assert_eq!(training("gan-quick", "objective = \"gan\"\nnet = \"cnn\""), "pretrain gan gan-quick");
        assert_eq!(training("default", "net = \"cnn\""), "train default");
    }
}
