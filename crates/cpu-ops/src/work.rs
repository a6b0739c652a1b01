//! What operations on the fast path compute and keep, counted as they run.
//!
//! Counted are the multiplications and additions of matrix products, convolutions and attention, two for each term of
//! a sum, by the plain formulas (a convolution that goes through Winograd's form is counted as if it did not); what
//! works element by element is left out, as usual. Kept are the buffers that a forward pass leaves for its backward
//! pass, each once, without the weights.

use std::{cell::RefCell, collections::HashMap};

thread_local! {
    static COUNT: RefCell<Option<Count>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Count {
    work: Work,
    /// Users of each buffer that is kept, by its address.
    users: HashMap<usize, usize>,
    bytes: u64,
    /// Buffers that have no address here.
    others: usize,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiplications and additions.
    pub flops: u64,
    /// Most bytes that were kept at a time.
    pub kept: u64,
}

/// Runs something and counts what it does on this thread.
pub fn counted<T>(run: impl FnOnce() -> T) -> (T, Work) {
    /// Ends the count, in a panic as well.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            COUNT.with_borrow_mut(Option::take);
        }
    }
    COUNT.with_borrow_mut(|count| *count = Some(Count::default()));
    let end = End;
    let done = run();
    let work = COUNT.with_borrow_mut(Option::take).unwrap_or_default().work;
    drop(end);
    (done, work)
}

/// Counts multiplications and additions.
pub(crate) fn add(flops: u64) {
    COUNT.with_borrow_mut(|count| {
        if let Some(count) = count {
            count.work.flops += flops;
        }
    });
}

/// Counts a buffer of so many bytes as kept, one that no operation keeps by itself.
pub fn hold(bytes: usize) -> Held {
    // No buffer of numbers begins at an odd address.
    let own = COUNT.with_borrow_mut(|count| {
        count.as_mut().map_or(1, |count| {
            count.others += 2;
            count.others | 1
        })
    });
    Held::new(std::iter::once((own, bytes as u64)))
}

/// Buffers that are counted as kept until this is dropped.
#[derive(Debug, Default)]
pub struct Held(Vec<(usize, u64)>);

impl Held {
    /// Counts buffers, by their first elements' addresses, of so many bytes.
    pub(crate) fn new(buffers: impl Iterator<Item = (usize, u64)>) -> Self {
        COUNT.with_borrow_mut(|count| {
            let Some(count) = count else { return Self::default() };
            let held: Vec<_> = buffers.filter(|(_, bytes)| *bytes > 0).collect();
            for (address, bytes) in &held {
                let users = count.users.entry(*address).or_default();
                *users += 1;
                if *users == 1 {
                    count.bytes += bytes;
                }
            }
            count.work.kept = count.work.kept.max(count.bytes);
            Self(held)
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        COUNT.with_borrow_mut(|count| {
            let Some(count) = count else { return };
            for (address, bytes) in &self.0 {
                let left = count.users.get_mut(address).map(|users| {
                    *users -= 1;
                    *users
                });
                if left == Some(0) {
                    count.users.remove(address);
                    count.bytes = count.bytes.saturating_sub(*bytes);
                }
            }
        });
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::{
        backend::Autodiff,
        tensor::{Distribution, Tensor},
    };
    use burn_flex::Flex;

    use super::*;
    use crate::{AttentionOptions, Conv2dOptions, conv2d, gelu, linear, self_attention};

    type B = Autodiff<Flex>;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Default::default())
    }

    /// Two layers, 5 rows, 7 to 11 to 3 units, GELU between them.
    #[test]
    fn layers_by_hand() {
        let [first, second] = [random([7, 11]).require_grad(), random([11, 3]).require_grad()];
        let forward = || linear(gelu(linear(random([5, 7]), first.clone(), None)), second.clone(), None);
        let (loss, work) = counted(|| forward().sum());
        // 2 * 5 * (7 * 11 + 11 * 3); kept are the input, what GELU reads and what it gives.
        assert_eq!(work, Work { flops: 1100, kept: 4 * 5 * (7 + 11 + 11) });
        let (_, back) = counted(|| loss.backward());
        // Both gradients of the second layer, that of the weight alone of the first.
        assert_eq!(back.flops, 2 * 5 * (2 * 11 * 3 + 7 * 11));
        let (_, both) = counted(|| forward().sum().backward());
        assert_eq!(both, Work { flops: 1100 + back.flops, kept: work.kept });
        let (_, none) = counted(|| forward().inner());
        assert_eq!(none.flops, 1100);
    }

    /// 2 images of 3 channels, 8x8, to 5 channels by 3x3 at stride 2: maps of 4x4.
    #[test]
    fn convolution_and_attention_by_hand() {
        let weight = random([5, 3, 3, 3]).require_grad();
        let options = Conv2dOptions { stride: [2, 2], padding: [1, 1], ..Default::default() };
        let (_, work) =
            counted(|| conv2d(random([2, 3, 8, 8]), weight.clone(), None, options).sum().backward());
        let forward = 2 * 2 * 5 * 16 * 3 * 9;
        assert_eq!(work, Work { flops: 2 * forward, kept: 4 * 2 * 3 * 64 });

        // 2 sequences of 6 tokens, width 8: queries by keys and weights by values; backward has 5 such products.
        let qkv = random([2, 6, 24]).require_grad();
        let options = AttentionOptions { heads: 2, ..Default::default() };
        let (_, work) = counted(|| self_attention(qkv.clone(), options).sum().backward());
        assert_eq!(work.flops, 7 * 2 * 2 * 6 * 6 * 8);
        // The input, and a number for each query and head.
        assert_eq!(work.kept, 4 * (2 * 6 * 24 + 2 * 2 * 6));
    }

    #[test]
    fn nothing_is_counted_outside() {
        let held = hold(10);
        let ((), work) = counted(|| drop(hold(7)));
        drop(held);
        assert_eq!(work, Work { flops: 0, kept: 7 });
    }
}
