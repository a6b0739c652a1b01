//! Layer normalisation: against Burn's own operations in 64 bits, PyTorch's numbers, and itself. The same as
//! PyTorch 2.9:
//!
//! ```python
//! import torch, torch.nn.functional as F
//! x = (torch.arange(48).reshape(2,4,2,3) * 7 % 11 - 3).float().requires_grad_()
//! w = torch.tensor([1., -2., 0.5, 3.], requires_grad=True)
//! b = torch.tensor([0.5, 1., -1., 0.], requires_grad=True)
//! y = F.layer_norm(x.reshape(12, 4), (4,), w, b, 1e-5)
//! y.backward((torch.arange(48) * 3 % 5 - 2).float().reshape(y.shape))
//! for t in (y, x.grad, w.grad, b.grad): print([round(v, 6) for v in t.flatten().tolist()])
//! ```

use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorData, backend::AutodiffBackend, backend::Backend},
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::layer_norm;
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::support::{assert_close, tensor, uniform, values};

type Ad = Autodiff<Flex>;
/// Not one of the fast backends.
type Exact = Autodiff<NdArray<f64>>;

/// Shape, what is added to every value.
type Case = ([usize; 3], f32);

const CASES: [Case; 6] = [
    ([64, 52, 128], 0.5),
    ([8, 52, 512], 0.5),
    ([3, 2, 20_000], 0.5),
    ([7, 19, 45], 0.5),
    ([5000, 1, 6], 0.5),
    ([1, 1, 7], 0.5),
];

fn inputs<B: Backend>((shape, offset): Case) -> (Tensor<B, 3>, [Tensor<B, 1>; 2]) {
    let x = tensor(shape, 1, uniform) + offset;
    (x, [tensor([shape[2]], 2, uniform) + 0.5, tensor([shape[2]], 3, uniform)])
}

/// Output, and the gradients of `x`, weight and bias, of those that are `tracked`.
fn run<B: AutodiffBackend>(case: Case, tracked: [bool; 3]) -> Vec<Vec<f32>> {
    let (x, [weight, bias]) = inputs::<B>(case);
    let x = x.set_require_grad(tracked[0]);
    let weight = weight.set_require_grad(tracked[1]);
    let bias = bias.set_require_grad(tracked[2]);
    let y = layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
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
    check_against_exact::<Autodiff<NdArray>>(([7, 19, 45], 0.5), 1e-5);
}

#[test]
fn a_mean_far_from_zero_costs_no_more_digits_than_it_has() {
    // The inputs themselves are rounded to 1e-4; the reference sees them before that.
    check_against_exact::<Ad>(([7, 19, 45], 1000.0), 5e-4);
}

#[test]
fn each_parent_gets_its_gradient_whatever_the_others_do() {
    let case = ([7, 19, 45], 0.5);
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
    let case = ([7, 19, 45], 0.5);
    let (x, [weight, bias]) = inputs::<Flex>(case);
    let turned = x.clone().swap_dims(0, 1).mul_scalar(1.0).swap_dims(0, 1);
    let apply = |x: Tensor<Flex, 3>| values(layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5));
    assert_eq!(apply(turned), apply(x));
}

#[test]
fn nan_is_not_lost_and_stays_where_it_is() {
    let case = ([7, 19, 45], 0.5);
    let (x, [weight, bias]) = inputs::<Flex>(case);
    let nan = Tensor::full([1; 3], f32::NAN, &Default::default());
    let x = x.slice_assign([3..4, 7..8, 11..12], nan);
    let y = values(layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5));
    assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (i / 45 == 3 * 19 + 7)), "{y:?}");
}

#[test]
fn an_empty_batch_has_an_empty_output() {
    let (_, [weight, bias]) = inputs::<Flex>(([7, 19, 45], 0.5));
    let x = Tensor::<Flex, 3>::zeros([0, 3, 45], &Default::default());
    assert_eq!(layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5).dims(), [0, 3, 45]);
}

#[test]
#[should_panic(expected = "one value for each place")]
fn a_weight_of_another_length_is_refused() {
    let (x, [weight, _]) = inputs::<Flex>(([7, 19, 45], 0.5));
    layer_norm(x, weight, Tensor::zeros([44], &Default::default()), 1e-5);
}

const Y: [f32; 48] = [
    -0.813064, -0.050451, -1.262613, 3.939192, 0.7, 3.799998, -0.300001, -0.599999, -0.222897, -2.052232,
    -0.879517, -3.132554, 0.7, 3.799998, -0.300001, -0.599999, -0.222897, -2.052232, -0.879517, -3.132554,
    1.544185, 1.481931, -1.763058, 2.168691, -0.222897, -2.052232, -0.879517, -3.132554, 1.544185, 1.481931,
    -1.763058, 2.168691, 0.7, 3.799998, -0.300001, -0.599999, 1.544185, 1.481931, -1.763058, 2.168691, 0.7,
    3.799998, -0.300001, -0.599999, -0.813064, -0.050451, -1.262613, 3.939192,
];
const DX: [f32; 48] = [
    0.213938, -0.958763, 0.105271, 0.639553, -0.064, 0.848, 0.651998, -1.435999, 0.041457, 0.269466,
    -0.549298, 0.238375, 0.568, 0.423998, 0.176001, -1.167999, 0.149243, 0.006219, -0.049748, -0.105714,
    -1.056103, -0.695432, 0.14717, 1.604365, 0.422855, 0.01762, -0.140952, -0.299524, -0.163753, -0.209355,
    0.06633, 0.306778, 0.568, 0.423998, 0.176001, -1.167999, 0.08084, 0.302632, -0.118151, -0.265321,
    -0.959999, -0.879999, -0.42, 2.259998, -0.279592, 1.024416, -0.039618, -0.705206,
];
const DW: [f32; 4] = [0.701622, -9.303569, 1.767081, 4.081755];
const DB: [f32; 4] = [-2.0, -1.0, 0.0, 1.0];

fn check_pytorch<B: AutodiffBackend>() {
    let device = Default::default();
    let ramp = |factor: usize, modulus: usize, shift: f32| {
        let values: Vec<f32> = (0..48).map(|i| (i * factor % modulus) as f32 - shift).collect();
        Tensor::<B, 3>::from_data(TensorData::new(values, [4, 3, 4]), &device)
    };
    let x = ramp(7, 11, 3.0).require_grad();
    let weight = Tensor::<B, 1>::from_floats([1.0, -2.0, 0.5, 3.0], &device).require_grad();
    let bias = Tensor::<B, 1>::from_floats([0.5, 1.0, -1.0, 0.0], &device).require_grad();
    let y = layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
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
    fn close_on_any_shape(outer in 1..20_usize, middle in 1..30_usize, width in 4..200_usize) {
        check_against_exact::<Ad>(([outer, middle, width], 0.5), 1e-3);
    }
}
