//! The log-likelihood of black and white pixels.

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{Tensor, backend::AutodiffBackend},
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::bernoulli_log_likelihood;
use rayon::ThreadPoolBuilder;

use crate::support::{tensor, uniform, values};

type Ad = Autodiff<Flex>;
/// Goes through Burn's own operations.
type Plain = Autodiff<Flex, BalancedCheckpointing>;

/// Sums of the rows and the gradient of the logits, each row's weighted by a random number.
fn run<B: AutodiffBackend>(batch: usize, repeats: usize, pixels: usize) -> [Vec<f32>; 2] {
    let rows = batch * repeats;
    let logits = tensor::<B, 2>([rows, pixels], 1, uniform).mul_scalar(12.0).require_grad();
    let targets = tensor::<B, 2>([batch, pixels], 2, |n, seed| {
        uniform(n, seed).into_iter().map(|v| f32::from(v > 0.3)).collect()
    });
    let sums = bernoulli_log_likelihood(logits.clone(), targets);
    let grads = (sums.clone() * tensor([rows], 3, uniform)).sum().backward();
    [values(sums), values(logits.grad(&grads).unwrap())]
}

#[test]
fn equal_to_burns_own_operations() {
    // Rows within a strand of lanes, of several pieces, and with rests.
    for (batch, repeats, pixels) in
        [(64, 1, 784), (1, 1, 1), (5, 3, 17), (3, 7, 1_024), (2, 2, 2_500), (300, 1, 9)]
    {
        let wanted = run::<Plain>(batch, repeats, pixels);
        for found in [run::<Ad>(batch, repeats, pixels), run::<Autodiff<NdArray>>(batch, repeats, pixels)] {
            for (found, wanted) in found.iter().zip(&wanted) {
                assert_eq!(found.len(), wanted.len());
                for (f, w) in found.iter().zip(wanted) {
                    let case = (batch, repeats, pixels);
                    assert!((f - w).abs() <= 2e-6 * w.abs().max(1.0), "{case:?}: {f} is not {w}");
                }
            }
        }
    }
}

/// ```python
/// import torch, torch.nn.functional as F
/// l0 = torch.tensor([[2., -1., .5], [100., 0., -100.], [.1, -30., 3.], [-3., 4., 1.]])
/// x = torch.tensor([[1., 0., 1.], [0., 1., 0.]])
/// l = l0.double().requires_grad_()
/// y = -F.binary_cross_entropy_with_logits(l, x.double().repeat_interleave(2, 0), reduction='none').sum(1)
/// y.backward(torch.tensor([1., -2., 3., .5]).double())
/// for t in (y, l.grad): print([float('%.8g' % v) for v in t.flatten().tolist()])
/// ```
#[test]
#[allow(clippy::excessive_precision)]
fn equal_to_pytorch() {
    fn check<B: AutodiffBackend>() {
        let device = Default::default();
        let logits = [[2.0, -1.0, 0.5], [100.0, 0.0, -100.0], [0.1, -30.0, 3.0], [-3.0, 4.0, 1.0]];
        let logits = Tensor::<B, 2>::from_floats(logits, &device).require_grad();
        let targets = Tensor::<B, 2>::from_floats([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], &device);
        let sums = bernoulli_log_likelihood(logits.clone(), targets);
        let weights = Tensor::<B, 1>::from_floats([1.0, -2.0, 3.0, 0.5], &device);
        let grads = (sums.clone() * weights).sum().backward();
        let found = [values(sums), values(logits.grad(&grads).unwrap())].concat();
        let wanted_sums = [-0.91426668, -100.69315, -33.792984, -1.379999];
        let wanted_slopes = [
            0.11920292,
            -0.26894142,
            0.37754067,
            0.0,
            1.0,
            -2.0,
            -1.5749376,
            3.0,
            -2.8577224,
            -0.023712937,
            0.008993105,
            -0.36552929,
        ];
        for (f, w) in found.into_iter().zip(wanted_sums.into_iter().chain(wanted_slopes)) {
            assert!((f - w).abs() <= 2e-6 * f32::abs(w).max(0.05), "{f} is not {w}");
        }
    }
    check::<Ad>();
    check::<Plain>();
    check::<Autodiff<NdArray>>();
}

#[test]
fn threads_change_no_bit() {
    let bits = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| run::<Ad>(100, 3, 784));
        found.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    let one = bits(1);
    assert!([2, 3].iter().all(|&threads| bits(threads) == one));
}

#[test]
fn nan_is_not_lost_and_an_empty_batch_has_no_sums() {
    let device = Default::default();
    let one = |l: f32| {
        let logits = Tensor::<Flex, 2>::from_floats([[1.0, l]], &device);
        values(bernoulli_log_likelihood(logits, Tensor::ones([1, 2], &device)))[0]
    };
    assert!(one(f32::NAN).is_nan());
    assert_eq!(one(f32::NEG_INFINITY), f32::NEG_INFINITY);
    let empty =
        bernoulli_log_likelihood(Tensor::<Flex, 2>::zeros([0, 4], &device), Tensor::zeros([0, 4], &device));
    assert_eq!(empty.dims(), [0]);
}

#[test]
#[should_panic = "logits are 3x4, targets 2x4"]
fn each_target_has_as_many_rows() {
    let device = Default::default();
    let _ =
        bernoulli_log_likelihood(Tensor::<Flex, 2>::zeros([3, 4], &device), Tensor::zeros([2, 4], &device));
}
