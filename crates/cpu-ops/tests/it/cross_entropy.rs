//! Cross-entropy, each sample's and the mean.

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{Int, Tensor, backend::AutodiffBackend},
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{cross_entropy, cross_entropy_per_sample};
use rayon::ThreadPoolBuilder;

use crate::support::{tensor, uniform, values};

type Ad = Autodiff<Flex>;
/// Goes through Burn's own operations.
type Plain = Autodiff<Flex, BalancedCheckpointing>;

/// Losses and the gradient of the logits; the mean's and each sample's, whose gradients are random.
fn run<B: AutodiffBackend>([batch, classes]: [usize; 2], smoothing: f32) -> [Vec<f32>; 4] {
    let device = Default::default();
    let logits = tensor::<B, 2>([batch, classes], 1, uniform).mul_scalar(8.0).require_grad();
    let targets = (0..batch).map(|i| (i * 7 % classes) as i32).collect::<Vec<_>>();
    let targets = Tensor::<B, 1, Int>::from_ints(&targets[..], &device);
    let mean = cross_entropy(logits.clone(), targets.clone(), smoothing);
    let of_mean = logits.grad(&mean.backward()).unwrap();
    let each = cross_entropy_per_sample(logits.clone(), targets, smoothing);
    let of_each = logits.grad(&(each.clone() * tensor([batch], 2, uniform)).sum().backward()).unwrap();
    [values(mean), values(of_mean), values(each), values(of_each)]
}

#[test]
fn equal_to_burns_own_operations() {
    // Shapes in which a row is a part of a block, a block a part of a row, and neither.
    for shape in [[64, 10], [1, 1], [7, 1_000], [5, 2_048], [3, 2_500], [100, 33]] {
        for smoothing in [0.0, 0.1] {
            let wanted = run::<Plain>(shape, smoothing);
            for found in [run::<Ad>(shape, smoothing), run::<Autodiff<NdArray>>(shape, smoothing)] {
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert_eq!(found.len(), wanted.len());
                    for (f, w) in found.iter().zip(wanted) {
                        assert!((f - w).abs() <= 1e-5 * w.abs().max(0.1), "{shape:?}: {f} is not {w}");
                    }
                }
            }
        }
    }
}

/// ```python
/// import torch, torch.nn.functional as F
/// z0 = torch.tensor([[2., -1., .5], [100., 0., -100.], [.1, .2, .3], [-3., 4., 1.]])
/// y = torch.tensor([0, 1, 2, 1])
/// for e in (0., .1):
///     z = z0.double().requires_grad_()
///     loss = F.cross_entropy(z, y, label_smoothing=e, reduction='none')
///     loss.backward(torch.tensor([1., -2., 3., .5]).double())
///     for t in (loss, z.grad): print([float('%.8g' % v) for v in t.flatten().tolist()])
///     print('%.8g' % F.cross_entropy(z, y, label_smoothing=e).item())
/// ```
#[test]
#[allow(clippy::excessive_precision)]
fn equal_to_pytorch() {
    fn check<B: AutodiffBackend>(smoothing: f32, losses: [f32; 4], slopes: [f32; 12], mean: f32) {
        let device = Default::default();
        let logits = [[2.0, -1.0, 0.5], [100.0, 0.0, -100.0], [0.1, 0.2, 0.3], [-3.0, 4.0, 1.0]];
        let logits = Tensor::<B, 2>::from_floats(logits, &device).require_grad();
        let targets = Tensor::<B, 1, Int>::from_ints([0, 1, 2, 1], &device);
        let each = cross_entropy_per_sample(logits.clone(), targets.clone(), smoothing);
        let weights = Tensor::<B, 1>::from_floats([1.0, -2.0, 3.0, 0.5], &device);
        let grads = (each.clone() * weights).sum().backward();
        let found = [values(each), values(logits.grad(&grads).unwrap())].concat();
        for (f, w) in found.iter().zip(losses.into_iter().chain(slopes)) {
            assert!((f - w).abs() <= 2e-6 * w.abs().max(0.05), "{smoothing}: {f} is not {w}");
        }
        let found = values(cross_entropy(logits, targets, smoothing))[0];
        assert!((found - mean).abs() <= 2e-6 * mean, "{smoothing}: {found} is not {mean}");
    }
    let losses = [0.2413113, 100.0, 1.0019428, 0.04945561];
    let slopes = [
        -0.21440297,
        0.039112573,
        0.17529039,
        -2.0,
        2.0,
        0.0,
        0.90182881,
        0.99667498,
        -1.8985038,
        0.00043394065,
        -0.024126297,
        0.023692357,
    ];
    check::<Ad>(0.0, losses, slopes, 25.323177);
    check::<Autodiff<NdArray>>(0.0, losses, slopes, 25.323177);
    let losses = [0.3913113, 100.0, 1.0119428, 0.38278894];
    let slopes = [
        -0.1477363,
        0.0057792399,
        0.14195706,
        -1.9333333,
        1.8666667,
        0.066666667,
        0.80182881,
        0.89667498,
        -1.6985038,
        -0.016232726,
        0.0092070361,
        0.0070256899,
    ];
    check::<Ad>(0.1, losses, slopes, 25.446511);
}

#[test]
fn threads_change_no_bit() {
    let bits = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| run::<Ad>([300, 500], 0.1));
        found.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    let one = bits(1);
    assert!([2, 3].iter().all(|&threads| bits(threads) == one));
}

#[test]
fn nan_and_masked_classes_are_not_lost() {
    let device = Default::default();
    let targets = Tensor::<Flex, 1, Int>::from_ints([0], &device);
    let loss = |logits: [f32; 3]| {
        let logits = Tensor::<Flex, 2>::from_floats([logits], &device);
        values(cross_entropy(logits, targets.clone(), 0.0))[0]
    };
    assert!(loss([1.0, f32::NAN, 0.0]).is_nan());
    assert_eq!(loss([1.0, f32::NEG_INFINITY, f32::NEG_INFINITY]), 0.0);
    assert_eq!(loss([f32::NEG_INFINITY, 1.0, 2.0]), f32::INFINITY);
}

#[test]
fn an_empty_batch_has_no_losses() {
    let device = Default::default();
    let empty = || (Tensor::<Flex, 2>::zeros([0, 10], &device), Tensor::<Flex, 1, Int>::zeros([0], &device));
    let (logits, targets) = empty();
    assert_eq!(cross_entropy_per_sample(logits, targets, 0.0).dims(), [0]);
    let (logits, targets) = empty();
    assert!(values(cross_entropy(logits, targets, 0.0))[0].is_nan());
}

#[test]
#[should_panic = "the target 3 is not one of 3 classes"]
fn targets_have_to_be_classes() {
    let device = Default::default();
    let targets = Tensor::<Flex, 1, Int>::from_ints([0, 3], &device);
    let _ = cross_entropy(Tensor::zeros([2, 3], &device), targets, 0.0);
}

#[test]
#[should_panic = "2 rows of logits and 1 targets"]
fn each_sample_has_a_target() {
    let device = Default::default();
    let _ = cross_entropy(Tensor::<Flex, 2>::zeros([2, 3], &device), Tensor::from_ints([0], &device), 0.0);
}
