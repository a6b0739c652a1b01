//! The number of threads changes no bit.

use burn::backend::Autodiff;
use cpu_ops::conv2d;
use rayon::ThreadPoolBuilder;

use crate::support::{case, cases_of_our_nets, run, uniform};

/// Output and gradients in a pool of `threads`, as bits.
fn bits(case: &crate::support::Case, threads: usize) -> Vec<Vec<u32>> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let found = pool.install(|| run::<Autodiff<burn_flex::Flex>>(case, uniform, conv2d));
    found.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let mut cases = cases_of_our_nets();
    cases.push(case([67, 3, 9, 10], 5, 3, 1, 1));
    cases.push(case([300, 2, 5, 5], 3, 2, 2, 0));
    for case in cases {
        let one = bits(&case, 1);
        for threads in [1, 2, 3, 3] {
            assert!(bits(&case, threads) == one, "{threads} threads: {case:?}");
        }
    }
}
