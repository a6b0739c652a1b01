//! Burn's update rules (Adam, AdamW), SGD with momentum, parameter groups, clipping and a moving average.
//!
//! Departures from Burn's own wrappers, all as PyTorch users expect: weight decay leaves biases and norms
//! alone (tensors of one dimension), clipping is by the norm over all gradients together, state is kept by
//! position so that a checkpoint can name it. Momentum is ours: Burn's keeps its velocity private.

use burn::{
    optim::{
        Adam, AdamConfig, AdamState, AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, SimpleOptimizer,
        decay::WeightDecayConfig,
    },
    tensor::{Tensor, backend::Backend},
};
use mnist_model::parameters::Parameter;
use serde::{Deserialize, Serialize};

/// Update rule.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Kingma & Ba, arXiv 1412.6980; weight decay, if any, is added to the gradient (L2).
    Adam,
    /// Loshchilov & Hutter, arXiv 1711.05101; weight decay apart from the gradient.
    AdamW,
    /// Gradient descent with momentum, in PyTorch's form; weight decay is added to the gradient.
    Sgd,
}

/// Settings of the optimizer.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct OptimizerSettings {
    /// `adam`, `adam-w` or `sgd`.
    pub rule: Rule,
    /// Pull of weights towards zero, per unit of learning rate; not on biases and norms.
    pub weight_decay: f64,
    /// Memory of the first moment (Adam, AdamW), in [0, 1).
    pub beta_1: f64,
    /// Memory of the second moment (Adam, AdamW), in [0, 1).
    pub beta_2: f64,
    /// Added to the root of the second moment (Adam, AdamW).
    pub epsilon: f64,
    /// Memory of the velocity (SGD), in [0, 1).
    pub momentum: f64,
    /// Nesterov's look-ahead (SGD).
    pub nesterov: bool,
    /// Largest norm of all gradients together; 0 is no clipping.
    pub clip_norm: f64,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        Self {
            rule: Rule::AdamW,
            weight_decay: 0.01,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            momentum: 0.9,
            nesterov: false,
            clip_norm: 0.0,
        }
    }
}

impl OptimizerSettings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// A message that names the setting, what was found and what is wanted.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [("beta_1", self.beta_1), ("beta_2", self.beta_2), ("momentum", self.momentum)] {
            if !(0.0..1.0).contains(&(value as f32)) {
                return Err(format!("optimizer.{name} is {value}; it has to be at least 0 and below 1"));
            }
        }
        for (name, value) in [("weight_decay", self.weight_decay), ("clip_norm", self.clip_norm)] {
            if !((value as f32).is_finite() && value >= 0.0) {
                return Err(format!("optimizer.{name} is {value}; it has to be 0 (off) or more"));
            }
        }
        if !(self.epsilon.is_finite() && self.epsilon as f32 > 0.0) {
            return Err(format!("optimizer.epsilon is {}; it has to be above 0", self.epsilon));
        }
        Ok(())
    }
}

/// What the optimizer remembers of one tensor.
#[derive(Clone, Debug)]
pub struct Slot<B: Backend> {
    /// Updates so far.
    pub time: usize,
    /// First moment or velocity.
    pub first: Tensor<B, 1>,
    /// Second moment, where the rule has one.
    pub second: Option<Tensor<B, 1>>,
}

/// An optimizer for the flat list of a module's tensors.
pub struct Optimizer<B: Backend> {
    /// Tensors without and with weight decay.
    groups: [Group; 2],
    /// One for each tensor, in the module's order; `None` before its first update.
    pub slots: Vec<Option<Slot<B>>>,
    decayed: Vec<bool>,
}

impl<B: Backend> Optimizer<B> {
    /// An optimizer with no memory for tensors like these.
    pub fn new(settings: &OptimizerSettings, parameters: &[Parameter]) -> Self {
        Self {
            groups: [Group::new(settings, 0.0), Group::new(settings, settings.weight_decay)],
            slots: vec![None; parameters.len()],
            decayed: parameters.iter().map(|p| p.shape.len() > 1).collect(),
        }
    }

    /// One update: new values for all tensors. Tensors without a gradient stay as they are.
    pub fn step(
        &mut self,
        lr: f64,
        values: Vec<Tensor<B, 1>>,
        gradients: Vec<Option<Tensor<B, 1>>>,
    ) -> Vec<Tensor<B, 1>> {
        let groups = &self.groups;
        values
            .into_iter()
            .zip(gradients)
            .zip(self.slots.iter_mut().zip(&self.decayed))
            .map(|((value, gradient), (slot, decayed))| match gradient {
                None => value,
                Some(gradient) => {
                    let (value, new) = groups[usize::from(*decayed)].step(lr, value, gradient, slot.take());
                    *slot = Some(new);
                    value
                }
            })
            .collect()
    }
}

/// Tensors that share a weight decay.
enum Group {
    Adam(Adam),
    AdamW(AdamW),
    Sgd { momentum: f64, nesterov: bool, decay: f64 },
}

impl Group {
    fn new(s: &OptimizerSettings, decay: f64) -> Self {
        match s.rule {
            Rule::Adam => Self::Adam(
                AdamConfig::new()
                    .with_beta_1(s.beta_1 as f32)
                    .with_beta_2(s.beta_2 as f32)
                    .with_epsilon(s.epsilon as f32)
                    .with_weight_decay((decay > 0.0).then(|| WeightDecayConfig::new(decay as f32)))
                    .build(),
            ),
            Rule::AdamW => Self::AdamW(
                AdamWConfig::new()
                    .with_beta_1(s.beta_1 as f32)
                    .with_beta_2(s.beta_2 as f32)
                    .with_epsilon(s.epsilon as f32)
                    .with_weight_decay(decay as f32)
                    .build(),
            ),
            Rule::Sgd => Self::Sgd { momentum: s.momentum, nesterov: s.nesterov, decay },
        }
    }

    fn step<B: Backend>(
        &self,
        lr: f64,
        value: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        slot: Option<Slot<B>>,
    ) -> (Tensor<B, 1>, Slot<B>) {
        match self {
            Self::Adam(adam) => {
                let state = slot.and_then(moments).map(|momentum| AdamState { momentum });
                let (value, state) = adam.step(lr, value, gradient, state);
                let Some(AdamState { momentum }) = state else { unreachable!("Adam always has a state") };
                (value, kept(momentum))
            }
            Self::AdamW(adamw) => {
                let state = slot.and_then(moments).map(|momentum| AdamWState { momentum });
                let (value, state) = adamw.step(lr, value, gradient, state);
                let Some(AdamWState { momentum }) = state else { unreachable!("AdamW always has a state") };
                (value, kept(momentum))
            }
            Self::Sgd { momentum, nesterov, decay } => {
                let gradient =
                    if *decay > 0.0 { gradient + value.clone().mul_scalar(*decay) } else { gradient };
                let (time, velocity) = match slot {
                    Some(slot) => (slot.time + 1, slot.first.mul_scalar(*momentum) + gradient.clone()),
                    None => (1, gradient.clone()),
                };
                let delta = if *nesterov {
                    gradient + velocity.clone().mul_scalar(*momentum)
                } else {
                    velocity.clone()
                };
                (value - delta.mul_scalar(lr), Slot { time, first: velocity, second: None })
            }
        }
    }
}

fn moments<B: Backend>(slot: Slot<B>) -> Option<AdaptiveMomentumState<B, 1>> {
    let moment_2 = slot.second?;
    Some(AdaptiveMomentumState { time: slot.time, moment_1: slot.first, moment_2, max_moment_2: None })
}

fn kept<B: Backend>(m: AdaptiveMomentumState<B, 1>) -> Slot<B> {
    Slot { time: m.time, first: m.moment_1, second: Some(m.moment_2) }
}

/// Scales gradients down so that the norm over all of them is at most `largest` (Pascanu et al. 2013,
/// arXiv 1211.5063), in PyTorch's form: the factor is `largest / (norm + 1e-6)`, at most 1.
///
/// Returns the norm before, `[1]`, left on the device.
pub fn clip_global_norm<B: Backend>(
    gradients: Vec<Option<Tensor<B, 1>>>,
    largest: f64,
) -> (Vec<Option<Tensor<B, 1>>>, Option<Tensor<B, 1>>) {
    let squares = gradients.iter().flatten().map(|g| g.clone().square().sum());
    let Some(norm) = squares.reduce(|a, b| a + b).map(Tensor::sqrt) else { return (gradients, None) };
    let factor = norm.clone().add_scalar(1e-6).recip().mul_scalar(largest).clamp_max(1.0);
    let clipped = gradients.into_iter().map(|g| g.map(|g| g * factor.clone())).collect();
    (clipped, Some(norm))
}

/// Adds one micro-batch's gradients to those gathered so far.
pub fn accumulate<B: Backend>(
    sum: Option<Vec<Option<Tensor<B, 1>>>>,
    new: Vec<Option<Tensor<B, 1>>>,
) -> Vec<Option<Tensor<B, 1>>> {
    let Some(sum) = sum else { return new };
    sum.into_iter()
        .zip(new)
        .map(|pair| match pair {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        })
        .collect()
}

/// Exponential moving average of weights (Polyak & Juditsky 1992; the warm-up `(1 + t) / (10 + t)` is
/// TensorFlow's): values after update number `time`, counted from 1.
pub fn moving_average<B: Backend>(
    average: Vec<Tensor<B, 1>>,
    values: &[Tensor<B, 1>],
    decay: f64,
    time: usize,
) -> Vec<Tensor<B, 1>> {
    let t = time as f64;
    let keep = decay.min((1.0 + t) / (10.0 + t));
    average
        .into_iter()
        .zip(values)
        .map(|(a, v)| a.mul_scalar(keep) + v.clone().mul_scalar(1.0 - keep))
        .collect()
}
