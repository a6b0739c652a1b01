//! Drawings of one shape at many sizes, polarities and formats; real MNIST; hostile files.

use std::io::Write;

use image::{
    DynamicImage, ExtendedColorType, GrayAlphaImage, GrayImage, ImageBuffer, ImageEncoder, Luma, RgbImage,
    RgbaImage, codecs::jpeg::JpegEncoder,
};
use proptest::prelude::*;

use super::*;

/// A four: strokes between points of the unit square.
const FOUR: [[(f64, f64); 2]; 3] =
    [[(0.42, 0.2), (0.3, 0.55)], [(0.3, 0.55), (0.68, 0.52)], [(0.62, 0.25), (0.55, 0.82)]];

/// The four at `size`, ink 0-1, drawn `zoom` times as large and `shift` away.
fn ink_at(size: usize, zoom: f64, shift: f64) -> Vec<f64> {
    let reach = |(px, py): (f64, f64), [(ax, ay), (bx, by)]: [(f64, f64); 2]| {
        let (dx, dy) = (bx - ax, by - ay);
        let t = (((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
        ((px - ax - t * dx).powi(2) + (py - ay - t * dy).powi(2)).sqrt()
    };
    let pixel = |i: usize| {
        let at = |n: usize| ((n as f64 + 0.5) / size as f64 - shift) / zoom;
        let point = (at(i % size), at(i / size));
        let distance = FOUR.iter().map(|stroke| reach(point, *stroke)).fold(f64::INFINITY, f64::min);
        ((0.035 - distance) * zoom * size as f64 + 0.5).clamp(0.0, 1.0)
    };
    (0..size * size).map(pixel).collect()
}

fn ink(size: usize) -> Vec<f64> {
    ink_at(size, 1.0, 0.0)
}

/// `ink` as grey levels between `paper` and `pen`.
fn gray(ink: &[f64], paper: f64, pen: f64) -> Vec<u8> {
    ink.iter().map(|v| (paper + (pen - paper) * v).round() as u8).collect()
}

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(image: impl Into<DynamicImage>) -> Vec<u8> {
    let image = image.into();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&image).unwrap();
    bytes
}

fn gray_image(size: usize, values: Vec<u8>) -> GrayImage {
    GrayImage::from_raw(size as u32, size as u32, values).unwrap()
}

fn from(bytes: &[u8]) -> Result<Scan, ScanError> {
    from_bytes(bytes, Path::new("drawing"), MOST_PIXELS)
}

/// Mean absolute difference of two scans, grey levels.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| f64::from(x.abs_diff(*y))).sum::<f64>() / a.len() as f64
}

fn reference() -> Scan {
    from_gray(400, 400, &gray(&ink(400), 255.0, 0.0)).unwrap()
}

/// A PNG from its header fields and chunks, with right checksums.
fn png(width: u32, height: u32, depth_colour: [u8; 2], chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([depth_colour[0], depth_colour[1], 0, 0, 0]);
    let all = [(b"IHDR", header)].into_iter().chain(chunks.iter().cloned()).chain([(b"IEND", Vec::new())]);
    for (name, data) in all {
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(name);
        bytes.extend(data);
        bytes.extend([0; 4]);
    }
    with_checksums(bytes)
}

/// `bytes` with the checksum of each PNG chunk made right, as far as there are chunks.
fn with_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(covered) = bytes.get(at + 4..at.saturating_add(8).saturating_add(length)) else { break };
        let mut checksum = flate2::Crc::new();
        checksum.update(covered);
        let end = at + 8 + length;
        let Some(place) = bytes.get_mut(end..end + 4) else { break };
        place.copy_from_slice(&checksum.sum().to_be_bytes());
        at = end + 4;
    }
    bytes
}

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_drawing_is_normalised() {
    let scan = reference();
    assert!(scan.inverted);
    let (mut sum, mut x, mut y, mut rows) = (0.0, 0.0, 0.0, Vec::new());
    for (i, value) in scan.pixels.iter().enumerate().filter(|(_, v)| **v > 0) {
        let mass = f64::from(*value);
        (sum, x, y) = (sum + mass, x + mass * (i % SIDE) as f64, y + mass * (i / SIDE) as f64);
        rows.push(i / SIDE);
    }
    assert!((x / sum - 14.0).abs() < 0.1 && (y / sum - 14.0).abs() < 0.1, "{} {}", x / sum, y / sum);
    let height = rows[rows.len() - 1] - rows[0] + 1;
    assert!((20..=21).contains(&height), "{height} rows");
    assert!(scan.pixels.iter().filter(|v| **v == 255).count() > 5);
}

#[test]
fn size_place_and_polarity_do_not_matter() {
    let wanted = reference().pixels;
    for size in [40, 56, 100, 280, 1000, 1500] {
        for (paper, pen) in [(255.0, 0.0), (0.0, 255.0), (230.0, 60.0), (40.0, 200.0), (128.0, 90.0)] {
            let scan = from_gray(size, size, &gray(&ink(size), paper, pen)).unwrap();
            assert_eq!(scan.inverted, paper > pen);
            let off = difference(&scan.pixels, &wanted);
            assert!(off < if size < 100 { 5.0 } else { 2.0 }, "{size}, {paper} {pen}: {off}");
        }
    }
    for (zoom, shift) in [(0.3, 0.0), (0.3, 0.6), (1.2, -0.1)] {
        let scan = from_gray(600, 600, &gray(&ink_at(600, zoom, shift), 255.0, 0.0)).unwrap();
        assert!(difference(&scan.pixels, &wanted) < 2.0, "{zoom} {shift}");
    }
}

#[test]
fn noise_specks_and_shade_do_not_matter() {
    let wanted = reference().pixels;
    let size = 300;
    let noise = |i: usize| f64::from((i as u32).wrapping_mul(2_654_435_761) >> 24) / 255.0 - 0.5;
    let shade = |i: usize| 40.0 * (i % size) as f64 / size as f64;
    let values =
        ink(size).into_iter().enumerate().map(|(i, v)| 210.0 - 150.0 * v - shade(i) + 30.0 * noise(i));
    let mut values: Vec<u8> = values.map(|v| v.round() as u8).collect();
    for i in (0..values.len()).step_by(9973) {
        values[i] = 0;
    }
    let scan = from_gray(size, size, &values).unwrap();
    assert!(difference(&scan.pixels, &wanted) < 6.0, "{}", difference(&scan.pixels, &wanted));
    assert_eq!(scan.pixels[..SIDE], [0; SIDE], "paper is clean");
}

#[test]
fn formats_do_not_matter() {
    let size = 200u32;
    let wanted = reference().pixels;
    let ink = ink(size as usize);
    let level = |i: u32, j: u32| ink[(j * size + i) as usize];
    let byte = |v: f64| (255.0 * v).round() as u8;
    let dark_on_light = gray(&ink, 255.0, 0.0);
    let rows: Vec<u8> = dark_on_light.chunks(size as usize).flat_map(|row| [&[0], row].concat()).collect();
    let grays: Vec<u8> = (0..=255u8).flat_map(|v| [v; 3]).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("grey PNG", file(gray_image(200, dark_on_light.clone()), ImageFormat::Png)),
        ("grey JPEG", jpeg(gray_image(200, dark_on_light.clone()))),
        (
            "blue on yellow",
            jpeg(RgbImage::from_fn(size, size, |i, j| {
                let v = level(i, j);
                image::Rgb([byte(1.0 - v), byte(1.0 - v), byte(0.4 + 0.3 * v)])
            })),
        ),
        (
            "16-bit grey",
            file(
                ImageBuffer::<Luma<u16>, _>::from_fn(size, size, |i, j| {
                    Luma([((1.0 - level(i, j)) * 65535.0) as u16])
                }),
                ImageFormat::Png,
            ),
        ),
        (
            "black ink on nothing",
            file(
                RgbaImage::from_fn(size, size, |i, j| image::Rgba([0, 0, 0, byte(level(i, j))])),
                ImageFormat::Png,
            ),
        ),
        (
            "white ink on nothing",
            file(
                RgbaImage::from_fn(size, size, |i, j| image::Rgba([255, 255, 255, byte(level(i, j))])),
                ImageFormat::Png,
            ),
        ),
        (
            "white ink on black nothing",
            file(
                GrayAlphaImage::from_fn(size, size, |i, j| {
                    let v = byte(level(i, j));
                    image::LumaA([if v > 0 { 255 } else { 0 }, v])
                }),
                ImageFormat::Png,
            ),
        ),
        (
            "opaque RGBA",
            file(
                RgbaImage::from_fn(size, size, |i, j| {
                    let v = byte(level(i, j));
                    image::Rgba([v, v, v, 255])
                }),
                ImageFormat::Png,
            ),
        ),
        (
            "paper with clear corners",
            file(
                GrayAlphaImage::from_fn(size, size, |i, j| {
                    let clear = i + j < 30 || i + j > 2 * size - 30;
                    image::LumaA([byte(1.0 - level(i, j)), if clear { 0 } else { 255 }])
                }),
                ImageFormat::Png,
            ),
        ),
        ("palette", png(size, size, [8, 3], &[(b"PLTE", grays), (b"IDAT", deflated(&rows))])),
    ];
    for (name, bytes) in cases {
        let scan = from(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let off = difference(&scan.pixels, &wanted);
        assert!(off < 3.0, "{name}: {off}");
    }
}

#[test]
fn a_photograph_is_turned_upright() {
    let upright = gray_image(200, gray(&ink(200), 255.0, 0.0));
    let lying = jpeg(image::imageops::rotate270(&upright));
    // EXIF: little-endian TIFF, one entry, orientation (0x112) 6: turn right by a quarter.
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let exif = [&b"\xFF\xE1\0\x22Exif\0\0"[..], tiff].concat();
    let turned = [&lying[..2], &exif, &lying[2..]].concat();
    assert!(difference(&from(&lying).unwrap().pixels, &reference().pixels) > 20.0);
    assert!(difference(&from(&turned).unwrap().pixels, &reference().pixels) < 3.0);
}

#[test]
fn mnist_itself_comes_back() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mnist/t10k-images-idx3-ubyte.gz");
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut raw).unwrap();
    let images: Vec<&[u8]> = raw[16..].chunks_exact(SIDE * SIDE).collect();
    assert_eq!(images.len(), 10_000);
    let (mut changed, mut worst, mut sum) = (0, 0.0f64, 0.0);
    for (i, image) in images.iter().enumerate() {
        let scan = from_gray(SIDE, SIDE, image).unwrap_or_else(|e| panic!("test image {i}: {e}"));
        assert!(!scan.inverted, "test image {i}");
        changed += usize::from(scan.pixels != *image);
        // Larger, on a sheet, dark on light: through the whole way.
        if i % 20 == 0 {
            let sheet = image::imageops::resize(
                &gray_image(SIDE, image.iter().map(|v| 255 - v).collect()),
                224,
                224,
                image::imageops::FilterType::Triangle,
            );
            let scan = from(&file(sheet, ImageFormat::Png)).unwrap();
            assert!(scan.inverted);
            let off = difference(&scan.pixels, image);
            (worst, sum) = (worst.max(off), sum + off / 500.0);
        }
    }
    assert_eq!(changed, 0, "images changed");
    assert!(sum < 8.0 && worst < 20.0, "mean {sum}, worst {worst}");
    let written = file(gray_image(SIDE, images[0].to_vec()), ImageFormat::Png);
    assert_eq!(from(&written).unwrap().pixels, images[0]);
}

#[test]
fn each_bad_file_has_its_error() {
    let message = |bytes: &[u8]| from(bytes).unwrap_err().to_string();
    let check = |bytes: &[u8], wanted: &str| {
        let message = message(bytes);
        assert!(message.contains("drawing") && message.contains(wanted), "{wanted}: {message}");
    };
    check(b"", "found nothing, wanted a PNG or JPEG");
    check(b"hello, world", "found no image");
    check(b"GIF89a\x01\0\x01\0\0\0\0;", "found Gif");
    check(&file(gray_image(1, vec![0]), ImageFormat::Png), "found 1 x 1 pixels, wanted at least 4 x 4");
    check(&png(20_000, 20_000, [1, 0], &[]), "found 20000 x 20000 pixels, wanted at most 16384 a side");
    check(&png(16_000, 16_000, [8, 0], &[]), "64 million in all");
    check(&png(u32::MAX, u32::MAX, [8, 0], &[]), "found 4294967295 x");
    check(&png(0, 0, [8, 0], &[]), "damaged");
    for level in [0, 128, 255] {
        check(&file(gray_image(50, vec![level; 2500]), ImageFormat::Png), "blank paper");
    }
    let grain: Vec<u8> = (0..10_000u32).map(|i| 200 + (i.wrapping_mul(2_654_435_761) >> 28) as u8).collect();
    check(&file(gray_image(100, grain), ImageFormat::Png), "blank paper (ink and paper differ by 8");
    let mut dust = vec![255; 40_000];
    dust[20_100] = 0;
    check(&file(gray_image(200, dust), ImageFormat::Png), "the only mark is 1 pixels large");
    let nothing = RgbaImage::from_pixel(50, 50, image::Rgba([9, 9, 9, 0]));
    check(&file(nothing, ImageFormat::Png), "blank paper");
    let mut wide = jpeg(gray_image(40, gray(&ink(40), 255.0, 0.0)));
    let (_, frame) = segments(&wide).find(|(marker, _)| *marker == 0xC0).unwrap();
    wide[frame + 3..frame + 7].copy_from_slice(&[0xFF; 4]);
    check(&wide, "found 65535 x 65535 pixels");

    assert!(matches!(from_gray(5, 5, &[0; 24]), Err(ScanError::Shape { found: 24, .. })));
    assert!(matches!(from_gray(usize::MAX, 2, &[0; 24]), Err(ScanError::Shape { .. })));
    assert!(matches!(from_gray(0, 0, &[]), Err(ScanError::TooSmall { .. })));
    let missing = read(Path::new("no such file.png")).unwrap_err().to_string();
    assert!(missing.contains("cannot read no such file.png"), "{missing}");
    assert!(matches!(read(Path::new(".")), Err(ScanError::Read { .. })));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_whole() {
    for bytes in samples() {
        let whole = from(&bytes).unwrap();
        for end in 0..bytes.len() {
            if let Ok(scan) = from(&bytes[..end]) {
                assert_eq!(scan, whole, "cut at {end} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn the_name_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("four.txt");
    std::fs::write(&path, jpeg(gray_image(200, gray(&ink(200), 255.0, 0.0)))).unwrap();
    assert!(difference(&read(&path).unwrap().pixels, &reference().pixels) < 3.0);
}

/// Small valid files of several kinds.
fn samples() -> Vec<Vec<u8>> {
    let (plain, size) = (gray(&ink(32), 255.0, 0.0), 32u32);
    let rgba = RgbaImage::from_fn(size, size, |i, j| {
        image::Rgba([200, 20, 90, 255 - plain[(j * size + i) as usize]])
    });
    let rgb = RgbImage::from_fn(size, size, |i, j| image::Rgb([plain[(j * size + i) as usize]; 3]));
    let rows: Vec<u8> = plain.chunks(32).flat_map(|row| [&[2], row].concat()).collect();
    let palette: Vec<u8> = (0..=255u8).flat_map(|v| [v; 3]).collect();
    let mut deep = Vec::new();
    let wide: Vec<u8> = plain.iter().flat_map(|v| [*v, *v]).collect();
    image::codecs::png::PngEncoder::new(&mut deep)
        .write_image(&wide, size, size, ExtendedColorType::L16)
        .unwrap();
    vec![
        file(gray_image(32, plain.clone()), ImageFormat::Png),
        file(rgba, ImageFormat::Png),
        deep,
        png(size, size, [8, 3], &[(b"PLTE", palette), (b"tRNS", vec![9; 40]), (b"IDAT", deflated(&rows))]),
        jpeg(gray_image(32, plain)),
        jpeg(rgb),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        which in 0usize..6,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..8),
        repair in any::<bool>(),
    ) {
        thread_local!(static SAMPLES: Vec<Vec<u8>> = samples());
        let mut bytes = SAMPLES.with(|samples| samples[which].clone());
        for (place, value, kind) in edits {
            let at = place.index(bytes.len().max(1));
            match kind {
                0 | 1 if at < bytes.len() => bytes[at] = value,
                2 => bytes.insert(at.min(bytes.len()), value),
                3 if value < 40 => bytes.truncate(at),
                _ if at < bytes.len() => { bytes.remove(at); }
                _ => {}
            }
        }
        if repair {
            bytes = with_checksums(bytes);
        }
        if let Err(error) = from(&bytes) {
            prop_assert!(error.to_string().contains("drawing"));
        }
    }

    #[test]
    fn any_grey_values_are_read_or_refused(
        width in 1usize..40,
        height in 1usize..40,
        levels in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let values: Vec<u8> = (0..width * height).map(|i| levels[i * i % levels.len()]).collect();
        if let Ok(scan) = from_gray(width, height, &values) {
            prop_assert!(scan.pixels.iter().any(|v| *v > 0));
        }
    }
}
