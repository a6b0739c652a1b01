//! What the nets compute, as a list of layers, and what other programs call their tensors.
//!
//! Names are ours but for nets that are known from elsewhere: `resnet18`, `resnet34` and `resnet50` have torchvision's,
//! `pytorch_example_cnn` those of PyTorch's example.

use std::collections::BTreeMap;

use mnist_model::nets::{CnnConfig, Layout, NetSettings, Pool, ResnetConfig, VitConfig};
use serde::Serialize;

use crate::error::{Result, TrainError};

/// Added to variances before the root.
const EPSILON: f64 = 1e-5;

/// What one layer does.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Op {
    /// `(x - mean) / std`.
    Normalise {
        mean: f32,
        std: f32,
    },
    /// One channel so many times.
    Repeat {
        channels: usize,
    },
    /// Convolution; a bias or none.
    Conv {
        name: String,
        bias: bool,
        stride: usize,
        padding: usize,
    },
    /// BatchNorm with its running averages.
    BatchNorm {
        name: String,
        epsilon: f64,
    },
    /// Largest of a window.
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    Relu,
    /// Sum of two values.
    Add,
    /// Mean over height and width: `[batch, channels, height, width]` to `[batch, channels]`.
    MeanPixels,
    /// All but the batch in one dimension.
    Flatten,
    /// Fully connected.
    Linear {
        name: String,
    },
    /// `[batch, 1, height, width]` to `[batch, patches, pixels]`.
    Patches {
        size: usize,
    },
    /// A learned token in front.
    Prepend {
        name: String,
    },
    /// Learned positions, added.
    Positions {
        name: String,
    },
    LayerNorm {
        name: String,
        epsilon: f64,
    },
    /// Queries, keys and values side by side, to what each token finds.
    Attention {
        heads: usize,
    },
    /// GELU with the error function.
    Gelu,
    /// The first token.
    First,
    /// Mean of all tokens.
    MeanTokens,
}

/// A layer; value 0 is the input, value `i + 1` what layer `i` gives, the last one the logits.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    #[serde(flatten)]
    pub op: Op,
    /// Numbers of the values it reads.
    pub inputs: Vec<usize>,
}

/// Layers in the order of their work.
#[derive(Default)]
pub(crate) struct Graph {
    pub layers: Vec<Layer>,
    /// Our name of each layer that learns, by its published one.
    ours: BTreeMap<String, String>,
}

impl Graph {
    /// Reads the value before it.
    fn push(&mut self, op: Op) -> usize {
        let last = self.layers.len();
        self.layers.push(Layer { op, inputs: vec![last] });
        self.layers.len()
    }

    fn of(&mut self, op: Op, inputs: Vec<usize>) -> usize {
        self.layers.push(Layer { op, inputs });
        self.layers.len()
    }

    fn conv(&mut self, name: &str, bias: bool, stride: usize, padding: usize) -> usize {
        self.push(Op::Conv { name: name.into(), bias, stride, padding })
    }

    /// A convolution without a bias, of the value numbered `x`.
    fn conv_of(&mut self, x: usize, name: &str, stride: usize, padding: usize) -> usize {
        self.of(Op::Conv { name: name.into(), bias: false, stride, padding }, vec![x])
    }

    fn norm(&mut self, name: &str) -> usize {
        self.push(Op::BatchNorm { name: name.into(), epsilon: EPSILON })
    }

    fn linear(&mut self, name: &str) -> usize {
        self.push(Op::Linear { name: name.into() })
    }

    fn layer_norm(&mut self, name: &str) -> usize {
        self.push(Op::LayerNorm { name: name.into(), epsilon: EPSILON })
    }

    fn mlp(&mut self, hidden: usize) {
        self.push(Op::Flatten);
        for i in 0..hidden {
            self.linear(&format!("hidden.{i}"));
            self.push(Op::Relu);
        }
    }

    fn cnn(&mut self, config: &CnnConfig) {
        let mut number = 0;
        for kernel in &config.kernels {
            for convolution in 1..=config.convolutions {
                let halves = convolution == config.convolutions;
                let stride = if halves && !config.pool { 2 } else { 1 };
                let name = format!("layers.{number}");
                self.conv(&format!("{name}.conv"), !config.norm, stride, kernel / 2);
                if halves && config.pool {
                    self.push(Op::MaxPool { kernel: 2, stride: 2, padding: 0 });
                }
                if config.norm {
                    self.norm(&format!("{name}.norm"));
                }
                self.push(Op::Relu);
                number += 1;
            }
        }
        self.push(Op::Flatten);
        if config.width > 0 {
            self.linear("features");
            self.push(Op::Relu);
        }
    }

    /// Blocks of a residual net, stage by stage.
    fn blocks(&mut self, stages: &[usize], bottleneck: bool) {
        let blocks =
            stages.iter().enumerate().flat_map(|(stage, &count)| (0..count).map(move |block| (stage, block)));
        for (i, (stage, block)) in blocks.enumerate() {
            let (name, x) = (format!("blocks.{i}"), self.layers.len());
            let halves = stage > 0 && block == 0;
            let stride = if halves { 2 } else { 1 };
            // A bottleneck widens what comes in, so the first of all needs it too.
            let shortcut = if halves || bottleneck && block == 0 {
                self.conv_of(x, &format!("{name}.downsample.conv"), stride, 0);
                self.norm(&format!("{name}.downsample.norm"))
            } else {
                x
            };
            let (name1, name2) = (format!("{name}.conv1"), format!("{name}.conv2"));
            let y = if bottleneck {
                self.conv_of(x, &name1, 1, 0);
                self.norm(&format!("{name}.norm1"));
                self.push(Op::Relu);
                self.conv(&name2, false, stride, 1);
                self.norm(&format!("{name}.norm2"));
                self.push(Op::Relu);
                self.conv(&format!("{name}.expand.conv"), false, 1, 0);
                self.norm(&format!("{name}.expand.norm"))
            } else {
                self.conv_of(x, &name1, stride, 1);
                self.norm(&format!("{name}.norm1"));
                self.push(Op::Relu);
                self.conv(&name2, false, 1, 1);
                self.norm(&format!("{name}.norm2"))
            };
            self.of(Op::Add, vec![y, shortcut]);
            self.push(Op::Relu);
        }
        self.push(Op::MeanPixels);
    }

    fn resnet(&mut self, config: &ResnetConfig) {
        self.conv("stem", false, 1, 1);
        self.norm("norm");
        self.push(Op::Relu);
        self.blocks(&config.blocks, false);
    }

    /// `repeated` says that grey images are read as so many equal channels.
    fn torchvision(&mut self, layout: Layout, repeated: Option<usize>) {
        if let Some(channels) = repeated {
            self.push(Op::Repeat { channels });
        }
        self.conv("stem", false, 2, 3);
        self.norm("norm");
        self.push(Op::Relu);
        self.push(Op::MaxPool { kernel: 3, stride: 2, padding: 1 });
        self.blocks(&layout.blocks, layout.bottleneck);
    }

    fn pytorch_example(&mut self) {
        self.conv("conv1", true, 1, 0);
        self.push(Op::Relu);
        self.conv("conv2", true, 1, 0);
        self.push(Op::Relu);
        self.push(Op::MaxPool { kernel: 2, stride: 2, padding: 0 });
        self.push(Op::Flatten);
        self.linear("features");
        self.push(Op::Relu);
    }

    fn vit(&mut self, config: &VitConfig) {
        self.push(Op::Patches { size: config.patch });
        self.linear("embed");
        if config.pool == Pool::Class {
            self.push(Op::Prepend { name: "class".into() });
        }
        let mut x = self.push(Op::Positions { name: "positions".into() });
        for i in 0..config.layers {
            let name = format!("transformer.blocks.{i}");
            self.layer_norm(&format!("{name}.norm1"));
            self.linear(&format!("{name}.qkv"));
            self.push(Op::Attention { heads: config.heads });
            let y = self.linear(&format!("{name}.mix"));
            x = self.of(Op::Add, vec![x, y]);
            self.layer_norm(&format!("{name}.norm2"));
            self.linear(&format!("{name}.expand"));
            self.push(Op::Gelu);
            let y = self.linear(&format!("{name}.contract"));
            x = self.of(Op::Add, vec![x, y]);
        }
        self.layer_norm("transformer.norm");
        self.push(if config.pool == Pool::Class { Op::First } else { Op::MeanTokens });
    }

    /// A classifier on images of so many channels whose encoder is the net called `net`.
    ///
    /// # Errors
    /// [`TrainError::Settings`] for a net that other programs have no form of.
    pub(crate) fn classifier(net: &str, nets: &NetSettings, channels: usize) -> Result<Self> {
        let mut graph = Self::default();
        // Grey images are repeated where the stem reads colours.
        let repeated = |wanted: usize| (channels < wanted).then_some(wanted);
        match net {
            "mlp" => graph.mlp(nets.mlp.hidden.len()),
            "cnn" => graph.cnn(&nets.cnn),
            "resnet" => graph.resnet(&nets.resnet),
            "resnet18" => graph.torchvision(Layout::RESNET18, repeated(nets.resnet18.channels)),
            "resnet34" => graph.torchvision(Layout::RESNET34, repeated(nets.resnet34.channels)),
            "resnet50" => graph.torchvision(Layout::RESNET50, repeated(nets.resnet50.channels)),
            "vit" => graph.vit(&nets.vit),
            "pytorch_example_cnn" => graph.pytorch_example(),
            other => {
                return Err(TrainError::Settings(format!("the net {other} has no form for other programs")));
            }
        }
        graph.linear("head");
        for layer in &mut graph.layers {
            if let Some(name) = layer.op.name() {
                let ours = std::mem::take(name);
                *name = published(net, &ours);
                graph.ours.insert(name.clone(), ours);
            }
        }
        Ok(graph)
    }

    /// As it is, with pixels made ready in front: `(x - mean) / std`.
    pub(crate) fn normalised(mut self, mean: f32, std: f32) -> Self {
        for layer in &mut self.layers {
            layer.inputs.iter_mut().for_each(|input| *input += 1);
        }
        self.layers.insert(0, Layer { op: Op::Normalise { mean, std }, inputs: vec![0] });
        self
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> Vec<Published> {
        let of = |layer: &Layer| {
            let (name, fields) = layer.op.tensors()?;
            let ours = self.ours.get(name)?;
            let path = |name: &str, field: &str| [name, field].join(".").trim_end_matches('.').to_string();
            let tensor = |(our, their, transposed): &(&str, &str, bool)| Published {
                ours: path(ours, our),
                theirs: path(name, their),
                transposed: *transposed,
            };
            Some(fields.iter().map(tensor).collect::<Vec<_>>())
        };
        self.layers.iter().filter_map(of).flatten().collect()
    }
}

/// A tensor under both names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Published {
    /// Ours, inside the encoder; the last layer's begins with `head.`.
    pub ours: String,
    /// Another program's.
    pub theirs: String,
    /// Whether rows are columns there.
    pub transposed: bool,
}

/// What a layer of ours is called where its net is known from.
fn published(net: &str, layer: &str) -> String {
    let layout = Layout::of_net(net);
    match (net, layer) {
        ("pytorch_example_cnn", "features") => "fc1".into(),
        ("pytorch_example_cnn", "head") => "fc2".into(),
        (_, "stem") if layout.is_some() => "conv1".into(),
        (_, "norm") if layout.is_some() => "bn1".into(),
        (_, "head") if layout.is_some() => "fc".into(),
        (_, same) => layout.and_then(|layout| in_block(layout, same)).unwrap_or_else(|| same.into()),
    }
}

/// torchvision's name of a layer of a residual block: of a ResNet-18 `blocks.3.norm2` is `layer2.1.bn2`.
fn in_block(layout: Layout, layer: &str) -> Option<String> {
    let (number, inside) = layer.strip_prefix("blocks.")?.split_once('.')?;
    let mut number: usize = number.parse().ok()?;
    let inside = match inside {
        "norm1" => "bn1",
        "norm2" => "bn2",
        "expand.conv" => "conv3",
        "expand.norm" => "bn3",
        "downsample.conv" => "downsample.0",
        "downsample.norm" => "downsample.1",
        same => same,
    };
    for (stage, count) in (1..).zip(layout.blocks) {
        if number < count {
            return Some(format!("layer{stage}.{number}.{inside}"));
        }
        number -= count;
    }
    None
}

impl Op {
    /// The name of what it learns, if it learns.
    fn name(&mut self) -> Option<&mut String> {
        match self {
            Self::Conv { name, .. }
            | Self::BatchNorm { name, .. }
            | Self::LayerNorm { name, .. }
            | Self::Linear { name }
            | Self::Prepend { name }
            | Self::Positions { name } => Some(name),
            _ => None,
        }
    }

    /// Its name, and for each of its tensors our field, another program's, and whether rows are columns there.
    fn tensors(&self) -> Option<(&str, &'static [Field])> {
        match self {
            Self::Conv { name, bias, .. } => {
                Some((name, if *bias { &[SAME_WEIGHT, SAME_BIAS] } else { &[SAME_WEIGHT] }))
            }
            Self::BatchNorm { name, .. } => Some((
                name,
                &[
                    GAMMA,
                    BETA,
                    ("running_mean", "running_mean", false),
                    ("running_var", "running_var", false),
                ],
            )),
            Self::LayerNorm { name, .. } => Some((name, &[GAMMA, BETA])),
            Self::Linear { name } => Some((name, &[("weight", "weight", true), SAME_BIAS])),
            Self::Prepend { name } | Self::Positions { name } => Some((name, &[("", "", false)])),
            _ => None,
        }
    }
}

/// Our field, another program's, and whether rows are columns there.
type Field = (&'static str, &'static str, bool);

const SAME_WEIGHT: Field = ("weight", "weight", false);
const SAME_BIAS: Field = ("bias", "bias", false);
const GAMMA: Field = ("gamma", "weight", false);
const BETA: Field = ("beta", "bias", false);
