//! What holds a PyTorch file's pickle and the bytes of its tensors: checked before Burn's reader takes them.
//!
//! Since PyTorch 1.6 (2020) a ZIP archive that is not compressed; before that pickles one after the other and the bytes
//! behind them. The tar archives of before 0.1.10 (2017) are refused.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
};

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Uses, follow};

/// Most entries of an archive; a tensor has one.
const MOST_ENTRIES: usize = 65_536;
/// How often the file's bytes may be used as values: tensors may share a storage.
const SHARED: u64 = 4;
/// What a file of before PyTorch 1.6 begins with: a pickle of the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether Burn's reader may be given this file.
///
/// # Errors
/// A message: what was found and what is wanted.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let uses = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => zip(archive, bytes.len() as u64)?,
        Err(_) if bytes.get(257..262) == Some(b"ustar") => {
            return Err("it is a tar archive, as PyTorch wrote them before 0.1.10: save it anew".into());
        }
        Err(_) if bytes.starts_with(LEGACY) => legacy(bytes)?,
        Err(_) => {
            follow(bytes).map(|(uses, _)| uses).map_err(|e| format!("it is no file of PyTorch's: {e}"))?
        }
    };
    if uses.values > (bytes.len() as u64).saturating_mul(SHARED) {
        return Err(format!("it has {} bytes and promises {} values", bytes.len(), uses.values));
    }
    Ok(())
}

/// The archive's entries are whole and, together, no more than the file; those that the pickle names are there.
fn zip(mut archive: ZipArchive<Cursor<&[u8]>>, file: u64) -> Result<Uses, String> {
    if archive.len() > MOST_ENTRIES {
        return Err(format!("it has {} entries; at most {MOST_ENTRIES} are read", archive.len()));
    }
    let (mut pickles, mut storages, mut total) = (Vec::new(), BTreeMap::new(), 0u64);
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|e| format!("entry {i} of the archive: {e}"))?;
        let (name, size) = (entry.name().to_owned(), entry.size());
        total = total.saturating_add(size);
        if entry.compression() != CompressionMethod::Stored || entry.compressed_size() != size || total > file
        {
            return Err(format!("{name} is compressed or larger than the file; PyTorch keeps it as it is"));
        }
        let mut content = Vec::new();
        let read = entry.read_to_end(&mut content); // checks its CRC-32 too
        read.map_err(|e| format!("{name}: {e}"))?;
        if content.len() as u64 != size {
            return Err(format!("{name} has {} bytes, {size} were written", content.len()));
        }
        if name.ends_with("data.pkl") {
            pickles.push(content);
        } else if let Some((folder, key)) = name.rsplit_once('/')
            && (folder == "data" || name.contains("/data/"))
            && storages.insert(key.to_owned(), size).is_some()
        {
            return Err(format!("it has the storage {key} twice"));
        }
    }
    let [pickle] = pickles.as_slice() else {
        return Err(format!("it has {} entries called data.pkl; one is wanted", pickles.len()));
    };
    let (uses, _) = follow(pickle)?;
    for (key, wanted) in &uses.storages {
        match storages.get(key) {
            Some(found) if found >= wanted => {}
            Some(found) => return Err(format!("storage {key} has {found} bytes, its pickle says {wanted}")),
            None => return Err(format!("it lacks the bytes of storage {key}")),
        }
    }
    Ok(uses)
}

/// A number, a version, facts of the system, the pickle, the storages' keys; then for each its length and bytes.
fn legacy(bytes: &[u8]) -> Result<Uses, String> {
    let mut left = bytes;
    for _ in 0..3 {
        left = follow(left)?.1;
    }
    let (uses, left) = follow(left)?;
    let (keys, mut left) = follow(left)?;
    let keys = keys.texts.unwrap_or_default();
    if let Some(missing) = uses.storages.keys().find(|key| !keys.contains(key)) {
        return Err(format!("it lacks the bytes of storage {missing}"));
    }
    for key in &keys {
        let size = *uses.storages.get(key).ok_or_else(|| format!("nothing says what storage {key} is"))?;
        // Its length in elements, then they.
        let rest = left.get(8..).and_then(|rest| rest.get(usize::try_from(size).ok()?..));
        left = rest.ok_or_else(|| format!("it is cut short: storage {key} has {size} bytes"))?;
    }
    Ok(uses)
}
