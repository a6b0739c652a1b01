//! PyTorch's file of a state dict: a ZIP archive, not compressed, of the tensors' bytes and of a pickle (protocol 2)
//! that says which is which. What `torch.load(file, weights_only=True)` reads.

use std::io::{Cursor, Write};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{Tensors, little_endian};
use crate::{
    error::{Result, TrainError},
    foreign::Values,
};

/// Folder inside the archive.
const INSIDE: &str = "model";

/// The file of some tensors.
pub(super) fn state_dict(tensors: &Tensors) -> Result<Vec<u8>> {
    archive(tensors).map_err(|e| TrainError::Io {
        action: "write",
        path: "model.pt".into(),
        source: std::io::Error::other(e),
    })
}

fn archive(tensors: &Tensors) -> Result<Vec<u8>, zip::result::ZipError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut put = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("{INSIDE}/{name}"), stored)?;
        zip.write_all(bytes).map_err(zip::result::ZipError::from)
    };
    put("data.pkl", &pickle(tensors))?;
    put("byteorder", b"little")?;
    for (number, tensor) in tensors.values().enumerate() {
        put(&format!("data/{number}"), &little_endian(&tensor.values))?;
    }
    put("version", b"3\n")?;
    Ok(zip.finish()?.into_inner())
}

/// The state dict: names, and for each how its tensor is made of the bytes with its number.
fn pickle(tensors: &Tensors) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec(); // protocol 2, an empty dict, MARK
    for (number, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut out, name);
        rebuilt(&mut out, number, tensor);
    }
    out.extend(b"u."); // SETITEMS, STOP
    out
}

/// `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
fn rebuilt(out: &mut Vec<u8>, number: usize, tensor: &Values) {
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage");
    out.extend(b"ctorch\nFloatStorage\n");
    text(out, &number.to_string());
    text(out, "cpu");
    integer(out, tensor.values.len());
    out.extend(b"tQ"); // TUPLE, BINPERSID
    integer(out, 0);
    tuple(out, &tensor.shape);
    tuple(out, &strides(&tensor.shape));
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR"); // NEWFALSE, an empty OrderedDict, TUPLE, REDUCE
}

/// How far apart neighbours are, row by row.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .scan(1usize, |step, size| Some(std::mem::replace(step, step.saturating_mul(*size))))
        .collect();
    strides.reverse();
    strides
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn integer(out: &mut Vec<u8>, value: usize) {
    out.extend(b"\x8a\x08"); // LONG1 of eight bytes
    out.extend((value as u64).to_le_bytes());
}

fn tuple(out: &mut Vec<u8>, values: &[usize]) {
    out.push(b'(');
    values.iter().for_each(|value| integer(out, *value));
    out.push(b't');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign;

    #[test]
    fn what_is_written_is_read_again() {
        let tensor = |shape: &[usize]| {
            let count: usize = shape.iter().product();
            Values { shape: shape.to_vec(), values: (0..count).map(|i| i as f32 - 1.5).collect() }
        };
        let tensors: Tensors =
            [("a.weight".to_string(), tensor(&[2, 3])), ("b".to_string(), tensor(&[4]))].into();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.pt");
        std::fs::write(&path, state_dict(&tensors).unwrap()).unwrap();
        assert_eq!(foreign::read(&path).unwrap(), tensors);
    }

    #[test]
    fn strides_are_those_of_rows() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[]), [0; 0]);
    }
}
