//! Backends whose tensors are buffers in this process's memory, and how to reach them without copies.

use std::any::Any;

use burn::tensor::backend::{Backend, BackendTypes};

/// The tensor type of a backend.
pub(crate) type Primitive<B> = <B as BackendTypes>::FloatTensorPrimitive;

/// A backend on one CPU device whose f32 tensors can be read as slices and made from vectors.
pub(crate) trait Host: Backend {
    /// The tensor with its elements row after row and nothing else in its buffer: itself where it is so.
    fn contiguous(tensor: Primitive<Self>) -> Primitive<Self>;

    /// The elements of a tensor that [`Self::contiguous`] or [`Self::tensor`] made.
    ///
    /// # Panics
    /// If the tensor is not f32.
    fn values(tensor: &Primitive<Self>) -> &[f32];

    /// As [`Self::values`], to be changed; copied first where somebody else holds the buffer.
    ///
    /// # Panics
    /// As [`Self::values`].
    fn values_mut(tensor: &mut Primitive<Self>) -> &mut [f32];

    /// A tensor of these elements, without a copy.
    ///
    /// # Panics
    /// If there are not as many as `shape` says.
    fn tensor(values: Vec<f32>, shape: &[usize]) -> Primitive<Self>;
}

#[cfg(feature = "flex")]
impl Host for burn_flex::Flex {
    fn contiguous(tensor: Primitive<Self>) -> Primitive<Self> {
        tensor.to_contiguous()
    }

    fn values(tensor: &Primitive<Self>) -> &[f32] {
        tensor.storage::<f32>()
    }

    fn values_mut(tensor: &mut Primitive<Self>) -> &mut [f32] {
        tensor.storage_mut::<f32>()
    }

    fn tensor(values: Vec<f32>, shape: &[usize]) -> Primitive<Self> {
        burn_flex::FlexTensor::from_data(burn::tensor::TensorData::new(values, shape.to_vec()))
    }
}

#[cfg(feature = "ndarray")]
impl Host for burn_ndarray::NdArray {
    fn contiguous(tensor: Primitive<Self>) -> Primitive<Self> {
        match tensor {
            burn_ndarray::NdArrayTensor::F32(storage) if storage.view().to_slice().is_none() => {
                Self::tensor(storage.view().iter().copied().collect(), storage.shape())
            }
            tensor => tensor,
        }
    }

    fn values(tensor: &Primitive<Self>) -> &[f32] {
        let slice = match tensor {
            burn_ndarray::NdArrayTensor::F32(storage) => storage.view().to_slice(),
            _ => None,
        };
        slice.unwrap_or_else(|| panic!("not a contiguous f32 tensor"))
    }

    fn values_mut(tensor: &mut Primitive<Self>) -> &mut [f32] {
        let slice = match tensor {
            burn_ndarray::NdArrayTensor::F32(storage) => storage.ensure_owned().as_slice_mut(),
            _ => None,
        };
        slice.unwrap_or_else(|| panic!("not a contiguous f32 tensor"))
    }

    fn tensor(values: Vec<f32>, shape: &[usize]) -> Primitive<Self> {
        let count = values.len();
        match burn_ndarray::SharedArray::from_shape_vec(shape, values) {
            Ok(array) => array.into(),
            Err(_) => panic!("{count} values do not make a tensor of shape {shape:?}"),
        }
    }
}

/// `value` as a `U` if that is what it is, else given back.
pub(crate) fn cast<T: 'static, U: 'static>(value: T) -> Result<U, T> {
    let mut slot = Some(value);
    if let Some(same) = (&mut slot as &mut dyn Any).downcast_mut::<Option<U>>()
        && let Some(value) = same.take()
    {
        return Ok(value);
    }
    match slot {
        Some(value) => Err(value),
        None => unreachable!("only a value of type U is taken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_succeeds_for_the_same_type_only() {
        assert_eq!(cast::<u32, u32>(3), Ok(3));
        assert_eq!(cast::<u32, i32>(3), Err(3));
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn a_transposed_ndarray_tensor_is_copied_in_its_order() {
        use burn::tensor::Tensor;
        type B = burn_ndarray::NdArray;
        let tensor = Tensor::<B, 2>::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &Default::default());
        let primitive = B::contiguous(tensor.transpose().into_primitive().tensor());
        assert_eq!(B::values(&primitive), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_part_of_a_flex_tensor_is_copied_alone() {
        use burn::tensor::Tensor;
        type B = burn_flex::Flex;
        let tensor = Tensor::<B, 2>::from_data([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &Default::default());
        let primitive = B::contiguous(tensor.narrow(0, 1, 1).into_primitive().tensor());
        assert_eq!(B::values(&primitive), [3.0, 4.0]);
    }
}
