//! Functions of libtorch that its C bindings leave out, called through TorchScript.
//!
//! The bindings can start a backward pass from a gradient of ones only, and know none of the functions that take a
//! mask of wanted gradients (`convolution_backward`, `native_batch_norm_backward`). TorchScript knows all.

use std::{io::Cursor, sync::LazyLock};

use tch::{CModule, IValue, Kind, Tensor};

use super::archive;

/// As `torch.jit.save` writes it.
const SOURCE: &str = "\
class Functions(Module):
  def gradients(self: __torch__.Functions,
    output: Tensor,
    inputs: List[Tensor],
    gradient: Tensor) -> List[Optional[Tensor]]:
    return torch.autograd.grad([output], inputs, annotate(List[Optional[Tensor]], [gradient]))
  def adam(self: __torch__.Functions,
    values: List[Tensor],
    gradients: List[Tensor],
    first: List[Tensor],
    second: List[Tensor],
    times: List[Tensor],
    numbers: List[float],
    decoupled: bool) -> NoneType:
    lr, beta1, beta2, decay, eps, = numbers
    if decoupled:
      torch._fused_adamw_(values, gradients, first, second, annotate(List[Tensor], []), times, lr=lr, \
        beta1=beta1, beta2=beta2, weight_decay=decay, eps=eps, amsgrad=False, maximize=False)
    else:
      torch._fused_adam_(values, gradients, first, second, annotate(List[Tensor], []), times, lr=lr, \
        beta1=beta1, beta2=beta2, weight_decay=decay, eps=eps, amsgrad=False, maximize=False)
    return None
";

/// An object of that class without attributes: `pickletools.dis` tells the letters.
const OBJECT: &[u8] = b"\x80\x02c__torch__\nFunctions\n)\x81}b.";

/// No tensors.
const CONSTANTS: &[u8] = b"\x80\x02).";

static FUNCTIONS: LazyLock<CModule> = LazyLock::new(|| {
    let bytes = archive::stored(&[
        ("functions/version", b"3\n"),
        ("functions/data.pkl", OBJECT),
        ("functions/constants.pkl", CONSTANTS),
        ("functions/code/__torch__.py", SOURCE.as_bytes()),
    ]);
    CModule::load_data(&mut Cursor::new(bytes))
        .unwrap_or_else(|error| panic!("libtorch does not load: {error}"))
});

/// Gradients of the inputs from that of the output, by libtorch's autograd.
///
/// # Panics
/// If libtorch fails, as all of Burn's operations on it do.
pub(super) fn gradients(output: Tensor, inputs: Vec<Tensor>, gradient: Tensor) -> Vec<Tensor> {
    let arguments = [IValue::Tensor(output), IValue::TensorList(inputs), IValue::Tensor(gradient)];
    match FUNCTIONS.method_is("gradients", &arguments) {
        Ok(IValue::GenericList(found)) => found.into_iter().map(tensor).collect(),
        Ok(IValue::TensorList(found)) => found,
        other => panic!("libtorch's backward pass gave {other:?}"),
    }
}

/// Numbers of an update by Adam.
pub(crate) struct Adam {
    pub(crate) learning_rate: f64,
    pub(crate) betas: [f64; 2],
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    /// Whether weight decay is apart from the gradient.
    pub(crate) decoupled: bool,
    /// Which update it is, from 1.
    pub(crate) time: usize,
}

/// One update by Adam, written over the value and its two moments. All are contiguous.
///
/// # Panics
/// If libtorch fails.
pub(crate) fn adam(numbers: &Adam, gradient: &Tensor, [value, first, second]: [&Tensor; 3]) {
    let Adam { learning_rate, betas: [beta_1, beta_2], epsilon, weight_decay, decoupled, time } = *numbers;
    let time = Tensor::full([0; 0], time as f64, (Kind::Float, value.device()));
    // Lists of one. TorchScript drops an update of a list that it makes itself: it sees nobody who reads it.
    let [value, gradient, first, second, time] = [value, gradient, first, second, &time]
        .map(|tensor| IValue::TensorList(vec![tensor.shallow_clone()]));
    let arguments = [
        value,
        gradient,
        first,
        second,
        time,
        IValue::DoubleList(vec![learning_rate, beta_1, beta_2, weight_decay, epsilon]),
        IValue::Bool(decoupled),
    ];
    if let Err(error) = FUNCTIONS.method_is("adam", &arguments) {
        panic!("libtorch's update failed: {error}");
    }
}

fn tensor(value: IValue) -> Tensor {
    match value {
        IValue::Tensor(tensor) => tensor,
        other => panic!("libtorch gave {other:?} for a gradient"),
    }
}
