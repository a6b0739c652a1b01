//! Adam, AdamW and SGD with momentum, parameter groups, clipping and a moving average, in PyTorch's form.
//!
//! Departures from Burn's own wrappers, all as PyTorch users expect: weight decay leaves biases and norms
//! alone (tensors of one dimension), clipping is by the norm over all gradients together, state is kept by
//! position so that a checkpoint can name it. The arithmetic is one operation of `cpu-ops`, which does all of it
//! in one pass over memory; Burn's update rules pass fifteen times, and its momentum keeps its velocity private.

use burn::tensor::{Tensor, backend::Backend};
use cpu_ops::{State, Step, moving_average};
use mnist_model::parameters::Parameter;
use serde::{Deserialize, Serialize};

/// Update rule.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Kingma & Ba, arXiv 1412.6980; weight decay, if any, is added to the gradient (L2).
    Adam,
    /// Loshchilov & Hutter, arXiv 1711.05101; weight decay apart from the gradient.
    #[serde(alias = "adamw")]
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

/// Moving average of weights (Polyak & Juditsky 1992) that an update goes into.
#[derive(Debug)]
pub struct Average<'a, B: Backend> {
    /// One for each tensor, in the module's order.
    pub values: &'a mut Vec<Tensor<B, 1>>,
    /// Share of it that stays: see [`kept_share`].
    pub keep: f64,
}

/// An optimizer for the flat list of a module's tensors.
pub struct Optimizer<B: Backend> {
    settings: OptimizerSettings,
    /// One for each tensor, in the module's order; `None` before its first update.
    pub slots: Vec<Option<Slot<B>>>,
    decayed: Vec<bool>,
    /// Which tensors are left as they are, and their moving average with them.
    pub frozen: Vec<bool>,
}

impl<B: Backend> Optimizer<B> {
    /// An optimizer with no memory for tensors like these.
    pub fn new(settings: &OptimizerSettings, parameters: &[Parameter]) -> Self {
        Self {
            settings: settings.clone(),
            slots: vec![None; parameters.len()],
            decayed: parameters.iter().map(|p| p.shape.len() > 1).collect(),
            frozen: vec![false; parameters.len()],
        }
    }

    /// One update, tensor by tensor: a function that makes each value the new one, to be called with all of them in
    /// the module's order. Tensors without a gradient stay as they are.
    ///
    /// Tensor `i` moves at the learning rate `lr(i)`. All gradients are multiplied by `factor` `[1]` first, if there
    /// is one: see [`clip_factor`]. Buffers that nobody else holds are changed in place.
    pub fn step<'a>(
        &'a mut self,
        lr: impl Fn(usize) -> f64 + 'a,
        gradients: Vec<Option<Tensor<B, 1>>>,
        factor: Option<Tensor<B, 1>>,
        average: Option<Average<'a, B>>,
    ) -> impl FnMut(Tensor<B, 1>) -> Tensor<B, 1> {
        let Self { settings, slots, decayed, frozen } = self;
        let of_tensors = slots.iter_mut().zip(decayed.iter()).zip(frozen.iter());
        let mut tensors = gradients.into_iter().zip(of_tensors).enumerate();
        let (mut old, mut averaged) = match average {
            Some(Average { values, keep }) => (std::mem::take(values).into_iter(), Some((values, keep))),
            None => (Vec::new().into_iter(), None),
        };
        move |value| {
            let (i, (gradient, ((slot, decayed), frozen))) =
                tensors.next().unwrap_or_else(|| unreachable!("as many as tensors"));
            let keep = averaged.as_ref().map_or(0.0, |(_, keep)| *keep);
            let (value, average) = match gradient.filter(|_| !frozen) {
                None if *frozen => (value, old.next()),
                None => {
                    let average = old.next().map(|average| moving_average(average, value.clone(), keep));
                    (value, average)
                }
                Some(gradient) => {
                    let (time, first, second) = match slot.take() {
                        Some(slot) => (slot.time + 1, Some(slot.first), slot.second),
                        None => (1, None, None),
                    };
                    let step = settings.at(lr(i), time, *decayed, keep);
                    let state = State { value, first, second, average: old.next() };
                    let state = cpu_ops::update(&step, gradient, factor.clone(), state);
                    *slot = state.first.map(|first| Slot { time, first, second: state.second });
                    (state.value, state.average)
                }
            };
            if let (Some((values, _)), Some(average)) = (&mut averaged, average) {
                values.push(average);
            }
            value
        }
    }
}

impl OptimizerSettings {
    /// The numbers of update number `time` of a tensor.
    fn at(&self, learning_rate: f64, time: usize, decayed: bool, keep: f64) -> Step {
        let rule = match self.rule {
            Rule::Adam | Rule::AdamW => cpu_ops::Rule::Adam {
                betas: [self.beta_1, self.beta_2],
                epsilon: self.epsilon,
                time,
                decoupled: self.rule == Rule::AdamW,
            },
            Rule::Sgd => cpu_ops::Rule::Momentum { momentum: self.momentum, nesterov: self.nesterov },
        };
        Step { rule, learning_rate, weight_decay: if decayed { self.weight_decay } else { 0.0 }, keep }
    }
}

/// The norm over all gradients together, `[1]`, left on the device; `None` if there are none.
pub fn global_norm<B: Backend>(gradients: &[Option<Tensor<B, 1>>]) -> Option<Tensor<B, 1>> {
    let squares = gradients.iter().flatten().map(|g| g.clone().square().sum());
    squares.reduce(|a, b| a + b).map(Tensor::sqrt)
}

/// What gradients of this norm are multiplied by, `[1]`, so that their norm is at most `largest` (Pascanu et al.
/// 2013, arXiv 1211.5063), in PyTorch's form: `largest / (norm + 1e-6)`, at most 1.
pub fn clip_factor<B: Backend>(norm: Tensor<B, 1>, largest: f64) -> Tensor<B, 1> {
    norm.add_scalar(1e-6).recip().mul_scalar(largest).clamp_max(1.0)
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

/// Share of a moving average that stays at update number `time`, counted from 1: `decay`, but less in the beginning
/// (the warm-up `(1 + t) / (10 + t)` is TensorFlow's).
pub fn kept_share(decay: f64, time: usize) -> f64 {
    let t = time as f64;
    decay.min((1.0 + t) / (10.0 + t))
}
