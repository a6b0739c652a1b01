//! IDX files: the format of MNIST and its many relatives.
//!
//! Format by Y. LeCun (described with MNIST): big-endian; a 4-byte magic (two zero bytes, the
//! element type, the number of dimensions), one 4-byte size per dimension, then the elements.
//! We read unsigned bytes (type 0x08) of any shape, plain or gzipped (told by content, not by
//! name). Nothing in a file is trusted: memory follows the bytes that are really there, and a
//! gzip stream is cut off as soon as it holds more than its header announces.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::digest::sha256_hex;
use crate::error::{DataError, Result};

const MAGIC_BYTES: usize = 4;
const SIZE_BYTES: usize = 4;
const UNSIGNED_BYTE: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The longest header: 255 dimensions.
const LONGEST_HEADER: usize = MAGIC_BYTES + SIZE_BYTES * 255;
/// How far past the announced end a gzip stream is read, to tell how many bytes too many it has.
const SLACK: usize = 64 * 1024;
/// Bytes that one byte of a gzip stream stands for, at most: a match of 258 in two bits (RFC 1951), and a little.
const MOST_PACKED: usize = 1040;

/// An array of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    /// Size of each dimension, outermost first: `[60000, 28, 28]` for MNIST's training images.
    pub dims: Vec<usize>,
    /// The elements, last dimension fastest; their number is the product of `dims`.
    pub data: Vec<u8>,
}

/// Reads an IDX file, plain or gzipped.
///
/// # Errors
/// [`DataError::Io`] if the file cannot be read, [`DataError::Malformed`] if it is not a whole
/// IDX file of unsigned bytes.
pub fn read(path: &Path) -> Result<IdxArray> {
    read_with_digest(path).map(|(array, _)| array)
}

/// Parses the bytes of an unpacked IDX file; `name` stands in errors.
///
/// # Errors
/// [`DataError::Malformed`] if the magic, the element type, the number of bytes or anything
/// after the last element is wrong.
///
/// ```
/// use mnist_data::idx;
///
/// let bytes = [0, 0, 8, 2, /* 1 */ 0, 0, 0, 1, /* x 3 */ 0, 0, 0, 3, /* data */ 7, 8, 9];
/// let array = idx::parse(&bytes, "example".as_ref())?;
/// assert_eq!((array.dims, array.data), (vec![1, 3], vec![7, 8, 9]));
/// # Ok::<(), mnist_data::DataError>(())
/// ```
pub fn parse(bytes: &[u8], name: &Path) -> Result<IdxArray> {
    let header = Header::parse(bytes, name)?;
    header.check_length(bytes.len(), name)?;
    Ok(IdxArray { dims: header.dims, data: bytes.get(header.length..).unwrap_or_default().to_vec() })
}

/// The content of a file that may be gzipped: `bytes` itself, or what it unpacks to.
///
/// # Errors
/// [`DataError::Malformed`] if the gzip stream is damaged, is followed by other bytes, or does
/// not begin with an IDX header. A stream that is longer than its IDX header announces is cut
/// off some bytes later, for [`parse`] to complain about.
pub fn unpack(bytes: Vec<u8>, name: &Path) -> Result<Vec<u8>> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(bytes);
    }
    let damaged = |error: std::io::Error| DataError::malformed(name, "gzip stream", error, "an intact one");
    let mut stream = MultiGzDecoder::new(bytes.as_slice());
    let mut content = Vec::new();
    stream.by_ref().take(LONGEST_HEADER as u64).read_to_end(&mut content).map_err(damaged)?;
    let announced = Header::parse(&content, name)?.total;
    let rest = announced.saturating_sub(content.len()).saturating_add(SLACK);
    // At once, where the stream can be so long: growing step by step leaves tens of megabytes behind.
    let _ = content.try_reserve_exact(rest.min(bytes.len().saturating_mul(MOST_PACKED)));
    stream.take(rest as u64).read_to_end(&mut content).map_err(damaged)?;
    Ok(content)
}

/// Sizes of each dimension, read from the head of a file without its elements.
///
/// # Errors
/// As [`read`], but nothing after the header is looked at.
pub fn read_dims(path: &Path) -> Result<Vec<usize>> {
    let file = fs::File::open(path).map_err(DataError::io("open", path))?;
    let mut stream = std::io::BufReader::new(file);
    let mut head = Vec::new();
    let packed = std::io::BufRead::fill_buf(&mut stream)
        .map_err(DataError::io("read", path))?
        .starts_with(&GZIP_MAGIC);
    if packed {
        let limited = MultiGzDecoder::new(stream).take(LONGEST_HEADER as u64).read_to_end(&mut head);
        limited.map_err(|error| DataError::malformed(path, "gzip stream", error, "an intact one"))?;
    } else {
        stream.take(LONGEST_HEADER as u64).read_to_end(&mut head).map_err(DataError::io("read", path))?;
    }
    Ok(Header::parse(&head, path)?.dims)
}

/// [`read`], and the SHA-256 of the unpacked file.
pub(crate) fn read_with_digest(path: &Path) -> Result<(IdxArray, String)> {
    let mut content = unpack(read_file(path)?, path)?;
    let header = Header::parse(&content, path)?;
    header.check_length(content.len(), path)?;
    let digest = sha256_hex(&content);
    content.drain(..header.length); // in place: no second 47 MB
    Ok((IdxArray { dims: header.dims, data: content }, digest))
}

/// A regular file's bytes (a device or a pipe might never end).
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let metadata = fs::metadata(path).map_err(DataError::io("read", path))?;
    if !metadata.is_file() {
        return Err(DataError::malformed(path, "kind of file", "something else", "a regular file"));
    }
    fs::read(path).map_err(DataError::io("read", path))
}

struct Header {
    dims: Vec<usize>,
    /// Bytes of the header itself.
    length: usize,
    /// Bytes of the whole file: header and elements.
    total: usize,
}

impl Header {
    fn parse(bytes: &[u8], name: &Path) -> Result<Self> {
        let short = |wanted: usize| {
            DataError::malformed(
                name,
                "IDX header",
                format!("{} bytes", bytes.len()),
                format!("at least {wanted} bytes"),
            )
        };
        let (magic, rest) = bytes.split_first_chunk::<MAGIC_BYTES>().ok_or_else(|| short(MAGIC_BYTES))?;
        let [zero, zero_too, element, rank] = *magic;
        if (zero, zero_too) != (0, 0) {
            let found = format!("{zero:#04x} {zero_too:#04x}");
            return Err(DataError::malformed(name, "IDX magic", found, "0x00 0x00"));
        }
        if element != UNSIGNED_BYTE {
            let found = format!("{element:#04x} ({})", element_name(element));
            return Err(DataError::malformed(name, "IDX element type", found, "0x08 (unsigned byte)"));
        }
        if rank == 0 {
            return Err(DataError::malformed(name, "IDX dimensions", 0, "1 or more"));
        }

        let rank = usize::from(rank);
        let length = MAGIC_BYTES + SIZE_BYTES * rank;
        let sizes = rest.get(..SIZE_BYTES * rank).ok_or_else(|| short(length))?;
        let dims: Vec<usize> =
            sizes.as_chunks::<SIZE_BYTES>().0.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
        let elements = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        let total = elements.and_then(|elements| elements.checked_add(length)).ok_or_else(|| {
            DataError::malformed(name, "IDX dimensions", format!("{dims:?}"), "a size that fits into memory")
        })?;
        Ok(Self { dims, length, total })
    }

    fn check_length(&self, found: usize, name: &Path) -> Result<()> {
        if found == self.total {
            return Ok(());
        }
        let wanted = format!("{} bytes for dimensions {:?}", self.total, self.dims);
        let (what, found) = if found < self.total {
            ("IDX length, unpacked (cut short)", format!("{found} bytes"))
        } else {
            let more = if found - self.total >= SLACK { " or more" } else { "" };
            ("IDX length, unpacked (bytes after the end)", format!("{found} bytes{more}"))
        };
        Err(DataError::malformed(name, what, found, wanted))
    }
}

fn element_name(element: u8) -> &'static str {
    match element {
        0x09 => "signed byte",
        0x0B => "16-bit integer",
        0x0C => "32-bit integer",
        0x0D => "32-bit float",
        0x0E => "64-bit float",
        _ => "no IDX type",
    }
}
