//! Functions of libtorch that its C bindings leave out, called through TorchScript.
//!
//! The bindings can start a backward pass from a gradient of ones only, and know none of the functions that take a
//! mask of wanted gradients (`convolution_backward`, `native_batch_norm_backward`). TorchScript knows all.

use std::{io::Cursor, sync::LazyLock};

use tch::{CModule, IValue, Tensor};

use super::archive;

/// As `torch.jit.save` writes it.
const SOURCE: &str = "\
class Functions(Module):
  def gradients(self: __torch__.Functions,
    output: Tensor,
    inputs: List[Tensor],
    gradient: Tensor) -> List[Optional[Tensor]]:
    return torch.autograd.grad([output], inputs, annotate(List[Optional[Tensor]], [gradient]))
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

fn tensor(value: IValue) -> Tensor {
    match value {
        IValue::Tensor(tensor) => tensor,
        other => panic!("libtorch gave {other:?} for a gradient"),
    }
}
