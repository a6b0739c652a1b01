//! Attention: the same as Burn's own operations and PyTorch's numbers, on any number of threads.

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{
        Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
        module,
        ops::AttentionModuleOptions,
    },
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{AttentionOptions, attention, padded_self_attention, self_attention};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::support::{tensor, uniform, values};

type Ad = Autodiff<Flex>;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    queries: usize,
    keys: usize,
    head: usize,
    options: AttentionOptions,
}

fn case([batch, queries, keys, heads, head]: [usize; 5], causal: bool) -> Case {
    Case { batch, queries, keys, head, options: AttentionOptions { heads, causal, scale: None } }
}

/// Shapes of the nets, blocks of queries of every kind, more queries than keys and one query alone.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        case([3, 50, 50, 4, 16], false),
        case([2, 52, 52, 4, 32], true),
        case([2, 130, 130, 2, 8], true),
        case([1, 65, 200, 3, 5], true),
        case([3, 7, 3, 2, 4], true),
        case([2, 1, 19, 2, 16], true),
        case([2, 5, 1, 1, 1], false),
    ];
    cases[1].options.scale = Some(0.7);
    cases
}

type Function<B> = fn(Tensor<B, 3>, Tensor<B, 3>, Tensor<B, 3>, AttentionOptions) -> Tensor<B, 3>;

fn burns_own<B: Backend>(
    q: Tensor<B, 3>,
    k: Tensor<B, 3>,
    v: Tensor<B, 3>,
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let [batch, queries, width] = q.dims();
    let [q, k, v] = [q, k, v].map(|x| {
        let tokens = x.dims()[1];
        x.reshape([batch, tokens, options.heads, width / options.heads]).swap_dims(1, 2)
    });
    let how = AttentionModuleOptions {
        scale: options.scale.map(f64::from),
        is_causal: options.causal,
        ..Default::default()
    };
    module::attention(q, k, v, None, None, how).swap_dims(1, 2).reshape([batch, queries, width])
}

fn packed<B: Backend>(
    q: Tensor<B, 3>,
    k: Tensor<B, 3>,
    v: Tensor<B, 3>,
    options: AttentionOptions,
) -> Tensor<B, 3> {
    self_attention(Tensor::cat(vec![q, k, v], 2), options)
}

fn inputs<B: Backend>(case: &Case) -> [Tensor<B, 3>; 3] {
    let width = case.options.heads * case.head;
    [(case.queries, 1), (case.keys, 2), (case.keys, 3)]
        .map(|(tokens, seed)| tensor::<B, 3>([case.batch, tokens, width], seed, uniform).mul_scalar(2.0))
}

/// Output, and gradients of queries, keys and values.
fn run<B: AutodiffBackend>(case: &Case, function: Function<B>) -> Vec<Vec<f32>> {
    let inputs = inputs::<B>(case).map(Tensor::require_grad);
    let [q, k, v] = inputs.clone();
    let y = function(q, k, v, case.options);
    let mut grads = (y.clone() * tensor(y.dims(), 4, uniform)).sum().backward();
    let mut found = vec![values(y)];
    found.extend(inputs.map(|input| values(input.grad_remove(&mut grads).unwrap())));
    found
}

/// Within 1e-5 of the largest number, for `dq` and `dk` of the largest term of their sums: these terms cancel
/// (with one key to nothing) and are about as large as `scale` times `dv`, whose own do not.
fn assert_close(ours: &[Vec<f32>], others: &[Vec<f32>], case: &Case) {
    let largest = |values: &[f32]| values.iter().fold(1.0_f32, |size, value| size.max(value.abs()));
    let terms = case.options.scale.unwrap_or(1.0) * others.get(3).map_or(0.0, |dv| largest(dv));
    for (name, (ours, others)) in ["y", "dq", "dk", "dv"].iter().zip(ours.iter().zip(others)) {
        assert_eq!(ours.len(), others.len());
        let size = largest(others).max(if matches!(*name, "dq" | "dk") { terms } else { 0.0 });
        for (a, b) in ours.iter().zip(others) {
            assert!((a - b).abs() <= 1e-5 * size, "{name}: {a} and {b}, of a size of {size}: {case:?}");
        }
    }
}

#[test]
fn the_same_as_burns_own_operations() {
    for case in cases() {
        let burns = run::<Ad>(&case, burns_own);
        assert_close(&run::<Ad>(&case, attention), &burns, &case);
        assert_close(&run::<Autodiff<NdArray>>(&case, attention), &burns, &case);
        assert_close(&run::<Autodiff<Flex, BalancedCheckpointing>>(&case, attention), &burns, &case);
        if case.queries == case.keys {
            assert_close(&run::<Ad>(&case, packed), &burns, &case);
            assert_close(&run::<Autodiff<NdArray>>(&case, packed), &burns, &case);
            assert_close(&run::<Autodiff<Flex, BalancedCheckpointing>>(&case, packed), &burns, &case);
        }
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let sizes = [1..5_usize, 1..80, 1..80, 1..5, 1..20];
    (sizes, any::<bool>(), proptest::option::of(0.01..2.0_f32)).prop_map(|(sizes, causal, scale)| {
        let mut case = case(sizes, causal);
        case.options.scale = scale;
        case
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_on_any_shape(case in any_case()) {
        let burns = run::<Ad>(&case, burns_own);
        assert_close(&run::<Ad>(&case, attention), &burns, &case);
        let square = Case { keys: case.queries, ..case };
        assert_close(&run::<Ad>(&square, packed), &run::<Ad>(&square, attention), &square);
    }
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let bits = |case: &Case, function, threads| -> Vec<Vec<u32>> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| run::<Ad>(case, function));
        found.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
    };
    for case in cases() {
        let one = bits(&case, attention, 1);
        for threads in [2, 3] {
            assert!(bits(&case, attention, threads) == one, "{threads} threads: {case:?}");
        }
        if case.queries == case.keys {
            assert!(bits(&case, packed, 3) == one, "packed: {case:?}");
        }
    }
}

#[test]
fn each_parent_gets_its_gradient_whatever_the_others_do() {
    let case = case([2, 6, 9, 2, 4], true);
    let all = run::<Ad>(&case, attention);
    for tracked in 0..8_u8 {
        let mut parent = 0;
        let inputs = inputs::<Ad>(&case).map(|input| {
            parent += 1;
            if tracked >> (parent - 1) & 1 == 1 { input.require_grad() } else { input }
        });
        let [q, k, v] = inputs.clone();
        let y = attention(q, k, v, case.options);
        assert_eq!(values(y.clone()), all[0]);
        if tracked == 0 {
            continue;
        }
        let grads = (y.clone() * tensor(y.dims(), 4, uniform)).sum().backward();
        for (parent, input) in inputs.iter().enumerate() {
            let wanted = tracked >> parent & 1 == 1;
            assert_eq!(input.grad(&grads).map(values), wanted.then(|| all[1 + parent].clone()));
        }
    }
}

#[test]
fn backends_without_gradients_and_views_give_the_same_output() {
    fn output<B: Backend>(case: &Case) -> Vec<f32> {
        let [q, k, v] = inputs::<B>(case);
        let expected = values(attention(q.clone(), k.clone(), v.clone(), case.options));
        let [q, k, v] = [q, k, v].map(|x| x.swap_dims(1, 2).mul_scalar(1.0).swap_dims(1, 2));
        assert_eq!(values(attention(q, k, v, case.options)), expected);
        expected
    }
    for case in cases() {
        let tracked = run::<Ad>(&case, attention).remove(0);
        assert_eq!(output::<Flex>(&case), tracked);
        assert_eq!(output::<NdArray>(&case), tracked);
        assert_close(&[output::<NdArray<f64>>(&case)], &[tracked], &case);
    }
}

#[test]
fn an_empty_batch_has_an_empty_output() {
    let qkv = Tensor::<Flex, 3>::zeros([0, 5, 12], &Default::default());
    assert_eq!(self_attention(qkv, AttentionOptions::default()).dims(), [0, 5, 4]);
    let qkv = Tensor::<Flex, 3>::zeros([2, 0, 12], &Default::default());
    assert_eq!(self_attention(qkv, AttentionOptions::default()).dims(), [2, 0, 4]);
}

/// Outputs and gradients of `qkv` `[sequences, 70, 3 * 8]`, of which each sequence is as long as it is said to be.
fn padded<B: AutodiffBackend>(lengths: &[usize], causal: bool) -> [Vec<f32>; 2] {
    let options = AttentionOptions { heads: 2, causal, scale: None };
    let qkv = tensor::<B, 3>([lengths.len(), 70, 24], 5, uniform).mul_scalar(2.0).require_grad();
    let y = padded_self_attention(qkv.clone(), &lengths.into(), options);
    let mut real = vec![0.0; lengths.len() * 70 * 8];
    for (row, length) in real.chunks_mut(70 * 8).zip(lengths) {
        row[..length * 8].fill(1.0);
    }
    let real = Tensor::from_data(TensorData::new(real, y.dims()), &Default::default());
    let y = y * real;
    let mut grads = (y.clone() * tensor(y.dims(), 4, uniform)).sum().backward();
    [values(y), values(qkv.grad_remove(&mut grads).unwrap())]
}

#[test]
fn what_fills_up_a_sequence_is_not_seen() {
    let lengths = [70, 69, 64, 17, 1];
    for causal in [false, true] {
        let [y, dqkv] = padded::<Ad>(&lengths, causal);
        for (i, &length) in lengths.iter().enumerate() {
            // Each sequence alone, cut to its length.
            let cut = |x: Tensor<Ad, 3>| x.narrow(0, i, 1).narrow(1, 0, length);
            let qkv = cut(tensor([5, 70, 24], 5, uniform).mul_scalar(2.0)).require_grad();
            let alone = self_attention(qkv.clone(), AttentionOptions { heads: 2, causal, scale: None });
            let mut grads = (alone.clone() * cut(tensor([5, 70, 8], 4, uniform))).sum().backward();
            let close = |ours: &[f32], others: Vec<f32>| {
                let (real, filling) = ours.split_at(others.len());
                assert!(real.iter().zip(&others).all(|(a, b)| (a - b).abs() < 2e-5), "{length} {causal}");
                assert!(filling.iter().all(|&value| value == 0.0));
            };
            close(&y[i * 560..(i + 1) * 560], values(alone));
            close(&dqkv[i * 1680..(i + 1) * 1680], values(qkv.grad_remove(&mut grads).unwrap()));
        }
        // By Burn's own operations with a mask.
        let burns = padded::<Autodiff<NdArray<f64>>>(&lengths, causal);
        for (ours, burns) in [y, dqkv].iter().zip(&burns) {
            assert!(ours.iter().zip(burns).all(|(a, b)| (a - b).abs() < 2e-5), "{causal}");
        }
    }
}

#[test]
fn nan_and_large_scores_are_as_in_the_formula() {
    let options = AttentionOptions { heads: 1, causal: true, scale: Some(1.0) };
    let device = Default::default();
    let row = |values: [f32; 3]| Tensor::<Flex, 1>::from_floats(values, &device).reshape([1, 3, 1]);
    let ones = Tensor::ones([1, 3, 1], &device);
    let y = values(attention(ones.clone(), row([500.0, 400.0, -800.0]), row([1.0, 2.0, 3.0]), options));
    assert_eq!(y, [1.0, 1.0, 1.0]);
    let y = values(attention(ones.clone(), row([0.0, f32::NAN, 0.0]), row([1.0; 3]), options));
    assert!(y[0] == 1.0 && y[1].is_nan() && y[2].is_nan(), "{y:?}");
    let y = values(attention(row([0.0, f32::NAN, 0.0]), ones.clone(), row([1.0, 3.0, 5.0]), options));
    assert!(y[0] == 1.0 && y[1].is_nan() && y[2] == 3.0, "{y:?}");
}

/// The same numbers as PyTorch 2.9:
///
/// ```python
/// import torch, torch.nn.functional as F
/// def ramp(*shape, m, d):
///     n = torch.Size(shape).numel()
///     return ((torch.arange(n) * m % d) - d // 2).float().div(4).reshape(shape).requires_grad_()
/// q, k, v = ramp(2, 2, 4, m=5, d=11), ramp(2, 3, 4, m=7, d=13), ramp(2, 3, 4, m=3, d=7)
/// heads = lambda x: x.view(2, -1, 2, 2).transpose(1, 2)
/// mask = torch.ones(2, 3).tril(1).bool()
/// y = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), attn_mask=mask)
/// y = y.transpose(1, 2).reshape(2, 2, 4)
/// y.backward(ramp(2, 2, 4, m=3, d=5).detach())
/// for t in (y, q.grad, k.grad, v.grad): print([round(x, 6) for x in t.flatten().tolist()])
/// ```
#[test]
fn pytorchs_numbers() {
    const Y: [f32; 16] = [
        -0.260902, -0.195639, 0.456261, -0.543739, -0.042382, 0.130314, 0.25, -0.166667, 0.069901, 0.02204,
        -0.234349, -0.206261, 0.255599, -0.392713, -0.024525, 0.155577,
    ];
    const DQ: [f32; 16] = [
        -0.063157, -0.063157, -0.01071, -0.01071, -0.049494, -0.049494, -0.05156, -0.05156, 0.054813,
        0.054813, -0.064262, -0.064262, -0.066734, -0.066734, -0.051481, -0.051481,
    ];
    const DK: [f32; 24] = [
        -0.145156, -0.006368, 0.052556, -0.031135, 0.231408, -0.036758, -0.000996, -0.020425, -0.086252,
        0.043126, -0.05156, 0.05156, -0.054813, 0.200263, 0.028696, -0.146915, 0.054813, -0.124064,
        -0.051001, 0.236136, 0.0, -0.076199, 0.022305, -0.089221,
    ];
    const DV: [f32; 24] = [
        -0.304361, 0.013963, -0.019797, 0.122927, -0.195639, -0.067124, -0.063536, 0.210406, 0.0, -0.196838,
        0.083333, -0.083333, 0.221799, 0.100482, -0.293739, 0.021968, 0.149799, 0.156323, -0.206261,
        -0.059698, -0.121598, 0.243195, 0.0, -0.21227,
    ];
    fn ramp<B: Backend>(tokens: usize, factor: usize, modulus: usize) -> Tensor<B, 3> {
        let value = |i| ((i * factor % modulus) as f32 - (modulus / 2) as f32) / 4.0;
        let values: Vec<f32> = (0..8 * tokens).map(value).collect();
        Tensor::from_data(TensorData::new(values, [2, tokens, 4]), &Default::default())
    }
    fn check<B: AutodiffBackend>() {
        let inputs = [(2, 5, 11), (3, 7, 13), (3, 3, 7)].map(|(n, m, d)| ramp::<B>(n, m, d).require_grad());
        let [q, k, v] = inputs.clone();
        let y = attention(q, k, v, AttentionOptions { heads: 2, causal: true, scale: None });
        let grads = (y.clone() * ramp(2, 3, 5)).sum().backward();
        let [dq, dk, dv] = inputs.map(|input| values(input.grad(&grads).unwrap()));
        for (ours, theirs) in [(values(y), &Y[..]), (dq, &DQ), (dk, &DK), (dv, &DV)] {
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6), "{ours:?} {theirs:?}");
        }
    }
    check::<Ad>();
    check::<Autodiff<NdArray>>();
}

#[test]
#[should_panic(expected = "a width of 10 cannot be shared by 4 heads")]
fn heads_that_cannot_share_the_width_are_refused() {
    let qkv = Tensor::<Flex, 3>::zeros([1, 2, 30], &Default::default());
    self_attention(qkv, AttentionOptions { heads: 4, ..Default::default() });
}

#[test]
#[should_panic(expected = "a scale of -1 is not a finite number above 0")]
fn a_negative_scale_is_refused() {
    let qkv = Tensor::<Flex, 3>::zeros([1, 2, 6], &Default::default());
    self_attention(qkv, AttentionOptions { scale: Some(-1.0), ..Default::default() });
}
