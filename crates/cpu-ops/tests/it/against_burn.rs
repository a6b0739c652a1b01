//! The same output and gradients as Burn's own operations.

use burn::backend::Autodiff;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use cpu_ops::{Conv2dOptions, conv2d};
use proptest::prelude::*;

use crate::support::{Case, burns_own, case, cases_of_our_nets, run, uniform, whole};

type AdFlex = Autodiff<Flex>;
type AdNdArray = Autodiff<NdArray>;

#[test]
fn equal_on_whole_numbers_in_the_shapes_of_our_nets() {
    for case in cases_of_our_nets() {
        let ours = run::<AdFlex>(&case, whole, conv2d);
        assert_eq!(ours.len(), if case.bias { 4 } else { 3 });
        assert!(ours == run::<AdFlex>(&case, whole, burns_own), "{case:?}");
    }
}

#[test]
fn close_on_fractions_in_the_shapes_of_our_nets() {
    for case in cases_of_our_nets() {
        let ours = run::<AdFlex>(&case, uniform, conv2d);
        let burns = run::<AdFlex>(&case, uniform, burns_own);
        for (what, (ours, burns)) in ["y", "dx", "dw", "db"].iter().zip(ours.iter().zip(&burns)) {
            assert_eq!(ours.len(), burns.len());
            let size = burns.iter().fold(0.0_f32, |size, value| size.max(value.abs()));
            let off = ours.iter().zip(burns).fold(0.0_f32, |off, (a, b)| off.max((a - b).abs()));
            assert!(off <= 1e-4 * size, "{what} is off by {off} where the largest is {size}: {case:?}");
        }
    }
}

#[test]
fn equal_on_ndarray() {
    let mut pooled = case([9, 2, 8, 11], 5, 3, 1, 1);
    pooled.options.max_pool = true;
    let mut bare = case([3, 4, 9, 6], 2, 1, 2, 0);
    bare.options.relu = false;
    bare.bias = false;
    for case in [case([10, 3, 7, 7], 4, 3, 2, 1), pooled, bare] {
        assert_eq!(
            run::<AdNdArray>(&case, whole, conv2d),
            run::<AdNdArray>(&case, whole, burns_own),
            "{case:?}"
        );
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let images = (1..10_usize, 1..7_usize, 3..12_usize, 3..12_usize);
    let weights = (1..7_usize, 1..6_usize, 1..6_usize);
    let moves = (1..4_usize, 1..4_usize, 0..3_usize, 0..3_usize);
    (images, weights, moves, any::<[bool; 3]>()).prop_map(|(images, weights, moves, [relu, pool, bias])| {
        let padding = [moves.2, moves.3];
        let stride = [moves.0, moves.1];
        let size = [images.2, images.3];
        let kernel = [weights.1.min(size[0] + 2 * padding[0]), weights.2.min(size[1] + 2 * padding[1])];
        let map = [0, 1].map(|i| (size[i] + 2 * padding[i] - kernel[i]) / stride[i] + 1);
        let max_pool = pool && map.iter().all(|&n| n >= 2);
        let options = Conv2dOptions { stride, padding, relu, max_pool };
        Case { images: [images.0, images.1, images.2, images.3], outputs: weights.0, kernel, options, bias }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equal_on_any_shape(case in any_case()) {
        prop_assert_eq!(run::<AdFlex>(&case, whole, conv2d), run::<AdFlex>(&case, whole, burns_own));
    }
}
