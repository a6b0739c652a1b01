//! Batch normalisation: against Burn's own operations in 64 bits, its layer, PyTorch's numbers, and itself.

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    nn::BatchNormConfig,
    tensor::{Tensor, TensorData, backend::AutodiffBackend, backend::Backend},
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{BatchNorm, BatchNormOptions, batch_norm, batch_norm_eval};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::support::{assert_close, tensor, uniform, values};

type Ad = Autodiff<Flex>;
/// Not one of the fast backends.
type Exact = Autodiff<NdArray<f64>>;

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: [usize; 4],
    relu: bool,
    shortcut: bool,
    /// By the batch's statistics, else by given ones.
    training: bool,
    /// Added to every value of `x`.
    offset: f32,
}

fn case(shape: [usize; 4]) -> Case {
    Case { shape, relu: true, shortcut: true, training: true, offset: 0.5 }
}

/// The norms of this project's nets at batch 64, and shapes that fill no register.
fn cases() -> Vec<Case> {
    let shapes = [
        [64, 16, 28, 28],
        [64, 32, 14, 14],
        [64, 64, 7, 7],
        [64, 128, 4, 4],
        [7, 19, 3, 5],
        [33, 3, 1, 1],
        [1, 1, 1, 7],
    ];
    let kinds = [(false, false), (true, false), (false, true), (true, true)];
    let all = shapes.into_iter().flat_map(|shape| kinds.map(|kind| (shape, kind)));
    all.flat_map(|(shape, (relu, shortcut))| {
        [true, false].map(|training| Case { relu, shortcut, training, ..case(shape) })
    })
    .collect()
}

/// `x`, weight, bias, and shortcut where there is one.
fn inputs<B: Backend>(case: &Case) -> (Tensor<B, 4>, [Tensor<B, 1>; 2], Option<Tensor<B, 4>>) {
    let channels = [case.shape[1]];
    let x = tensor(case.shape, 1, uniform) + case.offset;
    (
        x,
        [tensor(channels, 2, uniform) + 0.5, tensor(channels, 3, uniform)],
        case.shortcut.then(|| tensor(case.shape, 4, uniform)),
    )
}

fn apply<B: Backend>(
    case: &Case,
    x: Tensor<B, 4>,
    [weight, bias]: [Tensor<B, 1>; 2],
    shortcut: Option<Tensor<B, 4>>,
) -> BatchNorm<B, 4> {
    let options = BatchNormOptions { relu: case.relu, ..Default::default() };
    if case.training {
        return batch_norm(x, weight, bias, shortcut, options);
    }
    let [mean, variance] = [5, 6].map(|seed| tensor([case.shape[1]], seed, uniform));
    let variance = variance + 1.25;
    let output = batch_norm_eval(x, [weight, bias], [mean.clone(), variance.clone()], shortcut, options);
    BatchNorm { output, mean, variance }
}

/// Output, mean, variance, and the gradients of `x`, weight, bias and shortcut, of those that are `tracked`.
fn run<B: AutodiffBackend>(case: &Case, tracked: [bool; 4]) -> Vec<Vec<f32>> {
    let (x, [weight, bias], shortcut) = inputs::<B>(case);
    let x = x.set_require_grad(tracked[0]);
    let weight = weight.set_require_grad(tracked[1]);
    let bias = bias.set_require_grad(tracked[2]);
    let shortcut = shortcut.map(|shortcut| shortcut.set_require_grad(tracked[3]));
    let BatchNorm { output, mean, variance } =
        apply(case, x.clone(), [weight.clone(), bias.clone()], shortcut.clone());
    let mut found = vec![values(output.clone()), values(mean), values(variance)];
    if tracked.contains(&true) {
        let grads = (output * tensor(case.shape, 7, uniform)).sum().backward();
        found.extend(x.grad(&grads).map(values));
        found.extend(weight.grad(&grads).map(values));
        found.extend(bias.grad(&grads).map(values));
        found.extend(shortcut.and_then(|shortcut| shortcut.grad(&grads)).map(values));
    }
    found
}

const ALL: [bool; 4] = [true; 4];

fn check_against_exact<B: AutodiffBackend>(case: &Case, tolerance: f32) {
    let ours = run::<B>(case, ALL);
    let exact = run::<Exact>(case, ALL);
    assert_eq!(ours.len(), if case.shortcut { 7 } else { 6 });
    for (what, (ours, exact)) in
        ["y", "mean", "variance", "dx", "dw", "db", "ds"].iter().zip(ours.iter().zip(&exact))
    {
        assert_close(ours, exact, tolerance, &format!("{what} of {case:?}"));
    }
}

#[test]
fn close_to_burns_operations_in_64_bits() {
    for case in cases() {
        check_against_exact::<Ad>(&case, 1e-5);
    }
    check_against_exact::<Autodiff<NdArray>>(&case([7, 19, 3, 5]), 1e-5);
}

#[test]
fn a_mean_far_from_zero_costs_no_more_digits_than_it_has() {
    // The inputs themselves are rounded to 1e-4; the reference sees them before that. A variance found as
    // the mean of squares less the square of the mean would be off by 1.
    let far = Case { offset: 1000.0, ..case([16, 3, 9, 9]) };
    check_against_exact::<Ad>(&far, 5e-4);
}

#[test]
fn a_channel_of_equal_values_becomes_its_bias() {
    let options = BatchNormOptions::default();
    let device = Default::default();
    let x = Tensor::<Flex, 4>::full([3, 2, 5, 5], 1e4, &device);
    let bias = Tensor::from_floats([0.25, -3.0], &device);
    let found = batch_norm(x, Tensor::ones([2], &device), bias, None, options);
    assert_eq!(values(found.variance), [0.0, 0.0]);
    assert_close(&values(found.output.max_dim(0).max_dim(2).max_dim(3)), &[0.25, -3.0], 1e-6, "y");
}

#[test]
fn equal_to_burns_layer() {
    let case = Case { relu: false, shortcut: false, ..case([5, 6, 7, 3]) };
    let (x, [weight, bias], _) = inputs::<Ad>(&case);
    let mut layer = BatchNormConfig::new(6).init::<Ad>(&Default::default());
    layer.gamma = burn::module::Param::from_tensor(weight);
    layer.beta = burn::module::Param::from_tensor(bias);
    let ours = &run::<Ad>(&case, ALL)[0];
    assert_close(ours, &values(layer.forward(x)), 1e-5, "y");
}

#[test]
fn each_parent_gets_its_gradient_whatever_the_others_do() {
    for case in cases().into_iter().filter(|case| case.shape[0] == 7) {
        let all = run::<Ad>(&case, ALL);
        for tracked in 1..16_u8 {
            let tracked = [0, 1, 2, 3].map(|bit| tracked >> bit & 1 == 1);
            let mut expected = all[..3].to_vec();
            expected.extend(
                all[3..].iter().zip(tracked).filter(|(_, tracked)| *tracked).map(|(all, _)| all.clone()),
            );
            assert_eq!(run::<Ad>(&case, tracked), expected, "{tracked:?} {case:?}");
        }
    }
}

#[test]
fn backends_and_strategies_without_the_fast_path_agree() {
    for case in cases().into_iter().filter(|case| case.shape[0] == 7) {
        let tracked = &run::<Ad>(&case, ALL)[0];
        let (x, affine, shortcut) = inputs::<Flex>(&case);
        assert_eq!(&values(apply(&case, x, affine, shortcut).output), tracked);
        let balanced = run::<Autodiff<Flex, BalancedCheckpointing>>(&case, ALL);
        for (ours, burns) in run::<Ad>(&case, ALL).iter().zip(&balanced) {
            assert_close(ours, burns, 1e-4, &format!("{case:?}"));
        }
    }
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let bits = |case: &Case, threads: usize| -> Vec<Vec<u32>> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| run::<Ad>(case, ALL));
        found.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
    };
    for case in cases() {
        let one = bits(&case, 1);
        for threads in [2, 3] {
            assert!(bits(&case, threads) == one, "{threads} threads: {case:?}");
        }
    }
}

#[test]
fn tensors_that_are_views_are_read_in_their_order() {
    let case = case([3, 5, 6, 4]);
    let (x, affine, shortcut) = inputs::<Flex>(&case);
    let expected = values(apply(&case, x.clone(), affine.clone(), shortcut.clone()).output);
    let view = |t: Tensor<Flex, 4>| {
        let rows = t.dims()[0];
        Tensor::cat(vec![t.clone(), t], 0).swap_dims(1, 2).clone().swap_dims(1, 2).narrow(0, rows, rows)
    };
    let turned = |t: Tensor<Flex, 4>| t.swap_dims(2, 3).mul_scalar(1.0).swap_dims(2, 3);
    let found = apply(&case, view(x), affine, shortcut.map(turned));
    assert_eq!(values(found.output), expected);
}

#[test]
fn vectors_are_normalised_as_images_of_one_pixel() {
    let case = case([33, 3, 1, 1]);
    let (x, [weight, bias], shortcut) = inputs::<Flex>(&case);
    let options = BatchNormOptions { relu: true, ..Default::default() };
    let flat = shortcut.clone().map(|shortcut| shortcut.flatten::<2>(1, 3));
    let vectors = batch_norm(x.clone().flatten::<2>(1, 3), weight.clone(), bias.clone(), flat, options);
    assert_eq!(values(vectors.output), values(batch_norm(x, weight, bias, shortcut, options).output));
}

#[test]
fn an_empty_batch_has_an_empty_output() {
    let (_, [weight, bias], _) = inputs::<Flex>(&case([1, 3, 2, 2]));
    let x = Tensor::zeros([0, 3, 2, 2], &Default::default());
    assert_eq!(batch_norm(x, weight, bias, None, BatchNormOptions::default()).output.dims(), [0, 3, 2, 2]);
}

#[test]
fn nan_is_not_lost() {
    let case = Case { shortcut: false, ..case([2, 3, 4, 5]) };
    let (x, [weight, bias], _) = inputs::<Flex>(&case);
    let nan = Tensor::full([1, 1, 1, 1], f32::NAN, &Default::default());
    let x = x.slice_assign([1..2, 1..2, 3..4, 4..5], nan);
    let options = BatchNormOptions { relu: true, ..Default::default() };
    let found = batch_norm(x, weight, bias, None, options);
    let y = values(found.output);
    assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (i / 20 % 3 == 1)), "{y:?}");
}

#[test]
#[should_panic(expected = "one value for each channel")]
fn a_weight_of_another_length_is_refused() {
    let (x, [weight, _], _) = inputs::<Flex>(&case([2, 3, 4, 5]));
    batch_norm(x, weight, Tensor::zeros([4], &Default::default()), None, BatchNormOptions::default());
}

/// The same numbers as PyTorch 2.9:
///
/// ```python
/// import torch, torch.nn.functional as F
/// x = (torch.arange(2*3*2*3).reshape(2,3,2,3) * 7 % 11 - 3).float().requires_grad_()
/// s = (torch.arange(2*3*2*3).reshape(2,3,2,3) * 5 % 7 - 3).float().requires_grad_()
/// w = torch.tensor([1., -2., 0.5], requires_grad=True)
/// b = torch.tensor([0.5, 1., -1.], requires_grad=True)
/// mean, var = torch.zeros(3), torch.ones(3)
/// y = F.relu(F.batch_norm(x, mean, var, w, b, True, 0.1, 1e-5) + s)
/// y.backward((torch.arange(36).reshape(y.shape) * 3 % 5 - 2).float())
/// for t in (y, mean, var, x.grad, w.grad, b.grad, s.grad):
///     print([round(v, 6) for v in t.flatten().tolist()])
/// ```
mod pytorch {
    pub(super) const Y: [f32; 36] = [
        0.0, 3.320634, 0.049975, 0.273628, 4.002969, 0.73231, 0.0, 0.0, 5.617118, 0.0, 0.0, 7.245227,
        0.318896, 0.0, 0.0, 1.159448, 0.0, 0.0, 3.685304, 0.414645, 0.638299, 0.0, 1.096981, 1.320634,
        0.360902, 0.964143, 1.476576, 1.98901, 0.0, 3.104685, 0.0, 0.0, 1.840552, 0.0, 0.0, 0.0,
    ];
    pub(super) const MEAN: [f32; 3] = [0.141667, 0.216667, 0.2];
    pub(super) const VARIANCE: [f32; 3] = [1.981061, 2.006061, 1.972727];
    pub(super) const DX: [f32; 36] = [
        0.251772, 0.128446, -0.254889, 0.257115, -0.12622, -0.509555, -0.32696, 0.068834, -0.791589,
        -0.228012, 0.167782, -0.064532, -0.098191, 0.045042, 0.073418, -0.261693, 0.040988, 0.069364,
        0.572108, 0.188773, -0.887547, -0.000223, -0.065893, 0.446111, 0.266731, 0.830308, -0.658223,
        0.993788, -0.32696, 0.068834, 0.036934, 0.065311, -0.110353, 0.032881, 0.061257, 0.045042,
    ];
    pub(super) const DW: [f32; 3] = [7.491594, -6.019372, -0.956689];
    pub(super) const DB: [f32; 3] = [1.0, 1.0, -4.0];
    pub(super) const DS: [f32; 36] = [
        0.0, 1.0, -1.0, 2.0, 0.0, -2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -2.0, 0.0, 0.0, 2.0,
        0.0, -2.0, 0.0, -1.0, 2.0, 0.0, -2.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0,
    ];
}

fn check_pytorch<B: AutodiffBackend>() {
    let ramp = |factor: usize, modulus: usize, shift: f32| {
        let values: Vec<f32> = (0..36).map(|i| (i * factor % modulus) as f32 - shift).collect();
        Tensor::<B, 4>::from_data(TensorData::new(values, [2, 3, 2, 3]), &Default::default())
    };
    let x = ramp(7, 11, 3.0).require_grad();
    let shortcut = ramp(5, 7, 3.0).require_grad();
    let weight = Tensor::<B, 1>::from_floats([1.0, -2.0, 0.5], &Default::default()).require_grad();
    let bias = Tensor::<B, 1>::from_floats([0.5, 1.0, -1.0], &Default::default()).require_grad();
    let options = BatchNormOptions { relu: true, ..Default::default() };
    let BatchNorm { output, mean, variance } =
        batch_norm(x.clone(), weight.clone(), bias.clone(), Some(shortcut.clone()), options);
    assert_close(&values(output.clone()), &pytorch::Y, 1e-6, "y");
    assert_close(&values(mean * 0.1), &pytorch::MEAN, 1e-6, "mean");
    assert_close(&values(variance * 0.1 + 0.9), &pytorch::VARIANCE, 1e-6, "variance");
    let grads = (output * ramp(3, 5, 2.0)).sum().backward();
    assert_close(&values(x.grad(&grads).unwrap()), &pytorch::DX, 1e-6, "dx");
    assert_close(&values(weight.grad(&grads).unwrap()), &pytorch::DW, 1e-6, "dw");
    assert_close(&values(bias.grad(&grads).unwrap()), &pytorch::DB, 1e-6, "db");
    assert_close(&values(shortcut.grad(&grads).unwrap()), &pytorch::DS, 1e-6, "ds");
}

#[test]
fn flex_and_ndarray_give_pytorchs_numbers() {
    check_pytorch::<Ad>();
    check_pytorch::<Autodiff<NdArray>>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn close_on_any_shape(
        shape in (1..20_usize, 1..40_usize, 1..9_usize, 1..9_usize),
        [relu, shortcut, training] in any::<[bool; 3]>(),
    ) {
        let shape = [shape.0, shape.1, shape.2, shape.3];
        // Of one or two values nothing is left but the sign: gradients of `x` are differences of equal numbers.
        prop_assume!(shape[0] * shape[2] * shape[3] > 3);
        check_against_exact::<Ad>(&Case { shape, relu, shortcut, training, offset: 0.5 }, 1e-3);
    }
}
