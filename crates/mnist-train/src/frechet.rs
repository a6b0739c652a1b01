//! Frechet distance between two sets of feature vectors, each taken for a Gaussian distribution (Dowson & Landau 1982):
//! the formula of the "FID" (Heusel et al. 2017, arXiv 1706.08500). Features here are those of our own classifiers, not
//! Inception's: the numbers compare with each other, never with published ones.

/// Mean and covariance of feature vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    mean: Vec<f64>,
    /// Row after row.
    covariance: Vec<f64>,
}

impl Gaussian {
    /// Of at least two rows of `width` features each, with the unbiased estimate of the covariance, as NumPy's `cov`.
    ///
    /// `None` for fewer rows, or a number of features that is no multiple of `width`.
    pub fn of(features: &[f32], width: usize) -> Option<Self> {
        let count = features.len().checked_div(width)?;
        if count < 2 || !features.len().is_multiple_of(width) {
            return None;
        }
        let mut mean = vec![0.0; width];
        for row in features.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) / count as f64);
        }
        let mut covariance = vec![0.0; width * width];
        let mut centred = vec![0.0; width];
        for row in features.chunks_exact(width) {
            centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (&x, m))| *c = f64::from(x) - m);
            for (line, &a) in covariance.chunks_exact_mut(width).zip(&centred) {
                line.iter_mut().zip(&centred).for_each(|(sum, b)| *sum += a * b);
            }
        }
        covariance.iter_mut().for_each(|x| *x /= (count - 1) as f64);
        Some(Self { mean, covariance })
    }

    /// `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, at least 0; `None` if the widths differ.
    pub fn distance(&self, other: &Self) -> Option<f64> {
        let width = self.mean.len();
        if other.mean.len() != width {
            return None;
        }
        let apart: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let trace = |matrix: &[f64]| matrix.iter().step_by(width + 1).sum::<f64>();
        // The root of C1 C2 has the trace of that of the symmetric root(C1) C2 root(C1).
        let (values, vectors) = eigen(self.covariance.clone(), width);
        let mut root = vec![0.0; width * width];
        for (value, vector) in values.iter().zip(vectors.chunks_exact(width.max(1))) {
            for (line, a) in root.chunks_exact_mut(width).zip(vector) {
                let a = a * value.max(0.0).sqrt();
                line.iter_mut().zip(vector).for_each(|(sum, b)| *sum += a * b);
            }
        }
        let product = multiply(&multiply(&root, &other.covariance, width), &root, width);
        let (values, _) = eigen(product, width);
        let mixed: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
        Some((apart + trace(&self.covariance) + trace(&other.covariance) - 2.0 * mixed).max(0.0))
    }
}

/// The product of two square matrices, row after row.
fn multiply(a: &[f64], b: &[f64], side: usize) -> Vec<f64> {
    let mut product = vec![0.0; side * side];
    for (line, row) in product.chunks_exact_mut(side.max(1)).zip(a.chunks_exact(side.max(1))) {
        for (&factor, row) in row.iter().zip(b.chunks_exact(side)) {
            line.iter_mut().zip(row).for_each(|(sum, b)| *sum += factor * b);
        }
    }
    product
}

/// Eigenvalues and eigenvectors (one after the other, each of length 1) of a symmetric matrix, by Jacobi's rotations in
/// cyclic order (Golub & Van Loan, "Matrix computations", section 8.5).
fn eigen(mut a: Vec<f64>, side: usize) -> (Vec<f64>, Vec<f64>) {
    const SWEEPS: usize = 60;
    let mut vectors: Vec<f64> = (0..side * side).map(|i| f64::from(i % (side + 1) == 0)).collect();
    let size: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 =
            (0..side).map(|i| a[i * side + i + 1..(i + 1) * side].iter().map(|x| x * x).sum::<f64>()).sum();
        if off <= 1e-28 * size {
            break;
        }
        for p in 0..side {
            for q in p + 1..side {
                let apq = a[p * side + q];
                if apq == 0.0 {
                    continue;
                }
                let theta = (a[q * side + q] - a[p * side + p]) / (2.0 * apq);
                let tan = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cos = 1.0 / tan.hypot(1.0);
                rotate_rows(&mut a, side, [p, q], [cos, tan * cos]);
                for row in a.chunks_exact_mut(side) {
                    (row[p], row[q]) = (cos * row[p] - tan * cos * row[q], tan * cos * row[p] + cos * row[q]);
                }
                rotate_rows(&mut vectors, side, [p, q], [cos, tan * cos]);
            }
        }
    }
    (a.iter().step_by(side + 1).copied().collect(), vectors)
}

/// Turns rows `p` and `q`, `p` before `q`, in their plane.
fn rotate_rows(a: &mut [f64], side: usize, [p, q]: [usize; 2], [cos, sin]: [f64; 2]) {
    let (head, tail) = a.split_at_mut(q * side);
    for (x, y) in head[p * side..(p + 1) * side].iter_mut().zip(&mut tail[..side]) {
        (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` rows of 5 numbers, of which the last is a sum of two others: the covariance is singular.
    fn features(count: usize, factor: usize) -> Vec<f32> {
        (0..count)
            .flat_map(|i| {
                let x = [7, 11, 13, 17].map(|k| ((i * k * factor + i * i) % 19) as f32 / 4.0);
                [x[0], x[1], x[2], x[3], x[0] + x[1]]
            })
            .collect()
    }

    /// ```python
    /// import numpy as np, scipy.linalg
    /// def f(n, k):
    ///     x = np.array([[((i * m * k + i * i) % 19) / 4 for m in (7, 11, 13, 17)] for i in range(n)])
    ///     return np.hstack([x, x[:, :1] + x[:, 1:2]])
    /// def fid(a, b):
    ///     c, d = np.cov(a.T), np.cov(b.T)
    ///     r = scipy.linalg.sqrtm(c) # or by eigh
    ///     w = np.linalg.eigvalsh(r @ d @ r)
    ///     return ((a.mean(0) - b.mean(0))**2).sum() + np.trace(c + d) - 2 * np.sqrt(w.clip(0)).sum()
    /// ```
    #[test]
    fn equal_to_numpy() {
        let of = |count, factor| Gaussian::of(&features(count, factor), 5).unwrap();
        for (a, b, wanted) in REFERENCE {
            let (a, b) = (of(a[0], a[1]), of(b[0], b[1]));
            for found in [a.distance(&b).unwrap(), b.distance(&a).unwrap()] {
                assert!((found - wanted).abs() < 1e-5, "{found} is not {wanted}");
            }
        }
    }

    const REFERENCE: [([usize; 2], [usize; 2], f64); 3] = [
        ([40, 1], [30, 2], 4.168_092_467_623),
        ([8, 3], [100, 5], 2.852_556_911_254),
        ([25, 4], [25, 4], 0.0),
    ];

    #[test]
    fn eigenvectors_make_the_matrix_again() {
        let side = 24;
        let mut a = vec![0.0; side * side];
        for i in 0..side {
            for j in 0..=i {
                let x = ((i * 31 + j * 17) % 23) as f64 - 11.0;
                (a[i * side + j], a[j * side + i]) = (x, x);
            }
        }
        let (values, vectors) = eigen(a.clone(), side);
        let mut again = vec![0.0; side * side];
        for (value, v) in values.iter().zip(vectors.chunks_exact(side)) {
            for (i, x) in again.iter_mut().enumerate() {
                *x += value * v[i / side] * v[i % side];
            }
        }
        assert!(again.iter().zip(&a).all(|(x, y)| (x - y).abs() < 1e-9));
    }

    #[test]
    fn what_has_no_covariance_is_refused() {
        assert!(Gaussian::of(&[1.0, 2.0], 2).is_none());
        assert!(Gaussian::of(&[1.0, 2.0, 3.0], 2).is_none());
        assert!(Gaussian::of(&[], 0).is_none());
        let [a, b] = [2, 3].map(|width| Gaussian::of(&[1.0; 6], width).unwrap());
        assert!(a.distance(&b).is_none());
    }
}
