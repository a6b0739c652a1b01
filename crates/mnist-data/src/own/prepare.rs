//! How a picture of any size becomes an image as it is: its middle, scaled.

use std::path::{Path, PathBuf};

use image::{DynamicImage, GenericImageView, Rgb, imageops::FilterType};

use crate::{scan, size::ImageSize};

/// Most bytes of a picture's file.
const MOST_BYTES: u64 = 64 << 20;
/// Most pixels of a picture.
const MOST_PIXELS: u64 = 64 << 20;
/// A picture is grey if the channels of no pixel differ by more levels than these.
const TINT: u8 = 16;
/// What shows through a picture.
const PAPER: u8 = 255;

/// The middle of a picture as an image of `size`: scaled so that it just fills it, what juts out cut off; as it is: 0
/// black, 255 white, what shows through over white; grey or channel by channel.
///
/// # Errors
/// As [`scan::read`], but for blank ones.
pub fn prepared(path: &Path, size: ImageSize) -> Result<Vec<u8>, scan::ScanError> {
    Picture::open(path)?.image(size)
}

/// As [`prepared`], from the contents of a file of at most `most` pixels; `name` is for the errors.
///
/// # Errors
/// Those of [`scan::from_bytes`].
pub fn prepared_from_bytes(
    bytes: &[u8],
    name: &Path,
    most: u64,
    size: ImageSize,
) -> Result<Vec<u8>, scan::ScanError> {
    let whole = scan::decode(bytes, name, most.min(MOST_PIXELS))?;
    Picture { whole, name: name.to_owned() }.image(size)
}

/// A picture that was decoded.
pub(super) struct Picture {
    whole: DynamicImage,
    name: PathBuf,
}

impl Picture {
    /// That in a file.
    pub(super) fn open(path: &Path) -> Result<Self, scan::ScanError> {
        Ok(Self { whole: scan::open(path, MOST_BYTES, MOST_PIXELS)?, name: path.to_owned() })
    }

    /// Its grey values, row by row.
    pub(super) fn grey(&self) -> Vec<u8> {
        scan::over(&self.whole, PAPER).into_raw()
    }

    /// Whether it is kept in a form that can have colour.
    pub(super) fn may_have_colour(&self) -> bool {
        self.whole.color().has_color()
    }

    /// Whether there is colour in it, and not only a tint.
    pub(super) fn has_colour(&self) -> bool {
        let differs = |Rgb([r, g, b]): &Rgb<u8>| r.max(g).max(b) - r.min(g).min(b) > TINT;
        self.may_have_colour() && scan::over_in_colour(&self.whole, PAPER).pixels().any(differs)
    }

    /// Its middle as an image of this size, grey or in colour.
    pub(super) fn image(&self, size: ImageSize) -> Result<Vec<u8>, scan::ScanError> {
        let whole: DynamicImage = if size.is_colour() {
            scan::over_in_colour(&self.whole, PAPER).into()
        } else {
            scan::over(&self.whole, PAPER).into()
        };
        let [height, width] = size.sides().map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let (wide, tall) = whole.dimensions();
        if tall.min(wide) < scan::SMALLEST as u32 {
            let [width, height] = [wide, tall].map(|n| n as usize);
            return Err(scan::ScanError::TooSmall { path: self.name.clone(), width, height });
        }
        if (tall, wide) == (height, width) {
            return Ok(planes(whole));
        }
        // What is cut off is cut off first: a long, thin picture would become a huge one.
        let share = |of: u32, by: u32, to: u32| {
            u32::try_from(u64::from(of) * u64::from(to) / u64::from(by.max(1))).unwrap_or(u32::MAX).max(1)
        };
        let (tall_enough, wide_enough) =
            (share(wide, width, height).min(tall), share(tall, height, width).min(wide));
        let cut =
            whole.crop_imm((wide - wide_enough) / 2, (tall - tall_enough) / 2, wide_enough, tall_enough);
        Ok(planes(cut.resize_exact(width, height, FilterType::Triangle)))
    }
}

/// The bytes of a grey or colour picture, channel by channel.
fn planes(picture: DynamicImage) -> Vec<u8> {
    if picture.color().channel_count() == 1 {
        return picture.into_luma8().into_raw();
    }
    let pixels = picture.into_rgb8();
    (0..3).flat_map(|channel| pixels.pixels().map(move |pixel| pixel.0[channel])).collect()
}
