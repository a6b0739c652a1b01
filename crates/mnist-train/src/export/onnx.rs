//! ONNX (onnx.ai, onnx.proto): the layers as a graph of standard operations, opset 17, with the tensors inside.

use prost::Message;

use super::{Export, little_endian};
use crate::{
    error::{Result, TrainError},
    foreign::Values,
    graph::{Layer, Op},
};

/// Version of the file format.
const IR_VERSION: i64 = 8;
/// Version of the operations.
const OPSET: i64 = 17;
/// `TensorProto.FLOAT`.
const FLOAT: i32 = 1;
// `AttributeProto.Type` of a float, an integer, a list of integers.
const KIND_FLOAT: i32 = 1;
const KIND_INT: i32 = 2;
const KIND_INTS: i32 = 7;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringStringEntryProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

/// The file of a classifier: `images` `[batch, 1, height, width]` in, `logits` `[batch, classes]` out.
///
/// # Errors
/// [`TrainError::Settings`] for a net of tokens.
pub(super) fn model(export: &Export<'_>) -> Result<Vec<u8>> {
    let facts = &export.saved.facts;
    let count = export.layers.len();
    let value = |number: usize| match number {
        0 => "images".to_string(),
        last if last == count => "logits".to_string(),
        other => format!("value_{other}"),
    };
    let mut constants: Vec<TensorProto> =
        export.tensors.iter().map(|(name, tensor)| initializer(name, tensor)).collect();
    let mut nodes = Vec::new();
    for (number, Layer { op, inputs }) in export.layers.iter().enumerate() {
        let inputs = inputs.iter().map(|input| value(*input)).collect();
        lower(op, inputs, &value(number + 1), &mut nodes, &mut constants)?;
    }
    let dims = facts.size.dims().map(|n| n as i64);
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "mnist-burn".into(),
        producer_version: export.saved.provenance.version.clone(),
        graph: Some(GraphProto {
            node: nodes,
            name: export.saved.run.net.clone(),
            initializer: constants,
            input: vec![described("images", &dims)],
            output: vec![described("logits", &[facts.classes.len() as i64])],
        }),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: vec![
            entry("classes", facts.classes.join("\n")),
            entry("pixels", super::pixels(export.saved).into()),
        ],
    };
    Ok(model.encode_to_vec())
}

/// Adds the operations of a layer, the last of which gives `output`.
fn lower(
    op: &Op,
    inputs: Vec<String>,
    output: &str,
    nodes: &mut Vec<NodeProto>,
    constants: &mut Vec<TensorProto>,
) -> Result<()> {
    let with = |names: &[String]| [&inputs[..], names].concat();
    let part = |name: &str, what: &str| format!("{name}.{what}");
    match op {
        Op::Normalise { mean, std } => {
            let scalar =
                |name: &str, value: f32| initializer(name, &Values { shape: vec![1], values: vec![value] });
            constants.extend([scalar("mean", *mean), scalar("std", *std)]);
            nodes.push(node("Sub", with(&["mean".into()]), "centred", vec![]));
            nodes.push(node("Div", vec!["centred".into(), "std".into()], output, vec![]));
        }
        Op::Repeat { channels } => {
            let copies = inputs.iter().cycle().take(*channels).cloned().collect();
            nodes.push(node("Concat", copies, output, vec![int("axis", 1)]));
        }
        Op::Conv { name, bias, stride, padding } => {
            let mut names = vec![part(name, "weight")];
            names.extend(bias.then(|| part(name, "bias")));
            let attributes = vec![ints("strides", *stride, 2), ints("pads", *padding, 4)];
            nodes.push(node("Conv", with(&names), output, attributes));
        }
        Op::BatchNorm { name, epsilon } => {
            let names = ["weight", "bias", "running_mean", "running_var"].map(|what| part(name, what));
            let epsilon = float("epsilon", *epsilon as f32);
            nodes.push(node("BatchNormalization", with(&names), output, vec![epsilon]));
        }
        Op::MaxPool { kernel, stride, padding } => {
            let attributes = vec![
                ints("kernel_shape", *kernel, 2),
                ints("strides", *stride, 2),
                ints("pads", *padding, 4),
            ];
            nodes.push(node("MaxPool", inputs, output, attributes));
        }
        Op::Relu => nodes.push(node("Relu", inputs, output, vec![])),
        Op::Add => nodes.push(node("Add", inputs, output, vec![])),
        Op::MeanPixels => {
            let pooled = format!("{output}_pooled");
            nodes.push(node("GlobalAveragePool", inputs, &pooled, vec![]));
            nodes.push(node("Flatten", vec![pooled], output, vec![int("axis", 1)]));
        }
        Op::Flatten => nodes.push(node("Flatten", inputs, output, vec![int("axis", 1)])),
        Op::Linear { name } => {
            let names = [part(name, "weight"), part(name, "bias")];
            nodes.push(node("Gemm", with(&names), output, vec![int("transB", 1)]));
        }
        Op::Patches { .. }
        | Op::Prepend { .. }
        | Op::Positions { .. }
        | Op::LayerNorm { .. }
        | Op::Attention { .. }
        | Op::Gelu
        | Op::First
        | Op::MeanTokens => {
            let message = "a vit is not exported to ONNX; take --format safetensors or pytorch";
            return Err(TrainError::Settings(message.into()));
        }
    }
    Ok(())
}

fn node(op_type: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let (name, output) = (output.into(), vec![output.into()]);
    NodeProto { input, output, name, op_type: op_type.into(), attribute }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, kind: KIND_INT, ..Default::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, kind: KIND_FLOAT, ..Default::default() }
}

/// The same number for each of so many sides.
fn ints(name: &str, value: usize, sides: usize) -> AttributeProto {
    let ints = vec![value as i64; sides];
    AttributeProto { name: name.into(), ints, kind: KIND_INTS, ..Default::default() }
}

fn initializer(name: &str, tensor: &Values) -> TensorProto {
    TensorProto {
        dims: tensor.shape.iter().map(|n| *n as i64).collect(),
        data_type: FLOAT,
        name: name.into(),
        raw_data: little_endian(&tensor.values),
    }
}

/// A batch of such things.
fn described(name: &str, shape: &[i64]) -> ValueInfoProto {
    let batch = Dimension { dim_value: None, dim_param: Some("batch".into()) };
    let sized = |n: &i64| Dimension { dim_value: Some(*n), dim_param: None };
    let dim = [batch].into_iter().chain(shape.iter().map(sized)).collect();
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.into(), kind: Some(TypeProto { tensor_type }) }
}
