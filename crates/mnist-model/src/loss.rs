//! Cross-entropy, per sample and mean, with label smoothing (Szegedy et al. 2015, arXiv 1512.00567, section 7).

use burn::tensor::{Int, Tensor, activation::log_softmax, backend::Backend};

/// Cross-entropy of each sample, in nats.
///
/// With `smoothing` = e the target is `(1 - e) * one_hot + e / classes`, as in the paper and in PyTorch.
///
/// # Shapes
/// - `logits`: `[batch, classes]`, not normalised
/// - `labels`: `[batch]`, each in `0..classes`
/// - `smoothing`: in `[0, 1)`; 0 is plain cross-entropy
/// - returns: `[batch]`, nats, at least 0
pub fn cross_entropy_per_sample<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    smoothing: f32,
) -> Tensor<B, 1> {
    let [batch, _classes] = logits.dims();
    let log_p = log_softmax(logits, 1); // [batch, classes]
    let of_truth = log_p.clone().gather(1, labels.reshape([batch, 1])).reshape([batch]); // [batch]
    if smoothing == 0.0 {
        return of_truth.neg();
    }
    let of_uniform = log_p.mean_dim(1).reshape([batch]); // [batch]
    (of_truth.mul_scalar(1.0 - smoothing) + of_uniform.mul_scalar(smoothing)).neg()
}

/// Mean cross-entropy over the batch, in nats: see [`cross_entropy_per_sample`].
///
/// # Shapes
/// - returns: `[1]`
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    smoothing: f32,
) -> Tensor<B, 1> {
    cross_entropy_per_sample(logits, labels, smoothing).mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    fn case() -> (Tensor<Flex, 2>, Tensor<Flex, 1, Int>) {
        let device = Default::default();
        let logits = Tensor::from_floats([[2.0, -1.0, 0.5], [100.0, 0.0, -100.0], [0.1, 0.2, 0.3]], &device);
        (logits, Tensor::from_ints([0, 1, 2], &device))
    }

    fn check(found: Tensor<Flex, 1>, wanted: &[f64]) {
        let found: Vec<f32> = found.into_data().to_vec().unwrap();
        assert_eq!(found.len(), wanted.len());
        for (f, w) in found.iter().zip(wanted) {
            assert!((f64::from(*f) - w).abs() <= 1e-5 * w.abs().max(1.0), "{found:?} is not {wanted:?}");
        }
    }

    // import numpy as np
    // z = np.array([[2., -1, .5], [100, 0, -100], [.1, .2, .3]]); y = np.array([0, 1, 2])
    // lp = z - z.max(1, keepdims=True); lp -= np.log(np.exp(lp).sum(1, keepdims=True))
    // def ce(e): q = (1 - e) * np.eye(3)[y] + e / 3; return -(q * lp).sum(1)
    // print(ce(0.), ce(.1), ce(0.).mean(), ce(.1).mean())
    #[test]
    fn equals_numpy_per_sample_and_mean() {
        let (z, y) = case();
        check(cross_entropy_per_sample(z.clone(), y.clone(), 0.0), &[0.2413112967, 100.0, 1.0019428482]);
        check(cross_entropy_per_sample(z.clone(), y.clone(), 0.1), &[0.3913112967, 100.0, 1.0119428482]);
        check(cross_entropy(z.clone(), y.clone(), 0.0), &[33.7477513816]);
        check(cross_entropy(z, y, 0.1), &[33.8010847150]);
    }
}
