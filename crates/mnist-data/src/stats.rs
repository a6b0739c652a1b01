//! Statistics of a set of images: counts, class balance, pixel mean and deviation, mean images.
//!
//! Pixels are bytes, so everything follows from exact integer sums: no order of summation, and
//! no rounding before the last division.

use crate::set::LabelledImages;

/// What a set of images looks like, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Number of examples.
    pub examples: usize,
    /// Examples of each class, `[classes]`.
    pub counts: Vec<usize>,
    /// Mean of all pixels, of all channels together, each in 0-1 (0.1307 on MNIST's training files). 0 for an empty set.
    pub mean: f64,
    /// Population standard deviation of all pixels, each in 0-1 (0.3081 on MNIST's training files).
    pub std: f64,
    /// Smallest pixel.
    pub min: u8,
    /// Largest pixel.
    pub max: u8,
    /// Share of pixels that are not paper (non-zero), in 0-1.
    pub ink: f64,
    /// Mean image of each class, `[classes][values]`, pixels in 0-1; zeros for an empty class.
    pub mean_images: Vec<Vec<f32>>,
}

impl Statistics {
    /// Statistics of all of `data`, in one pass.
    pub fn of(data: &LabelledImages) -> Self {
        let mut histogram = [0_u64; 256];
        let mut counts = vec![0_usize; data.classes()];
        let mut sums = vec![vec![0_u64; data.values()]; data.classes()];
        for (image, &label) in data.images().zip(data.labels()) {
            let class = usize::from(label); // below `classes`: checked by `LabelledImages::new`
            counts[class] += 1;
            for (sum, &pixel) in sums[class].iter_mut().zip(image) {
                *sum += u64::from(pixel);
                histogram[usize::from(pixel)] += 1;
            }
        }

        let pixels: u64 = histogram.iter().sum();
        let present = || (0..=255_u8).filter(|&value| histogram[usize::from(value)] > 0);
        let moment = |power: u32| -> f64 {
            let sum: u128 =
                (0_u128..).zip(&histogram).map(|(value, &n)| value.pow(power) * u128::from(n)).sum();
            sum as f64 / (pixels.max(1) as f64 * 255_f64.powi(power as i32))
        };
        let mean = moment(1);
        Self {
            examples: data.len(),
            mean,
            std: (moment(2) - mean * mean).max(0.0).sqrt(),
            min: present().next().unwrap_or(0),
            max: present().next_back().unwrap_or(0),
            ink: (pixels - histogram[0]) as f64 / pixels.max(1) as f64,
            mean_images: sums.iter().zip(&counts).map(|(sum, &count)| mean_image(sum, count)).collect(),
            counts,
        }
    }
}

fn mean_image(sum: &[u64], count: usize) -> Vec<f32> {
    let scale = 255.0 * count.max(1) as f64;
    sum.iter().map(|&total| (total as f64 / scale) as f32).collect()
}
