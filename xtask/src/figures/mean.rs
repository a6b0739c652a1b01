//! Means over seeds with their 95 % interval, by Student's t.

/// Mean over seeds and half of its 95 % interval; a single seed has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    pub(super) mean: f64,
    pub(super) half: Option<f64>,
}

impl Mean {
    pub(super) fn of(values: &[f64]) -> Self {
        // scipy.stats.t.ppf(0.975, freedom), as in `mnist-train/src/few_labels.rs`; from 31 on that of 30.
        const STUDENT: [f64; 30] = [
            12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788,
            2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639,
            2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
        ];
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let freedom = values.len().saturating_sub(1).min(STUDENT.len());
        let student = freedom.checked_sub(1).and_then(|index| STUDENT.get(index));
        Self { mean, half: student.map(|t| t * (square / (count - 1.0) / count).sqrt()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.t.interval(.95, 2, loc=np.mean(x), scale=scipy.stats.sem(x))` of [.9, .91, .93]:
    /// 0.875388 to 0.951279.
    #[test]
    fn the_half_is_students() {
        let mean = Mean::of(&[0.9, 0.91, 0.93]);
        let half = mean.half.unwrap();
        assert!((mean.mean - half - 0.875_388).abs() < 2e-6 && (mean.mean + half - 0.951_279).abs() < 2e-6);
        assert_eq!(Mean::of(&[0.9]).half, None);
    }
}
