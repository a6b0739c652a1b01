//! A run's settings: defaults, then a recipe, then `key=value` pairs, all checked before anything starts.
//!
//! The idea of one file that is one run is big_vision's. Merging happens on TOML tables, so that a misspelt
//! key is an error with the nearest known keys, never a setting silently ignored.

use std::path::Path;

use mnist_data::{Augment, Binarise};
use mnist_model::{
    nets::NetSettings,
    objectives::{
        AutoencoderSettings, ClassifySettings, ClassifyTokensSettings, ContrastiveSettings, FixmatchSettings,
        GanSettings, LabelSequenceSettings, LanguageModelSettings, MaskedSettings, VaeSettings,
    },
    size::Size,
    token_net::TokenNetSettings,
};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    error::{Result, TrainError},
    finetune::FinetuneSettings,
    optimizer::OptimizerSettings,
    schedule::Schedule,
    token_data::TokenSettings,
};

/// Updates of a run that is `quick`.
const QUICK_STEPS: usize = 100;
/// Examples in its batches.
const QUICK_BATCH: usize = 64;

/// All settings of a run. Field names are the keys of recipes and of `--set`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct Run {
    /// Name of the objective in the registry.
    pub objective: String,
    /// Name of the net in the table of nets.
    pub net: String,
    /// Seed of every random draw but the split.
    pub seed: u64,
    /// Passes over the training split; where `steps` is set, the number of equal parts of them, each followed by
    /// validation.
    pub epochs: usize,
    /// Updates of the whole training; 0 is as many as `epochs` passes have.
    pub steps: usize,
    /// Whether it is a trial that is over in under a minute: at most 100 updates of at most 64 examples and one validation,
    /// whatever else is set.
    pub quick: bool,
    /// Images in a batch.
    pub batch_size: usize,
    /// Batches whose gradients are averaged into one update.
    pub accumulate: usize,
    /// Whether the backward pass computes what is inside a Transformer's layers again instead of having it kept
    /// (activation checkpointing): the same results from less memory, in about 4/3 of the time.
    pub recompute: bool,
    /// Data.
    pub data: DataSettings,
    /// Augmentation of training images.
    pub augment: Augment,
    /// Learning rate.
    pub schedule: Schedule,
    /// Update rule.
    pub optimizer: OptimizerSettings,
    /// Moving average of weights.
    pub ema: EmaSettings,
    /// Stopping before the last epoch.
    pub early_stopping: EarlyStopping,
    /// When to save.
    pub checkpoint: CheckpointSettings,
    /// When to log.
    pub log: LogSettings,
    /// Starting from another model.
    pub finetune: FinetuneSettings,
    /// The objective `classify`.
    pub classify: ClassifySettings,
    /// The objective `classify-tokens`.
    pub classify_tokens: ClassifyTokensSettings,
    /// The objective `label-sequence`.
    pub label_sequence: LabelSequenceSettings,
    /// The objective `autoencoder`.
    pub autoencoder: AutoencoderSettings,
    /// The objective `contrastive`.
    pub contrastive: ContrastiveSettings,
    /// The objective `fixmatch`.
    pub fixmatch: FixmatchSettings,
    /// The objective `gan`.
    pub gan: GanSettings,
    /// The objective `vae`.
    pub vae: VaeSettings,
    /// The objective `language-model`.
    pub language_model: LanguageModelSettings,
    /// The objective `masked`.
    pub masked: MaskedSettings,
    /// How data become tokens, for objectives that learn from such.
    pub tokens: TokenSettings,
    /// The Transformer of objectives on tokens.
    pub transformer: TokenNetSettings,
    /// Settings of the nets, each under its own name.
    #[serde(flatten)]
    pub nets: NetSettings,
}

/// Settings of the data.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct DataSettings {
    /// Name of the data set.
    pub name: String,
    /// A text of one's own instead: a UTF-8 file, or a folder of `.txt` files; empty: none.
    pub path: String,
    /// Images taken from the training file for validation.
    pub validation: usize,
    /// Seed of the split, apart from the run's seed so that runs stay comparable.
    pub split_seed: u64,
    /// Use only the first N images of the training split; 0 is all.
    pub limit: usize,
    /// How grey pixels become black or white: `none`, `dynamic` or `static`. Likelihoods are of one of them.
    pub binarise: Binarise,
    /// Use the labels of N images of the training split only, each class in its share, drawn by the run's seed; the
    /// rest is unlabelled. 0 is all.
    pub labels: usize,
    /// Threads that prepare batches ahead; the bits do not depend on it.
    pub workers: usize,
}

/// Settings of the moving average of weights; where it is on, it is what is validated and kept.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(default)]
pub struct EmaSettings {
    /// Memory of the average, in [0, 1); 0 is off.
    pub decay: f64,
}

/// Settings of early stopping.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(default)]
pub struct EarlyStopping {
    /// Epochs without a better validation score after which training stops; 0 is never.
    pub patience: usize,
}

/// Settings of checkpoints. One is always written when validation finds a better score and at the end.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct CheckpointSettings {
    /// Steps between two checkpoints; 0 is never by steps.
    pub every_steps: usize,
    /// Seconds between two checkpoints; 0 is never by time.
    pub every_seconds: u64,
    /// How many of the newest to keep, besides the best.
    pub keep: usize,
}

/// Settings of the log.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct LogSettings {
    /// Steps whose means make one line of metrics.jsonl.
    pub every_steps: usize,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            objective: "classify".into(),
            net: "cnn".into(),
            seed: 1,
            epochs: 8,
            steps: 0,
            quick: false,
            batch_size: 64,
            accumulate: 1,
            recompute: false,
            data: DataSettings::default(),
            augment: Augment::default(),
            schedule: Schedule::default(),
            optimizer: OptimizerSettings::default(),
            ema: EmaSettings::default(),
            early_stopping: EarlyStopping::default(),
            checkpoint: CheckpointSettings::default(),
            log: LogSettings::default(),
            finetune: FinetuneSettings::default(),
            classify: ClassifySettings::default(),
            classify_tokens: ClassifyTokensSettings::default(),
            label_sequence: LabelSequenceSettings::default(),
            autoencoder: AutoencoderSettings::default(),
            contrastive: ContrastiveSettings::default(),
            fixmatch: FixmatchSettings::default(),
            gan: GanSettings::default(),
            vae: VaeSettings::default(),
            language_model: LanguageModelSettings::default(),
            masked: MaskedSettings::default(),
            tokens: TokenSettings::default(),
            transformer: TokenNetSettings::default(),
            nets: NetSettings::default(),
        }
    }
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            name: "mnist".into(),
            path: String::new(),
            validation: 5_000,
            split_seed: 0,
            limit: 0,
            labels: 0,
            binarise: Binarise::None,
            workers: 1,
        }
    }
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { every_steps: 0, every_seconds: 30, keep: 2 }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { every_steps: 20 }
    }
}

impl Run {
    /// Defaults, then a recipe (its text, and its name for errors), then `key=value` pairs.
    ///
    /// # Errors
    /// [`TrainError::Settings`]: an unknown key (with the nearest known ones), a wrong type, a value that makes
    /// no sense.
    pub fn resolve(recipe: Option<(&str, &Path)>, sets: &[String]) -> Result<Self> {
        Self::resolve_over(Table::new(), recipe, sets)
    }

    /// As [`Run::resolve`], with defaults that `base` changes.
    ///
    /// # Errors
    /// As [`Run::resolve`].
    pub fn resolve_over(base: Table, recipe: Option<(&str, &Path)>, sets: &[String]) -> Result<Self> {
        let mut table = defaults()?;
        merge(&mut table, base, "").map_err(TrainError::Settings)?;
        if let Some((text, name)) = recipe {
            let in_file = |e: String| TrainError::Settings(format!("{}: {e}", name.display()));
            let mut given: Table = text.parse().map_err(|e: toml::de::Error| in_file(e.to_string()))?;
            // A run.toml is a recipe too: what it says beyond settings is about that run alone.
            given.remove("model");
            given.remove("provenance");
            merge(&mut table, given, "").map_err(in_file)?;
        }
        for set in sets {
            let in_set = |e: String| TrainError::Settings(format!("--set {set}: {e}"));
            let Some((key, value)) = set.split_once('=') else {
                return Err(in_set("write key=value, for example --set epochs=3".into()));
            };
            if key.matches('.').count() > 4 {
                return Err(in_set("no setting lies that deep".into()));
            }
            merge(&mut table, nested(key.trim(), parse_value(value.trim())), "").map_err(in_set)?;
        }
        let run = from_table(table).map_err(TrainError::Settings)?;
        run.check().map_err(TrainError::Settings)?;
        Ok(run)
    }

    /// Reads settings back that [`Run::to_table`] wrote; keys that were left out take their defaults.
    ///
    /// # Errors
    /// A message: unknown keys, wrong types, values that make no sense.
    pub fn from_saved(given: Table) -> Result<Self, String> {
        let mut table = defaults().map_err(|e| e.to_string())?;
        merge(&mut table, given, "")?;
        let run = from_table(table)?;
        run.check()?;
        Ok(run)
    }

    /// Every setting that has a part in this run: those of other nets are left out.
    ///
    /// # Errors
    /// [`TrainError::Settings`] where a number does not fit into TOML's 64-bit integers.
    pub fn to_table(&self) -> Result<Table> {
        let mut table = Table::try_from(self)
            .map_err(|e| TrainError::Settings(format!("settings do not fit into TOML: {e}")))?;
        table.retain(|key, _| *key == self.net || NetSettings::TABLE.iter().all(|(net, _)| net != &key));
        Ok(table)
    }

    /// What `quick` means.
    fn shorten(&mut self) {
        let most = if self.steps == 0 { QUICK_STEPS } else { self.steps };
        (self.epochs, self.steps) = (1, most.min(QUICK_STEPS));
        (self.batch_size, self.accumulate) = (self.batch_size.min(QUICK_BATCH), 1);
        self.fixmatch.labelled = self.fixmatch.labelled.min((self.batch_size / 4).max(1));
    }

    fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("accumulate", self.accumulate),
            ("log.every_steps", self.log.every_steps),
            ("checkpoint.keep", self.checkpoint.keep),
            ("data.workers", self.data.workers),
        ] {
            if value == 0 || value > 1_000_000 {
                return Err(format!("{name} is {value}; it has to be 1 to 1000000"));
            }
        }
        if self.steps > 0 && self.steps < self.epochs {
            return Err(format!(
                "steps is {}; it has to be 0 (as `epochs` says) or as many as `epochs`, {}",
                self.steps, self.epochs
            ));
        }
        if !(0.0..1.0).contains(&self.ema.decay) {
            return Err(format!(
                "ema.decay is {}; it has to be 0 (off) or more, and below 1",
                self.ema.decay
            ));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.data.name.is_empty() || self.data.name.starts_with('.') || !self.data.name.chars().all(plain)
        {
            let name = &self.data.name;
            return Err(format!(
                "data.name is {name:?}; it has to be a plain name, of letters, digits, - and _"
            ));
        }
        self.finetune.check()?;
        self.schedule.check()?;
        self.optimizer.check()?;
        self.augment.validate().map_err(|e| e.to_string())
    }
}

fn defaults() -> Result<Table> {
    Table::try_from(Run::default()).map_err(|e| TrainError::Settings(e.to_string()))
}

fn from_table(table: Table) -> Result<Run, String> {
    let run: Result<Run, _> = Value::Table(table).try_into();
    let mut run = run.map_err(|e: toml::de::Error| e.to_string().trim_end().to_string())?;
    if run.quick {
        run.shorten();
    }
    Ok(run)
}

/// `a.b.c` and a value as nested tables.
fn nested(key: &str, value: Value) -> Table {
    let (first, value) = match key.split_once('.') {
        Some((first, rest)) => (first, Value::Table(nested(rest, value))),
        None => (key, value),
    };
    Table::from_iter([(first.to_string(), value)])
}

/// A TOML value, or else the text itself: `--set net=mlp` needs no quotes.
fn parse_value(text: &str) -> Value {
    let line: Result<Table, _> = format!("v = {text}").parse();
    line.ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.into()))
}

/// Puts `given` over `table`, which holds every known key. A Transformer's `size` stands for the four settings that it
/// names: over what was said before, under what is said beside it.
fn merge(table: &mut Table, given: Table, prefix: &str) -> Result<(), String> {
    for (key, value) in sized(table, given, prefix)? {
        let path = format!("{prefix}{key}");
        match (table.get_mut(&key), value) {
            (None, _) => return Err(unknown(&path)),
            (Some(Value::Table(known)), Value::Table(value)) => merge(known, value, &format!("{path}."))?,
            (Some(Value::Table(known)), value) => {
                let keys: Vec<_> = known.keys().map(|k| format!("{path}.{k}")).collect();
                return Err(format!(
                    "{path} is a group of settings, not {value}; set one of {}",
                    keys.join(", ")
                ));
            }
            (Some(known), value) => *known = fitted(known, value, &path)?,
        }
    }
    Ok(())
}

/// What is said of a Transformer with its `size` written out, where there is one.
fn sized(known: &Table, mut given: Table, prefix: &str) -> Result<Table, String> {
    const SET: [&str; 4] = ["width", "heads", "layers", "hidden"];
    if !SET.iter().all(|key| known.contains_key(*key)) {
        return Ok(given);
    }
    let Some(name) = given.remove("size") else { return Ok(given) };
    let size =
        Size::named(name.as_str().unwrap_or(&name.to_string())).map_err(|e| format!("{prefix}size: {e}"))?;
    for (key, value) in SET.into_iter().zip([size.width, size.heads, size.layers, size.hidden]) {
        given.entry(key).or_insert(Value::Integer(value as i64));
    }
    Ok(given)
}

/// `value`, if it is of the type of `known`; a whole number may stand for a fraction.
fn fitted(known: &Value, value: Value, path: &str) -> Result<Value, String> {
    match (known, value) {
        (Value::Float(_), Value::Integer(whole)) => Ok(Value::Float(whole as f64)),
        (Value::Integer(_), Value::Integer(negative)) if negative < 0 => {
            Err(format!("{path} is {negative}; it has to be 0 or more"))
        }
        (Value::Array(known), Value::Array(values)) => match known.first() {
            Some(known) => {
                let fitted: Result<_, _> = values.into_iter().map(|v| fitted(known, v, path)).collect();
                fitted.map(Value::Array)
            }
            None => Ok(Value::Array(values)),
        },
        (known, value) if known.same_type(&value) => Ok(value),
        (known, value) => Err(format!("{path} is {value}, {}; it has to be {}", kind(&value), kind(known))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a group of settings",
        Value::Datetime(_) => "a date",
    }
}

/// Settings that are gone, and where to find what they said.
const RENAMED: &[(&str, &str)] = &[("tokens.binarise", "data.binarise")];

/// Bytes of a key from which it is not compared with those there are.
const LONGEST_KEY: usize = 100;

fn unknown(path: &str) -> String {
    if let Some((_, now)) = RENAMED.iter().find(|(old, _)| *old == path) {
        return format!("there is no setting {path} any more; it is {now}");
    }
    if path.len() > LONGEST_KEY {
        let beginning: String = path.chars().take(LONGEST_KEY).collect();
        return format!("there is no setting {beginning}..., and none with {} bytes in its name", path.len());
    }
    let mut known = Vec::new();
    if let Ok(table) = defaults() {
        leaves(&table, "", &mut known);
    }
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
    let distance = |key: &String| {
        strsim::damerau_levenshtein(path, key).min(strsim::damerau_levenshtein(&last(path), &last(key)) + 1)
    };
    known.sort_by_cached_key(distance);
    known.truncate(3);
    format!("there is no setting {path}; the nearest are {}", known.join(", "))
}

fn leaves(table: &Table, prefix: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            Value::Table(table) => leaves(table, &format!("{prefix}{key}."), found),
            _ => found.push(format!("{prefix}{key}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(recipe: &str, sets: &[&str]) -> Result<Run, String> {
        let sets: Vec<_> = sets.iter().map(ToString::to_string).collect();
        Run::resolve(Some((recipe, Path::new("r.toml"))), &sets).map_err(|e| e.to_string())
    }

    #[test]
    fn later_settings_win() {
        let run =
            resolve("net = 'mlp'\nepochs = 3\n[mlp]\nhidden = [64]\n", &["epochs=5", "net=cnn"]).unwrap();
        assert_eq!((run.epochs, run.net.as_str(), run.nets.mlp.hidden), (5, "cnn", vec![64]));
        assert_eq!(run.batch_size, Run::default().batch_size);
    }

    #[test]
    fn a_size_is_four_settings_which_later_and_closer_ones_change() {
        let sizes = |recipe: &str, sets: &[&str]| {
            let vit = resolve(recipe, sets).unwrap().nets.vit;
            [vit.width, vit.heads, vit.layers, vit.hidden]
        };
        let recipe = "[vit]\nsize = '1m'\nlayers = 2\n";
        assert_eq!(sizes("", &[]), [64, 4, 4, 256]);
        assert_eq!(sizes(recipe, &[]), [128, 4, 2, 512]);
        assert_eq!(sizes(recipe, &["vit.size=10m"]), [320, 5, 8, 1280]);
        assert_eq!(sizes(recipe, &["vit.size=10m", "vit.layers=3"]), [320, 5, 3, 1280]);
        assert_eq!(sizes(recipe, &["vit.layers=3", "vit.size=10m"]), [320, 5, 8, 1280]);
        let run = resolve("", &["transformer.size=0.3m", "net=vit"]).unwrap();
        assert_eq!((run.transformer.width, run.transformer.layers), (64, 6));
        assert_eq!(Run::from_saved(run.to_table().unwrap()).unwrap(), run);
    }

    #[test]
    fn a_quick_run_is_short_whatever_else_is_set() {
        let quick = |recipe: &str, sets: &[&str]| {
            let run = resolve(recipe, sets).unwrap();
            assert_eq!(Run::from_saved(run.to_table().unwrap()).unwrap(), run);
            [run.steps, run.epochs, run.batch_size, run.accumulate, run.fixmatch.labelled]
        };
        assert_eq!(
            quick("epochs = 9\nbatch_size = 256\naccumulate = 4", &["quick=true"]),
            [100, 1, 64, 1, 16]
        );
        assert_eq!(quick("quick = true", &["steps=30", "epochs=3", "batch_size=8"]), [30, 1, 8, 1, 2]);
        assert_eq!(quick("quick = true", &["quick=false"])[1], Run::default().epochs);
    }

    #[test]
    fn values_need_no_quotes_and_whole_numbers_may_be_fractions() {
        let run = resolve("", &["schedule.kind=cosine", "augment.rotation=10", "mlp.hidden=[1, 2]"]).unwrap();
        assert_eq!(run.schedule.kind, crate::schedule::ScheduleKind::Cosine);
        assert_eq!(run.augment.rotation, 10.0);
        assert_eq!(run.nets.mlp.hidden, [1, 2]);
    }

    #[test]
    fn mistakes_name_the_key_and_what_is_wanted() {
        for (recipe, set, wanted) in [
            ("", "epoch=3", "no setting epoch; the nearest are epochs"),
            ("", "optimizer.weight_deacy=0", "optimizer.weight_decay"),
            ("", "tokens.binarise=static", "no setting tokens.binarise any more; it is data.binarise"),
            ("", "learning_rate=0.1", "schedule.learning_rate"),
            ("", "epochs=many", "epochs is \"many\", a text; it has to be a whole number"),
            ("", "epochs=-1", "epochs is -1; it has to be 0 or more"),
            ("", "mlp.hidden=[8, 'a']", "mlp.hidden is \"a\", a text"),
            ("", "data.name=../x", "data.name is \"../x\""),
            ("", "optimizer.beta_1=0.99999999999", "optimizer.beta_1"),
            ("", "epochs=0", "epochs is 0; it has to be 1"),
            ("", "vit.size=huge", "vit.size: no size is called \"huge\"; there are: 0.1m"),
            ("", "vit.size=3", "no size is called \"3\""),
            ("", "mlp.size=1m", "no setting mlp.size"),
            ("", "epochs", "write key=value"),
            ("", "optimizer=adam", "optimizer is a group of settings"),
            ("", "optimizer.rule=lion", "lion"),
            ("", "ema.decay=1.5", "ema.decay is 1.5"),
            ("", "schedule.learning_rate=nan", "schedule.learning_rate is NaN"),
            ("epochs = ", "epochs=1", "r.toml"),
            ("[shedule]\nkind='cosine'", "epochs=1", "r.toml: there is no setting shedule"),
        ] {
            let error = resolve(recipe, &[set]).unwrap_err();
            assert!(error.contains(wanted), "{set}: {error:?} lacks {wanted:?}");
        }
    }

    #[test]
    fn saved_settings_read_back_the_same_without_other_nets() {
        let run = resolve("", &["net=mlp", "schedule.learning_rate=0.1234567890123", "seed=77"]).unwrap();
        let table = run.to_table().unwrap();
        assert!(table.contains_key("mlp") && !table.contains_key("cnn"));
        let text = toml::to_string(&table).unwrap();
        assert_eq!(Run::from_saved(text.parse().unwrap()).unwrap(), run);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(10_000))]
        #[test]
        fn no_recipe_panics(noise in "[a-z\\[\\]{}=.\"'\n0-9#, -]{0,80}", at in 0usize..400, key in "[a-z_.]{0,24}") {
            let mut text = toml::to_string(&Run::default().to_table().unwrap()).unwrap();
            let at = at.min(text.len());
            text.insert_str(at, &noise);
            let _ = Run::resolve(Some((&text, Path::new("r.toml"))), &[format!("{key}={noise}")]);
        }
    }
}
