//! Tensors in a safetensors file, each under its name, and back: every one has to be there with its shape, and
//! no other. What does not fit is listed, never loaded.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use mnist_model::parameters::Parameter;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    checkpoint::CheckpointError,
    error::{Result, TrainError},
    rundir::write_whole,
};

/// Writes weights alone, each tensor under its own name, as a safetensors file.
///
/// # Errors
/// [`TrainError::Io`].
pub fn save_weights<B: Backend>(
    path: &Path,
    parameters: &[Parameter],
    values: &[Tensor<B, 1>],
) -> Result<()> {
    let named = parameters
        .iter()
        .zip(values)
        .map(|(p, tensor)| (p.path.clone(), (p.shape.clone(), bytes_of(tensor))))
        .collect();
    write_whole(path, &serialize(&named, path)?)
}

/// Reads what [`save_weights`] wrote. Every tensor has to be there, with its shape, and no other.
///
/// # Errors
/// [`TrainError::Io`]; [`CheckpointError::Damaged`]; [`CheckpointError::Mismatch`].
pub fn load_weights<B: Backend>(
    path: &Path,
    parameters: &[Parameter],
    device: &B::Device,
) -> Result<Vec<Tensor<B, 1>>> {
    let bytes = fs::read(path).map_err(TrainError::io("read", path))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| CheckpointError::Damaged {
        path: path.to_path_buf(),
        reason: e.to_string(),
        whole: None,
    })?;
    let mut taken = Taken::new(&tensors, path);
    let values = parameters.iter().map(|p| taken.need("", p, device)).collect();
    taken.finish()?;
    Ok(values)
}

/// Little-endian bytes of a tensor's values in full precision.
pub(crate) fn bytes_of<B: Backend>(tensor: &Tensor<B, 1>) -> Vec<u8> {
    tensor.to_data().iter::<f32>().flat_map(f32::to_le_bytes).collect()
}

/// Shape and bytes of tensors by name.
pub(crate) type NamedBytes = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// The bytes of a safetensors file; `path` is for the error.
pub(crate) fn serialize(named: &NamedBytes, path: &Path) -> Result<Vec<u8>> {
    let other = |e: safetensors::SafeTensorError| TrainError::Io {
        action: "write",
        path: path.to_path_buf(),
        source: std::io::Error::other(e),
    };
    let views: Result<Vec<_>, _> = named
        .iter()
        .map(|(name, (shape, bytes))| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect();
    safetensors::serialize(views.map_err(other)?, None).map_err(other)
}

/// Takes tensors out of a file by name and keeps book of what does not fit.
pub(crate) struct Taken<'a> {
    from: &'a SafeTensors<'a>,
    path: &'a Path,
    used: Vec<String>,
    mismatches: Vec<String>,
}

impl<'a> Taken<'a> {
    pub(crate) fn new(from: &'a SafeTensors<'a>, path: &'a Path) -> Self {
        Self { from, path, used: Vec::new(), mismatches: Vec::new() }
    }

    /// The tensor of a parameter; where it does not fit, that is noted and zeros stand in.
    pub(crate) fn need<B: Backend>(&mut self, kind: &str, p: &Parameter, device: &B::Device) -> Tensor<B, 1> {
        self.find(kind, p, device).unwrap_or_else(|| {
            self.mismatches.push(format!("{} is missing", name_of(kind, p)));
            Tensor::zeros([p.len()], device)
        })
    }

    /// The tensor of a parameter, if it is there.
    pub(crate) fn find<B: Backend>(
        &mut self,
        kind: &str,
        p: &Parameter,
        device: &B::Device,
    ) -> Option<Tensor<B, 1>> {
        let name = name_of(kind, p);
        let view = self.from.tensor(&name).ok()?;
        if view.dtype() != Dtype::F32 || view.shape() != p.shape {
            self.mismatches.push(format!(
                "{name} is {:?} {:?}, wanted F32 {:?}",
                view.dtype(),
                view.shape(),
                p.shape
            ));
        }
        let mut values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        values.resize(p.len(), 0.0);
        self.used.push(name);
        Some(Tensor::from_data(TensorData::new(values, [p.len()]), device))
    }

    /// Whether everything fitted and nothing was left over.
    pub(crate) fn finish(mut self) -> Result<(), CheckpointError> {
        for name in self.from.names() {
            if !self.used.iter().any(|used| used == name) {
                self.mismatches.push(format!("{name} is not part of the model"));
            }
        }
        if self.mismatches.is_empty() {
            return Ok(());
        }
        if self.mismatches.len() > 6 {
            let more = self.mismatches.len() - 5;
            self.mismatches.truncate(5);
            self.mismatches.push(format!("and {more} more"));
        }
        Err(CheckpointError::Mismatch { path: self.path.to_path_buf(), mismatches: self.mismatches })
    }
}

fn name_of(kind: &str, p: &Parameter) -> String {
    if kind.is_empty() { p.path.clone() } else { format!("{kind}.{}", p.path) }
}
