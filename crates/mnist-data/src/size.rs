//! How large images are: channels, height and width.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Channels, height and width of the images of a set, each in pixels but the first.
///
/// Written as `[height, width]` where there is one channel, grey, and as `[channels, height, width]` otherwise.
///
/// ```
/// use mnist_data::ImageSize;
///
/// let (grey, colour) = (ImageSize::from([28, 28]), ImageSize::from([3, 32, 32]));
/// assert_eq!((grey.values(), colour.values()), (784, 3072));
/// assert_eq!(format!("{grey}, {colour}"), "28x28 pixels, grey, 32x32 pixels, colour");
/// ```
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(from = "Written", into = "Written")]
pub struct ImageSize {
    /// 1: grey, 0 = paper, 1 = ink. 3: red, green, blue.
    pub channels: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Grey([usize; 2]),
    Channels([usize; 3]),
}

impl ImageSize {
    /// Height and width.
    pub fn sides(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Pixels: height times width. [`usize::MAX`] where that is too large a number.
    pub fn area(&self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Numbers of an image: one for each channel of each pixel. [`usize::MAX`] where that is too large a number.
    pub fn values(&self) -> usize {
        self.channels.saturating_mul(self.area())
    }

    /// As the dimensions of a tensor: channels, height, width.
    pub fn dims(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Whether there is more than one channel.
    pub fn is_colour(&self) -> bool {
        self.channels > 1
    }
}

impl From<[usize; 2]> for ImageSize {
    /// Grey images of this height and width.
    fn from([height, width]: [usize; 2]) -> Self {
        Self { channels: 1, height, width }
    }
}

impl From<[usize; 3]> for ImageSize {
    /// Images of so many channels, of this height and width.
    fn from([channels, height, width]: [usize; 3]) -> Self {
        Self { channels, height, width }
    }
}

impl From<Written> for ImageSize {
    fn from(written: Written) -> Self {
        match written {
            Written::Grey(sides) => sides.into(),
            Written::Channels(dims) => dims.into(),
        }
    }
}

impl From<ImageSize> for Written {
    fn from(size: ImageSize) -> Self {
        if size.channels == 1 { Self::Grey(size.sides()) } else { Self::Channels(size.dims()) }
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, height, width } = self;
        write!(f, "{height}x{width} pixels, ")?;
        match channels {
            1 => f.write_str("grey"),
            3 => f.write_str("colour"),
            _ => write!(f, "{channels} channels"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_is_written_as_it_always_was() {
        for (size, text) in
            [(ImageSize::from([28, 20]), "[28,20]"), (ImageSize::from([3, 32, 8]), "[3,32,8]")]
        {
            assert_eq!(serde_json::to_string(&size).unwrap(), text);
            assert_eq!(serde_json::from_str::<ImageSize>(text).unwrap(), size);
        }
        assert_eq!(serde_json::from_str::<ImageSize>("[1,2,3]").unwrap(), ImageSize::from([2, 3]));
        assert!(serde_json::from_str::<ImageSize>("[28]").is_err());
    }
}
