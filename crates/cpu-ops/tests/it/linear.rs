//! The fully connected layer: against Burn's own operations, PyTorch's numbers, and itself on other threads.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorData, activation::relu, backend::AutodiffBackend, backend::Backend, module},
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{linear, linear_relu};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::support::{Numbers, tensor, uniform, values, whole};

/// Rows, inputs, outputs, whether there is a bias and whether ReLU follows.
#[derive(Clone, Copy, Debug)]
struct Case([usize; 3], bool, bool);

type Function<B> = fn(Tensor<B, 3>, Tensor<B, 2>, Option<Tensor<B, 1>>, bool) -> Tensor<B, 3>;

fn ours<B: Backend>(
    x: Tensor<B, 3>,
    w: Tensor<B, 2>,
    b: Option<Tensor<B, 1>>,
    with_relu: bool,
) -> Tensor<B, 3> {
    if with_relu { linear_relu(x, w, b) } else { linear(x, w, b) }
}

fn burns<B: Backend>(
    x: Tensor<B, 3>,
    w: Tensor<B, 2>,
    b: Option<Tensor<B, 1>>,
    with_relu: bool,
) -> Tensor<B, 3> {
    let y = module::linear(x, w, b);
    if with_relu { relu(y) } else { y }
}

/// Output and gradients of rows, weights and bias; the rows are the first two of three dimensions, transposed.
fn run<B: AutodiffBackend>(case: Case, numbers: Numbers, function: Function<B>) -> Vec<Vec<f32>> {
    let Case([rows, inputs, outputs], bias, with_relu) = case;
    let x = tensor::<B, 3>([rows, 2, inputs], 1, numbers).require_grad();
    let w = tensor::<B, 2>([inputs, outputs], 2, numbers).require_grad();
    let b = bias.then(|| tensor::<B, 1>([outputs], 3, numbers).require_grad());
    let y = function(x.clone().swap_dims(0, 1), w.clone(), b.clone(), with_relu);
    let dy = tensor::<B, 3>([2, rows, outputs], 4, numbers);
    let grads = (y.clone() * dy).sum().backward();
    let mut found = vec![values(y), values(x.grad(&grads).unwrap()), values(w.grad(&grads).unwrap())];
    found.extend(b.map(|b| values(b.grad(&grads).unwrap())));
    found
}

#[test]
fn equal_to_burns_own_on_the_sizes_of_nets() {
    for size in [[32, 784, 512], [32, 512, 10], [32, 864, 128], [1, 864, 128], [500, 128, 96]] {
        for (bias, with_relu) in [(true, true), (true, false), (false, true), (false, false)] {
            let case = Case(size, bias, with_relu);
            let found = run::<Autodiff<Flex>>(case, whole, ours);
            assert!(found == run::<Autodiff<Flex>>(case, whole, burns), "{case:?}");
            assert!(found == run::<Autodiff<NdArray>>(case, whole, ours), "{case:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn equal_to_burns_own_on_any_size(
        rows in 1..40_usize, inputs in 1..60_usize, outputs in 1..60_usize, bias: bool, with_relu: bool,
    ) {
        let case = Case([rows, inputs, outputs], bias, with_relu);
        prop_assert_eq!(
            run::<Autodiff<Flex>>(case, whole, ours),
            run::<Autodiff<Flex>>(case, whole, burns)
        );
    }
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let bits = |case, threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| run::<Autodiff<Flex>>(case, uniform, ours));
        found.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>()
    };
    for size in [[32, 784, 512], [1, 864, 128], [700, 128, 96], [3, 1200, 1100]] {
        let case = Case(size, true, true);
        let one = bits(case, 1);
        for threads in [2, 3] {
            assert!(bits(case, threads) == one, "{threads} threads: {case:?}");
        }
    }
}

// import torch
// x = torch.tensor([[.5, -1, 2], [1., .25, -.75]], requires_grad=True)
// w = torch.tensor([[.1, -.2], [.3, .4], [-.5, .6]], requires_grad=True)
// b = torch.tensor([.05, -.1], requires_grad=True)
// y = torch.relu(x @ w + b); (y * torch.tensor([[1., 2], [3, 4]])).sum().backward()
// print([t.flatten().tolist() for t in (y, x.grad, w.grad, b.grad)])
#[test]
fn equal_to_pytorch() {
    fn check<B: AutodiffBackend>() {
        let device = Default::default();
        let x = Tensor::<B, 2>::from_floats([[0.5, -1.0, 2.0], [1.0, 0.25, -0.75]], &device).require_grad();
        let w = Tensor::<B, 2>::from_floats([[0.1, -0.2], [0.3, 0.4], [-0.5, 0.6]], &device).require_grad();
        let b = Tensor::<B, 1>::from_floats([0.05, -0.1], &device).require_grad();
        let y = linear_relu(x.clone(), w.clone(), Some(b.clone()));
        let dy = Tensor::<B, 2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
        let grads = (y.clone() * dy).sum().backward();
        let wanted: [&[f32]; 4] = [
            &[0.0, 0.6, 0.6, 0.0],
            &[-0.4, 0.8, 1.2, 0.3, 0.9, -1.5],
            &[3.0, 1.0, 0.75, -2.0, -2.25, 4.0],
            &[3.0, 2.0],
        ];
        let found = [
            values(y),
            values(x.grad(&grads).unwrap()),
            values(w.grad(&grads).unwrap()),
            values(b.grad(&grads).unwrap()),
        ];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(
                found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-6),
                "{found:?} is not {wanted:?}"
            );
        }
    }
    check::<Autodiff<Flex>>();
    check::<Autodiff<NdArray>>();
    check::<Autodiff<NdArray<f64>>>();
}

#[test]
fn each_input_may_go_without_a_gradient() {
    type B = Autodiff<Flex>;
    let all = run::<B>(Case([5, 6, 7], true, true), whole, ours);
    for wanted in [[true, false, false], [false, true, false], [false, false, true], [true, true, false]] {
        let mut x = tensor::<B, 3>([5, 2, 6], 1, whole);
        let mut w = tensor::<B, 2>([6, 7], 2, whole);
        let mut b = tensor::<B, 1>([7], 3, whole);
        if wanted[0] {
            x = x.require_grad();
        }
        if wanted[1] {
            w = w.require_grad();
        }
        if wanted[2] {
            b = b.require_grad();
        }
        let y = linear_relu(x.clone().swap_dims(0, 1), w.clone(), Some(b.clone()));
        let grads = (y * tensor::<B, 3>([2, 5, 7], 4, whole)).sum().backward();
        let found = [x.grad(&grads).map(values), w.grad(&grads).map(values), b.grad(&grads).map(values)];
        for ((found, all), wanted) in found.iter().zip(&all[1..]).zip(wanted) {
            assert_eq!(found.as_ref(), wanted.then_some(all));
        }
    }
}

#[test]
fn nan_is_not_lost_in_relu() {
    let x =
        Tensor::<Flex, 2>::from_data(TensorData::from([[f32::NAN, 1.0], [1.0, -1.0]]), &Default::default());
    let y = values(linear_relu(x, Tensor::ones([2, 1], &Default::default()), None));
    assert!(y[0].is_nan() && y[1] == 0.0);
}

#[test]
fn a_vector_is_a_row() {
    let x = Tensor::<Flex, 1>::from_floats([1.0, 2.0], &Default::default());
    let w = Tensor::<Flex, 2>::from_floats([[1.0, 0.0, 2.0], [0.5, 1.0, -1.0]], &Default::default());
    assert_eq!(values(linear(x, w, None)), [2.0, 2.0, 0.0]);
}

#[test]
#[should_panic(expected = "has to end with the 3 inputs")]
fn a_layer_for_other_inputs_is_refused() {
    let device = Default::default();
    linear(Tensor::<Flex, 2>::zeros([4, 2], &device), Tensor::zeros([3, 5], &device), None);
}
