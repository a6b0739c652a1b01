//! Tensors in a safetensors file, each under its name, and back: every one has to be there with its shape, and
//! no other. What does not fit is listed, never loaded. A file of weights also holds, as metadata, the SHA-256
//! of its tensors and that of the settings they were made under.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use mnist_data::digest::hex;
use mnist_model::parameters::Parameter;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::{
    checkpoint::CheckpointError,
    error::{Result, TrainError},
    rundir::write_whole,
};

/// Key of the metadata: digest of the tensors, a space, digest of the settings.
const DIGESTS: &str = "sha256 of tensors and settings";

/// Writes weights alone, each tensor under its own name, as a safetensors file; `settings` is the digest of the
/// run's settings.
///
/// # Errors
/// [`TrainError::Io`].
pub fn save_weights<B: Backend>(
    path: &Path,
    parameters: &[Parameter],
    values: &[Tensor<B, 1>],
    settings: &str,
) -> Result<()> {
    let named: NamedBytes = parameters
        .iter()
        .zip(values)
        .map(|(p, tensor)| (p.path.clone(), (p.shape.clone(), bytes_of(tensor))))
        .collect();
    let sha256 = digest(named.iter().map(|(name, (shape, bytes))| (name.as_str(), &shape[..], &bytes[..])));
    // One entry: several would be written in an order that changes from run to run.
    let metadata = HashMap::from([(DIGESTS.to_string(), format!("{sha256} {settings}"))]);
    write_whole(path, &serialize(&named, Some(metadata), path)?)
}

/// Reads what [`save_weights`] wrote under the same settings. Every tensor has to be there, with its shape, and no
/// other.
///
/// # Errors
/// [`TrainError::Io`]; [`CheckpointError::Damaged`]; [`CheckpointError::Foreign`]; [`CheckpointError::Mismatch`].
pub fn load_weights<B: Backend>(
    path: &Path,
    parameters: &[Parameter],
    settings: &str,
    device: &B::Device,
) -> Result<Vec<Tensor<B, 1>>> {
    let bytes = fs::read(path).map_err(TrainError::io("read", path))?;
    let damaged = |reason: String| CheckpointError::Damaged { path: path.to_path_buf(), reason, whole: None };
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let noted = header.metadata().as_ref().and_then(|m| m.get(DIGESTS)?.split_once(' '));
    let Some((sha256, made_under)) = noted else {
        return Err(damaged(format!("its metadata lacks {DIGESTS:?}: it is not of our making")).into());
    };
    let mut views = tensors.tensors();
    views.sort_by(|(a, _), (b, _)| a.cmp(b));
    let found = digest(views.iter().map(|(name, view)| (name.as_str(), view.shape(), view.data())));
    if found != sha256 {
        return Err(damaged(format!("SHA-256 of its tensors is {found}, {sha256} was written")).into());
    }
    if settings != made_under {
        return Err(CheckpointError::Foreign { path: path.to_path_buf(), whole: None }.into());
    }
    let mut taken = Taken::new(&tensors, path);
    let values = parameters.iter().map(|p| taken.need("", p, device)).collect();
    taken.finish()?;
    Ok(values)
}

/// SHA-256 over names, shapes and values, in the order of names.
fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>) -> String {
    let mut sha = Sha256::new();
    for (name, shape, bytes) in tensors {
        sha.update(format!("{name} {shape:?} {}\n", bytes.len()));
        sha.update(bytes);
    }
    hex(&sha.finalize())
}

/// Little-endian bytes of a tensor's values in full precision.
pub(crate) fn bytes_of<B: Backend>(tensor: &Tensor<B, 1>) -> Vec<u8> {
    tensor.to_data().iter::<f32>().flat_map(f32::to_le_bytes).collect()
}

/// Shape and bytes of tensors by name.
pub(crate) type NamedBytes = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// The bytes of a safetensors file; `path` is for the error.
pub(crate) fn serialize(
    named: &NamedBytes,
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<Vec<u8>> {
    let other = |e: safetensors::SafeTensorError| TrainError::Io {
        action: "write",
        path: path.to_path_buf(),
        source: std::io::Error::other(e),
    };
    let views: Result<Vec<_>, _> = named
        .iter()
        .map(|(name, (shape, bytes))| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect();
    safetensors::serialize(views.map_err(other)?, metadata).map_err(other)
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
