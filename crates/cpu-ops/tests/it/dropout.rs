//! Dropout. What its mask is like is tested beside it; here, what a caller sees.

use std::sync::Mutex;

use burn::{
    backend::{Autodiff, autodiff::checkpoint::strategy::BalancedCheckpointing},
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::dropout;

use crate::support::{tensor, uniform, values};

/// The generators are one each for all threads: who seeds and draws holds this.
static GENERATOR: Mutex<()> = Mutex::new(());

/// Output and gradient of ones after seeding.
fn run<B: AutodiffBackend>(seed: u64, share: f64) -> [Vec<f32>; 2] {
    let _one_at_a_time = GENERATOR.lock().unwrap();
    let device = Default::default();
    B::seed(&device, seed);
    let x = Tensor::<B, 2>::ones([30, 1_000], &device).require_grad();
    let y = dropout(x.clone(), share);
    let grads = y.clone().sum().backward();
    [values(y), values(x.grad(&grads).unwrap())]
}

#[test]
fn the_gradient_goes_where_the_elements_went() {
    fn check<B: AutodiffBackend>() {
        for share in [0.1, 0.5, 0.9] {
            let [y, dx] = run::<B>(3, share);
            assert_eq!(y, dx);
            let scale = (1.0 / (1.0 - share)) as f32;
            assert!(y.iter().all(|&y| y == 0.0 || (y - scale).abs() <= 1e-5 * scale), "{share}");
            let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
            assert!((dropped - share).abs() < 0.015, "{dropped} of {share}");
        }
        assert_eq!(run::<B>(3, 1.0), [vec![0.0; 30_000], vec![0.0; 30_000]]);
        assert_eq!(run::<B>(3, 0.0), [vec![1.0; 30_000], vec![1.0; 30_000]]);
    }
    check::<Autodiff<Flex>>();
    check::<Autodiff<NdArray>>();
    check::<Autodiff<Flex, BalancedCheckpointing>>();
}

#[test]
fn a_seed_gives_its_mask_again_and_another_another() {
    fn check<B: AutodiffBackend>() {
        assert_eq!(run::<B>(5, 0.5), run::<B>(5, 0.5));
        assert_ne!(run::<B>(5, 0.5), run::<B>(6, 0.5));
    }
    check::<Autodiff<Flex>>();
    check::<Autodiff<NdArray>>();
}

#[test]
fn each_call_has_a_mask_of_its_own() {
    let _one_at_a_time = GENERATOR.lock().unwrap();
    type B = Autodiff<Flex>;
    B::seed(&Default::default(), 1);
    let x = Tensor::<B, 1>::ones([1_000], &Default::default());
    assert_ne!(values(dropout(x.clone(), 0.5)), values(dropout(x, 0.5)));
}

#[test]
fn without_autodiff_nothing_is_dropped() {
    fn check<B: Backend>() {
        let x = tensor::<B, 2>([5, 7], 1, uniform);
        assert_eq!(values(dropout(x.clone(), 0.9)), values(x));
    }
    check::<Flex>();
    check::<NdArray>();
}

#[test]
#[should_panic = "the share to drop is 1.5, not in [0, 1]"]
fn a_share_is_between_0_and_1() {
    let _ = dropout(Tensor::<Flex, 1>::ones([1], &Default::default()), 1.5);
}
