//! The least of a ZIP archive, which is what TorchScript is loaded from: files stored one after the other.

/// An archive of files by name.
///
/// The format: PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end).
pub(super) fn stored(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let (offset, length) = (archive.len() as u32, data.len() as u32);
        // Version 2.0, no flags, stored, 1 January 1980.
        let mut header = vec![20, 0, 0, 0, 0, 0, 0, 0, 33, 0];
        for number in [checksum(data), length, length, name.len() as u32] {
            header.extend(number.to_le_bytes()); // the last: 2 bytes of name, 2 of an extra field that is empty
        }
        archive.extend(b"PK\x03\x04");
        archive.extend(&header);
        archive.extend(name.as_bytes());
        archive.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&header);
        directory.extend([0; 10]); // no comment, first disk, no attributes
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, length) = (archive.len() as u32, directory.len() as u32);
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([files.len() as u16; 2].map(u16::to_le_bytes).as_flattened());
    archive.extend([length, start].map(u32::to_le_bytes).as_flattened());
    archive.extend([0; 2]);
    archive
}

/// CRC-32 of ISO 3309.
fn checksum(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standards() {
        // python: zlib.crc32(b"123456789")
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn two_files_are_as_python_would_store_them() {
        // python: z = zipfile.ZipFile(b := io.BytesIO(), "w")
        // for name, text in (("a", "1"), ("bc", "23")):
        //     info = zipfile.ZipInfo(name); info.create_system = 0
        //     z.writestr(info, text); info.external_attr = 0
        // z.close(); len(b.getvalue()), zlib.crc32(b.getvalue())
        let archive = stored(&[("a", b"1"), ("bc", b"23")]);
        assert_eq!((archive.len(), checksum(&archive)), (183, 0xa8bc5f76));
    }
}
