//! Scaling of a grey image onto another grid at any position.
//!
//! Separable: rows, then columns. Shrinking averages the area that each new pixel covers,
//! enlarging is linear between pixel centres. Outside the image there is paper (0).

/// Where a source lies on its target, along one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placing {
    /// Target pixels for one source pixel, above 0.
    pub(super) scale: f64,
    /// Target position of the source's near edge, pixels.
    pub(super) offset: f64,
    /// Pixels of the source.
    pub(super) from: usize,
    /// Pixels of the target.
    pub(super) to: usize,
}

impl Placing {
    /// For a target pixel, the source pixels it takes from and how much of each, summing to at
    /// most 1.
    fn weights(self, target: usize) -> Vec<(usize, f64)> {
        let Self { scale, offset, from, .. } = self;
        let to_source = |t: f64| (t - offset) / scale;
        let (low, high) = (to_source(target as f64), to_source(target as f64 + 1.0));
        let weight = |s: usize| {
            let s = s as f64;
            if scale <= 1.0 {
                ((high.min(s + 1.0) - low.max(s)) / (high - low)).max(0.0)
            } else {
                (1.0 - ((low + high) / 2.0 - (s + 0.5)).abs()).max(0.0)
            }
        };
        let first = (low - 1.0).floor().max(0.0) as usize;
        let last = ((high + 1.0).ceil().max(0.0) as usize).min(from);
        (first..last).map(|s| (s, weight(s))).filter(|(_, w)| *w > 0.0).collect()
    }
}

/// Resamples the image of `value(row-major index)`; returns row-major `[y.to, x.to]`.
pub(super) fn resample(x: Placing, y: Placing, value: impl Fn(usize) -> f32) -> Vec<f32> {
    let columns: Vec<Vec<(usize, f64)>> = (0..x.to).map(|column| x.weights(column)).collect();
    let row = |source: usize| -> Vec<f64> {
        let start = source * x.from;
        let sum =
            |weights: &Vec<(usize, f64)>| weights.iter().map(|(s, w)| w * f64::from(value(start + s))).sum();
        columns.iter().map(sum).collect()
    };
    let mut out = Vec::with_capacity(x.to * y.to);
    let mut shared: Option<(usize, Vec<f64>)> = None; // neighbours share their edge row
    for target in 0..y.to {
        let mut sum = vec![0.0; x.to];
        for (source, weight) in y.weights(target) {
            let values = match shared.take() {
                Some((at, values)) if at == source => values,
                _ => row(source),
            };
            sum.iter_mut().zip(&values).for_each(|(total, v)| *total += weight * v);
            shared = Some((source, values));
        }
        out.extend(sum.iter().map(|v| *v as f32));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(scale: f64, offset: f64, to: usize, values: &[f32]) -> Vec<f32> {
        let x = Placing { scale, offset, from: values.len(), to };
        let y = Placing { scale: 1.0, offset: 0.0, from: 1, to: 1 };
        resample(x, y, |i| values[i])
    }

    #[test]
    fn shrinking_averages_areas_and_enlarging_is_linear() {
        assert_eq!(line(0.5, 0.0, 2, &[1.0, 3.0, 5.0, 9.0]), [2.0, 7.0]);
        assert_eq!(line(1.0, 0.5, 3, &[2.0, 4.0]), [1.0, 3.0, 2.0]);
        assert_eq!(line(1.0, 1.0, 4, &[2.0, 4.0]), [0.0, 2.0, 4.0, 0.0]);
        assert_eq!(line(2.0, 0.0, 4, &[4.0, 8.0]), [3.0, 5.0, 7.0, 6.0]);
        assert_eq!(line(0.1, -5.0, 2, &[1.0]), [0.0, 0.0]);
    }
}
