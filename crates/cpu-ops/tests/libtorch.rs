//! On libtorch: the same output and gradients as Burn's own operations, and nothing written over that a backward
//! pass still reads. Needs libtorch at run time.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

#[path = "it/support.rs"]
mod support;

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{
        Int, Tensor,
        activation::relu,
        backend::{AutodiffBackend, Backend},
    },
};
use burn_tch::LibTorch;
use cpu_ops::{
    AttentionOptions, BatchNormOptions, Conv2dOptions, ConvTranspose2dOptions, Rule, State, Step, attention,
    batch_norm, batch_norm_eval, conv_transpose2d, conv2d, cross_entropy, cross_entropy_per_sample, dropout,
    gelu, gelu_tanh, group_norm, layer_norm, linear, linear_relu, log_softmax, self_attention, silu, softmax,
    update,
};

use support::{
    Function, assert_close, burns_own, case, cases_of_our_nets, run, tensor, uniform, values, whole,
};

type Ad = Autodiff<LibTorch>;
/// Goes through Burn's own operations.
type Burns = Autodiff<LibTorch, BalancedCheckpointing>;

/// A test that the function of some inputs gives the same output and gradients as by Burn's own operations.
macro_rules! as_burn {
    ($name:ident, [$($input:ident: $shape:expr),*], $forward:expr) => {
        #[test]
        fn $name() {
            fn found<B: AutodiffBackend>() -> Vec<Vec<f32>> {
                let mut seed = 0;
                $(seed += 1; let $input = tensor::<B, _>($shape, seed, uniform).require_grad();)*
                let y = {
                    $(let $input = $input.clone();)*
                    $forward
                };
                let mut grads = (y.clone() * tensor(y.dims(), seed + 1, uniform)).sum().backward();
                vec![values(y), $(values($input.grad_remove(&mut grads).unwrap())),*]
            }
            for (index, (ours, burns)) in found::<Ad>().iter().zip(found::<Burns>()).enumerate() {
                assert_close(ours, &burns, 2e-5, &format!("output and gradients, the one at {index}"));
            }
        }
    };
}

as_burn!(gelu_is_burns_own, [x: [3, 5, 7]], gelu(x.mul_scalar(4.0)));
as_burn!(gelu_by_tanh_is_burns_own, [x: [3, 5, 7]], gelu_tanh(x.mul_scalar(4.0)));
as_burn!(silu_is_burns_own, [x: [3, 5, 7]], silu(x.mul_scalar(4.0)));
as_burn!(softmax_is_burns_own, [x: [3, 5, 7]], softmax(x.mul_scalar(4.0)));
as_burn!(log_softmax_is_burns_own, [x: [3, 5, 7]], log_softmax(x.mul_scalar(4.0)));
as_burn!(linear_is_burns_own, [x: [3, 5, 7], w: [7, 4], b: [4]], linear(x, w, Some(b)));
as_burn!(linear_without_bias_is_burns_own, [x: [5, 7], w: [7, 4]], linear(x, w, None));
as_burn!(linear_and_relu_are_burns_own, [x: [3, 5, 7], w: [7, 4], b: [4]], linear_relu(x, w, Some(b)));
as_burn!(layer_norm_is_burns_own, [x: [3, 5, 7], w: [7], b: [7]], layer_norm(x, w, b, 1e-5));
as_burn!(group_norm_is_burns_own, [x: [3, 6, 4, 5], w: [6], b: [6]], group_norm(x, 3, w, b, 1e-5));
as_burn!(
    batch_norm_is_burns_own,
    [x: [4, 6, 3, 5], w: [6], b: [6]],
    batch_norm(x, w, b, None, BatchNormOptions::default()).output
);
as_burn!(
    batch_norm_with_shortcut_and_relu_is_burns_own,
    [x: [4, 6, 3, 5], w: [6], b: [6], shortcut: [4, 6, 3, 5]],
    batch_norm(x, w, b, Some(shortcut), BatchNormOptions { relu: true, ..Default::default() }).output
);
as_burn!(
    batch_norm_with_its_own_input_as_shortcut_is_burns_own,
    [x: [4, 6, 3, 5], w: [6], b: [6]],
    batch_norm(x.clone(), w, b, Some(x), BatchNormOptions::default()).output
);
as_burn!(batch_norm_by_given_statistics_is_burns_own, [x: [4, 6, 3, 5], w: [6], b: [6]], {
    let statistics = [tensor([6], 7, uniform), tensor([6], 8, uniform).add_scalar(2.0)];
    batch_norm_eval(x, [w, b], statistics, None, BatchNormOptions { relu: true, ..Default::default() })
});
as_burn!(
    attention_is_burns_own,
    [q: [2, 5, 12], k: [2, 6, 12], v: [2, 6, 12]],
    attention(q, k, v, AttentionOptions { heads: 3, scale: Some(0.7), ..Default::default() })
);
as_burn!(
    causal_self_attention_is_burns_own,
    [qkv: [2, 5, 36]],
    self_attention(qkv, AttentionOptions { heads: 3, causal: true, ..Default::default() })
);
as_burn!(transposed_convolution_is_burns_own, [x: [3, 6, 4, 5], w: [6, 2, 3, 4], b: [4]], {
    let options = ConvTranspose2dOptions {
        stride: [2, 3],
        padding: [1, 0],
        output_padding: [1, 2],
        groups: 2,
        relu: true,
    };
    conv_transpose2d(x, w, Some(b), options)
});
as_burn!(
    convolution_in_groups_is_burns_own,
    [x: [3, 6, 4, 5], w: [4, 3, 3, 2], b: [4]],
    conv2d(x, w, Some(b), Conv2dOptions { groups: 2, ..Default::default() })
);
as_burn!(cross_entropy_is_burns_own, [x: [6, 5]], cross_entropy(x.mul_scalar(4.0), targets(), 0.0));
as_burn!(cross_entropy_with_smoothing_is_burns_own, [x: [6, 5]], cross_entropy(x, targets(), 0.1));
as_burn!(
    cross_entropy_of_each_sample_is_burns_own,
    [x: [6, 5]],
    cross_entropy_per_sample(x, targets(), 0.1)
);

fn targets<B: Backend>() -> Tensor<B, 1, Int> {
    Tensor::from_ints([0, 4, 2, 2, 1, 3], &Default::default())
}

#[test]
fn the_statistics_of_batch_norm_are_burns_own_and_may_be_written_over() {
    fn found<B: AutodiffBackend>(shape: [usize; 2]) -> Vec<Vec<f32>> {
        let x = tensor::<B, 2>(shape, 1, uniform).require_grad();
        let [w, b] = [tensor([shape[1]], 2, uniform), tensor([shape[1]], 3, uniform)];
        let done = batch_norm(x.clone(), w, b, None, BatchNormOptions::default());
        let statistics = [done.mean, done.variance].map(|s| values(s.mul_scalar(3.0).add_scalar(1.0)));
        let grads = (done.output.clone() * done.output).sum().backward();
        [statistics.to_vec(), vec![values(x.grad(&grads).unwrap())]].concat()
    }
    for shape in [[5, 3], [1, 3]] {
        for (ours, burns) in found::<Ad>(shape).iter().zip(found::<Burns>(shape)) {
            assert_close(ours, &burns, 2e-5, &format!("{shape:?}"));
        }
    }
}

#[test]
fn the_last_query_of_causal_attention_is_at_the_last_key() {
    let options = AttentionOptions { causal: true, ..Default::default() };
    let [k, v] = [1, 2].map(|seed| tensor::<LibTorch, 3>([1, 3, 2], seed, uniform));
    let first = values(v.clone().narrow(1, 0, 1));
    let q = tensor([1, 4, 2], 3, uniform);
    let y = values(attention(q, k, v, options));
    assert_eq!(y[..2], [0.0, 0.0], "the first query is before all keys");
    assert_close(&y[2..4], &first, 1e-6, "the second sees the first key alone");
}

#[test]
fn dropout_scales_what_it_keeps_and_its_gradient_has_the_same_mask() {
    let device = Default::default();
    Ad::seed(&device, 7);
    let x = Tensor::<Ad, 1>::ones([10_000], &device).require_grad();
    let y = dropout(x.clone(), 0.25);
    let mask = values(x.grad(&y.clone().sum().backward()).unwrap());
    assert_eq!(values(y), mask);
    let kept = mask.iter().filter(|&&kept| kept != 0.0).count();
    assert!((7_300..7_700).contains(&kept), "{kept}");
    assert!(mask.iter().all(|&kept| kept == 0.0 || (kept - 4.0 / 3.0).abs() < 1e-6));
    Ad::seed(&device, 7);
    assert_eq!(values(dropout(x, 0.25)), mask);
}

#[test]
fn updates_by_adam_are_pytorchs_and_leave_alone_what_others_hold() {
    // import torch
    // for make in (torch.optim.Adam, torch.optim.AdamW):
    //     p = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    //     o = make([p], lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)
    //     a = torch.zeros(3)
    //     for g in ([0.5, -1.0, 0.0], [0.1, 2.0, -0.3]):
    //         p.grad = torch.tensor(g); o.step(); a.lerp_(p.detach(), 0.25)
    //     print(p, o.state[p]["exp_avg"], o.state[p]["exp_avg_sq"], a)
    let expected = [
        (
            false,
            [
                [0.8083966, -1.905508, 0.4200243],
                [0.202, 0.02999998, -0.012],
                [0.07129, 0.43489, 0.005265],
                [0.3708492, -0.8326271, 0.1800061],
            ],
        ),
        (
            true,
            [
                [0.7649158, -1.826313, 0.5470281],
                [0.1, 0.24, -0.06],
                [0.0235, 0.49, 0.009000001],
                [0.3543539, -0.8015783, 0.2276945],
            ],
        ),
    ];
    for (decoupled, expected) in expected {
        let vector = |values: [f32; 3]| Tensor::<LibTorch, 1>::from_data(values, &Default::default());
        let start = vector([1.0, -2.0, 0.5]);
        let mut state =
            State { value: start.clone(), first: None, second: None, average: Some(vector([0.0; 3])) };
        for (time, gradient) in [(1, [0.25, -0.5, 0.0]), (2, [0.05, 1.0, -0.15])] {
            let rule = Rule::Adam { betas: [0.8, 0.9], epsilon: 1e-8, time, decoupled };
            let step = Step { rule, learning_rate: 0.1, weight_decay: 0.3, keep: 0.75 };
            let twice = Tensor::from_data([2.0], &Default::default());
            state = update(&step, vector(gradient), Some(twice), state);
        }
        let State { value, first, second, average } = state;
        let found = [Some(value), first, second, average].map(|t| values(t.unwrap()));
        for (found, expected) in found.iter().zip(expected) {
            assert_close(found, &expected, 1e-6, "value, moments, average");
        }
        assert_eq!(values(start), [1.0, -2.0, 0.5]);
    }
}

#[test]
#[should_panic(expected = "Target -100 is out of bounds")]
fn no_target_is_ignored() {
    let targets = Tensor::from_ints([-100], &Default::default());
    cross_entropy(tensor::<LibTorch, 2>([1, 5], 1, uniform), targets, 0.0);
}

#[test]
fn a_convolution_is_burns_own_in_the_shapes_of_our_nets() {
    for case in cases_of_our_nets() {
        let ours = run::<Ad>(&case, uniform, conv2d);
        let burns = run::<Ad>(&case, uniform, burns_own);
        assert_eq!(ours.len(), if case.bias { 4 } else { 3 });
        for (what, (ours, burns)) in ["y", "dx", "dw", "db"].iter().zip(ours.iter().zip(&burns)) {
            assert_close(ours, burns, 1e-4, &format!("{what} of {case:?}"));
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
    let case = case([10, 3, 7, 7], 4, 3, 2, 1);
    assert_eq!(run::<Burns>(&case, whole, conv2d), run::<Ad>(&case, whole, conv2d));
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
        let options = Conv2dOptions { relu: true, max_pool, ..Default::default() };
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
