//! On libtorch: the same output and gradients as Burn's own operations, and nothing written over that a backward
//! pass still reads. Needs libtorch at run time.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

#[path = "it/support.rs"]
mod support;

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{Tensor, activation::relu},
};
use burn_tch::LibTorch;
use cpu_ops::conv2d;

use support::{Function, burns_own, case, cases_of_our_nets, run, tensor, uniform, values, whole};

type Ad = Autodiff<LibTorch>;

#[test]
fn a_convolution_is_burns_own_in_the_shapes_of_our_nets() {
    for case in cases_of_our_nets() {
        let ours = run::<Ad>(&case, uniform, conv2d);
        let burns = run::<Ad>(&case, uniform, burns_own);
        assert_eq!(ours.len(), if case.bias { 4 } else { 3 });
        for (what, (ours, burns)) in ["y", "dx", "dw", "db"].iter().zip(ours.iter().zip(&burns)) {
            assert_eq!(ours.len(), burns.len());
            let size = burns.iter().fold(0.0_f32, |size, value| size.max(value.abs()));
            let off = ours.iter().zip(burns).fold(0.0_f32, |off, (a, b)| off.max((a - b).abs()));
            assert!(off <= 1e-4 * size, "{what} is off by {off} where the largest is {size}: {case:?}");
        }
    }
}

#[test]
fn each_parent_gets_its_gradient_whatever_the_others_do() {
    let mut case = case([9, 2, 8, 11], 5, 3, 1, 1);
    case.options.max_pool = true;
    let all = run::<Ad>(&case, whole, conv2d);
    assert_eq!(all, run::<Ad>(&case, whole, burns_own));
    for tracked in 0..8_u8 {
        let wants = |bit: u8| tracked >> bit & 1 == 1;
        let x = tensor::<Ad, 4>(case.images, 1, whole).set_require_grad(wants(0));
        let w = tensor::<Ad, 4>([5, 2, 3, 3], 2, whole).set_require_grad(wants(1));
        let b = tensor::<Ad, 1>([5], 3, whole).set_require_grad(wants(2));
        let y = conv2d(x.clone(), w.clone(), Some(b.clone()), case.options);
        assert_eq!(values(y.clone()), all[0]);
        let plain = conv2d(x.clone().inner(), w.clone().inner(), Some(b.clone().inner()), case.options);
        assert_eq!(values(plain), all[0]);
        if tracked == 0 {
            continue;
        }
        let grads = (y.clone() * tensor(y.dims(), 4, whole)).sum().backward();
        assert_eq!(x.grad(&grads).map(values), wants(0).then(|| all[1].clone()));
        assert_eq!(w.grad(&grads).map(values), wants(1).then(|| all[2].clone()));
        assert_eq!(b.grad(&grads).map(values), wants(2).then(|| all[3].clone()));
    }
}

#[test]
fn other_checkpointing_strategies_go_through_burns_own_operations() {
    type Balanced = Autodiff<LibTorch, BalancedCheckpointing>;
    let case = case([10, 3, 7, 7], 4, 3, 2, 1);
    assert_eq!(run::<Balanced>(&case, whole, conv2d), run::<Ad>(&case, whole, conv2d));
}

#[test]
fn an_output_used_twice_and_images_used_twice_add_their_gradients() {
    let case = case([3, 2, 6, 6], 2, 3, 1, 1);
    let gradient = |function: Function<Ad>| {
        let x = tensor::<Ad, 4>(case.images, 1, whole).require_grad();
        let w = tensor::<Ad, 4>([2, 2, 3, 3], 2, whole);
        let y = function(x.clone(), w.clone(), None, case.options);
        let y = function(y.clone(), w, None, case.options) + y + x.clone();
        values(x.grad(&y.sum().backward()).unwrap())
    };
    assert_eq!(gradient(conv2d), gradient(burns_own));
}

#[test]
fn burn_does_not_write_over_what_the_backward_pass_reads() {
    // Burn works in place on a tensor that nobody else holds: the images, the result of ReLU and its gradient.
    let case = case([3, 2, 6, 6], 2, 3, 1, 1);
    let gradients = |function: Function<Ad>| {
        let w = tensor::<Ad, 4>([2, 2, 3, 3], 2, whole).require_grad();
        let x = tensor::<Ad, 4>(case.images, 1, whole).require_grad();
        let y = function(x.clone().mul_scalar(2.0), w.clone(), None, case.options);
        let z = relu(y.mul_scalar(3.0).add_scalar(-1.0)).add_scalar(1.0);
        let grads = (z.clone() * z).sum().backward();
        [values(x.grad(&grads).unwrap()), values(w.grad(&grads).unwrap())]
    };
    assert_eq!(gradients(conv2d), gradients(burns_own));
    let w = tensor::<Ad, 4>([2, 2, 3, 3], 2, whole).require_grad();
    let x = tensor::<Ad, 4>(case.images, 1, whole);
    let y = conv2d(x.clone(), w.clone(), None, case.options);
    let _overwritten = x.inner().mul_scalar(0.0);
    let expected = run::<Ad>(&support::Case { bias: false, ..case }, whole, conv2d).remove(2);
    let grads = (y.clone() * tensor(y.dims(), 4, whole)).sum().backward();
    assert_eq!(values(w.grad(&grads).unwrap()), expected);
}

#[test]
fn without_libtorchs_own_recording_gradients_are_the_same() {
    let case = case([10, 3, 7, 7], 4, 3, 2, 1);
    assert_eq!(tch::no_grad(|| run::<Ad>(&case, whole, conv2d)), run::<Ad>(&case, whole, conv2d));
}

#[test]
fn nan_is_not_lost() {
    for max_pool in [false, true] {
        let options = cpu_ops::Conv2dOptions { relu: true, max_pool, ..Default::default() };
        let x = Tensor::<LibTorch, 1>::from_data([-1.0, -1.0, f32::NAN, -1.0], &Default::default());
        let y = values(conv2d(
            x.reshape([1, 1, 2, 2]),
            Tensor::ones([1, 1, 1, 1], &Default::default()),
            None,
            options,
        ));
        assert!(y[if max_pool { 0 } else { 2 }].is_nan(), "pooling {max_pool}: {y:?}");
    }
}
