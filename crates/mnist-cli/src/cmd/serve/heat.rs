//! What counted: how much less probable an answer is where a part of the image is covered with paper (occlusion
//! sensitivity; Zeiler & Fergus 2013, arXiv 1311.2901, section 4.2).

/// Windows in an image's height and width, if they did not overlap.
const ACROSS: usize = 7;

/// Windows of an image at most.
pub(super) const MOST: usize = (2 * ACROSS - 1) * (2 * ACROSS - 1);

/// Overlapping windows that together cover all the ink of an image.
pub(super) struct Windows {
    height: usize,
    width: usize,
    side: [usize; 2],
    /// What is drawn on, 0-255.
    paper: u8,
    /// Upper left pixel of each.
    corners: Vec<[usize; 2]>,
}

impl Windows {
    /// Windows of a seventh of an image's sides, half a window apart, with ink in them; of a colour image in any channel.
    /// Ink is what differs from `paper`, the value of a pixel that nothing is drawn on.
    pub(super) fn over(image: &[u8], [height, width]: [usize; 2], paper: u8) -> Self {
        let side = [height, width].map(|n| (n / ACROSS).max(1));
        let starts = |n: usize, side: usize| (0..=n.saturating_sub(side)).step_by((side / 2).max(1));
        let mut windows = Self { height, width, side, paper, corners: Vec::new() };
        let all = starts(height, side[0]).flat_map(|y| starts(width, side[1]).map(move |x| [y, x]));
        windows.corners = all
            .filter(|&at| windows.bytes(at, image).any(|i| image.get(i).is_some_and(|p| *p != paper)))
            .collect();
        windows
    }

    /// Whether there is no ink.
    pub(super) fn is_empty(&self) -> bool {
        self.corners.is_empty()
    }

    /// The image with each window covered, one behind the other.
    pub(super) fn occluded(&self, image: &[u8]) -> Vec<u8> {
        let covered = |&at: &[usize; 2]| {
            let mut covered = image.to_vec();
            for i in self.bytes(at, image) {
                if let Some(byte) = covered.get_mut(i) {
                    *byte = self.paper;
                }
            }
            covered
        };
        self.corners.iter().flat_map(covered).collect()
    }

    /// A value of each window, spread over its pixels: the mean of those of the windows that a pixel lies in, row by
    /// row; 0 where there is none.
    pub(super) fn spread(&self, values: impl Iterator<Item = f32>) -> Vec<f32> {
        let mut sums = vec![(0.0, 0.0); self.height * self.width];
        for (&at, value) in self.corners.iter().zip(values) {
            for i in self.pixels(at) {
                if let Some((sum, count)) = sums.get_mut(i) {
                    *sum += value;
                    *count += 1.0;
                }
            }
        }
        sums.into_iter().map(|(sum, count): (f32, f32)| if count > 0.0 { sum / count } else { 0.0 }).collect()
    }

    /// Places of a window's bytes in all channels of an image.
    fn bytes(&self, at: [usize; 2], image: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let area = (self.height * self.width).max(1);
        let pixels = self.pixels(at);
        (0..image.len() / area).flat_map(move |channel| pixels.clone().map(move |i| channel * area + i))
    }

    fn pixels(&self, [top, left]: [usize; 2]) -> impl Iterator<Item = usize> + Clone + use<> {
        let ([rows, cols], [height, width]) = (self.side, [self.height, self.width]);
        let rows = top..(top + rows).min(height);
        rows.flat_map(move |y| (left..(left + cols).min(width)).map(move |x| y * width + x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_is_what_counts() {
        // 14x14 with ink on one pixel: windows of 2x2, one pixel apart, so four contain it.
        let image: Vec<u8> = (0..196).map(|i| u8::from(i == 3 * 14 + 5) * 200).collect();
        let windows = Windows::over(&image, [14, 14], 0);
        assert_eq!(windows.corners, [[2, 4], [2, 5], [3, 4], [3, 5]]);
        assert!(windows.occluded(&image).iter().all(|p| *p == 0));
        let heat = windows.spread([0.4, 0.2, 0.2, 0.0].into_iter());
        assert!((heat[3 * 14 + 5] - 0.2).abs() < 1e-6);
        assert!((heat[2 * 14 + 4] - 0.4).abs() < 1e-6);
        assert_eq!(heat.iter().filter(|h| **h != 0.0).count(), 8);
        // The third of three channels.
        let image = [vec![0; 392], image].concat();
        let windows = Windows::over(&image, [14, 14], 0);
        assert_eq!(windows.corners.len(), 4);
        assert!(windows.occluded(&image).iter().all(|p| *p == 0));
        assert!(Windows::over(&[0; 196], [14, 14], 0).is_empty());
        // Ink on light paper.
        let image: Vec<u8> = (0..196).map(|i| 255 - u8::from(i == 3 * 14 + 5) * 200).collect();
        let windows = Windows::over(&image, [14, 14], 255);
        assert_eq!(windows.corners.len(), 4);
        assert!(windows.occluded(&image).iter().all(|p| *p == 255));
    }
}
