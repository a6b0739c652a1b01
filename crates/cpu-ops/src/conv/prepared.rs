//! Methods made ready for weights that come again, as they do where one image after the other is answered.
//!
//! To bring weights into the form of a [`Method`] costs about as much as to convolve one image. A thread keeps the
//! methods it used last and takes one again for the same sizes and, bit for bit, the same weights: comparing them
//! costs a tenth, and nothing can be out of date.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use super::{
    link::Link,
    method::{Asked, Method, method},
};

/// Batches up to this size use what is kept; in larger ones the weights' share is small.
pub(crate) const FEW_IMAGES: usize = 4;

/// Weights, of all methods together, that a thread keeps: 4 MiB, and the methods' forms of them, less than twice that.
const MOST: usize = 1 << 20;

/// As [`method`], kept for the next call.
pub(crate) fn prepared(link: &Link, weight: &[f32], asked: Asked) -> Rc<dyn Method> {
    thread_local! {
        static KEPT: RefCell<Kept> = RefCell::new(Kept::default());
    }
    KEPT.with_borrow_mut(|kept| kept.method(link, weight, asked))
}

/// In the order of use, the last one used at the end.
#[derive(Default)]
struct Kept(VecDeque<Entry>);

struct Entry {
    link: Link,
    asked: Asked,
    weight: Vec<f32>,
    method: Rc<dyn Method>,
}

impl Kept {
    fn method(&mut self, link: &Link, weight: &[f32], asked: Asked) -> Rc<dyn Method> {
        let same =
            |entry: &Entry| entry.link == *link && entry.asked == asked && equal(&entry.weight, weight);
        let found = self.0.iter().position(same).and_then(|place| self.0.remove(place));
        let entry = found.unwrap_or_else(|| Entry {
            link: *link,
            asked,
            weight: weight.to_vec(),
            method: method(link, weight, asked).into(),
        });
        let method = Rc::clone(&entry.method);
        self.0.push_back(entry);
        while self.weights() > MOST {
            self.0.pop_front();
        }
        method
    }

    fn weights(&self) -> usize {
        self.0.iter().map(|entry| entry.weight.len()).sum()
    }
}

/// Whether two slices have the same bits.
fn equal(a: &[f32], b: &[f32]) -> bool {
    const PIECE: usize = 256;
    let differs = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a.to_bits() ^ b.to_bits())) != 0
    };
    a.len() == b.len() && !a.chunks(PIECE).zip(b.chunks(PIECE)).any(|(a, b)| differs(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(outputs: usize) -> Link {
        let (image, map) = ([6, 6], [6, 6]);
        Link {
            batch: 1,
            inputs: 8,
            outputs,
            image,
            kernel: [3, 3],
            map,
            stride: [1, 1],
            padding: [1, 1],
            groups: 1,
        }
    }

    const ASKED: Asked = Asked { correlate: true, spread: false, pooled: false };

    #[test]
    fn the_same_bits_give_the_same_method_and_others_do_not() {
        let mut kept = Kept::default();
        let mut weight: Vec<f32> = (0..link(8).weights()).map(|i| i as f32).collect();
        let first = kept.method(&link(8), &weight, ASKED);
        assert!(Rc::ptr_eq(&first, &kept.method(&link(8), &weight, ASKED)));
        assert!(!Rc::ptr_eq(&first, &kept.method(&link(8), &weight, Asked { pooled: true, ..ASKED })));
        weight[0] = -0.0;
        assert!(!Rc::ptr_eq(&first, &kept.method(&link(8), &weight, ASKED)));
        weight[0] = 0.0;
        let last = weight.len() - 1;
        weight[last] += 1.0;
        assert!(!Rc::ptr_eq(&first, &kept.method(&link(8), &weight, ASKED)));
    }

    #[test]
    fn what_was_not_used_for_long_goes_first_and_memory_is_bounded() {
        let mut kept = Kept::default();
        let first = vec![1.0; link(8).weights()];
        let held = kept.method(&link(8), &first, ASKED);
        let many = 1 << 10;
        for fill in 0..30 {
            kept.method(&link(many), &vec![fill as f32; link(many).weights()], ASKED);
            assert!(Rc::ptr_eq(&held, &kept.method(&link(8), &first, ASKED)));
            assert!(kept.weights() <= MOST);
        }
        assert!(kept.0.len() < 20, "{}", kept.0.len());
        let huge = MOST / 72 + 1;
        kept.method(&link(huge), &vec![0.0; link(huge).weights()], ASKED);
        assert!(kept.0.is_empty());
    }
}
