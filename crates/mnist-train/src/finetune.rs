//! Fine-tuning: which tensors of another model are taken, which of them move, and how fast.
//!
//! `head` is the linear probe. `gradual` is ULMFiT's unfreezing (Howard & Ruder 2018, arXiv 1801.06146): the head
//! first, then one group of layers after the other from the top. `layer-decay` is the layer-wise decay of the learning
//! rate (ELECTRA, arXiv 2003.10555; BEiT, arXiv 2106.08254). `lora` is arXiv 2106.09685, `bias` BitFit (arXiv
//! 2106.10199) with the norms' scales. What is frozen is frozen whole: no gradient, no decay, no running statistics, no
//! dropout, no moving average.
//!
//! A group of layers is what the order and names of the encoder's tensors say (see [`groups`]); everything beside the
//! encoder is the topmost group. All here are functions of the settings and the round, so a resumed run needs no more.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::AutodiffModule,
    tensor::{
        Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};
use mnist_data::{Binarise, digest::sha256_hex};
use mnist_model::{blocks::LoraConfig, parameters::Parameter, token_net::TokenNetSettings};
use serde::{Deserialize, Serialize};
use toml::Table;

pub use crate::adapt::Adaptation;
use crate::{
    checkpoint::CheckpointError,
    error::{Result, TrainError},
    foreign,
    publish::finished,
    run::Run,
    rundir::{MODEL, RunDir, SavedRun},
    tensors::{flatten, unflatten_trained},
    token_data::{Given, TokenSettings, Tokenisation},
};

/// Beginning of the names of an encoder's tensors.
const ENCODER: &str = "net.";

/// Which tensors are trained.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// All, from fresh weights; nothing is taken from elsewhere.
    #[default]
    Scratch,
    /// All.
    Full,
    /// Only what is on top of the encoder.
    Head,
    /// What is on top, then one group of layers more every so many epochs.
    Gradual,
    /// All, lower groups of layers more slowly.
    LayerDecay,
    /// What is on top, and a product of low rank beside each linear layer.
    Lora,
    /// What is on top, biases and norms.
    Bias,
}

/// Settings of fine-tuning.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct FinetuneSettings {
    /// `scratch`, `full`, `head`, `gradual`, `layer-decay`, `lora` or `bias`.
    pub method: Method,
    /// Run or file of weights whose encoder is taken.
    pub from: String,
    /// SHA-256 of those weights; found out where it is not given.
    pub sha256: String,
    /// Share of the learning rate that a group of layers has of the one above it, in (0, 1] (`layer-decay`,
    /// `gradual`).
    pub layer_decay: f64,
    /// Epochs after which one group of layers more is trained (`gradual`); 0 spreads the groups over the training, so
    /// that the last epoch trains all.
    pub unfreeze_every: usize,
    /// Rank of the products (`lora`).
    pub lora_rank: usize,
    /// The products are multiplied by `lora_alpha / lora_rank`.
    pub lora_alpha: f64,
}

impl Default for FinetuneSettings {
    fn default() -> Self {
        Self {
            method: Method::Scratch,
            from: String::new(),
            sha256: String::new(),
            layer_decay: 0.75,
            unfreeze_every: 0,
            lora_rank: 8,
            lora_alpha: 16.0,
        }
    }
}

impl FinetuneSettings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// A message that names the setting, what was found and what is wanted.
    pub fn check(&self) -> Result<(), String> {
        if self.method != Method::Scratch && self.from.is_empty() {
            return Err(
                "finetune.from is empty; name a run or a file of weights (`finetune --from RUN`)".into()
            );
        }
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            let factor = self.layer_decay;
            return Err(format!("finetune.layer_decay is {factor}; it has to be above 0 and at most 1"));
        }
        if !(self.lora_alpha.is_finite() && self.lora_alpha > 0.0) || self.lora_rank == 0 {
            let Self { lora_rank, lora_alpha, .. } = self;
            return Err(format!(
                "finetune.lora_rank is {lora_rank} and lora_alpha {lora_alpha}; both have to be above 0"
            ));
        }
        Ok(())
    }

    /// Sizes of what is learned beside linear layers, if that is the method.
    pub fn lora(&self) -> Option<LoraConfig> {
        let config = LoraConfig { rank: self.lora_rank, alpha: self.lora_alpha };
        (self.method == Method::Lora).then_some(config)
    }

    /// Which tensors are left as they are in an epoch (counted from 0) of `epochs`; a running statistic goes with its
    /// norm.
    pub fn frozen(&self, parameters: &[Parameter], epoch: usize, epochs: usize) -> Vec<bool> {
        let groups = groups(parameters);
        let top = groups.iter().copied().max().unwrap_or(0);
        let thawed = match self.unfreeze_every {
            0 => (epoch * top).div_ceil(epochs.saturating_sub(1).max(1)),
            every => epoch / every,
        };
        let lowest = top.saturating_sub(thawed);
        let frozen = |p: &Parameter, group: usize| match self.method {
            Method::Scratch | Method::Full | Method::LayerDecay => false,
            Method::Head => p.path.starts_with(ENCODER),
            Method::Gradual => group < lowest,
            Method::Lora => p.path.starts_with(ENCODER) && !is_adapter(&p.path),
            Method::Bias => {
                let small = ["bias", "gamma", "beta", "running_mean", "running_var"];
                p.path.starts_with(ENCODER) && !small.contains(&last(&p.path))
            }
        };
        parameters.iter().zip(groups).map(|(p, group)| frozen(p, group)).collect()
    }

    /// What the learning rate of each tensor is multiplied by.
    pub fn rates(&self, parameters: &[Parameter]) -> Vec<f64> {
        let groups = groups(parameters);
        let top = groups.iter().copied().max().unwrap_or(0);
        let falls = matches!(self.method, Method::LayerDecay | Method::Gradual);
        let factor = if falls { self.layer_decay } else { 1.0 };
        groups.into_iter().map(|group| factor.powi((top - group) as i32)).collect()
    }

    /// The tensors of an ordinary model: products of low rank added to the weights beside which they were learned.
    pub fn merged<B: Backend>(
        &self,
        parameters: Vec<Parameter>,
        mut values: Vec<Tensor<B, 1>>,
    ) -> (Vec<Parameter>, Vec<Tensor<B, 1>>) {
        let Some(LoraConfig { rank, alpha }) = self.lora() else { return (parameters, values) };
        let place = |path: String| parameters.iter().position(|p| p.path == path);
        for (i, weight) in parameters.iter().enumerate() {
            let Some(layer) = weight.path.strip_suffix(".weight") else { continue };
            let (Some(a), Some(b), [inputs, outputs]) =
                (place(format!("{layer}.lora.a")), place(format!("{layer}.lora.b")), &weight.shape[..])
            else {
                continue;
            };
            let a = values[a].clone().reshape([*inputs, rank]);
            let b = values[b].clone().reshape([rank, *outputs]);
            let product: Tensor<B, 1> = a.matmul(b).mul_scalar(alpha / rank as f64).flatten(0, 1);
            values[i] = values[i].clone() + product;
        }
        parameters.into_iter().zip(values).filter(|(p, _)| !is_adapter(&p.path)).unzip()
    }
}

/// The net of a run on images with its settings; dropout is no part of its structure.
fn net_structure(run: &Run) -> Vec<String> {
    let net = &run.net;
    let all = run.to_table().unwrap_or_default();
    let own = all.get(net).and_then(|own| own.as_table()).into_iter().flatten();
    let own = own.filter(|(key, _)| *key != "dropout").map(|(key, value)| format!("{net}.{key}={value}"));
    std::iter::once(format!("net={net}")).chain(own).collect()
}

/// A tensor's name inside its encoder: without `net.` and, where it is there, the name of the kind of net.
pub(crate) fn inside(path: &str) -> &str {
    let path = path.strip_prefix(ENCODER).unwrap_or(path);
    match path.split_once('.') {
        Some((kind, rest)) if kind.starts_with(|c: char| c.is_ascii_uppercase()) => rest,
        _ => path,
    }
}

/// Whether a tensor is learned beside a frozen layer's (LoRA).
pub fn is_adapter(path: &str) -> bool {
    path.contains(".lora.")
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Group of layers of each tensor, counted from the bottom. In the encoder a group begins with each element of a list
/// (`net.layers.0`, `net.layers.1`) and, outside lists, with each `weight`; other tensors (a norm behind the stem,
/// positions behind an embedding) go with the group before them. What is not the encoder is the last group.
pub fn groups(parameters: &[Parameter]) -> Vec<usize> {
    let begins = |path: &str| -> Option<String> {
        let parts: Vec<&str> = path.split('.').collect();
        match parts.iter().position(|part| part.parse::<usize>().is_ok()) {
            Some(number) => Some(parts.get(..=number)?.join(".")),
            None => path.strip_suffix(".weight").map(Into::into),
        }
    };
    let (mut current, mut count) = (None, 0usize);
    let encoder: Vec<Option<usize>> = parameters
        .iter()
        .map(|p| {
            if !p.path.starts_with(ENCODER) {
                return None;
            }
            let found = begins(&p.path).or_else(|| current.clone()).or_else(|| Some(p.path.clone()));
            if found != current {
                (current, count) = (found, count + 1);
            }
            Some(count - 1)
        })
        .collect();
    encoder.into_iter().map(|group| group.unwrap_or(count)).collect()
}

/// An encoder to start from: tensors on the host, by name.
#[derive(Clone, Debug)]
pub struct Source {
    /// The run or file, as it was named.
    pub from: String,
    /// SHA-256 of the file of weights.
    pub sha256: String,
    /// Settings, where it is a run.
    pub saved: Option<SavedRun>,
    /// How it reads, where it is a run on tokens.
    pub given: Option<Given>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Name in the file of each tensor that may be the encoder's, by its name inside the encoder.
    inside: BTreeMap<String, String>,
    /// Whether names say which tensors are the encoder's.
    prefixed: bool,
    /// The net, if it is a ResNet of torchvision.
    torchvision: Option<&'static str>,
}

/// What becomes of the tensors of a source and of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Names and shapes that are taken.
    pub loaded: Vec<(String, Vec<usize>)>,
    /// Names and shapes that are taken and made to fit, and how.
    pub adapted: Vec<(String, Vec<usize>, Adaptation)>,
    /// Those of the source that are not.
    pub left_out: Vec<(String, Vec<usize>)>,
    /// Those of the model that start afresh.
    pub new: Vec<(String, Vec<usize>)>,
}

impl Source {
    /// Reads the weights of a run (its directory, or its name under `runs`), or a file of safetensors or
    /// PyTorch: an encoder's tensors, named `net.*` or without that beginning, or a ResNet of torchvision.
    ///
    /// # Errors
    /// [`TrainError::NoRun`], [`TrainError::Unfinished`], [`TrainError::Io`], [`TrainError::Damaged`].
    pub fn find(wanted: &str, runs: &Path) -> Result<Self> {
        let file = Path::new(wanted);
        if file.is_file() {
            // The weights of a run are better known as the run: its net and its data stand beside them. Those of an
            // objective that is not in the registry are tensors, as any file's.
            let run = file.parent().filter(|run| run.join("run.toml").is_file() && run.join(MODEL) == file);
            if let Some(known) =
                run.and_then(|run| Self::find(run.to_str().filter(|run| !run.is_empty())?, runs).ok())
            {
                return Ok(known);
            }
            return Self::read(wanted, file, None, None);
        }
        let of_weights =
            ["safetensors", "pth", "pt"].iter().any(|end| file.extension().is_some_and(|e| e == *end));
        if of_weights && !runs.join(wanted).is_dir() {
            let error = std::io::ErrorKind::NotFound.into();
            return Err(TrainError::io("read", file)(error));
        }
        let dir = RunDir::find(wanted, runs)?;
        let saved = dir.load()?;
        finished(&dir)?;
        let given = Given::of(&saved, dir.path())?;
        Self::read(wanted, &dir.model(), Some(saved), given)
    }

    fn read(from: &str, path: &Path, saved: Option<SavedRun>, given: Option<Given>) -> Result<Self> {
        let bytes = fs::read(path).map_err(TrainError::io("read", path))?;
        let mut named = foreign::parse(path, &bytes)?;
        let torchvision = foreign::torchvision_net(&named).filter(|_| saved.is_none());
        if let Some(net) = torchvision {
            let damaged = |reason| TrainError::Damaged { path: path.to_path_buf(), reason };
            named = foreign::from_torchvision(named, net).map_err(damaged)?;
        }
        let tensors: BTreeMap<_, _> =
            named.into_iter().map(|(name, tensor)| (name, (tensor.shape, tensor.values))).collect();
        let prefixed = tensors.keys().any(|name| name.starts_with(ENCODER));
        let encoder = |name: &&String| !prefixed || name.starts_with(ENCODER);
        let inside = tensors.keys().filter(encoder).map(|name| (inside(name).into(), name.clone())).collect();
        Ok(Self {
            from: from.into(),
            sha256: sha256_hex(&bytes),
            saved,
            given,
            tensors,
            inside,
            prefixed,
            torchvision,
        })
    }

    /// The settings that a run starts from: the source's net with its settings and its data, the method `full`.
    ///
    /// # Errors
    /// [`TrainError::Settings`] where a number does not fit into TOML.
    pub fn defaults(&self) -> Result<Table> {
        let mut table = Table::new();
        let mut finetune = Table::new();
        finetune.insert("method".into(), "full".into());
        finetune.insert("from".into(), self.from.clone().into());
        finetune.insert("sha256".into(), self.sha256.clone().into());
        table.insert("finetune".into(), finetune.into());
        if let Some(saved) = &self.saved {
            let settings = saved.run.to_table()?;
            table.insert("net".into(), saved.run.net.clone().into());
            if let Some(net) = settings.get(&saved.run.net) {
                table.insert(saved.run.net.clone(), net.clone());
            }
            let mut data = Table::new();
            data.insert("name".into(), saved.run.data.name.clone().into());
            data.insert("path".into(), saved.run.data.path.clone().into());
            data.insert("split_seed".into(), (saved.run.data.split_seed as i64).into());
            data.insert("validation".into(), (saved.run.data.validation as i64).into());
            table.insert("data".into(), data.into());
        }
        if let Some(net) = self.torchvision {
            table.insert("net".into(), net.into());
        }
        Ok(table)
    }

    /// Settings, as `key=value`, that a model has to have to start from a run, whatever a recipe says: its net with its
    /// sizes, and how a run on tokens reads. None for files.
    pub fn structure(&self) -> Vec<String> {
        let Some(saved) = &self.saved else {
            // The sizes of a published net stand in its first kernels, [width, channels, 7, 7].
            let stem = self.inside.get("stem.weight").and_then(|name| self.tensors.get(name));
            return match (self.torchvision, stem.map(|(shape, _)| shape.as_slice())) {
                (Some(net), Some([width, channels, ..])) => {
                    vec![format!("{net}.width={width}"), format!("{net}.channels={channels}")]
                }
                _ => Vec::new(),
            };
        };
        let Some(Given { settings, .. }) = &self.given else { return net_structure(&saved.run) };
        let TokenNetSettings { width, heads, layers, hidden, dropout: _ } = saved.run.transformer;
        let TokenSettings { tokeniser, vocabulary, context, patch, codebook } = settings;
        let tokeniser = if *tokeniser == Tokenisation::Bytes { "bytes" } else { "bpe" };
        // A decoder has no segments.
        let causal = !self.inside.contains_key("segments");
        let mut sets = vec![
            format!("tokens.tokeniser={tokeniser}"),
            format!("tokens.vocabulary={vocabulary}"),
            format!("tokens.context={context}"),
            format!("tokens.patch={patch:?}"),
            format!("tokens.codebook={codebook}"),
            format!("transformer.width={width}"),
            format!("transformer.heads={heads}"),
            format!("transformer.layers={layers}"),
            format!("transformer.hidden={hidden}"),
            format!("classify_tokens.causal={causal}"),
            format!("label_sequence.causal={causal}"),
        ];
        if self.reads_image_tokens() {
            let how = saved.run.data.binarise;
            let how =
                [(Binarise::None, "none"), (Binarise::Dynamic, "dynamic"), (Binarise::Static, "static")]
                    .into_iter()
                    .find_map(|(one, name)| (one == how).then_some(name));
            sets.extend(how.map(|how| format!("data.binarise={how}")));
        }
        sets
    }

    /// Whether it is a run on tokens of images.
    pub fn reads_image_tokens(&self) -> bool {
        let saved = self.saved.as_ref();
        saved.and_then(|saved| saved.facts.tokens.as_ref()).is_some_and(|tokens| tokens.images)
    }

    /// Whether these are the weights that settings name.
    ///
    /// # Errors
    /// [`TrainError::Changed`].
    pub fn check(&self, settings: &FinetuneSettings) -> Result<()> {
        if settings.sha256.is_empty() || settings.sha256 == self.sha256 {
            return Ok(());
        }
        Err(TrainError::Changed {
            path: self.from.clone().into(),
            what: "its file of weights (SHA-256)",
            begun: settings.sha256.clone(),
            now: self.sha256.clone(),
            remedy: "put the old one back, or leave finetune.sha256 away",
        })
    }

    fn get(&self, path: &str) -> Option<&(Vec<usize>, Vec<f32>)> {
        self.tensors.get(self.inside.get(inside(path))?)
    }

    /// What is taken for a model of such tensors. Every tensor of its encoder has to be there, in its shape or one that
    /// can be made to fit, and no other that is called an encoder's.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`] naming tensors, shapes found and wanted.
    pub fn plan(&self, parameters: &[Parameter]) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut mismatches = Vec::new();
        for p in parameters {
            let entry = (p.path.clone(), p.shape.clone());
            if !p.path.starts_with(ENCODER) || is_adapter(&p.path) {
                plan.new.push(entry);
                continue;
            }
            match self.get(&p.path) {
                Some((shape, _)) if *shape == p.shape => plan.loaded.push(entry),
                Some((shape, _)) => match Adaptation::of(inside(&p.path), shape, &p.shape) {
                    Some(how) => plan.adapted.push((p.path.clone(), p.shape.clone(), how)),
                    None => mismatches.push(format!("{} is {shape:?}, wanted {:?}", p.path, p.shape)),
                },
                None => mismatches.push(format!("{} is missing, wanted {:?}", p.path, p.shape)),
            }
        }
        for (name, (shape, _)) in &self.tensors {
            let own = |p: &Parameter| p.path.starts_with(ENCODER) && inside(&p.path) == inside(name);
            let encoder = !self.prefixed || name.starts_with(ENCODER);
            if encoder && parameters.iter().any(own) {
                continue;
            }
            if self.prefixed && encoder {
                mismatches.push(format!("{name} {shape:?} is not part of the model's encoder"));
            } else {
                plan.left_out.push((name.clone(), shape.clone()));
            }
        }
        if mismatches.is_empty() {
            return Ok(plan);
        }
        if mismatches.len() > 8 {
            let more = mismatches.len() - 7;
            mismatches.truncate(7);
            mismatches.push(format!("and {more} more"));
        }
        Err(CheckpointError::Mismatch { path: self.from.clone().into(), mismatches }.into())
    }

    /// Puts the encoder's tensors into a model of such tensors; its others stay.
    ///
    /// # Errors
    /// As [`Source::plan`].
    pub(crate) fn start<B, M>(&self, module: M, parameters: &[Parameter], device: &B::Device) -> Result<M>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        self.plan(parameters)?;
        let fresh = flatten::<B::InnerBackend, _>(&module.valid());
        let values = parameters.iter().zip(fresh).map(|(p, fresh)| match self.get(&p.path) {
            Some((shape, values)) if p.path.starts_with(ENCODER) => {
                let values = match Adaptation::of(inside(&p.path), shape, &p.shape) {
                    Some(how) if *shape != p.shape => {
                        let fresh: Vec<f32> = fresh.into_data().iter::<f32>().collect();
                        how.apply(values, &fresh, &p.shape)
                    }
                    _ => values.clone(),
                };
                Tensor::from_data(TensorData::new(values, [p.len()]), device)
            }
            _ => fresh,
        });
        let values = values.collect();
        Ok(unflatten_trained::<B, M>(module, values))
    }
}

#[cfg(test)]
mod tests;
