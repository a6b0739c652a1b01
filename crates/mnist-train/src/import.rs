//! A whole classifier from a file of another program: PyTorch's or safetensors, under the names that our exports have.
//!
//! Of the nets known from elsewhere those are the published ones: torchvision's for `resnet18`, `resnet34` and `resnet50`, those of
//! PyTorch's MNIST example for `pytorch_example_cnn`. Nothing is loaded in part: a tensor that is missing or has another shape is an
//! error, and one that the net has no use for as well, unless that is allowed.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use mnist_data::digest::sha256_hex;
use mnist_model::{nets::NetSettings, parameters::Parameter};

use crate::{
    checkpoint::CheckpointError,
    error::{Result, TrainError},
    finetune::{Plan, inside},
    foreign::{self, Named, Values},
    graph::{Graph, Published},
    rundir::RunDir,
    weights,
};

/// A file of weights.
#[derive(Clone, Debug)]
pub struct Import {
    /// The file, as it was named.
    pub from: String,
    /// SHA-256 of the file.
    pub sha256: String,
    named: Named,
}

/// What a model takes of a file.
#[derive(Clone, Debug)]
pub struct Model {
    /// What becomes of the file's tensors, under the file's names.
    pub plan: Plan,
    values: Vec<Values>,
}

impl Import {
    /// Reads a file: `.safetensors`, else PyTorch's.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Damaged`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(TrainError::io("read", path))?;
        let named = foreign::parse(path, &bytes)?;
        Ok(Self { from: path.display().to_string(), sha256: sha256_hex(&bytes), named })
    }

    /// Settings of a net, as `key=value`, that the shapes in the file tell: widths of torchvision's ResNets,
    /// `pytorch_example_cnn` and `mlp`.
    pub fn settings(&self, net: &str) -> Vec<String> {
        let size = |name: &str, dimension: usize| self.named.get(name)?.shape.get(dimension).copied();
        match net {
            "resnet18" | "resnet34" | "resnet50" => {
                [("width", size("conv1.weight", 0)), ("channels", size("conv1.weight", 1))]
                    .into_iter()
                    .filter_map(|(key, size)| Some(format!("{net}.{key}={}", size?)))
                    .collect()
            }
            "pytorch_example_cnn" => {
                let channels = size("conv1.weight", 0).zip(size("conv2.weight", 0));
                let channels = channels.map(|(a, b)| format!("pytorch_example_cnn.channels=[{a}, {b}]"));
                let width = size("fc1.weight", 0).map(|width| format!("pytorch_example_cnn.width={width}"));
                channels.into_iter().chain(width).collect()
            }
            "mlp" => {
                let hidden: Vec<usize> =
                    (0..).map_while(|i| size(&format!("hidden.{i}.weight"), 0)).collect();
                if hidden.is_empty() { Vec::new() } else { vec![format!("mlp.hidden={hidden:?}")] }
            }
            _ => Vec::new(),
        }
    }

    /// The tensors of a classifier on a net with such parameters.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] naming each tensor that is missing, has another shape, or is of no use where that is
    /// not allowed; [`TrainError::Settings`] for a net that other programs have no form of.
    pub fn fit(
        &self,
        net: &str,
        nets: &NetSettings,
        parameters: &[Parameter],
        allow_unused: bool,
    ) -> Result<Model> {
        let published: BTreeMap<_, _> =
            Graph::classifier(net, nets, 1)?.tensors().into_iter().map(|t| (t.ours.clone(), t)).collect();
        let mut left = self.named.clone();
        let (mut loaded, mut values) = (Vec::new(), Vec::new());
        let (mut missing, mut other) = (Vec::new(), Vec::new());
        let mut encoder_fits = true;
        for p in parameters {
            let Some(Published { theirs, transposed, .. }) = published.get(inside(&p.path)) else {
                return Err(TrainError::Settings(format!("{} has no name in other programs", p.path)));
            };
            let wanted: Vec<usize> =
                if *transposed { p.shape.iter().rev().copied().collect() } else { p.shape.clone() };
            let found = left.remove(theirs);
            let fits = found.as_ref().is_some_and(|Values { shape, .. }| *shape == wanted);
            encoder_fits &= fits || inside(&p.path).starts_with("head.");
            match found {
                None => missing.push(format!("{theirs} {wanted:?}")),
                Some(Values { shape, .. }) if shape != wanted => {
                    other.push(format!("{theirs} is {shape:?}, wanted {wanted:?}"));
                }
                Some(tensor) => {
                    loaded.push((theirs.clone(), wanted));
                    values.extend(if *transposed { foreign::transposed(tensor) } else { Some(tensor) });
                }
            }
        }
        let left_out: Vec<_> = left.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect();
        let unused = left_out.iter().filter(|_| !allow_unused);
        let unused = unused.map(|(name, shape)| format!("{name} {shape:?}")).collect();
        let advice = format!(
            "the encoder fits: `finetune --from {} --net {net}` takes it and learns a new last layer",
            self.from
        );
        let mismatches: Vec<_> = [
            (encoder_fits && missing.len() + other.len() > 0).then_some(advice),
            listed("missing", missing),
            listed("of another shape", other),
            listed("of no use to the net (--allow-unused leaves such out)", unused),
        ]
        .into_iter()
        .flatten()
        .collect();
        if mismatches.is_empty() {
            return Ok(Model { plan: Plan { loaded, left_out, ..Plan::default() }, values });
        }
        Err(CheckpointError::Mismatch { path: self.from.clone().into(), mismatches }.into())
    }
}

/// Tensors that do not fit, and why; none where there are none.
fn listed(why: &str, tensors: Vec<String>) -> Option<String> {
    (!tensors.is_empty()).then(|| format!("{why}: {}", tensors.join(", ")))
}

impl Model {
    /// Writes the weights of a run whose model has these parameters.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Damaged`].
    pub fn save<B: Backend>(self, dir: &RunDir, parameters: &[Parameter], device: &B::Device) -> Result<()> {
        let tensor = |Values { values, .. }: Values| {
            let length = values.len();
            Tensor::<B, 1>::from_data(TensorData::new(values, [length]), device)
        };
        let values: Vec<_> = self.values.into_iter().map(tensor).collect();
        weights::save_weights(&dir.model(), parameters, &values, &dir.settings_digest()?)
    }
}
