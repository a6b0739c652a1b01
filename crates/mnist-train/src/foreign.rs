//! Weights that others made: files of safetensors or PyTorch, and torchvision's names for its ResNets.
//!
//! A PyTorch file is a program in pickle's language; Burn's reader takes tensors out of it and runs nothing. It is given
//! only what has been followed before (`foreign/archive.rs`, `foreign/pickle.rs`).

mod archive;
mod pickle;

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use burn_store::pytorch::PytorchReader;
use mnist_model::nets::NetSettings;
use safetensors::{Dtype, SafeTensors};

use crate::{
    error::{Result, TrainError},
    graph::{Graph, Published},
};

/// A tensor in full precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// As many values as the shape says, row by row.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type Named = BTreeMap<String, Values>;

/// Reads all floating-point tensors of a file: `.safetensors`, else PyTorch's `.pth` or `.pt`.
///
/// # Errors
/// [`TrainError::Io`]; [`TrainError::Damaged`] if it is neither, or holds no tensor, or one that is not finite.
pub fn read(path: &Path) -> Result<Named> {
    parse(path, &fs::read(path).map_err(TrainError::io("read", path))?)
}

/// As [`read`], of the file's bytes where they have been read; PyTorch's files are read anew, a tensor at a time.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Named> {
    let damaged = |reason: String| TrainError::Damaged { path: path.to_path_buf(), reason };
    let is_safetensors = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    let named = if is_safetensors { safetensors(bytes) } else { pytorch(path, bytes) }.map_err(damaged)?;
    if named.is_empty() {
        return Err(damaged("it holds no tensor of floating-point numbers".into()));
    }
    // Without values a shape may be of any size.
    if let Some((name, tensor)) = named.iter().find(|(_, tensor)| tensor.values.is_empty()) {
        return Err(damaged(format!("{name} has the shape {:?} and no value", tensor.shape)));
    }
    let bad = |values: &Values| values.values.iter().any(|v| !v.is_finite());
    match named.iter().find(|(_, values)| bad(values)) {
        Some((name, _)) => Err(damaged(format!("{name} holds infinite values or NaN"))),
        None => Ok(named),
    }
}

fn safetensors(bytes: &[u8]) -> Result<Named, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut named = Named::new();
    for (name, view) in tensors.tensors() {
        let values = match view.dtype() {
            Dtype::F32 => {
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Dtype::I64 | Dtype::I32 => continue, // counters
            other => return Err(format!("{name} is of type {other:?}; wanted F32")),
        };
        named.insert(name, Values { shape: view.shape().to_vec(), values });
    }
    Ok(named)
}

fn pytorch(path: &Path, bytes: &[u8]) -> Result<Named, String> {
    archive::check(bytes)?;
    // The reader is not ours: where a file that is no such file makes it panic, the file is damaged.
    let read = || -> Result<Named, String> {
        let reader = PytorchReader::new(path).map_err(|e| e.to_string())?;
        let mut named = Named::new();
        for (name, tensor) in reader.into_tensors() {
            let data = tensor.to_data().map_err(|e| format!("{name}: {e:?}"))?;
            if !data.dtype.is_float() {
                continue; // counters
            }
            let shape = data.shape.to_vec();
            let values: Vec<f32> = data.iter::<f32>().collect();
            if values.len() != shape.iter().product::<usize>() {
                return Err(format!("{name} has {} values, its shape is {shape:?}", values.len()));
            }
            named.insert(name, Values { shape, values });
        }
        Ok(named)
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("it is no file of PyTorch's".into()))
}

/// The net of the table that tensors have torchvision's names of, if it is one: the first names that differ tell which.
pub fn torchvision_net(named: &Named) -> Option<&'static str> {
    let has = |name: &str| named.contains_key(name);
    let all = ["conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.weight"].into_iter().all(has);
    all.then(|| match (has("layer1.0.conv3.weight"), has("layer1.2.conv1.weight")) {
        (true, _) => "resnet50",
        (false, true) => "resnet34",
        (false, false) => "resnet18",
    })
}

/// Tensors of torchvision's ResNet called `net` under the names and in the layout of our net of that name: the encoder's
/// begin with `net.` and its type, like `net.Resnet18.`, the last layer's with `head.`.
///
/// # Errors
/// A message that names a tensor that is no part of it.
pub fn from_torchvision(named: Named, net: &str) -> Result<Named, String> {
    let graph = Graph::classifier(net, &NetSettings::default(), 1).map_err(|e| e.to_string())?;
    let known: BTreeMap<_, _> = graph.tensors().into_iter().map(|t| (t.theirs.clone(), t)).collect();
    let prefix = format!("net.{}.", net.replacen('r', "R", 1));
    let mut ours = Named::new();
    for (name, tensor) in named {
        let Some(Published { ours: new, transposed: turned, .. }) = known.get(&name) else {
            return Err(format!("{name} is not part of torchvision's {net}"));
        };
        let tensor = if *turned { transposed(tensor).ok_or(format!("{name} is no matrix"))? } else { tensor };
        let prefix = if new.starts_with("head.") { "" } else { &prefix };
        ours.insert(format!("{prefix}{new}"), tensor);
    }
    Ok(ours)
}

/// A matrix with rows and columns exchanged: PyTorch keeps `[outputs, inputs]`.
pub(crate) fn transposed(Values { shape, values }: Values) -> Option<Values> {
    let &[rows, cols] = shape.as_slice() else { return None };
    let at = |i: usize| values.get(i % rows.max(1) * cols + i / rows.max(1)).copied();
    let values = (0..rows * cols).map(at).collect::<Option<_>>()?;
    Some(Values { shape: vec![cols, rows], values })
}
