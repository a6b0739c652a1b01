//! GELU, SiLU, softmax and log-softmax: one tensor in, one of the same shape out.

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{
        Tensor, TensorData, activation,
        backend::{AutodiffBackend, Backend},
    },
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::support::{tensor, uniform, values};

type Ad = Autodiff<Flex>;
type Function<B, const D: usize> = fn(Tensor<B, D>) -> Tensor<B, D>;

/// Name, ours, Burn's own.
fn functions<B: Backend, const D: usize>() -> [(&'static str, Function<B, D>, Function<B, D>); 5] {
    [
        ("gelu", cpu_ops::gelu, activation::gelu),
        ("gelu_tanh", cpu_ops::gelu_tanh, activation::gelu_approximate),
        ("silu", cpu_ops::silu, activation::silu),
        ("softmax", cpu_ops::softmax, |x| activation::softmax(x, D - 1)),
        ("log_softmax", cpu_ops::log_softmax, |x| activation::log_softmax(x, D - 1)),
    ]
}

/// Numbers in (-8, 8).
fn wide(count: usize, seed: u32) -> Vec<f32> {
    uniform(count, seed).into_iter().map(|value| value * 8.0).collect()
}

/// Output and gradient, where the output's gradient is random too.
fn run<B: AutodiffBackend, const D: usize>(shape: [usize; D], function: Function<B, D>) -> [Vec<f32>; 2] {
    let x = tensor::<B, D>(shape, 1, wide).require_grad();
    let y = function(x.clone());
    let grads = (y.clone() * tensor(shape, 2, uniform)).sum().backward();
    [values(y), values(x.grad(&grads).unwrap())]
}

/// Fails where `found` is further from `wanted` than `tolerance`, relative to the larger of 1 and its size.
fn assert_close(found: &[f32], wanted: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f - w).abs() <= tolerance * w.abs().max(1.0), "{what}: {f} is not {w} at {i}");
    }
}

fn compare<B: AutodiffBackend, const D: usize>(shape: [usize; D]) {
    for (name, ours, burns) in functions::<B, D>() {
        let wanted = run(shape, burns);
        for (found, wanted) in run(shape, ours).iter().zip(&wanted) {
            assert_close(found, wanted, 1e-5, &format!("{name} {shape:?}"));
        }
    }
}

#[test]
fn equal_to_burns_own_in_the_shapes_of_nets() {
    compare::<Ad, 3>([4, 52, 512]);
    compare::<Ad, 4>([8, 4, 52, 52]);
    compare::<Ad, 2>([64, 10]);
}

/// Not to ndarray's own, whose gradient of GELU is that of the tanh form.
#[test]
fn ndarray_gives_the_same_bits() {
    type AdNdArray = Autodiff<NdArray>;
    for ((name, flex, _), (_, ndarray, _)) in
        functions::<Ad, 3>().into_iter().zip(functions::<AdNdArray, 3>())
    {
        assert!(run([3, 7, 330], flex) == run([3, 7, 330], ndarray), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn equal_to_burns_own_on_any_shape(a in 1..9_usize, b in 1..9_usize, c in 1..70_usize) {
        compare::<Ad, 3>([a, b, c]);
    }
}

/// ```python
/// import torch, torch.nn.functional as F
/// x = torch.tensor([[-5., -1.25, -.5, 0.], [.25, 1., 2.5, 6.]])
/// d = torch.tensor([[1., -2., 3., .5], [-1., 2., 1., -3.]])
/// fs = [F.gelu, lambda x: F.gelu(x, approximate='tanh'), F.silu,
///       lambda x: F.softmax(x, -1), lambda x: F.log_softmax(x, -1)]
/// for f in fs:
///     z = x.double().requires_grad_(); y = f(z); y.backward(d.double())
///     for t in (y, z.grad): print([float('%.8g' % v) for v in t.flatten().tolist()])
/// ```
#[rustfmt::skip]
const PYTORCH: [[[f32; 8]; 2]; 5] = [
    [[-1.4332579e-06, -0.13206222, -0.15426877, 0.0, 0.14967658, 0.841_344_8, 2.4844758, 6.0],
     [-7.146946e-06, 0.24532317, 0.39751463, 0.25, -0.69537335, 2.166_631, 1.0376111, -3.0000001]],
    [[-2.2917962e-07, -0.1322858, -0.154_286, 0.0, 0.14967535, 0.841_192, 2.4849157, 6.0],
     [-1.546362e-06, 0.24498526, 0.397_890_3, 0.25, -0.6953541, 2.1659282, 1.0379516, -3.0]],
    [[-0.033464255, -0.27837517, -0.18877033, 0.0, 0.14054413, 0.731_058_6, 2.3103545, 5.985_164],
     [-0.026547432, -0.01263831, 0.78011644, 0.25, -0.62371002, 1.855341, 1.0994011, -3.0369793]],
    [[0.0035467109, 0.15080998, 0.31926474, 0.526_378_6, 0.0030600186, 0.0064780595, 0.029032648, 0.961_429_3],
     [0.000_273_415_1, -0.44080405, 0.66314152, -0.22261089, 0.005_646_833, 0.031388524, 0.11164096, -0.14867632]],
    [[-5.6417346, -1.8917346, -1.1417346, -0.641_734_6, -5.7893343, -5.0393343, -3.5393343, -0.039334275],
     [0.991_133_2, -2.377025, 2.2018382, -0.815_946_4, -0.99693998, 2.006_478, 1.0290326, -2.0385707]],
];

#[test]
#[allow(clippy::excessive_precision)]
fn equal_to_pytorch() {
    fn check<B: AutodiffBackend>() {
        let make = |values: [f32; 8]| {
            Tensor::<B, 2>::from_data(TensorData::new(values.to_vec(), [2, 4]), &Default::default())
        };
        for ((name, ours, _), [y, dx]) in functions::<B, 2>().into_iter().zip(PYTORCH) {
            let x = make([-5.0, -1.25, -0.5, 0.0, 0.25, 1.0, 2.5, 6.0]).require_grad();
            let found = ours(x.clone());
            let grads = (found.clone() * make([1.0, -2.0, 3.0, 0.5, -1.0, 2.0, 1.0, -3.0])).sum().backward();
            for (found, wanted) in [(values(found), y), (values(x.grad(&grads).unwrap()), dx)] {
                for (f, w) in found.iter().zip(wanted) {
                    assert!((f - w).abs() <= 2e-6 * w.abs() + 5e-8, "{name}: {f} is not {w}");
                }
            }
        }
    }
    check::<Ad>();
    check::<Autodiff<NdArray>>();
}

#[test]
fn threads_change_no_bit() {
    for (name, ours, _) in functions::<Ad, 3>() {
        let bits = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run([16, 52, 300], ours))
                .map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
        };
        let one = bits(1);
        assert!([2, 3].iter().all(|&threads| bits(threads) == one), "{name}");
    }
}

#[test]
fn other_backends_and_strategies_take_burns_own_operations() {
    type Balanced = Autodiff<Flex, BalancedCheckpointing>;
    for ((name, ours, burns), (_, doubles, _)) in functions::<Balanced, 2>().into_iter().zip(functions()) {
        assert_eq!(run([3, 5], ours), run([3, 5], burns), "{name}");
        let double = values(doubles(tensor::<NdArray<f64>, 2>([3, 5], 1, wide)));
        assert_close(&double, &run([3, 5], ours)[0], 1e-5, name);
    }
}

#[test]
fn without_gradients_the_output_is_the_same() {
    for ((name, tracked, _), (_, plain, _)) in functions::<Ad, 3>().into_iter().zip(functions::<Flex, 3>()) {
        let frozen = values(tracked(tensor([2, 3, 40], 1, wide)));
        assert_eq!(frozen, run([2, 3, 40], tracked)[0], "{name}");
        assert_eq!(frozen, values(plain(tensor([2, 3, 40], 1, wide))), "{name}");
    }
}

#[test]
fn views_are_read_in_their_order() {
    for (name, ours, _) in functions::<Flex, 2>() {
        let x = tensor::<Flex, 2>([6, 9], 1, wide);
        let view = Tensor::cat(vec![x.clone(), x.clone()], 0).transpose().transpose().narrow(0, 6, 6);
        assert_eq!(values(ours(view)), values(ours(x)), "{name}");
    }
}

#[test]
fn empty_tensors_stay_empty() {
    for (_, ours, _) in functions::<Flex, 2>() {
        for shape in [[0, 5], [5, 0]] {
            assert_eq!(ours(Tensor::zeros(shape, &Default::default())).dims(), shape);
        }
    }
}

#[test]
fn nan_is_not_lost_and_infinities_are_as_in_pytorch() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    for (name, ours, _) in functions::<Ad, 2>() {
        let x = Tensor::<Ad, 2>::from_data([[1.0, nan, 2.0]], &Default::default()).require_grad();
        let y = ours(x.clone());
        assert!(values(y.clone())[1].is_nan(), "{name}");
        assert!(values(x.grad(&y.sum().backward()).unwrap())[1].is_nan(), "{name}");
    }
    for (name, ours, _) in &functions::<Flex, 2>()[..3] {
        let y = values(ours(Tensor::from_data([[infinity, -infinity, -1e30, 1e30]], &Default::default())));
        assert!(y[0] == infinity && y[1].is_nan() && y[2] == 0.0 && y[3] == 1e30, "{name}: {y:?}");
    }
    let row = |values: [f32; 3]| Tensor::<Flex, 2>::from_data([values], &Default::default());
    let masked = row([0.0, -infinity, 0.0]);
    assert_eq!(values(cpu_ops::softmax(masked.clone())), [0.5, 0.0, 0.5]);
    assert_eq!(values(cpu_ops::log_softmax(masked))[1], -infinity);
    for row in [row([-infinity; 3]), row([0.0, infinity, 0.0])] {
        assert!(values(cpu_ops::softmax(row))[1].is_nan());
    }
    assert_eq!(values(cpu_ops::softmax(row([1e30, 0.0, 1e30]))), [0.5, 0.0, 0.5]);
}
