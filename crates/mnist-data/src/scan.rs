//! A photograph or drawing of one digit, made into the 28x28 image that a model of MNIST expects.
//!
//! The steps are those by which NIST's forms became MNIST (LeCun, Bottou, Bengio and Haffner 1998,
//! "Gradient-based learning applied to document recognition", section III.A): the ink is scaled,
//! its proportions kept, to fit 20x20 with grey edges, and its centre of mass is put on pixel
//! (14, 14) of 28x28. We depart in shifting by parts of a pixel, so that the same drawing at
//! another size gives the same picture. What NIST had not to do is in `scan/ink.rs`: finding out
//! what is paper and what is ink.

mod ink;
mod resample;

use std::{
    fs::File,
    io::{self, Cursor, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Luma, Rgb, RgbImage,
    error::LimitErrorKind,
};

/// Height and width of a scan, pixels.
pub const SIDE: usize = 28;
/// Smallest height and width that can show a digit, pixels.
pub(crate) const SMALLEST: usize = 4;
/// Largest height and width that are decoded, pixels.
const LARGEST: u32 = 16_384;
/// Most pixels that are decoded.
const MOST_PIXELS: u64 = 64 << 20;
/// Most bytes that are read from a file; 64 megapixels of raw 16-bit colour are fewer.
const MOST_BYTES: u64 = 512 << 20;
/// Most bytes that a decoder may allocate.
const MOST_MEMORY: u64 = 768 << 20;
/// Grey levels (of 255) between ink and paper that make a drawing.
const CONTRAST: u8 = 24;

/// One digit as MNIST has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Row-major `[28, 28]`, 0 paper, 255 ink.
    pub pixels: [u8; SIDE * SIDE],
    /// Whether the file was dark ink on light paper.
    pub inverted: bool,
}

/// Why no digit could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The file could not be opened or read.
    #[error("cannot read {}: {source}; give the path of a PNG or JPEG file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own reason.
        source: io::Error,
    },
    /// The contents are not a PNG or JPEG image.
    #[error("{}: found {found}, wanted a PNG or JPEG image; convert it first", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the contents are.
        found: String,
    },
    /// The image begins well and then ends or breaks.
    #[error("{}: the image is damaged or cut off ({reason}); get a whole copy of it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The image declares more pixels than are decoded.
    #[error(
        "{}: found {width} x {height} pixels, wanted at most {LARGEST} a side and {} million in all; \
         scale it down or cut the digit out",
        path.display(),
        most >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width found, pixels.
        width: u32,
        /// Height found, pixels.
        height: u32,
        /// Most pixels that are decoded.
        most: u64,
    },
    /// The image is too small to show a digit.
    #[error(
        "{}: found {width} x {height} pixels, wanted at least {SMALLEST} x {SMALLEST}; \
         take a larger picture of the digit",
        path.display()
    )]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Width found, pixels.
        width: usize,
        /// Height found, pixels.
        height: usize,
    },
    /// There is paper but no ink.
    #[error(
        "{}: found blank paper ({what}), wanted one digit, dark on light or light on dark; \
         use a thicker pen, more light or a closer picture",
        path.display()
    )]
    Blank {
        /// The file.
        path: PathBuf,
        /// What there is instead of a digit.
        what: String,
    },
    /// [`from_gray`] was given a table of another size than it was told.
    #[error("found {found} grey values, wanted {width} x {height}")]
    Shape {
        /// Values found.
        found: usize,
        /// Width told.
        width: usize,
        /// Height told.
        height: usize,
    },
}

/// Reads a PNG or JPEG file, whatever its name ends in.
///
/// Grey, colour, palette, 8 and 16 bits, with or without alpha; dark on light or light on dark;
/// any size from 4x4 to 64 megapixels. A photograph is turned as its EXIF orientation says. A
/// 28x28 image that is normalised already comes back as it is, white on black.
///
/// # Errors
/// The file cannot be read, is no PNG or JPEG, is damaged, too large, too small or blank.
pub fn read(path: &Path) -> Result<Scan, ScanError> {
    from_bytes(&contents(path, MOST_BYTES)?, path, MOST_PIXELS)
}

/// A file's bytes, if there are not more than `most`.
fn contents(path: &Path, most: u64) -> Result<Vec<u8>, ScanError> {
    let failed = |source| ScanError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        let found = format!("more than {} MiB", most >> 20);
        return Err(ScanError::Format { path: path.to_owned(), found });
    }
    Ok(bytes)
}

/// A picture as it is, turned as its EXIF orientation says; of at most so many bytes and pixels.
///
/// # Errors
/// As [`read`], but for blank ones.
pub(crate) fn open(path: &Path, most_bytes: u64, most_pixels: u64) -> Result<DynamicImage, ScanError> {
    decode(&contents(path, most_bytes)?, path, most_pixels)
}

/// A picture in red, green and blue, over paper of a grey where it lets through what is behind it.
pub(crate) fn over_in_colour(image: &DynamicImage, paper: u8) -> RgbImage {
    if !image.color().has_alpha() || is_opaque(image) {
        return image.to_rgb8();
    }
    let image = image.to_rgba8();
    let mix = |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u16::from);
        let over = |c: u16| ((c * alpha + u16::from(paper) * (255 - alpha) + 127) / 255) as u8;
        Rgb([over(red), over(green), over(blue)])
    };
    RgbImage::from_fn(image.width(), image.height(), mix)
}

/// Grey values of a picture, over paper of a grey where it lets through what is behind it.
pub(crate) fn over(image: &DynamicImage, paper: u8) -> GrayImage {
    if !image.color().has_alpha() || is_opaque(image) {
        return image.to_luma8();
    }
    let image = image.to_luma_alpha8();
    let mix = |x, y| {
        let [grey, alpha] = image.get_pixel(x, y).0.map(u16::from);
        Luma([((grey * alpha + u16::from(paper) * (255 - alpha) + 127) / 255) as u8])
    };
    GrayImage::from_fn(image.width(), image.height(), mix)
}

/// As [`read`], from the contents of a file of at most `most` pixels (64 << 20 where that is fewer); `name` is for the
/// errors.
///
/// # Errors
/// Those of [`read`] but for the reading.
pub fn from_bytes(bytes: &[u8], name: &Path, most: u64) -> Result<Scan, ScanError> {
    let image = decode(bytes, name, most.min(MOST_PIXELS))?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    // Over white, as a browser would; light ink on nothing shows over black only.
    let white = over(&image, 255);
    if range(&white) >= CONTRAST {
        return scan(width, height, &white, name);
    }
    let black = over(&image, 0);
    scan(width, height, if range(&black) > range(&white) { &black } else { &white }, name)
}

/// As [`read`], from grey values: row-major `[height, width]`, either polarity.
///
/// # Errors
/// Another number of values than `width * height`, too few pixels, or blank paper.
pub fn from_gray(width: usize, height: usize, gray: &[u8]) -> Result<Scan, ScanError> {
    scan(width, height, gray, Path::new("the image"))
}

fn scan(width: usize, height: usize, gray: &[u8], name: &Path) -> Result<Scan, ScanError> {
    if width.checked_mul(height) != Some(gray.len()) {
        return Err(ScanError::Shape { found: gray.len(), width, height });
    }
    if width < SMALLEST || height < SMALLEST {
        return Err(ScanError::TooSmall { path: name.to_owned(), width, height });
    }
    let blank = |what: String| ScanError::Blank { path: name.to_owned(), what };
    ink::normalise(width, height, gray).map_err(blank)
}

/// Whether no pixel lets through what is behind it, as in pictures of a browser's canvas.
fn is_opaque(image: &DynamicImage) -> bool {
    image.as_rgba8().is_some_and(|image| image.pixels().all(|pixel| pixel.0[3] == 255))
}

/// Levels between the darkest and the lightest value.
fn range(gray: &[u8]) -> u8 {
    let (low, high) = gray.iter().fold((255, 0), |(low, high), &g| (g.min(low), g.max(high)));
    u8::saturating_sub(high, low)
}

pub(crate) fn decode(bytes: &[u8], name: &Path, most: u64) -> Result<DynamicImage, ScanError> {
    let path = || name.to_owned();
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        Ok(other) => return Err(ScanError::Format { path: path(), found: format!("{other:?}") }),
        Err(_) if bytes.is_empty() => {
            return Err(ScanError::Format { path: path(), found: "nothing".into() });
        }
        Err(_) => return Err(ScanError::Format { path: path(), found: "no image".into() }),
    };
    let (width, height) = declared(bytes, format).unwrap_or_default();
    let too_large = |width, height| ScanError::TooLarge { path: path(), width, height, most };
    if width > LARGEST || height > LARGEST || u64::from(width) * u64::from(height) > most {
        return Err(too_large(width, height));
    }
    let damaged = |reason: &str| ScanError::Damaged { path: path(), reason: reason.into() };
    if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
        return Err(damaged("no end of image marker"));
    }
    if format == ImageFormat::Png && !palette_is_whole(bytes) {
        return Err(damaged("a palette that ends inside a colour"));
    }
    unpanicked(|| decode_as(format, bytes, name, most))
        .unwrap_or_else(|| Err(damaged("no decoder can read it")))
}

/// What a decoder says; `None` where it panics: it is not ours, and a damaged picture is no reason to end.
pub(crate) fn unpanicked<T>(decode: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(decode)).ok()
}

fn decode_as(format: ImageFormat, bytes: &[u8], name: &Path, most: u64) -> Result<DynamicImage, ScanError> {
    let path = || name.to_owned();
    let too_large = |width, height| ScanError::TooLarge { path: path(), width, height, most };
    let (width, height) = declared(bytes, format).unwrap_or_default();
    let damaged = |error: ImageError| match error {
        ImageError::Limits(e) if e.kind() == LimitErrorKind::DimensionError => too_large(width, height),
        error => ScanError::Damaged { path: path(), reason: error.to_string() },
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST);
    limits.max_image_height = Some(LARGEST);
    limits.max_alloc = Some(MOST_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > most {
        return Err(too_large(width, height));
    }
    let orientation = decoder.orientation().ok(); // none, or unreadable: as it lies
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

/// `(width, height)` as the header declares them, before any decoder allocates for them.
fn declared(bytes: &[u8], format: ImageFormat) -> Option<(u32, u32)> {
    let number = |at: usize, len: usize| {
        let digits = bytes.get(at..at + len)?;
        Some(digits.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)))
    };
    match format {
        ImageFormat::Png => Some((number(16, 4)?, number(20, 4)?)),
        _ => segments(bytes)
            // SOF0 to SOF15 without DHT, JPG and DAC.
            .find(|(marker, _)| matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC))
            .and_then(|(_, at)| Some((number(at + 5, 2)?, number(at + 3, 2)?))),
    }
}

/// Whether a PNG's palette, where it has one, is of whole colours: the decoder panics at others (png 0.18.1).
fn palette_is_whole(bytes: &[u8]) -> bool {
    let mut left = bytes.get(8..).unwrap_or_default();
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        match rest.get(..4) {
            Some(b"PLTE") if !length.is_multiple_of(3) => return false,
            Some(b"IDAT") => return true,
            _ => {}
        }
        left = length.checked_add(8).and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    true
}

/// Whether a JPEG reaches its end marker: the decoder fills what is cut off with grey.
fn jpeg_ends(bytes: &[u8]) -> bool {
    segments(bytes).any(|(marker, _)| marker == 0xD9)
}

/// The markers of a JPEG with the position after each, up to the first thing that is none.
fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, usize)> + '_ {
    let mut at = 2; // after the start marker
    std::iter::from_fn(move || {
        // Between segments there is nothing; after a start of scan, data in which FF is followed
        // by 00 or a restart marker.
        loop {
            let pair = bytes.get(at..at + 2)?;
            match *pair {
                [0xFF, marker @ (0x01 | 0xC0..=0xCF | 0xD8..=0xFE)] => {
                    let after = at + 2;
                    let length = match marker {
                        0x01 | 0xD8 | 0xD9 => 0,
                        _ => {
                            bytes.get(after..after + 2).map(|b| usize::from(b[0]) << 8 | usize::from(b[1]))?
                        }
                    };
                    at = after + length;
                    return Some((marker, after));
                }
                _ => at += 1,
            }
        }
    })
}

#[cfg(test)]
mod tests;
