//! One step of an optimizer: Adam, AdamW or momentum, clipping's factor, weight decay and a moving average.
//!
//! Written as tensor operations an update of AdamW passes some fifteen times over memory and makes as many buffers.
//! On CPU backends it is one pass, in place where nobody else holds the buffer.

use std::any::TypeId;

use burn::tensor::{DType, Tensor, TensorMetadata, backend::Backend};
use rayon::prelude::*;

use crate::{
    host::{Host, Primitive, cast},
    operation::{self, primitive},
    simd::vectorised,
};

/// How an update changes a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Kingma & Ba, arXiv 1412.6980.
    Adam {
        /// Memory of the two moments, in [0, 1).
        betas: [f64; 2],
        /// Added to the root of the second moment.
        epsilon: f64,
        /// Which update of this parameter it is, from 1.
        time: usize,
        /// Whether weight decay is apart from the gradient: AdamW (Loshchilov & Hutter, arXiv 1711.05101).
        decoupled: bool,
    },
    /// Gradient descent with momentum, in PyTorch's form.
    Momentum {
        /// Memory of the velocity, in [0, 1).
        momentum: f64,
        /// Nesterov's look-ahead.
        nesterov: bool,
    },
}

/// The numbers of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// How the gradient moves the values.
    pub rule: Rule,
    /// Learning rate.
    pub learning_rate: f64,
    /// Pull towards zero, per unit of learning rate: added to the gradient, but see [`Rule::Adam`].
    pub weight_decay: f64,
    /// Share of the moving average that stays, in [0, 1]; the new values make up the rest.
    pub keep: f64,
}

/// A parameter and what is remembered of it, each `[n]`.
#[derive(Clone, Debug)]
pub struct State<B: Backend> {
    /// The values.
    pub value: Tensor<B, 1>,
    /// First moment or velocity; `None` before the first update.
    pub first: Option<Tensor<B, 1>>,
    /// Second moment, of Adam; `None` before the first update.
    pub second: Option<Tensor<B, 1>>,
    /// Moving average of the values, if there is to be one.
    pub average: Option<Tensor<B, 1>>,
}

/// The state after one update by a gradient `[n]`, which is multiplied by `factor` `[1]` first.
///
/// # Panics
/// If the lengths differ.
pub fn update<B: Backend>(
    step: &Step,
    gradient: Tensor<B, 1>,
    factor: Option<Tensor<B, 1>>,
    mut state: State<B>,
) -> State<B> {
    let length = gradient.dims();
    let given = [Some(&state.value), state.first.as_ref(), state.second.as_ref(), state.average.as_ref()];
    assert!(given.iter().flatten().all(|t| t.dims() == length), "parameter and gradient differ in length");
    // Before the first update there is nothing to remember.
    state.first.get_or_insert_with(|| gradient.zeros_like());
    if matches!(step.rule, Rule::Adam { .. }) {
        state.second.get_or_insert_with(|| gradient.zeros_like());
    }
    #[cfg(feature = "tch")]
    if crate::libtorch::is_alone::<B>() && matches!(step.rule, Rule::Adam { .. }) {
        return libtorch(step, gradient, factor, state);
    }
    let State { value, first, second, average } = state;
    let tensors = [Some(gradient), factor, Some(value), first, second, average];
    let (fast, tensors) = match fast::<B>(step, tensors.map(|tensor| tensor.map(primitive))) {
        Ok(done) => (true, done),
        Err(given) => (false, given),
    };
    let [Some(gradient), factor, Some(value), first, second, average] =
        tensors.map(|tensor| tensor.map(operation::tensor::<B, 1>))
    else {
        unreachable!("as many tensors come back as were given")
    };
    let state = State { value, first, second, average };
    if fast { state } else { plain(step, gradient, factor, state) }
}

/// Adam in libtorch's function, which is one pass as well.
#[cfg(feature = "tch")]
fn libtorch<B: Backend>(
    step: &Step,
    gradient: Tensor<B, 1>,
    factor: Option<Tensor<B, 1>>,
    state: State<B>,
) -> State<B> {
    use crate::libtorch::{disown, own, script};

    let gradient = if let Some(factor) = factor { gradient * factor } else { gradient };
    let gradient: burn_tch::TchTensor = operation::same(primitive(gradient));
    let State { value, first, second, average } = state;
    let [value, first, second, average] = [Some(value), first, second, average].map(|tensor| tensor.map(own));
    let (Rule::Adam { betas, epsilon, time, decoupled }, Some(value), Some(first), Some(second)) =
        (step.rule, value, first, second)
    else {
        unreachable!("Adam has a value and two moments")
    };
    let numbers = script::Adam {
        learning_rate: step.learning_rate,
        betas,
        epsilon,
        weight_decay: step.weight_decay,
        decoupled,
        time,
    };
    script::adam(&numbers, &gradient.tensor, [&value.tensor, &first.tensor, &second.tensor]);
    let average = average.map(|mut average| {
        let _itself = average.tensor.lerp_(&value.tensor, 1.0 - step.keep);
        average
    });
    State {
        value: disown(value),
        first: Some(disown(first)),
        second: Some(disown(second)),
        average: average.map(disown),
    }
}

/// The same by the backend's own operations.
fn plain<B: Backend>(
    step: &Step,
    mut gradient: Tensor<B, 1>,
    factor: Option<Tensor<B, 1>>,
    state: State<B>,
) -> State<B> {
    let Step { rule, learning_rate: lr, weight_decay: decay, keep } = *step;
    let State { mut value, first, second, average } = state;
    if let Some(factor) = factor {
        gradient = gradient * factor;
    }
    match rule {
        Rule::Adam { decoupled: true, .. } => value = value.mul_scalar(1.0 - lr * decay),
        _ if decay != 0.0 => gradient = gradient + value.clone().mul_scalar(decay),
        _ => {}
    }
    let (first, second) = match rule {
        Rule::Adam { betas: [beta_1, beta_2], epsilon, time, .. } => {
            let [left_1, left_2] = corrections([beta_1, beta_2], time);
            let mix = |old: Option<Tensor<B, 1>>, new: Tensor<B, 1>, beta: f64| {
                let new = new.mul_scalar(1.0 - beta);
                old.map_or(new.clone(), |old| old.mul_scalar(beta) + new)
            };
            let first = mix(first, gradient.clone(), beta_1);
            let second = mix(second, gradient.square(), beta_2);
            let root = second.clone().sqrt().div_scalar(left_2.sqrt()).add_scalar(epsilon);
            value = value - first.clone().mul_scalar(lr / left_1) / root;
            (first, Some(second))
        }
        Rule::Momentum { momentum, nesterov } => {
            let new = gradient.clone();
            let velocity = first.map_or(new.clone(), |old| old.mul_scalar(momentum) + new);
            let ahead =
                if nesterov { gradient + velocity.clone().mul_scalar(momentum) } else { velocity.clone() };
            value = value - ahead.mul_scalar(lr);
            (velocity, second)
        }
    };
    let average = average.map(|average| moving_average(average, value.clone(), keep));
    State { value, first: Some(first), second, average }
}

/// `keep * average + (1 - keep) * value`, each `[n]`.
pub fn moving_average<B: Backend>(average: Tensor<B, 1>, value: Tensor<B, 1>, keep: f64) -> Tensor<B, 1> {
    average.mul_scalar(keep) + value.mul_scalar(1.0 - keep)
}

/// By what Adam's moments fall short of means after so many updates: `1 - beta^time`.
fn corrections(betas: [f64; 2], time: usize) -> [f64; 2] {
    let time = i32::try_from(time).unwrap_or(i32::MAX);
    betas.map(|beta| 1.0 - beta.powi(time))
}

/// Gradient, factor; value, first, second, average.
type Tensors<P> = [Option<P>; 6];

/// The tensors after the update if `B` is a fast backend and all are f32, else as they were.
fn fast<B: Backend>(
    step: &Step,
    tensors: Tensors<Primitive<B>>,
) -> Result<Tensors<Primitive<B>>, Tensors<Primitive<B>>> {
    if tensors.iter().flatten().any(|tensor| tensor.dtype() != DType::F32) {
        return Err(tensors);
    }
    #[cfg(feature = "flex")]
    let tensors = match fast_on::<burn_flex::Flex, B>(step, tensors) {
        Ok(done) => return Ok(done),
        Err(tensors) => tensors,
    };
    #[cfg(feature = "ndarray")]
    let tensors = match fast_on::<burn_ndarray::NdArray, B>(step, tensors) {
        Ok(done) => return Ok(done),
        Err(tensors) => tensors,
    };
    Err(tensors)
}

fn fast_on<H: Host, B: Backend>(
    step: &Step,
    tensors: Tensors<Primitive<B>>,
) -> Result<Tensors<Primitive<B>>, Tensors<Primitive<B>>> {
    if TypeId::of::<B>() != TypeId::of::<H>() {
        return Err(tensors);
    }
    let mut tensors = cast::<_, Tensors<Primitive<H>>>(tensors)?.map(|tensor| tensor.map(H::contiguous));
    let [gradient, factor, buffers @ ..] = &mut tensors;
    let gradient = gradient.as_ref().map_or(&[][..], H::values);
    let factor = factor.as_ref().and_then(|factor| H::values(factor).first().copied());
    let buffers = buffers.each_mut().map(|tensor| tensor.as_mut().map_or(&mut [][..], H::values_mut));
    in_place(step, gradient, factor.unwrap_or(1.0), buffers);
    match cast(tensors) {
        Ok(tensors) => Ok(tensors),
        Err(_) => unreachable!("the backend's type has been compared"),
    }
}

/// One pass over a parameter's buffers: value, first, second, average; the last two may be empty.
fn in_place(step: &Step, gradient: &[f32], factor: f32, buffers: [&mut [f32]; 4]) {
    /// Values that a thread takes at a time: all that belongs to them stays in its second cache.
    const PIECE: usize = 1 << 14;
    let [value, first, second, average] =
        buffers.map(|buffer| buffer.chunks_mut(PIECE).chain(std::iter::repeat_with(Default::default)));
    let pieces: Vec<_> = gradient.chunks(PIECE).zip(value).zip(first).zip(second).zip(average).collect();
    let Step { rule, learning_rate, weight_decay, keep } = *step;
    pieces.into_par_iter().for_each(|((((gradient, value), first), second), average)| {
        match rule {
            Rule::Adam { betas, epsilon, time, decoupled } => {
                let [left_1, left_2] = corrections(betas, time);
                let numbers = Adam {
                    factor,
                    decay: if decoupled { 0.0 } else { weight_decay as f32 },
                    shrink: if decoupled { (1.0 - learning_rate * weight_decay) as f32 } else { 1.0 },
                    betas: betas.map(|beta| beta as f32),
                    rest: betas.map(|beta| (1.0 - beta) as f32),
                    rate: (learning_rate / left_1) as f32,
                    root: left_2.sqrt().recip() as f32,
                    epsilon: epsilon as f32,
                };
                adam(numbers, gradient, value, first, second);
            }
            Rule::Momentum { momentum, nesterov } => {
                let [rate, decay, momentum] = [learning_rate, weight_decay, momentum].map(|x| x as f32);
                descend([factor, rate, decay, momentum], nesterov, gradient, value, first);
            }
        }
        mix(average, value, keep as f32, (1.0 - keep) as f32);
    });
}

/// Scalars of Adam's inner loop.
struct Adam {
    factor: f32,
    decay: f32,
    shrink: f32,
    betas: [f32; 2],
    rest: [f32; 2],
    rate: f32,
    root: f32,
    epsilon: f32,
}

vectorised! {
    fn adam<'a>(
        numbers: Adam,
        gradient: &'a [f32],
        value: &'a mut [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
    ) {
        let Adam { factor, decay, shrink, betas, rest, rate, root, epsilon } = numbers;
        for (((gradient, value), first), second) in gradient.iter().zip(value).zip(first).zip(second) {
            let gradient = gradient * factor + decay * *value;
            *first = betas[0] * *first + rest[0] * gradient;
            *second = betas[1] * *second + rest[1] * gradient * gradient;
            *value = shrink * *value - rate * *first / (second.sqrt() * root + epsilon);
        }
    }
}

vectorised! {
    /// `scalars`: factor, learning rate, weight decay, momentum.
    fn descend<'a>(
        scalars: [f32; 4],
        nesterov: bool,
        gradient: &'a [f32],
        value: &'a mut [f32],
        velocity: &'a mut [f32],
    ) {
        let [factor, rate, decay, momentum] = scalars;
        for ((gradient, value), velocity) in gradient.iter().zip(value).zip(velocity) {
            let gradient = gradient * factor + decay * *value;
            *velocity = momentum * *velocity + gradient;
            *value -= rate * if nesterov { gradient + momentum * *velocity } else { *velocity };
        }
    }
}

vectorised! {
    fn mix<'a>(average: &'a mut [f32], value: &'a [f32], keep: f32, rest: f32) {
        for (average, value) in average.iter_mut().zip(value) {
            *average = keep * *average + rest * value;
        }
    }
}
