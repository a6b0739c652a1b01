//! Which parts take part: frozen parents, backends without gradients, ways to the fallback, odd tensors.

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{Tensor, backend::Backend},
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{Conv2dOptions, conv2d};

use crate::support::{Case, burns_own, case, run, tensor, values, whole};

type Ad = Autodiff<Flex>;

fn pooled() -> Case {
    let mut case = case([9, 2, 8, 11], 5, 3, 1, 1);
    case.options.max_pool = true;
    case
}

fn cases() -> [Case; 2] {
    [pooled(), case([10, 3, 7, 7], 4, 3, 2, 1)]
}

fn parts<B: Backend>(case: &Case) -> (Tensor<B, 4>, Tensor<B, 4>, Tensor<B, 1>) {
    let [height, width] = case.kernel;
    let w = tensor([case.outputs, case.images[1], height, width], 2, whole);
    (tensor(case.images, 1, whole), w, tensor([case.outputs], 3, whole))
}

#[test]
fn each_parent_gets_its_gradient_whatever_the_others_do() {
    for case in cases() {
        let all = run::<Ad>(&case, whole, conv2d);
        for tracked in 0..8_u8 {
            let wants = |bit: u8| tracked >> bit & 1 == 1;
            let (mut x, mut w, mut b) = parts::<Ad>(&case);
            if wants(0) {
                x = x.require_grad();
            }
            if wants(1) {
                w = w.require_grad();
            }
            if wants(2) {
                b = b.require_grad();
            }
            let y = conv2d(x.clone(), w.clone(), Some(b.clone()), case.options);
            assert_eq!(values(y.clone()), all[0]);
            if tracked == 0 {
                continue;
            }
            let grads = (y.clone() * tensor(y.dims(), 4, whole)).sum().backward();
            assert_eq!(x.grad(&grads).map(values), wants(0).then(|| all[1].clone()));
            assert_eq!(w.grad(&grads).map(values), wants(1).then(|| all[2].clone()));
            assert_eq!(b.grad(&grads).map(values), wants(2).then(|| all[3].clone()));
        }
    }
}

#[test]
fn backends_without_gradients_give_the_same_output() {
    fn output<B: Backend>(case: &Case) -> Vec<f32> {
        let (x, w, b) = parts::<B>(case);
        values(conv2d(x, w, Some(b), case.options))
    }
    for case in cases() {
        let tracked = run::<Ad>(&case, whole, conv2d).remove(0);
        assert_eq!(output::<Flex>(&case), tracked);
        assert_eq!(output::<NdArray>(&case), tracked);
        assert_eq!(output::<NdArray<f64>>(&case), tracked, "by Burn's own operations");
    }
}

#[test]
fn other_checkpointing_strategies_go_through_burns_own_operations() {
    type Balanced = Autodiff<Flex, BalancedCheckpointing>;
    for case in cases() {
        assert_eq!(run::<Balanced>(&case, whole, conv2d), run::<Ad>(&case, whole, conv2d));
    }
}

#[test]
fn an_output_used_twice_and_images_used_twice_add_their_gradients() {
    let case = case([3, 2, 6, 6], 2, 3, 1, 1);
    let gradient = |function: crate::support::Function<Ad>| {
        let (x, w, b) = parts::<Ad>(&case);
        let x = x.require_grad();
        let y = function(x.clone(), w.clone(), Some(b.clone()), case.options);
        let y = function(y.clone(), w, Some(b), case.options) + y + x.clone();
        values(x.grad(&y.sum().backward()).unwrap())
    };
    assert_eq!(gradient(conv2d), gradient(burns_own));
}

#[test]
fn tensors_that_are_views_are_read_in_their_order() {
    fn check<B: Backend>() {
        let case = case([3, 5, 6, 4], 2, 3, 1, 1);
        let (x, w, b) = parts::<B>(&case);
        let expected = values(conv2d(x.clone(), w.clone(), Some(b.clone()), case.options));
        let view = |t: Tensor<B, 4>| Tensor::cat(vec![t.clone(), t], 0).swap_dims(2, 3);
        let back = |t: Tensor<B, 4>, count: usize| t.swap_dims(2, 3).narrow(0, count, count);
        let [x, w] = [back(view(x), 3), back(view(w), 2)];
        assert_eq!(values(conv2d(x, w, Some(b), case.options)), expected);
    }
    check::<Flex>();
    check::<NdArray>();
}

#[test]
fn an_empty_batch_has_an_empty_output() {
    let (_, w, b) = parts::<Flex>(&pooled());
    let x = Tensor::zeros([0, 2, 8, 11], &Default::default());
    assert_eq!(conv2d(x, w, Some(b), pooled().options).dims(), [0, 5, 4, 5]);
}

#[test]
fn nan_is_not_lost() {
    let device = Default::default();
    for max_pool in [false, true] {
        let options = Conv2dOptions { relu: true, max_pool, ..Default::default() };
        for pixel in 0..4 {
            let mut image = [-1.0_f32; 4];
            image[pixel] = f32::NAN;
            let x = Tensor::<Flex, 1>::from_data(image, &device).reshape([1, 1, 2, 2]);
            let y = values(conv2d(x, Tensor::ones([1, 1, 1, 1], &device), None, options));
            let expected = if max_pool { 0 } else { pixel };
            assert!(y[expected].is_nan(), "pixel {pixel}, pooling {max_pool}: {y:?}");
        }
    }
}
