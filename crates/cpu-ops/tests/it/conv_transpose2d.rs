//! Transposed convolution: the same as Burn's own and as PyTorch 2.9:
//!
//! ```python
//! import torch, torch.nn.functional as F
//! x = (torch.arange(2*3*2*3).reshape(2,3,2,3) * 7 % 11 - 5).float().requires_grad_()
//! w = (torch.arange(3*2*3*2).reshape(3,2,3,2) * 5 % 7 - 3).float().requires_grad_()
//! b = torch.tensor([1., -2.], requires_grad=True)
//! y = F.relu(F.conv_transpose2d(x, w, b, stride=(2, 3), padding=(1, 0), output_padding=(1, 2)))
//! d = (torch.arange(y.numel()).reshape(y.shape) * 3 % 5 - 2).float()
//! y.backward(d)
//! print(list(y.shape), y.sum(), (y * torch.arange(160).reshape(y.shape)).sum())
//! for t in (x.grad, w.grad, b.grad): print(t.flatten().int().tolist())
//! ```

use burn::{
    backend::Autodiff,
    tensor::{
        Tensor, TensorData,
        activation::relu,
        backend::{AutodiffBackend, Backend},
        module,
        ops::ConvTransposeOptions,
    },
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{ConvTranspose2dOptions, conv_transpose2d};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use crate::support::{Numbers, ramp, tensor, uniform, values, whole};

/// Shapes and options of a call.
#[derive(Clone, Copy, Debug)]
struct Case {
    x: [usize; 4],
    weight: [usize; 4],
    options: ConvTranspose2dOptions,
    bias: bool,
}

impl Case {
    fn outputs(&self) -> usize {
        self.weight[1] * self.options.groups
    }
}

type Function<B> =
    fn(Tensor<B, 4>, Tensor<B, 4>, Option<Tensor<B, 1>>, ConvTranspose2dOptions) -> Tensor<B, 4>;

fn burns_own<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    o: ConvTranspose2dOptions,
) -> Tensor<B, 4> {
    let options = ConvTransposeOptions::new(o.stride, o.padding, o.output_padding, [1, 1], o.groups);
    let y = module::conv_transpose2d(x, weight, bias, options);
    if o.relu { relu(y) } else { y }
}

/// Output and gradients; `wants` says which inputs are to have one.
fn run<B: AutodiffBackend>(
    case: &Case,
    numbers: Numbers,
    wants: [bool; 3],
    function: Function<B>,
) -> [Option<Vec<f32>>; 4] {
    let (mut x, mut w) = (tensor::<B, 4>(case.x, 1, numbers), tensor::<B, 4>(case.weight, 2, numbers));
    let mut b = case.bias.then(|| tensor::<B, 1>([case.outputs()], 3, numbers));
    if wants[0] {
        x = x.require_grad();
    }
    if wants[1] {
        w = w.require_grad();
    }
    if wants[2] {
        b = b.map(Tensor::require_grad);
    }
    let y = function(x.clone(), w.clone(), b.clone(), case.options);
    if !(wants[0] || wants[1] || wants[2] && case.bias) {
        return [Some(values(y)), None, None, None];
    }
    let grads = (y.clone() * tensor(y.dims(), 4, numbers)).sum().backward();
    let [dx, dw] = [x, w].map(|t| t.grad(&grads).map(values));
    [Some(values(y)), dx, dw, b.and_then(|b| b.grad(&grads)).map(values)]
}

const ALL: [bool; 3] = [true; 3];

/// A generator's layer, and one of stride 1.
fn layers() -> [Case; 2] {
    let options =
        ConvTranspose2dOptions { stride: [2, 2], padding: [1, 1], relu: true, ..Default::default() };
    let unmoved = ConvTranspose2dOptions { padding: [1, 1], ..Default::default() };
    [
        Case { x: [16, 64, 7, 7], weight: [64, 32, 4, 4], options, bias: true },
        Case { x: [9, 16, 7, 6], weight: [16, 24, 3, 3], options: unmoved, bias: false },
    ]
}

fn any_case() -> impl Strategy<Value = Case> {
    let x = [1..10_usize, 1..6, 1..8, 1..8];
    let weight = [1..20_usize, 1..6, 1..6];
    let moves = (1..4_usize, 1..4_usize, 0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize);
    (x, weight, moves, 0..3_u8, any::<[bool; 2]>()).prop_map(
        |(mut x, weight, moves, groups, [relu, bias])| {
            let stride = [moves.0, moves.1];
            let output_padding = [moves.2.min(stride[0] - 1), moves.3.min(stride[1] - 1)];
            let whole = [0, 1].map(|i| (x[2 + i] - 1) * stride[i] + weight[1 + i] + output_padding[i]);
            let padding = [moves.4.min((whole[0] - 1) / 2), moves.5.min((whole[1] - 1) / 2)];
            let (groups, mut outputs) = match groups {
                0 => (1, weight[0]),
                1 => (x[1], 1),
                _ => (2, weight[0].div_ceil(4)),
            };
            if groups == 2 {
                x[1] = x[1].next_multiple_of(2);
            }
            if groups == 1 && weight[0] > 10 {
                (x[1], outputs) = (x[1] + 6, outputs); // enough channels for Winograd's way
            }
            let options = ConvTranspose2dOptions { stride, padding, output_padding, groups, relu };
            Case { x, weight: [x[1], outputs, weight[1], weight[2]], options, bias }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equal_to_burns_own_on_any_shape(case in any_case()) {
        let burns = run::<Autodiff<Flex>>(&case, whole, ALL, burns_own);
        prop_assert_eq!(run::<Autodiff<Flex>>(&case, whole, ALL, conv_transpose2d), burns);
    }
}

#[test]
fn equal_on_ndarray_and_whatever_the_parents_want() {
    for case in layers() {
        let all = run::<Autodiff<Flex>>(&case, whole, ALL, conv_transpose2d);
        assert!(run::<Autodiff<NdArray>>(&case, whole, ALL, conv_transpose2d) == all);
        for bits in 0..8_u8 {
            let wants = [0, 1, 2].map(|bit| bits >> bit & 1 == 1);
            let found = run::<Autodiff<Flex>>(&case, whole, wants, conv_transpose2d);
            for (i, (found, all)) in found.iter().zip(&all).enumerate() {
                let expected = if i == 0 || wants[i - 1] { all.as_ref() } else { None };
                assert!(found.as_ref() == expected, "{wants:?}, {i}: {case:?}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in layers() {
        let bits = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| run::<Autodiff<Flex>>(&case, uniform, ALL, conv_transpose2d));
            found.map(|values| values.map(|values| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()))
        };
        let one = bits(1);
        assert!([2, 3].into_iter().all(|threads| bits(threads) == one), "{case:?}");
    }
}

#[test]
fn views_and_empty_batches_and_nan() {
    let options = ConvTranspose2dOptions { relu: true, ..Default::default() };
    let device = Default::default();
    let x = tensor::<Flex, 4>([2, 3, 4, 5], 1, whole);
    let w = tensor::<Flex, 4>([3, 2, 3, 3], 2, whole);
    let view = x.clone().swap_dims(2, 3);
    let packed = Tensor::from_data(view.to_data(), &device);
    let [a, b] = [view, packed].map(|x| values(conv_transpose2d(x, w.clone(), None, options)));
    assert_eq!(a, b);
    let empty = conv_transpose2d(Tensor::zeros([0, 3, 4, 5], &device), w.clone(), None, options);
    assert_eq!(empty.dims(), [0, 2, 6, 7]);
    let nan = Tensor::full([1, 3, 1, 1], f32::NAN, &device);
    assert!(values(conv_transpose2d(nan, w, None, options)).iter().all(|value| value.is_nan()));
}

const DX: [f32; 36] = [
    3.0, 6.0, 1.0, -2.0, 0.0, -1.0, -4.0, 0.0, 1.0, -7.0, -4.0, 2.0, 3.0, -6.0, 1.0, 2.0, -8.0, -2.0, -5.0,
    -4.0, 0.0, -2.0, -6.0, 0.0, 8.0, 4.0, 0.0, 4.0, 10.0, 0.0, 0.0, -2.0, 0.0, 3.0, -2.0, 0.0,
];
const DW: [f32; 36] = [
    6.0, 8.0, -1.0, -6.0, 3.0, 5.0, -20.0, -3.0, -15.0, 4.0, -8.0, -1.0, 4.0, 8.0, -1.0, -1.0, 3.0, 16.0,
    2.0, -3.0, -15.0, 6.0, 10.0, -3.0, 2.0, -3.0, 21.0, -7.0, 3.0, -6.0, 2.0, -3.0, 7.0, -14.0, 6.0, -5.0,
];

fn check<B: AutodiffBackend>() {
    let make = |values: Vec<f32>, shape: [usize; 4]| {
        Tensor::<B, 4>::from_data(TensorData::new(values, shape), &Default::default())
    };
    let x = make(ramp(36, 7, 11, 5.0), [2, 3, 2, 3]).require_grad();
    let w = make(ramp(36, 5, 7, 3.0), [3, 2, 3, 2]).require_grad();
    let b = Tensor::<B, 1>::from_data([1.0, -2.0], &Default::default()).require_grad();
    let options = ConvTranspose2dOptions {
        stride: [2, 3],
        padding: [1, 0],
        output_padding: [1, 2],
        relu: true,
        ..Default::default()
    };
    let y = conv_transpose2d(x.clone(), w.clone(), Some(b.clone()), options);
    assert_eq!(y.dims(), [2, 2, 4, 10]);
    let found = values(y.clone());
    assert_eq!(found.iter().sum::<f32>(), 487.0);
    assert_eq!(found.iter().enumerate().map(|(i, y)| i as f32 * y).sum::<f32>(), 34_709.0);
    let grads = (y * make(ramp(160, 3, 5, 2.0), [2, 2, 4, 10])).sum().backward();
    assert_eq!(values(x.grad(&grads).unwrap()), DX);
    assert_eq!(values(w.grad(&grads).unwrap()), DW);
    assert_eq!(values(b.grad(&grads).unwrap()), [-5.0, 2.0]);
}

#[test]
fn flex_and_ndarray_give_pytorchs_numbers() {
    check::<Autodiff<Flex>>();
    check::<Autodiff<NdArray>>();
}
