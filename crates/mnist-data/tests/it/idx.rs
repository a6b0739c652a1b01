//! IDX files: whole, damaged, hostile.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use mnist_data::idx::{self, IdxArray};
use proptest::prelude::*;

/// An IDX file of these dimensions.
fn file(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<IdxArray, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    idx::read(&path).map_err(|error| error.to_string())
}

#[test]
fn good_files_are_read_plain_and_gzipped() {
    let cases: [(&[u32], &[u8]); 5] = [
        (&[3], &[1, 2, 3]),
        (&[2, 1, 2], &[1, 2, 3, 4]),
        (&[0], &[]),
        (&[0, 28, 28], &[]),
        (&[1; 255], &[9]),
    ];
    for (dims, data) in cases {
        let dims_read: Vec<usize> = dims.iter().map(|&dim| dim as usize).collect();
        let wanted = IdxArray { dims: dims_read, data: data.to_vec() };
        let bytes = file(dims, data);
        assert_eq!(idx::parse(&bytes, Path::new("x")).unwrap(), wanted);
        assert_eq!(read(&bytes).unwrap(), wanted);
        assert_eq!(read(&gzip(&bytes)).unwrap(), wanted);
    }
}

#[test]
fn two_gzip_members_are_one_stream() {
    let bytes = file(&[4], &[1, 2, 3, 4]);
    let packed = [gzip(&bytes[..5]), gzip(&bytes[5..])].concat();
    assert_eq!(read(&packed).unwrap().data, [1, 2, 3, 4]);
}

#[test]
fn bad_files_are_errors_that_name_file_found_and_wanted() {
    let cases: [(&str, Vec<u8>, [&str; 2]); 12] = [
        ("empty", vec![], ["0 bytes", "at least 4 bytes"]),
        ("short magic", vec![0, 0, 8], ["3 bytes", "at least 4 bytes"]),
        ("png", b"\x89PNG\r\n\x1a\n".to_vec(), ["0x89 0x50", "0x00 0x00"]),
        ("floats", vec![0, 0, 0x0D, 1, 0, 0, 0, 0], ["0x0d (32-bit float)", "0x08 (unsigned byte)"]),
        ("no such type", vec![0, 0, 7, 1, 0, 0, 0, 0], ["0x07 (no IDX type)", "0x08"]),
        ("no dimensions", vec![0, 0, 8, 0, 1], ["IDX dimensions: found 0", "1 or more"]),
        ("short dimensions", vec![0, 0, 8, 3, 0, 0, 0, 1], ["8 bytes", "at least 16 bytes"]),
        ("overflow", file(&[u32::MAX; 3], &[]), ["[4294967295, 4294967295, 4294967295]", "fits into memory"]),
        ("huge claim", file(&[u32::MAX], &[1]), ["9 bytes", "4294967303 bytes"]),
        ("cut short", file(&[3], &[1, 2]), ["cut short): found 10 bytes", "11 bytes"]),
        ("trailing", file(&[3], &[1, 2, 3, 4]), ["after the end): found 12 bytes", "11 bytes"]),
        ("zero product", file(&[0, u32::MAX], &[1]), ["after the end): found 13 bytes", "12 bytes"]),
    ];
    for (name, bytes, parts) in cases {
        let error = read(&bytes).expect_err(name);
        let packed = read(&gzip(&bytes)).expect_err(name);
        for part in parts.into_iter().chain(["file", "put a good copy"]) {
            assert!(error.contains(part), "{name}: {error}");
            assert!(packed.contains(part), "{name}, packed: {packed}");
        }
    }
}

#[test]
fn damaged_gzip_streams_are_named() {
    let good = gzip(&file(&[64], &[7; 64]));
    let mut flipped = good.clone();
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    let cases = [
        good[..good.len() - 9].to_vec(),
        good[..5].to_vec(),
        flipped,
        [good, b"junk after the end".to_vec()].concat(),
    ];
    for bytes in cases {
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("gzip stream"), "{error}");
    }
}

/// 1 GiB of zeros behind a header that announces 4 bytes: only some of them are unpacked.
#[test]
fn a_gzip_bomb_is_cut_off() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&file(&[4], &[0; 4])).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    let bomb = encoder.finish().unwrap();

    let unpacked = idx::unpack(bomb.clone(), Path::new("bomb")).unwrap();
    assert!(unpacked.len() < 128 * 1024, "{} bytes", unpacked.len());
    let error = read(&bomb).unwrap_err();
    assert!(error.contains("or more, wanted 12 bytes"), "{error}");
}

#[test]
fn what_is_no_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(idx::read(dir.path()).unwrap_err().to_string().contains("a regular file"));
    let missing = idx::read(&dir.path().join("missing")).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("missing"), "{missing}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Mutated, truncated, lengthened, plain or gzipped: never a panic, and what is accepted is whole.
    #[test]
    fn no_input_panics(
        dims in prop::collection::vec(0_u32..6, 1..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        extra in prop::collection::vec(any::<u8>(), 0..4),
        packed in any::<bool>(),
    ) {
        let size = dims.iter().product::<u32>() as usize;
        let mut bytes = file(&dims, &vec![1; size]);
        if packed {
            bytes = gzip(&bytes);
        }
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(extra);
        let parsed = idx::unpack(bytes, Path::new("mutated")).and_then(|bytes| idx::parse(&bytes, Path::new("mutated")));
        if let Ok(array) = parsed {
            prop_assert_eq!(array.dims.iter().product::<usize>(), array.data.len());
        }
    }
}
