//! One convolution as data, and running it.

use burn::tensor::{
    ElementConversion, Tensor, TensorData, activation::relu, backend::AutodiffBackend, backend::Backend,
    module, ops::ConvOptions,
};
use cpu_ops::Conv2dOptions;

/// Shapes and options of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) images: [usize; 4],
    pub(crate) outputs: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) options: Conv2dOptions,
    pub(crate) bias: bool,
}

/// A square kernel.
pub(crate) fn case(images: [usize; 4], outputs: usize, kernel: usize, stride: usize, padding: usize) -> Case {
    let options =
        Conv2dOptions { stride: [stride; 2], padding: [padding; 2], relu: true, ..Default::default() };
    Case { images, outputs, kernel: [kernel; 2], options, bias: true }
}

/// The convolutions of this project's nets, at batch 64.
pub(crate) fn cases_of_our_nets() -> Vec<Case> {
    let pooled = |mut case: Case| {
        case.options.max_pool = true;
        case
    };
    let bare = |mut case: Case| {
        case.options.relu = false;
        case.bias = false;
        case
    };
    vec![
        case([64, 1, 28, 28], 32, 5, 2, 2),
        case([64, 32, 14, 14], 64, 3, 2, 1),
        case([64, 64, 7, 7], 64, 3, 2, 1),
        pooled(case([64, 1, 28, 28], 32, 5, 1, 2)),
        pooled(case([64, 32, 14, 14], 64, 3, 1, 1)),
        pooled(case([64, 64, 7, 7], 64, 3, 1, 1)),
        pooled(case([64, 24, 14, 14], 48, 3, 1, 1)),
        pooled(case([64, 48, 7, 7], 96, 3, 1, 1)),
        pooled(case([64, 32, 26, 26], 64, 3, 1, 0)),
        bare(case([64, 1, 28, 28], 16, 3, 1, 1)),
        bare(case([64, 16, 28, 28], 16, 3, 1, 1)),
        bare(case([64, 16, 28, 28], 32, 1, 2, 0)),
        bare(case([64, 64, 7, 7], 128, 3, 2, 1)),
        bare(case([64, 128, 4, 4], 128, 3, 1, 1)),
    ]
}

/// Whole numbers from -2 to 2: every sum of their products is exact, whatever the order.
pub(crate) fn whole(count: usize, seed: u32) -> Vec<f32> {
    uniform(count, seed).into_iter().map(|value| (value * 2.499).round()).collect()
}

/// Numbers in (-1, 1).
pub(crate) fn uniform(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Makes `count` numbers from a seed.
pub(crate) type Numbers = fn(usize, u32) -> Vec<f32>;

pub(crate) fn tensor<B: Backend, const D: usize>(
    shape: [usize; D],
    seed: u32,
    numbers: Numbers,
) -> Tensor<B, D> {
    let values = numbers(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// A convolution's signature.
pub(crate) type Function<B> =
    fn(Tensor<B, 4>, Tensor<B, 4>, Option<Tensor<B, 1>>, Conv2dOptions) -> Tensor<B, 4>;

/// The same by Burn's own operations.
pub(crate) fn burns_own<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    o: Conv2dOptions,
) -> Tensor<B, 4> {
    let mut y = module::conv2d(x, weight, bias, ConvOptions::new(o.stride, o.padding, [1, 1], o.groups));
    if o.max_pool {
        y = module::max_pool2d(y, [2, 2], [2, 2], [0, 0], [1, 1], false);
    }
    if o.relu { relu(y) } else { y }
}

pub(crate) fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<B::FloatElem>().map(|value| value.elem()).collect()
}

/// Output, and gradients of images, weights and bias, where the output's gradient is made of `numbers` too.
pub(crate) fn run<B: AutodiffBackend>(case: &Case, numbers: Numbers, function: Function<B>) -> Vec<Vec<f32>> {
    let x = tensor::<B, 4>(case.images, 1, numbers).require_grad();
    let [height, width] = case.kernel;
    let w = tensor::<B, 4>([case.outputs, case.images[1] / case.options.groups, height, width], 2, numbers)
        .require_grad();
    let b = case.bias.then(|| tensor::<B, 1>([case.outputs], 3, numbers).require_grad());
    let y = function(x.clone(), w.clone(), b.clone(), case.options);
    let mut grads = (y.clone() * tensor(y.dims(), 4, numbers)).sum().backward();
    let mut found = vec![values(y)];
    found.extend(x.grad_remove(&mut grads).map(values));
    found.extend(w.grad_remove(&mut grads).map(values));
    found.extend(b.and_then(|b| b.grad_remove(&mut grads)).map(values));
    found
}

/// That two lists are equal up to `tolerance` times the largest of the second (or 1, if that is larger); NaN is
/// equal to NaN.
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1.0_f32, |size, value| size.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = (found.is_nan() && expected.is_nan()) || (found - expected).abs() <= tolerance * size;
        assert!(same, "{what}: [{i}] is {found}, not {expected}; the largest is {size}");
    }
}

/// `arange * factor % modulus - shift`.
pub(crate) fn ramp(count: usize, factor: usize, modulus: usize, shift: f32) -> Vec<f32> {
    (0..count).map(|i| (i * factor % modulus) as f32 - shift).collect()
}
