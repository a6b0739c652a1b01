//! A batch of token sequences, first as plain numbers, then as tensors.
//!
//! A vocabulary is `0..vocabulary` and, behind it, the [`SPECIALS`]: they are no content and never predicted.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::{
    batch::{Examples, pieces},
    patches::Patches,
    sequences::Sequences,
    tokeniser::Tokeniser,
};

/// Tokens behind the vocabulary: [`START`], [`SEPARATOR`], [`MASK`] and [`PAD`].
pub const SPECIALS: usize = 4;
/// Begins a sequence (BERT's `[CLS]`): added to the size of the vocabulary.
pub const START: usize = 0;
/// Ends a segment (BERT's `[SEP]`): added to the size of the vocabulary.
pub const SEPARATOR: usize = 1;
/// Hides a token (BERT's `[MASK]`): added to the size of the vocabulary.
pub const MASK: usize = 2;
/// Fills a sequence that is too short: added to the size of the vocabulary.
pub const PAD: usize = 3;

/// Token sequences in host memory, all of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTokens {
    /// `[batch, length]`, what is read.
    pub tokens: Vec<i32>,
    /// `[batch, length]`, what is to be told at each position; -1 where nothing is.
    pub targets: Vec<i32>,
    /// `[batch, length]`, the segment of each token, 0 or 1.
    pub segments: Vec<i32>,
    /// `[batch]`, classes.
    pub labels: Vec<i32>,
    /// `[batch]`, 1 where the second segment is what follows the first; 0 where it is not or there is none.
    pub next: Vec<i32>,
    /// `[batch]`, how many bytes of text or pixels of an image the targets stand for.
    pub units: Vec<f32>,
    /// `[batch]`, which examples of the source these are.
    pub indices: Vec<usize>,
    /// `[batch]`, how many tokens of each sequence are real, from the first; the others are [`PAD`].
    pub lengths: Vec<usize>,
    /// Tokens in a sequence.
    pub length: usize,
    /// Whether classes are those of positions, not of sequences.
    pub per_position: bool,
    /// How tokens are drawn, if they are of images.
    pub patches: Option<Arc<Patches>>,
    /// How tokens are read, if they are of text as it is.
    pub tokeniser: Option<Arc<Tokeniser>>,
}

/// The positions of a batch that are told, equally many in each sequence.
struct Told {
    /// Positions in each sequence.
    chosen: usize,
    /// `[batch * chosen]`, counted through the batch.
    places: Vec<usize>,
    /// `[batch * chosen]`, whether a position is told and does not only fill up.
    real: Vec<bool>,
}

impl HostTokens {
    fn told(&self) -> Told {
        let length = self.length;
        let told = |row: &[i32]| -> Vec<usize> { (0..row.len()).filter(|&place| row[place] >= 0).collect() };
        let rows: Vec<Vec<usize>> = self.targets.chunks_exact(length.max(1)).map(told).collect();
        // One at least: some backends know no empty tensors.
        let chosen = rows.iter().map(Vec::len).max().unwrap_or(0).max(1).min(length);
        let mut found = Told { chosen, places: Vec::new(), real: Vec::new() };
        for (i, row) in rows.iter().enumerate() {
            for k in 0..chosen {
                // Where all positions are told somewhere, each is at its own place.
                let own = if chosen == length { k } else { row.get(k).copied().unwrap_or(0) };
                let place = i * length + own;
                found.places.push(place);
                found.real.push((chosen == length || k < row.len()) && self.targets[place] >= 0);
            }
        }
        found
    }

    /// What is to be told, as [`Tokens::targets`] has it; -1 where a position only fills up.
    pub fn answers(&self) -> Vec<i32> {
        let Told { places, real, .. } = self.told();
        places.iter().zip(real).map(|(&place, real)| if real { self.targets[place] } else { -1 }).collect()
    }
}

impl Examples for HostTokens {
    type Source = Sequences;
    type OnDevice<B: Backend> = Tokens<B>;

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn split(self, parts: usize) -> Vec<Self> {
        let length = self.length;
        pieces(self, parts, |batch, range| {
            let places = range.start * length..range.end * length;
            Self {
                tokens: batch.tokens[places.clone()].to_vec(),
                targets: batch.targets[places.clone()].to_vec(),
                segments: batch.segments[places].to_vec(),
                labels: batch.labels[range.clone()].to_vec(),
                next: batch.next[range.clone()].to_vec(),
                units: batch.units[range.clone()].to_vec(),
                lengths: batch.lengths[range.clone()].to_vec(),
                indices: batch.indices[range].to_vec(),
                length,
                per_position: batch.per_position,
                patches: batch.patches.clone(),
                tokeniser: batch.tokeniser.clone(),
            }
        })
    }

    /// # Panics
    /// If the fields disagree about the size, which no batch of a [`Loader`](crate::Loader) does.
    fn to_device<B: Backend>(self, device: &B::Device) -> Tokens<B> {
        let (batch, length) = (self.len(), self.length);
        let Told { chosen, places, real } = self.told();
        let weights: Vec<f32> = real.into_iter().map(f32::from).collect();
        let targets: Vec<i32> = places.iter().map(|&place| self.targets[place].max(0)).collect();
        let flat: Vec<i32> = places.iter().map(|&place| place as i32).collect();
        let many = |values: Vec<i32>| Tensor::from_data(TensorData::new(values, [batch, length]), device);
        let each = |values: Vec<i32>| {
            let count = values.len();
            Tensor::from_data(TensorData::new(values, [count]), device)
        };
        Tokens {
            told: weights.iter().sum(),
            weights: Tensor::from_data(TensorData::new(weights, [batch, chosen]), device),
            places: (chosen < length).then(|| each(flat)),
            targets: each(targets),
            tokens: many(self.tokens),
            truth: many(self.targets),
            segments: many(self.segments),
            lengths: self.lengths.iter().any(|&real| real < length).then(|| self.lengths.into()),
            labels: each(self.labels),
            next: each(self.next),
            units: Tensor::from_data(TensorData::new(self.units, [batch]), device),
            patches: self.patches,
            tokeniser: self.tokeniser,
        }
    }
}

/// Token sequences on a device.
#[derive(Clone, Debug)]
pub struct Tokens<B: Backend> {
    /// `[batch, length]`, what is read.
    pub tokens: Tensor<B, 2, Int>,
    /// `[batch, length]`, what is to be told at each position; -1 where nothing is.
    pub truth: Tensor<B, 2, Int>,
    /// `[batch, length]`, the segment of each token, 0 or 1.
    pub segments: Tensor<B, 2, Int>,
    /// `[batch]`, how many tokens of each sequence are real, from the first; `None`: all.
    pub lengths: Option<Arc<[usize]>>,
    /// `[batch * chosen]`, the positions that are told, counted through the batch, equally many in each sequence;
    /// `None`: all.
    pub places: Option<Tensor<B, 1, Int>>,
    /// `[batch * chosen]`, what is to be told there.
    pub targets: Tensor<B, 1, Int>,
    /// `[batch, chosen]`, 1; 0 where a position only fills up.
    pub weights: Tensor<B, 2>,
    /// Sum of the weights.
    pub told: f32,
    /// `[batch]`, classes.
    pub labels: Tensor<B, 1, Int>,
    /// `[batch]`, 1 where the second segment is what follows the first.
    pub next: Tensor<B, 1, Int>,
    /// `[batch]`, how many bytes of text or pixels of an image the targets stand for.
    pub units: Tensor<B, 1>,
    /// How tokens are drawn, if they are of images.
    pub patches: Option<Arc<Patches>>,
    /// How tokens are read, if they are of text as it is.
    pub tokeniser: Option<Arc<Tokeniser>>,
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    fn batch(targets: Vec<i32>) -> HostTokens {
        HostTokens {
            tokens: (0..6).collect(),
            targets,
            segments: vec![0; 6],
            labels: vec![3, 4],
            next: vec![0, 1],
            units: vec![1.0, 2.0],
            lengths: vec![3, 2],
            indices: vec![7, 8],
            length: 3,
            per_position: false,
            patches: None,
            tokeniser: None,
        }
    }

    #[test]
    fn told_positions_are_gathered_and_filled_up() {
        for (targets, places, wanted, weights) in [
            (vec![-1, 5, -1, 6, -1, 7], Some(vec![1, 3, 5]), vec![5, 6, 7], vec![1.0, 0.0, 1.0, 1.0]),
            (vec![1, 2, 3, 4, 5, -1], None, vec![1, 2, 3, 4, 5, 0], vec![1.0, 1.0, 1.0, 1.0, 1.0, 0.0]),
        ] {
            let host = batch(targets);
            let answers = host.answers();
            let device = host.to_device::<Flex>(&Default::default());
            assert_eq!(device.weights.into_data().to_vec::<f32>().unwrap(), weights);
            assert_eq!(device.told, weights.iter().sum::<f32>());
            let found: Vec<i64> = device.targets.into_data().iter().collect();
            for ((answer, &found), weight) in answers.into_iter().zip(&found).zip(&weights) {
                assert_eq!(i64::from(answer), if *weight > 0.0 { found } else { -1 });
            }
            assert_eq!(device.lengths.as_deref(), Some(&[3, 2][..]));
            match places {
                Some(places) => {
                    let flat: Vec<i64> = device.places.unwrap().into_data().iter().collect();
                    assert_eq!([flat[0], flat[2], flat[3]], places[..]);
                    assert_eq!([found[0], found[2], found[3]], wanted[..]);
                }
                None => {
                    assert!(device.places.is_none());
                    assert_eq!(found, wanted);
                }
            }
        }
    }

    #[test]
    fn parts_put_together_are_the_batch() {
        let whole = batch(vec![1, 2, 3, 4, 5, 6]);
        let parts = whole.clone().split(2);
        assert_eq!(parts.iter().flat_map(|p| p.targets.clone()).collect::<Vec<_>>(), whole.targets);
        assert_eq!(
            parts.iter().map(|p| (p.len(), p.labels[0], p.next[0])).collect::<Vec<_>>(),
            [(1, 3, 0), (1, 4, 1)]
        );
    }
}
