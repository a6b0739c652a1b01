//! Group normalisation: against Burn's own operations in 64 bits, PyTorch's numbers, and itself. The same as
//! PyTorch 2.9:
//!
//! ```python
//! import torch, torch.nn.functional as F
//! x = (torch.arange(48).reshape(2,4,2,3) * 7 % 11 - 3).float().requires_grad_()
//! w = torch.tensor([1., -2., 0.5, 3.], requires_grad=True)
//! b = torch.tensor([0.5, 1., -1., 0.], requires_grad=True)
//! y = F.group_norm(x, 2, w, b, 1e-5)
//! y.backward((torch.arange(48) * 3 % 5 - 2).float().reshape(y.shape))
//! for t in (y, x.grad, w.grad, b.grad): print([round(v, 6) for v in t.flatten().tolist()])
//! ```

use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorData, backend::AutodiffBackend, backend::Backend},
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::group_norm;
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::support::{assert_close, tensor, uniform, values};

type Ad = Autodiff<Flex>;
/// Not one of the fast backends.
type Exact = Autodiff<NdArray<f64>>;

/// Shape, number of groups, what is added to every value.
type Case = ([usize; 4], usize, f32);

const CASES: [Case; 6] = [
    ([16, 32, 26, 26], 8, 0.5),
    ([5, 16, 28, 28], 1, 0.5),
    ([9, 64, 7, 7], 64, 0.5),
    ([7, 18, 3, 5], 6, 0.5),
    ([33, 6, 1, 1], 2, 0.5),
    ([1, 2, 5, 1], 1, 0.5),
];

fn inputs<B: Backend>((shape, _, offset): Case) -> (Tensor<B, 4>, [Tensor<B, 1>; 2]) {
    let x = tensor(shape, 1, uniform) + offset;
    (x, [tensor([shape[1]], 2, uniform) + 0.5, tensor([shape[1]], 3, uniform)])
}

/// Output, and the gradients of `x`, weight and bias, of those that are `tracked`.
fn run<B: AutodiffBackend>(case: Case, tracked: [bool; 3]) -> Vec<Vec<f32>> {
    let (x, [weight, bias]) = inputs::<B>(case);
    let x = x.set_require_grad(tracked[0]);
    let weight = weight.set_require_grad(tracked[1]);
    let bias = bias.set_require_grad(tracked[2]);
    let y = group_norm(x.clone(), case.1, weight.clone(), bias.clone(), 1e-5);
    let mut found = vec![values(y.clone())];
    if tracked.contains(&true) {
        let grads = (y * tensor(case.0, 4, uniform)).sum().backward();
        found.extend(x.grad(&grads).map(values));
        found.extend(weight.grad(&grads).map(values));
        found.extend(bias.grad(&grads).map(values));
    }
    found
}

const ALL: [bool; 3] = [true; 3];

fn check_against_exact<B: AutodiffBackend>(case: Case, tolerance: f32) {
    let ours = run::<B>(case, ALL);
    let exact = run::<Exact>(case, ALL);
    for (what, (ours, exact)) in ["y", "dx", "dw", "db"].iter().zip(ours.iter().zip(&exact)) {
        assert_close(ours, exact, tolerance, &format!("{what} of {case:?}"));
    }
}

#[test]
fn close_to_burns_operations_in_64_bits() {
    for case in CASES {
        check_against_exact::<Ad>(case, 1e-5);
    }
    check_against_exact::<Autodiff<NdArray>>(([7, 18, 3, 5], 6, 0.5), 1e-5);
}

#[test]
fn a_mean_far_from_zero_costs_no_more_digits_than_it_has() {
    // The inputs themselves are rounded to 1e-4; the reference sees them before that.
    check_against_exact::<Ad>(([7, 18, 3, 5], 6, 1000.0), 5e-4);
}

#[test]
fn each_parent_gets_its_gradient_whatever_the_others_do() {
    let case = ([7, 18, 3, 5], 6, 0.5);
    let all = run::<Ad>(case, ALL);
    for tracked in 0..8_u8 {
        let tracked = [0, 1, 2].map(|bit| tracked >> bit & 1 == 1);
        let mut expected = all[..1].to_vec();
        expected
            .extend(all[1..].iter().zip(tracked).filter(|(_, tracked)| *tracked).map(|(all, _)| all.clone()));
        assert_eq!(run::<Ad>(case, tracked), expected, "{tracked:?}");
    }
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let bits = |case: Case, threads: usize| -> Vec<Vec<u32>> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| run::<Ad>(case, ALL));
        found.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
    };
    for case in CASES {
        let one = bits(case, 1);
        for threads in [2, 3] {
            assert!(bits(case, threads) == one, "{threads} threads: {case:?}");
        }
    }
}

#[test]
fn tensors_that_are_views_are_read_in_their_order() {
    let case = ([7, 18, 3, 5], 6, 0.5);
    let (x, [weight, bias]) = inputs::<Flex>(case);
    let turned = x.clone().swap_dims(0, 1).mul_scalar(1.0).swap_dims(0, 1);
    let apply =
        |x: Tensor<Flex, 4>| values(group_norm(x.clone(), case.1, weight.clone(), bias.clone(), 1e-5));
    assert_eq!(apply(turned), apply(x));
}

#[test]
fn nan_is_not_lost_and_stays_where_it_is() {
    let case = ([7, 18, 3, 5], 6, 0.5);
    let (x, [weight, bias]) = inputs::<Flex>(case);
    let nan = Tensor::full([1; 4], f32::NAN, &Default::default());
    let x = x.slice_assign([3..4, 7..8, 2..3, 4..5], nan);
    let y = values(group_norm(x.clone(), case.1, weight.clone(), bias.clone(), 1e-5));
    assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (i / 45 == 3 * 6 + 2)), "{y:?}");
}

#[test]
fn an_empty_batch_has_an_empty_output() {
    let (_, [weight, bias]) = inputs::<Flex>(([7, 18, 3, 5], 6, 0.5));
    let x = Tensor::<Flex, 4>::zeros([0, 18, 2, 2], &Default::default());
    assert_eq!(group_norm(x.clone(), 6, weight.clone(), bias.clone(), 1e-5).dims(), [0, 18, 2, 2]);
}

#[test]
#[should_panic(expected = "5 groups do not divide")]
fn groups_that_do_not_divide_the_channels_are_refused() {
    let (x, [weight, bias]) = inputs::<Flex>(([7, 18, 3, 5], 6, 0.5));
    group_norm(x, 5, weight, bias, 1e-5);
}

const Y: [f32; 48] = [
    -0.877153, 1.226135, 0.024256, 2.127544, 0.925665, -0.276213, -1.654149, 0.749609, 3.153366, -1.05321,
    1.350548, 3.754306, -0.702158, -1.351995, -0.214781, -0.864617, -1.514454, -0.37724, -0.162459,
    -4.061476, 2.761803, -1.137213, -5.03623, 1.787049, -0.095683, 2.178743, 0.879071, -0.420601, 1.853825,
    0.554153, 3.491038, -1.057814, 1.54153, 4.140874, -0.407978, 2.191366, -0.311424, -0.912363, -1.513302,
    -0.461658, -1.062598, -1.663537, 2.32864, -1.276996, -4.882632, 1.427231, -2.178405, 4.131459,
];
const DX: [f32; 48] = [
    -0.062167, 0.169356, -0.048791, 0.182731, -0.035416, -0.253563, -0.923449, 0.661222, -0.758804,
    -0.226812, 1.357859, -0.062167, -0.298715, 0.16103, -0.115532, -0.468082, -0.008337, -0.284899, 1.799436,
    -0.177704, -2.078856, 0.817774, -1.159367, 1.813252, -0.157218, -0.620298, 0.247738, -0.508816, 0.652695,
    -0.103859, 1.089095, -0.673657, 0.519297, -1.536929, -0.050501, 1.142454, 0.730452, -0.021758, -0.022794,
    0.467282, -0.284928, -0.285964, -0.547062, 1.705425, -0.549134, -1.561406, 0.691081, -0.321192,
];
const DW: [f32; 4] = [9.413536, -0.13689, -6.747631, -4.14079];
const DB: [f32; 4] = [-2.0, -1.0, 0.0, 1.0];

fn check_pytorch<B: AutodiffBackend>() {
    let device = Default::default();
    let ramp = |factor: usize, modulus: usize, shift: f32| {
        let values: Vec<f32> = (0..48).map(|i| (i * factor % modulus) as f32 - shift).collect();
        Tensor::<B, 4>::from_data(TensorData::new(values, [2, 4, 2, 3]), &device)
    };
    let x = ramp(7, 11, 3.0).require_grad();
    let weight = Tensor::<B, 1>::from_floats([1.0, -2.0, 0.5, 3.0], &device).require_grad();
    let bias = Tensor::<B, 1>::from_floats([0.5, 1.0, -1.0, 0.0], &device).require_grad();
    let y = group_norm(x.clone(), 2, weight.clone(), bias.clone(), 1e-5);
    assert_close(&values(y.clone()), &Y, 1e-6, "y");
    let grads = (y * ramp(3, 5, 2.0)).sum().backward();
    assert_close(&values(x.grad(&grads).unwrap()), &DX, 1e-6, "dx");
    assert_close(&values(weight.grad(&grads).unwrap()), &DW, 1e-6, "dw");
    assert_close(&values(bias.grad(&grads).unwrap()), &DB, 1e-6, "db");
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
        (batch, groups, channels) in (1..20_usize, 1..7_usize, 1..7_usize),
        (height, width) in (1..9_usize, 1..9_usize),
    ) {
        // Of one or two values little is left but the sign: gradients of `x` are differences of equal numbers.
        prop_assume!(channels * height * width > 3);
        check_against_exact::<Ad>(([batch, groups * channels, height, width], groups, 0.5), 1e-3);
    }
}
