//! Train and validation, split so that each class keeps its share.
//!
//! Shares are rounded by the method of the largest remainder (Hamilton's), so the sizes are
//! exact: 5,000 validation examples of MNIST's 60,000 are 5,000, not 4,998.

use rand::seq::SliceRandom;

use crate::error::{DataError, Result};
use crate::rng::Key;

/// Which examples of the training files to learn from and which to validate on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Indices to learn from, ascending.
    pub train: Vec<usize>,
    /// Indices to validate on, ascending.
    pub valid: Vec<usize>,
}

impl Split {
    /// Puts `valid` of the examples aside, class by class; a pure function of its arguments.
    ///
    /// # Errors
    /// [`DataError::Invalid`] if nothing would be left to learn from.
    ///
    /// ```
    /// use mnist_data::Split;
    ///
    /// let labels = [0, 0, 0, 0, 1, 1]; // two thirds are zeros
    /// let split = Split::stratified(&labels, 3, 7)?;
    /// let zeros = split.valid.iter().filter(|&&i| labels[i] == 0).count();
    /// assert_eq!((split.train.len(), split.valid.len(), zeros), (3, 3, 2));
    /// # Ok::<(), mnist_data::DataError>(())
    /// ```
    pub fn stratified(labels: &[u8], valid: usize, seed: u64) -> Result<Self> {
        Self::shared_out(labels, valid, seed, |counts| largest_remainder(counts, valid))
    }

    /// As [`Split::stratified`], but of a class whose share would be none one is put aside, if there is room for all.
    ///
    /// # Errors
    /// As [`Split::stratified`].
    pub fn covering(labels: &[u8], valid: usize, seed: u64) -> Result<Self> {
        Self::shared_out(labels, valid, seed, |counts| {
            let shares = largest_remainder(counts, valid);
            let ones: Vec<usize> = counts.iter().map(|&count| count.min(1)).collect();
            let missing = shares.iter().zip(&ones).any(|(share, one)| share < one);
            let Some(left) = valid.checked_sub(ones.iter().sum()).filter(|_| missing) else { return shares };
            let rest: Vec<usize> = counts.iter().zip(&ones).map(|(count, one)| count - one).collect();
            largest_remainder(&rest, left).iter().zip(ones).map(|(share, one)| share + one).collect()
        })
    }

    fn shared_out(
        labels: &[u8],
        valid: usize,
        seed: u64,
        shares: impl FnOnce(&[usize]) -> Vec<usize>,
    ) -> Result<Self> {
        if valid >= labels.len() {
            return Err(DataError::invalid(
                "validation examples",
                valid,
                format!("fewer than the {} there are", labels.len()),
            ));
        }
        let mut classes: Vec<Vec<usize>> = vec![Vec::new(); 256];
        for (i, &label) in labels.iter().enumerate() {
            classes[usize::from(label)].push(i);
        }
        let shares = shares(&classes.iter().map(Vec::len).collect::<Vec<_>>());

        let key = Key::new(seed).named("split");
        let mut split = Self { train: Vec::new(), valid: Vec::new() };
        for ((class, mut members), share) in (0_u64..).zip(classes).zip(shares) {
            members.shuffle(&mut key.with(class).rng());
            let (valid, train) = members.split_at(share.min(members.len()));
            split.valid.extend(valid);
            split.train.extend(train);
        }
        split.train.sort_unstable();
        split.valid.sort_unstable();
        Ok(split)
    }
}

/// `seats` shared out in proportion to `counts`; ties go to the lower class.
fn largest_remainder(counts: &[usize], seats: usize) -> Vec<usize> {
    let total = counts.iter().sum::<usize>().max(1) as u128;
    let quota = |count: usize| count as u128 * seats as u128; // in units of 1 / total seats
    let mut shares: Vec<usize> = counts.iter().map(|&count| (quota(count) / total) as usize).collect();
    let left = seats - shares.iter().sum::<usize>();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(quota(counts[class]) % total)); // stable
    for &class in by_remainder.iter().take(left) {
        shares[class] += 1;
    }
    shares
}
