//! Steps of optimizers: the fast path against the backend's own operations in double precision. PyTorch's numbers
//! are where a whole optimizer is, in mnist-train.

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{Rule, State, Step, update};
use rayon::ThreadPoolBuilder;

use crate::support::{tensor, uniform, values};

const ADAM: Rule = Rule::Adam { betas: [0.9, 0.999], epsilon: 1e-8, time: 1, decoupled: false };
const ADAM_W: Rule = Rule::Adam { betas: [0.9, 0.999], epsilon: 1e-8, time: 1, decoupled: true };

fn rules() -> [Rule; 4] {
    let momentum = |nesterov| Rule::Momentum { momentum: 0.9, nesterov };
    [ADAM, ADAM_W, momentum(false), momentum(true)]
}

/// Value, first, second and average after some steps of a parameter of `len` values.
fn steps<B: Backend>(mut rule: Rule, len: usize, clipped: bool, averaged: bool) -> [Option<Vec<f32>>; 4] {
    let value = tensor::<B, 1>([len], 1, uniform);
    let average = averaged.then(|| value.clone());
    let mut state = State { value, first: None, second: None, average };
    for turn in 1..=4 {
        if let Rule::Adam { time, .. } = &mut rule {
            *time = turn;
        }
        let step = Step { rule, learning_rate: 0.01, weight_decay: 0.1, keep: 0.7 };
        let gradient = tensor::<B, 1>([len], 10 + turn as u32, uniform);
        let factor = clipped.then(|| Tensor::from_floats([0.5], &Default::default()));
        state = update(&step, gradient, factor, state);
    }
    [Some(state.value), state.first, state.second, state.average].map(|tensor| tensor.map(values))
}

#[test]
fn equal_to_the_backends_own_operations_in_double_precision() {
    for rule in rules() {
        for (clipped, averaged) in [(false, false), (true, true), (false, true)] {
            let wanted = steps::<NdArray<f64>>(rule, 37, clipped, averaged);
            for found in
                [steps::<Flex>(rule, 37, clipped, averaged), steps::<NdArray>(rule, 37, clipped, averaged)]
            {
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert_eq!(found.is_some(), wanted.is_some());
                    for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
                        assert!((found - wanted).abs() < 2e-6, "{rule:?}: {found} is not {wanted}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let bits = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| rules().map(|rule| steps::<Flex>(rule, 70_001, true, true)));
        found.into_iter().flatten().flatten().flatten().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = bits(1);
    assert!(bits(2) == one && bits(3) == one);
}

fn one_step(value: Tensor<Flex, 1>) -> Tensor<Flex, 1> {
    let step = Step { rule: ADAM_W, learning_rate: 0.1, weight_decay: 0.0, keep: 0.0 };
    let gradient = value.ones_like();
    update(&step, gradient, None, State { value, first: None, second: None, average: None }).value
}

#[test]
fn a_buffer_is_changed_in_place_only_where_nobody_else_holds_it() {
    let address = |tensor: &Tensor<Flex, 1>| tensor.clone().into_primitive().tensor().bytes().as_ptr();
    let value = tensor::<Flex, 1>([100], 1, uniform);
    let before = address(&value);
    let value = one_step(value);
    assert_eq!(address(&value), before);

    let held = value.clone();
    let old = values(held.clone());
    let new = one_step(value);
    assert_ne!(address(&new), address(&held));
    assert_eq!(values(held), old);
    assert_ne!(values(new), old);
}

#[test]
fn values_that_are_no_numbers_stay_so() {
    let value = one_step(Tensor::from_floats([f32::NAN, 1.0], &Default::default()));
    let value = values(value);
    assert!(value[0].is_nan() && (value[1] - 0.9).abs() < 1e-6);
}

#[test]
#[should_panic(expected = "differ in length")]
fn a_gradient_of_another_length_is_refused() {
    let value = Tensor::<Flex, 1>::zeros([3], &Default::default());
    let step = Step { rule: ADAM, learning_rate: 0.1, weight_decay: 0.0, keep: 0.0 };
    let gradient = Tensor::zeros([2], &Default::default());
    update(&step, gradient, None, State { value, first: None, second: None, average: None });
}
