//! Layer normalisation (Ba, Kiros & Hinton 2016, arXiv 1607.06450).

mod kernel;

use burn::tensor::{Tensor, backend::Backend};

use self::kernel::Rows;
use crate::operation::{primitive, run, tensor};

/// Normalises each row (the last dimension) by its mean and (biased) variance, then scales it by `weight` and adds
/// `bias`, place by place.
///
/// `epsilon`, above 0, is added to the variance before its root is taken; 1e-5 is usual.
///
/// # Shapes
/// - `x`: `[..., width]`
/// - `weight`, `bias`: `[width]`
/// - returns: of the shape of `x`
///
/// # Panics
/// If the shapes do not fit together or `width` is 0.
pub fn layer_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, D> {
    let dims = x.dims();
    let width = dims[D - 1];
    assert!(width > 0, "layer norm needs values to normalise, got {dims:?}");
    for vector in [&weight, &bias] {
        assert_eq!(vector.dims(), [width], "layer norm of {dims:?} needs one value for each place in a row");
    }
    #[cfg(feature = "tch")]
    if crate::libtorch::is::<B>() {
        let inputs = [primitive(x), primitive(weight), primitive(bias)];
        return tensor(crate::libtorch::run::<B, 3>(inputs, |[x, weight, bias]| {
            x.layer_norm([width as i64], Some(weight), Some(bias), epsilon, true)
        }));
    }
    let operation = Rows::new(&dims, epsilon);
    match run::<B, _, 3>(&operation, [primitive(x), primitive(weight), primitive(bias)]) {
        Ok((output, _)) => tensor(output),
        Err([x, weight, bias]) => tensor(B::layer_norm(x, weight, Some(bias), epsilon)),
    }
}
