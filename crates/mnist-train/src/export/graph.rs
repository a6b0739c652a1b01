//! What the nets compute, as a list of layers.

use mnist_model::nets::{CnnConfig, NetSettings, Pool, ResnetConfig, VitConfig};
use serde::Serialize;

use crate::error::{Result, TrainError};

/// Added to variances before the root.
const EPSILON: f64 = 1e-5;

/// What one layer does.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(super) enum Op {
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
pub(super) struct Layer {
    #[serde(flatten)]
    pub op: Op,
    /// Numbers of the values it reads.
    pub inputs: Vec<usize>,
}

/// Layers in the order of their work.
#[derive(Default)]
pub(super) struct Graph {
    pub layers: Vec<Layer>,
}

impl Graph {
    /// Reads the value before it.
    pub(super) fn push(&mut self, op: Op) -> usize {
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

    fn norm(&mut self, name: &str) -> usize {
        self.push(Op::BatchNorm { name: name.into(), epsilon: EPSILON })
    }

    pub(super) fn linear(&mut self, name: &str) -> usize {
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

    /// Blocks of a residual net; which of them halve is said.
    fn blocks(&mut self, halve: impl IntoIterator<Item = (bool, bool)>) {
        for (i, (halves, projects)) in halve.into_iter().enumerate() {
            let (name, x) = (format!("blocks.{i}"), self.layers.len());
            let stride = if halves { 2 } else { 1 };
            let shortcut = if projects {
                self.of(
                    Op::Conv { name: format!("{name}.downsample.conv"), bias: false, stride, padding: 0 },
                    vec![x],
                );
                self.norm(&format!("{name}.downsample.norm"))
            } else {
                x
            };
            self.of(Op::Conv { name: format!("{name}.conv1"), bias: false, stride, padding: 1 }, vec![x]);
            self.norm(&format!("{name}.norm1"));
            self.push(Op::Relu);
            self.conv(&format!("{name}.conv2"), false, 1, 1);
            let y = self.norm(&format!("{name}.norm2"));
            self.of(Op::Add, vec![y, shortcut]);
            self.push(Op::Relu);
        }
        self.push(Op::MeanPixels);
    }

    fn resnet(&mut self, config: &ResnetConfig) {
        self.conv("stem", false, 1, 1);
        self.norm("norm");
        self.push(Op::Relu);
        let block = |(stage, &count): (usize, &usize)| (0..count).map(move |block| stage > 0 && block == 0);
        self.blocks(config.blocks.iter().enumerate().flat_map(block).map(|halves| (halves, halves)));
    }

    fn resnet18(&mut self, channels: usize) {
        if channels > 1 {
            self.push(Op::Repeat { channels });
        }
        self.conv("stem", false, 2, 3);
        self.norm("norm");
        self.push(Op::Relu);
        self.push(Op::MaxPool { kernel: 3, stride: 2, padding: 1 });
        self.blocks((0..8).map(|block| block > 0 && block % 2 == 0).map(|halves| (halves, halves)));
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

    /// The layers of the net called `net`.
    pub(super) fn net(&mut self, net: &str, nets: &NetSettings) -> Result<()> {
        match net {
            "mlp" => self.mlp(nets.mlp.hidden.len()),
            "cnn" => self.cnn(&nets.cnn),
            "resnet" => self.resnet(&nets.resnet),
            "resnet18" => self.resnet18(nets.resnet18.channels),
            "vit" => self.vit(&nets.vit),
            "pytorch_example_cnn" => self.pytorch_example(),
            other => {
                return Err(TrainError::Settings(format!("the net {other} has no form for other programs")));
            }
        }
        Ok(())
    }
}

impl Op {
    /// Our name of each tensor, another program's, and whether it has to be turned.
    pub(super) fn tensors(&self) -> Vec<(String, String, bool)> {
        let same = |name: &str, what: &str| (format!("{name}.{what}"), format!("{name}.{what}"), false);
        let norm = |name: &str| {
            let of = |ours: &str, theirs: &str| (format!("{name}.{ours}"), format!("{name}.{theirs}"), false);
            vec![of("gamma", "weight"), of("beta", "bias")]
        };
        match self {
            Self::Conv { name, bias, .. } => {
                let bias = bias.then(|| same(name, "bias"));
                [same(name, "weight")].into_iter().chain(bias).collect()
            }
            Self::BatchNorm { name, .. } => {
                [norm(name), vec![same(name, "running_mean"), same(name, "running_var")]].concat()
            }
            Self::LayerNorm { name, .. } => norm(name),
            Self::Linear { name } => {
                vec![(format!("{name}.weight"), format!("{name}.weight"), true), same(name, "bias")]
            }
            Self::Prepend { name } | Self::Positions { name } => vec![(name.clone(), name.clone(), false)],
            _ => Vec::new(),
        }
    }
}
