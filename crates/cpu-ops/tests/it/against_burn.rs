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
fn winograds_errors_are_as_small_as_those_of_plain_sums() {
    let mut case = case([8, 32, 13, 12], 48, 3, 1, 1);
    case.options.relu = false;
    let ours = run::<AdFlex>(&case, uniform, conv2d);
    let exact = run::<Autodiff<NdArray<f64>>>(&case, uniform, burns_own);
    for (what, (ours, exact)) in ["y", "dx", "dw", "db"].iter().zip(ours.iter().zip(&exact)) {
        let size = exact.iter().fold(0.0_f32, |size, value| size.max(value.abs()));
        let off = ours.iter().zip(exact).fold(0.0_f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off <= 2e-6 * size, "{what} is off by {off} where the largest is {size}");
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
    (images, weights, moves, any::<[bool; 4]>()).prop_map(
        |(mut images, mut weights, moves, [relu, pool, bias, deep])| {
            let padding = [moves.2, moves.3];
            let stride = [moves.0, moves.1];
            let size = [images.2, images.3];
            let kernel = [weights.1.min(size[0] + 2 * padding[0]), weights.2.min(size[1] + 2 * padding[1])];
            let map = [0, 1].map(|i| (size[i] + 2 * padding[i] - kernel[i]) / stride[i] + 1);
            let max_pool = pool && map.iter().all(|&n| n >= 2);
            if deep {
                // Enough channels for Winograd's way, where the rest fits.
                (images.1, weights.0) = (images.1 + 6, weights.0 + 7);
            }
            let options = Conv2dOptions { stride, padding, groups: 1, relu, max_pool };
            Case {
                images: [images.0, images.1, images.2, images.3],
                outputs: weights.0,
                kernel,
                options,
                bias,
            }
        },
    )
}

/// The same with a kernel of 3x3 at stride 1.
fn three_by_three() -> impl Strategy<Value = Case> {
    any_case().prop_filter_map("too small", |mut case| {
        case.kernel = [3, 3];
        case.options.stride = [1, 1];
        let map = [2, 3].map(|i| case.images[i] + 2 * case.options.padding[i - 2] - 2);
        case.options.max_pool &= map.iter().all(|&n| n >= 2);
        Some(case)
    })
}

/// The same with channels that have nothing to do with each other, or two groups of them.
fn grouped() -> impl Strategy<Value = Case> {
    (any_case(), 1..4_usize, any::<bool>()).prop_map(|(mut case, each, depthwise)| {
        case.images[1] = case.images[1].next_multiple_of(2);
        case.options.groups = if depthwise { case.images[1] } else { 2 };
        case.outputs = each * case.options.groups;
        case
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equal_on_any_shape(case in any_case()) {
        prop_assert_eq!(run::<AdFlex>(&case, whole, conv2d), run::<AdFlex>(&case, whole, burns_own));
    }

    #[test]
    fn equal_by_winograds_way(case in three_by_three()) {
        prop_assert_eq!(run::<AdFlex>(&case, whole, conv2d), run::<AdFlex>(&case, whole, burns_own));
    }

    #[test]
    fn equal_in_groups(case in grouped()) {
        prop_assert_eq!(run::<AdFlex>(&case, whole, conv2d), run::<AdFlex>(&case, whole, burns_own));
    }
}
