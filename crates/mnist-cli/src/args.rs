//! What can be typed.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, Styles},
};

use crate::{cmd::data::DataCommand, device::BackendName};

/// Learn how models are trained, on MNIST: look at the data, train, evaluate, predict.
#[derive(Parser, Debug)]
#[command(name = "mnist-cli", version, styles = Styles::styled(), arg_required_else_help = true)]
pub(crate) struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// What was typed; ends the program if it cannot be read.
    pub(crate) fn read() -> Self {
        let typed = with_negative_numbers(Self::command()).get_matches();
        Self::from_arg_matches(&typed).unwrap_or_else(|error| error.exit())
    }
}

/// A value like -1 is taken for one, and told to be out of range, not for an option that nobody knows.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes = |arg: clap::Arg| {
        let values = arg.get_action().takes_values();
        arg.allow_negative_numbers(values)
    };
    command.mut_args(takes).mut_subcommands(with_negative_numbers)
}

/// Options of every command.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// Directory of the runs
    #[arg(long, global = true, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Directory of the data (else MNIST_DATA_DIR, the repository's datasets/, the user's cache, /usr/share/datasets)
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Backend to compute on, among those compiled in
    #[arg(long, global = true, value_name = "NAME")]
    pub backend: Option<BackendName>,
    /// Devices of the backend by number; several share each batch in training [default: the backend's own]
    #[arg(long, global = true, value_name = "N,N,...", value_delimiter = ',')]
    pub devices: Vec<usize>,
    /// Threads to compute on [default: all cores]; results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
    /// Show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more (-vv: still more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// A command.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Train a model and test it
    Train(Train),
    /// Train a model without labels, for its features or for what it makes
    Pretrain(Pretrain),
    /// Tell what a training takes: parameters, multiplications, memory, time
    Plan(Plan),
    /// Search for better settings of a recipe, chosen on validation
    Tune(Tune),
    /// Train a classifier on the encoder of another model
    Finetune(Finetune),
    /// Tell classes apart by a trained encoder's features as they are
    Probe(Probe),
    /// Write a trained classifier of images for other programs: PyTorch, onnxruntime
    Export(Export),
    /// Make a run of weights that others trained: a file of PyTorch or safetensors
    Import(Import),
    /// Measure what a pretrained encoder is worth with few labels
    FewLabels(FewLabels),
    /// Pretrain, fine-tune, train from scratch, compare: trainings in a row and one report
    Pipeline(Pipeline),
    /// Test whether classifiers differ by more than chance on the test images
    Compare(Compare),
    /// Measure a trained model on a split of the data
    Evaluate(Evaluate),
    /// Make new images with a trained model
    Generate(Generate),
    /// Name the digit or class of pictures, the class of texts, or the punctuation that they lack
    Predict(Predict),
    /// List the runs with their figures
    Runs(Runs),
    /// List the built-in recipes, or print one
    Recipes(Recipes),
    /// Draw digits in the browser and see what models say of them and make; the same as an interface for programs
    Serve(Serve),
    /// Look at the data, check and fetch it
    Data {
        /// What to do with it.
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages
    Manual(Manual),
    /// Do the works of `cargo xtask bench-backends`, as asked for line by line
    #[command(hide = true)]
    BenchWorker,
}

/// A recipe and what is changed of it.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Chosen {
    /// A recipe: a file, or the name of a built-in one (default, mlp, record, tiny, ...; `recipes` lists them)
    pub recipe: Option<String>,
    /// Data set, or for objectives on tokens `text`, a UTF-8 file or a folder of .txt files [default: the recipe's]
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Net that reads images [default: the recipe's; of fine-tuning the source's]
    #[arg(long, value_parser = PossibleValuesParser::new(nets()))]
    pub net: Option<String>,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Labels to learn from, each class in its share; the other images are unlabelled
    #[arg(long, value_name = "N", value_parser = some_labels)]
    pub labels: Option<u64>,
    /// Change a setting of the recipe; may be given often
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `train`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Train {
    /// Recipe and settings.
    #[command(flatten)]
    pub chosen: Chosen,
    /// Name of the run [default: the recipe's and the seed]
    #[arg(long, conflicts_with = "resume")]
    pub name: Option<String>,
    /// Seed of every random draw
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Go on with a run that was stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "seed", "epochs", "labels", "set", "data", "net"])]
    pub resume: Option<String>,
    /// With --resume: go on from this checkpoint, not from the newest
    #[arg(long, value_name = "STEP-DIR", requires = "resume")]
    pub checkpoint: Option<String>,
    /// Write event files for TensorBoard too, into the run's tensorboard/; a run that has them goes on with them
    #[arg(long)]
    pub tensorboard: bool,
    /// Print the resolved settings and the model, and do not train
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
}

/// A number of threads that a machine may have.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    const MOST: usize = 1024;
    let number = text.parse().ok().filter(|&number| number <= MOST).and_then(NonZeroUsize::new);
    number.ok_or_else(|| format!("it has to be 1 to {MOST}"))
}

/// Names of the objectives that need no labels.
fn objectives() -> impl Iterator<Item = PossibleValue> {
    let rest = mnist_train::registry::TABLE
        .iter()
        .filter(|(name, _)| !mnist_train::registry::learns_from_labels(name));
    rest.map(|(name, about)| PossibleValue::new(*name).help(*about))
}

/// Names of the nets on images.
fn nets() -> impl Iterator<Item = PossibleValue> {
    mnist_model::nets::NetSettings::TABLE.iter().map(|(name, about)| PossibleValue::new(*name).help(*about))
}

/// `pretrain`.
#[derive(clap::Args, Debug)]
pub(crate) struct Pretrain {
    /// What to train for; its recipe has the same name
    #[arg(value_parser = PossibleValuesParser::new(objectives()))]
    pub objective: Option<String>,
    /// All that `train` takes.
    #[command(flatten)]
    pub train: Train,
}

/// `plan`.
#[derive(clap::Args, Debug)]
pub(crate) struct Plan {
    /// Plan a fine-tuning: a run (its directory or name), or a file of an encoder's tensors (.safetensors, .pt, .pth); the recipe is as
    /// `finetune` has it
    #[arg(long, value_name = "RUN|FILE")]
    pub from: Option<String>,
    /// Recipe and settings.
    #[command(flatten)]
    pub chosen: Chosen,
    /// Time to measure this machine's speed in
    #[arg(long, value_name = "S", default_value = "3", value_parser = positive)]
    pub seconds: f64,
    /// Make so many steps too, 2 or more, and print what they took beside the plan (the first has no moments yet)
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "10",
          value_parser = clap::value_parser!(u16).range(2..))]
    pub check: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `tune`.
#[derive(clap::Args, Debug)]
pub(crate) struct Tune {
    /// A recipe: a file, or the name of a built-in one [default: default; with --from as `finetune` has it]
    pub recipe: Option<String>,
    /// Search for settings of fine-tuning: a run (its directory or name), or a file of an encoder's tensors (.safetensors, .pt, .pth)
    #[arg(long, value_name = "RUN|FILE")]
    pub from: Option<String>,
    /// Data set or path, as `train --data` has it [default: the recipe's]
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// What to search: KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A|B|C; may be given often [default: learning rate,
    /// weight decay, batch size about the recipe's]
    #[arg(long, value_name = "KEY=VALUES")]
    pub search: Vec<String>,
    /// Trials in all
    #[arg(long, value_name = "N", default_value = "20", value_parser = at_least_one)]
    pub trials: usize,
    /// Begin no trial after this time
    #[arg(long, value_name = "MINUTES", value_parser = positive)]
    pub minutes: Option<f64>,
    /// How values are chosen
    #[arg(long, value_parser = named::<mnist_train::tune::Method>, default_value = "tpe", value_name = "random|tpe")]
    pub method: mnist_train::tune::Method,
    /// Which trials are given up early
    #[arg(
        long,
        value_parser = named::<mnist_train::tune::Pruning>,
        default_value = "median",
        value_name = "none|median|halving"
    )]
    pub pruning: mnist_train::tune::Pruning,
    /// Seed of what is tried (each trial trains under the recipe's seed)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Name of the search [default: tune- and the recipe's]
    #[arg(long, conflicts_with = "resume", value_parser = plain)]
    pub name: Option<String>,
    /// Passes over the training images in each trial
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Change a setting of the recipe for all trials; may be given often
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on with a search that was stopped
    #[arg(long, value_name = "NAME", conflicts_with_all = ["recipe", "from", "data", "search", "trials", "method", "pruning", "seed", "epochs", "set"])]
    pub resume: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A value by the name that settings give it.
pub(crate) fn named<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.into())).map_err(|e| e.to_string())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "it has to be a whole number, 1 or more".into())
}

fn some_labels(text: &str) -> Result<u64, String> {
    let wanted = "it has to be a whole number, 1 or more (--set data.labels=0 learns from all)";
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| wanted.into())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0 && *n < 1e6);
    number.ok_or_else(|| "it has to be a number above 0".into())
}

/// A name that stays inside its directory.
pub(crate) fn plain(name: &str) -> Result<String, String> {
    let plain =
        std::path::Path::new(name).file_name().is_some_and(|last| last == name) && !name.starts_with('.');
    if plain && !name.contains(char::is_control) {
        Ok(name.into())
    } else {
        Err(format!("{name:?} is not a plain name: no slashes, no dot in front, nothing that cannot be seen"))
    }
}

/// Methods of fine-tuning.
const METHODS: [&str; 6] = ["full", "head", "gradual", "layer-decay", "lora", "bias"];

/// `finetune`.
#[derive(clap::Args, Debug)]
pub(crate) struct Finetune {
    /// Where the encoder is from: a run (its directory or name), or a file of an encoder's tensors (.safetensors, .pt, .pth)
    #[arg(long, value_name = "RUN|FILE", required_unless_present = "resume", conflicts_with = "resume")]
    pub from: Option<String>,
    /// What is trained: all, the new layer, all from the top down, all but lower layers by smaller steps, additions of low
    /// rank, biases
    #[arg(long, value_parser = METHODS, conflicts_with = "resume")]
    pub method: Option<String>,
    /// All that `train` takes; the recipe is `finetune` if none is named.
    #[command(flatten)]
    pub train: Train,
}

/// `probe`.
#[derive(clap::Args, Debug)]
pub(crate) struct Probe {
    /// A run with an encoder: its directory or name
    pub run: String,
    /// Tell classes of other data apart than the run's: a name or a path as `train --data` has it
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Numbers of labels [default: 100, 1000 and all, as far as there are so many]
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = at_least_one)]
    pub labels: Vec<usize>,
    /// Draws of the labels
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `export`.
#[derive(clap::Args, Debug)]
pub(crate) struct Export {
    /// A run of a classifier: its directory or name
    pub run: String,
    /// What reads it
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Directory of the files [default: export-FORMAT in the run's]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A format by the name it is typed by.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum ExportFormat {
    /// The tensors, and load.py, which makes a torch.nn.Module of them
    Safetensors,
    /// The same with the tensors in a file of torch.save
    Pytorch,
    /// One file with the computation inside, and check.py, which runs it in onnxruntime
    Onnx,
}

impl ExportFormat {
    /// As the library calls it.
    pub(crate) fn format(self) -> mnist_train::export::Format {
        match self {
            Self::Safetensors => mnist_train::export::Format::Safetensors,
            Self::Pytorch => mnist_train::export::Format::Pytorch,
            Self::Onnx => mnist_train::export::Format::Onnx,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pytorch => "pytorch",
            Self::Onnx => "onnx",
        }
    }
}

/// `import`.
#[derive(clap::Args, Debug)]
pub(crate) struct Import {
    /// Weights of a classifier: .safetensors, .pt or .pth (nothing in it is run)
    pub file: PathBuf,
    /// Its net; pytorch_example_cnn is that of PyTorch's MNIST example, resnet18, resnet34 and resnet50 are torchvision's
    #[arg(long, value_parser = PossibleValuesParser::new(nets()))]
    pub net: String,
    /// Name of the run [default: the file's]
    #[arg(long, value_parser = plain)]
    pub name: Option<String>,
    /// Data set that it tells apart the classes of, or own pictures
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Mean of the pixels, in 0-1, that it was trained with [default: 0.1307 for pytorch_example_cnn on
    /// mnist, else the data's]
    #[arg(long, value_name = "M")]
    pub mean: Option<f32>,
    /// Their standard deviation [default: 0.3081 for pytorch_example_cnn on mnist, else the data's]
    #[arg(long, value_name = "S")]
    pub std: Option<f32>,
    /// Leave out tensors that the net has no use for
    #[arg(long)]
    pub allow_unused: bool,
    /// Change a setting, like the sizes of a net that are not in the file; may be given often
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `few-labels`.
#[derive(clap::Args, Debug)]
pub(crate) struct FewLabels {
    /// A recipe for every training: a file, or the name of a built-in one [default: few-labels; classify-tokens for a
    /// model of text, classify-image-tokens for one of tokens of images]
    pub recipe: Option<String>,
    /// Where the encoder is from: a run (its directory or name), or a file of an encoder's tensors (.safetensors, .pt, .pth)
    #[arg(long, value_name = "RUN|FILE")]
    pub from: String,
    /// Data set or path, as `train --data` has it [default: the source's]
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Numbers of labels [default: 10, 50, 100, 500 and 1000, as far as there are so many]
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = at_least_one)]
    pub labels: Vec<usize>,
    /// Seeds, each with labels of its own
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// What is compared [default: scratch, full, head, lora, knn, logistic, those that the net can]
    #[arg(long, value_name = "WAY,...", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(["scratch"].into_iter().chain(METHODS).chain(["knn", "logistic"])))]
    pub ways: Vec<String>,
    /// Learning rates that every training is done with, scratch too; validation picks one for each cell of the table
    /// [default: the recipe's alone]
    #[arg(long, value_name = "RATE,...", value_delimiter = ',')]
    pub rates: Vec<f64>,
    /// Change a setting of every training; may be given often
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Directory of the table; what is finished there is kept [default: few-labels-NAME among the runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `pipeline`.
#[derive(clap::Args, Debug)]
pub(crate) struct Pipeline {
    /// A pipeline: a file, or the name of a built-in one (pipeline-quick, ...)
    pub pipeline: String,
    /// Name of its directory among the runs; what is finished there is kept [default: the file's and the seed]
    #[arg(long, value_parser = plain)]
    pub name: Option<String>,
    /// Seed of every stage
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// Data set or path, as `train --data` has it [default: the stages']
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Change a setting of every stage; may be given often
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `compare`.
#[derive(clap::Args, Debug)]
pub(crate) struct Compare {
    /// Two runs or more: their directories or names
    #[arg(value_name = "RUN", num_args = 2.., required = true)]
    pub runs_to_compare: Vec<String>,
    /// Compare on the test images of other data than the runs': a name or a path as `train --data` has it
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `evaluate`.
#[derive(clap::Args, Debug)]
pub(crate) struct Evaluate {
    /// A run: its directory or name
    pub run: String,
    /// Images to measure on
    #[arg(long, value_enum, default_value = "test")]
    pub split: Split,
    /// Measure on other data than the run's, of the same classes: a name or a path as `train --data` has it
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write label, prediction and probabilities of each image, as numbers and names, and its file where that is kept
    #[arg(long, value_name = "FILE.csv")]
    pub predictions: Option<PathBuf>,
    /// Measure on the first N images only
    #[arg(long, value_name = "N")]
    pub first: Option<NonZeroUsize>,
    /// Estimate the likelihood of each image with so many importance samples (vae)
    #[arg(long, value_name = "K")]
    pub samples: Option<NonZeroUsize>,
    /// Judge the images that the run makes by this classifier, another run: Frechet distance in its features (half of
    /// the split against as many new images), classes covered, nearest training images
    #[arg(long, value_name = "RUN")]
    pub features: Option<String>,
}

/// A split by the name it is typed by.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Split {
    /// The images that nothing was chosen by: 10,000 of MNIST's
    Test,
    /// The images that choose among models
    Valid,
    /// The images that train
    Train,
}

/// `predict`.
#[derive(clap::Args, Debug)]
pub(crate) struct Predict {
    /// A run: its directory or name
    pub run: String,
    /// Pictures, PNG or JPEG, any size, or folders of such: of one digit each, dark on light or light on dark; for a model of pictures of
    /// one's own, such as it has learned from
    #[arg(required_unless_present = "text")]
    pub images: Vec<PathBuf>,
    /// A text, for a model of text: its class, or the punctuation that belongs into it
    #[arg(long, value_name = "TEXT", conflicts_with = "images")]
    pub text: Vec<String>,
    /// Print one JSON object a picture or text
    #[arg(long)]
    pub json: bool,
}

/// `generate`.
#[derive(clap::Args, Debug)]
pub(crate) struct Generate {
    /// A run: its directory or name
    pub run: String,
    /// How many [default: 64 images, 1 text]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub n: Option<u16>,
    /// File that it goes to: .png for images [default: generated.png], any other for text [default: the terminal]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Text to go on with
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Picture of a digit whose upper half is given
    #[arg(long, value_name = "IMAGE")]
    pub complete: Option<PathBuf>,
    /// Below 1 takes likely tokens more often, above 1 less often; 0 takes the likeliest
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub temperature: f32,
    /// Draw from the likeliest K tokens; 0: all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Draw from the likeliest tokens that have probability P together
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Rounds in which a masked model finds its tokens
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub rounds: u16,
    /// Seed of every draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// `manual`.
#[derive(clap::Args, Debug)]
pub(crate) struct Manual {
    /// Directory of the pages, made if it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `runs`.
#[derive(clap::Args, Debug)]
pub(crate) struct Runs {
    /// Print one JSON object a run
    #[arg(long)]
    pub json: bool,
}

/// `recipes`.
#[derive(clap::Args, Debug)]
pub(crate) struct Recipes {
    /// The one to print [default: a list of all]
    pub name: Option<String>,
}

/// `serve`.
#[derive(clap::Args, Debug)]
pub(crate) struct Serve {
    /// Runs whose models are served: their directories or names
    #[arg(value_name = "RUN", required = true)]
    pub models: Vec<String>,
    /// Port to listen on; 0: one that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Address to listen on; 0.0.0.0 serves other machines too
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind: std::net::IpAddr,
}

/// Something typed that cannot be done.
#[derive(Debug)]
pub(crate) struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
