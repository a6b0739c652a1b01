//! A trained classifier of images for other programs: its tensors under PyTorch's names and in PyTorch's shapes, and
//! what is computed with them as a list of layers, from which PyTorch's loader and ONNX's graph are made.
//!
//! Pixels go in as they are in a file, divided by 255 (paper 0, ink 1); mean and standard deviation are the first layer.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Serialize;

use crate::{
    error::{Result, TrainError},
    finetune::inside,
    foreign::{self, Values},
    graph::{Graph, Layer, Published},
    rundir::{RunDir, SavedRun, write_whole},
    weights,
};

mod onnx;
mod pickle;

/// What PyTorch needs beside the files: copied as it is.
const LOADER: &str = include_str!("export/load.py");
/// What checks an ONNX file: copied as it is.
const CHECK: &str = include_str!("export/check.py");

/// A format of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tensors alone, read by `safetensors`.
    Safetensors,
    /// PyTorch's own file, as `torch.save` makes it of a state dict.
    Pytorch,
    /// Tensors and computation, read by onnxruntime and others.
    Onnx,
}

/// Images and what this program says of them, so that others can be compared with it.
#[derive(Serialize, Clone, Debug)]
pub struct Reference {
    /// Pixels of each image, row after row, in 0-1.
    pub images: Vec<Vec<f32>>,
    /// Natural logarithm of the probability of each class.
    pub log_probabilities: Vec<Vec<f32>>,
}

/// What reads such an export.
#[derive(Serialize)]
struct Config<'a> {
    format: u32,
    net: &'a str,
    objective: &'a str,
    classes: &'a [String],
    input: Input,
    layers: &'a [Layer],
    provenance: &'a crate::rundir::Provenance,
}

/// What an image has to be.
#[derive(Serialize)]
struct Input {
    shape: [usize; 3],
    pixels: &'static str,
}

/// Tensors under other programs' names, in their shapes.
type Tensors = BTreeMap<String, Values>;

/// A finished run's classifier.
pub struct Export<'a> {
    saved: &'a SavedRun,
    layers: Vec<Layer>,
    tensors: Tensors,
}

impl<'a> Export<'a> {
    /// Reads a run's weights.
    ///
    /// # Errors
    /// [`TrainError::Settings`] for a model that is no classifier of images by cross-entropy, or has parts that belong
    /// to no layer; [`TrainError::Io`], [`TrainError::Damaged`].
    pub fn of(dir: &RunDir, saved: &'a SavedRun) -> Result<Self> {
        let no = |what: String| TrainError::Settings(format!("{what}; `export` takes classifiers of images"));
        let run = &saved.run;
        if !["classify", "fixmatch"].contains(&run.objective.as_str()) {
            return Err(no(format!("this run's objective is {}", run.objective)));
        }
        if run.classify.loss != mnist_model::objectives::ClassifyLoss::CrossEntropy {
            return Err(no("this run was trained by squared error, so it gives no logits".into()));
        }
        crate::publish::finished(dir)?;
        let graph = Graph::classifier(&run.net, &run.nets, saved.facts.size.channels)?;
        let path = dir.model();
        let mut named: Tensors = BTreeMap::new();
        for (name, tensor) in foreign::read(&path)? {
            named.insert(inside(&name).into(), tensor);
        }
        let mut tensors = BTreeMap::new();
        for Published { ours, theirs, transposed } in graph.tensors() {
            let Some(tensor) = named.remove(&ours) else {
                return Err(TrainError::Damaged { path, reason: format!("it has no tensor {ours}") });
            };
            let tensor = if transposed { foreign::transposed(tensor) } else { Some(tensor) };
            let Some(tensor) = tensor else {
                return Err(TrainError::Damaged { path, reason: format!("{ours} is no matrix") });
            };
            tensors.insert(theirs, tensor);
        }
        // What FixMatch counts while it trains.
        named.retain(|name, _| !["labelled", "all"].contains(&name.as_str()));
        if let Some(left) = named.keys().next() {
            return Err(no(format!("the tensor {left} belongs to no layer of the net {}", run.net)));
        }
        let layers = graph.normalised(saved.facts.mean, saved.facts.std).layers;
        Ok(Self { saved, layers, tensors })
    }

    /// Writes all files into `out`, which is made.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Settings`] for a net that the format cannot hold.
    pub fn write(&self, format: Format, reference: &Reference, out: &Path) -> Result<()> {
        let weights = match format {
            Format::Safetensors => ("model.safetensors", self.safetensors(out)?),
            Format::Pytorch => ("model.pt", pickle::state_dict(&self.tensors)?),
            Format::Onnx => ("model.onnx", onnx::model(self)?),
        };
        let script = if format == Format::Onnx { ("check.py", CHECK) } else { ("load.py", LOADER) };
        let saved = self.saved;
        let config = Config {
            format: 1,
            net: &saved.run.net,
            objective: &saved.run.objective,
            classes: &saved.facts.classes,
            input: Input { shape: saved.facts.size.dims(), pixels: pixels(saved) },
            layers: &self.layers,
            provenance: &saved.provenance,
        };
        fs::create_dir_all(out).map_err(TrainError::io("make the directory", out))?;
        // First by what a directory is known as one of exports.
        for (name, bytes) in [
            ("reference.json", json(reference, out)?),
            (weights.0, weights.1),
            ("config.json", json(&config, out)?),
            (script.0, script.1.as_bytes().to_vec()),
        ] {
            write_whole(&out.join(name), &bytes)?;
        }
        Ok(())
    }

    fn safetensors(&self, out: &Path) -> Result<Vec<u8>> {
        let bytes = |(name, tensor): (&String, &Values)| {
            (name.clone(), (tensor.shape.clone(), little_endian(&tensor.values)))
        };
        weights::serialize(&self.tensors.iter().map(bytes).collect(), None, out)
    }
}

/// What the numbers of an image mean.
fn pixels(saved: &SavedRun) -> &'static str {
    if saved.facts.size.is_colour() { "0 to 1; red, green, blue" } else { "0 (paper) to 1 (ink)" }
}

fn json(value: &impl Serialize, out: &Path) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| TrainError::Io {
        action: "write",
        path: out.to_path_buf(),
        source: e.into(),
    })
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
