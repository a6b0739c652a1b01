//! The same numbers as PyTorch 2.9:
//!
//! ```python
//! import torch, torch.nn.functional as F
//! x = (torch.arange(2*2*5*6).reshape(2,2,5,6) * 7 % 11 - 5).float().requires_grad_()
//! w = (torch.arange(3*2*3*2).reshape(3,2,3,2) * 5 % 7 - 3).float().requires_grad_()
//! b = torch.tensor([1., -2., 40.], requires_grad=True)
//! y = F.relu(F.max_pool2d(F.conv2d(x, w, b, stride=(1, 2), padding=(2, 1)), 2))
//! d = (torch.arange(y.numel()).reshape(y.shape) * 3 % 5 - 2).float()
//! y.backward(d)
//! print(list(y.shape))
//! for t in (y, x.grad, w.grad, b.grad): print(t.flatten().int().tolist())
//! ```

use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorData, backend::AutodiffBackend},
};
use cpu_ops::{Conv2dOptions, conv2d};

use crate::support::{ramp, values};

const Y: [f32; 36] = [
    30.0, 33.0, 6.0, 30.0, 53.0, 20.0, 8.0, 1.0, 22.0, 19.0, 0.0, 10.0, 52.0, 51.0, 68.0, 60.0, 43.0, 42.0,
    6.0, 21.0, 30.0, 6.0, 21.0, 30.0, 8.0, 0.0, 18.0, 18.0, 22.0, 19.0, 50.0, 50.0, 68.0, 52.0, 57.0, 60.0,
];
const DX: [f32; 120] = [
    0.0, -1.0, 1.0, 3.0, 1.0, -3.0, 0.0, 5.0, -4.0, 0.0, 0.0, -2.0, -1.0, -8.0, 7.0, 6.0, -4.0, 1.0, 0.0,
    1.0, -5.0, 0.0, 4.0, 8.0, 0.0, -3.0, 2.0, -6.0, -2.0, 3.0, 3.0, -3.0, -1.0, -2.0, 3.0, -1.0, -6.0, 7.0,
    5.0, 0.0, 0.0, -4.0, -3.0, -2.0, -8.0, 2.0, 6.0, 1.0, 0.0, 7.0, 1.0, -4.0, 0.0, -6.0, 0.0, -1.0, -3.0,
    4.0, -6.0, 3.0, -4.0, 5.0, 3.0, 0.0, 0.0, -3.0, 4.0, 5.0, -5.0, 0.0, 0.0, -5.0, -2.0, 1.0, -3.0, 0.0,
    0.0, -5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -2.0, 0.0, 0.0, 12.0, 6.0, -7.0, 5.0, 0.0, 0.0, 3.0,
    0.0, 1.0, 5.0, 0.0, 0.0, 1.0, -6.0, 5.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -6.0, 0.0, 2.0,
    0.0, 0.0, 0.0, -2.0,
];
const DW: [f32; 36] = [
    -23.0, 12.0, 17.0, 23.0, 31.0, -25.0, -21.0, 17.0, 19.0, 15.0, 26.0, -29.0, 11.0, -16.0, 4.0, 18.0,
    -15.0, 3.0, 16.0, -11.0, 8.0, -21.0, -11.0, 9.0, 10.0, 7.0, -39.0, 9.0, -24.0, 4.0, 7.0, -4.0, -44.0,
    6.0, -38.0, 12.0,
];
const DB: [f32; 3] = [0.0, 5.0, -3.0];

fn check<B: AutodiffBackend>() {
    let make = |values: Vec<f32>, shape: [usize; 4]| {
        Tensor::<B, 4>::from_data(TensorData::new(values, shape), &Default::default())
    };
    let x = make(ramp(120, 7, 11, 5.0), [2, 2, 5, 6]).require_grad();
    let w = make(ramp(36, 5, 7, 3.0), [3, 2, 3, 2]).require_grad();
    let b = Tensor::<B, 1>::from_data([1.0, -2.0, 40.0], &Default::default()).require_grad();
    let options = Conv2dOptions { stride: [1, 2], padding: [2, 1], groups: 1, relu: true, max_pool: true };
    let y = conv2d(x.clone(), w.clone(), Some(b.clone()), options);
    assert_eq!(y.dims(), [2, 3, 3, 2]);
    assert_eq!(values(y.clone()), Y);
    let grads = (y * make(ramp(36, 3, 5, 2.0), [2, 3, 3, 2])).sum().backward();
    assert_eq!(values(x.grad(&grads).unwrap()), DX);
    assert_eq!(values(w.grad(&grads).unwrap()), DW);
    assert_eq!(values(b.grad(&grads).unwrap()), DB);
}

#[test]
fn flex_and_ndarray_give_pytorchs_numbers() {
    check::<Autodiff<burn_flex::Flex>>();
    check::<Autodiff<burn_ndarray::NdArray>>();
}
