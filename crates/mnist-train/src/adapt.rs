//! Making a tensor of another model's encoder fit where sizes differ: tables of positions and of tokens, and the layer
//! that reads pixels.
//!
//! Positions of patches are interpolated on their grid, as the ViT's authors do for larger images (Dosovitskiy et al.
//! 2020, arXiv 2010.11929, section 3.2; linearly between the four neighbours, as `interpolate` of PyTorch with
//! `align_corners=False`); those of tokens along the sequence where it becomes longer, and cut where it becomes shorter,
//! since a text's beginning stays its beginning. New tokens get fresh rows between the known ones and the special ones.
//! What reads three channels reads one by the sum of its weights, so that a grey image gives what it gave as three equal
//! channels; what reads one reads three by a third of its weights each.

use mnist_data::tokens::SPECIALS;

/// How a tensor is made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adaptation {
    /// `[1, tokens, width]`: so many rows of a class token, then a square grid of this side to one of that.
    Grid {
        /// 1 where there is a class token, else 0.
        class: usize,
        /// Sides of the grids, before and after.
        sides: [usize; 2],
    },
    /// `[length, width]`: a longer sequence; lengths before and after.
    Stretched([usize; 2]),
    /// `[length, width]`: the first rows.
    Cut(usize),
    /// `[vocabulary, width]`: fresh rows behind so many known ones, before the special tokens.
    Extended(usize),
    /// The layer that reads pixels: channels before and after, one of them 1.
    Channels([usize; 2]),
}

/// Channels of grey and of colour images.
const CHANNELS: [usize; 2] = [1, 3];

impl Adaptation {
    /// How the tensor of this name inside its encoder, of the shape `found`, is made one of the shape `wanted`, if
    /// there is a way.
    pub fn of(name: &str, found: &[usize], wanted: &[usize]) -> Option<Self> {
        match (name, found, wanted) {
            ("positions", &[1, old, a], &[1, new, b]) if a == b => {
                let sides =
                    |class: usize| Some([side(old.checked_sub(class)?)?, side(new.checked_sub(class)?)?]);
                let found = |class: usize| sides(class).map(|sides| Self::Grid { class, sides });
                found(0).or_else(|| found(1))
            }
            ("positions", &[old, a], &[new, b]) if a == b && old > 0 => {
                Some(if new > old { Self::Stretched([old, new]) } else { Self::Cut(new) })
            }
            ("tokens", &[old, a], &[new, b]) if a == b && new > old && old > SPECIALS => {
                Some(Self::Extended(old - SPECIALS))
            }
            // Kernels of a convolution.
            (_, &[a, old, h, w], &[b, new, k, l]) if [a, h, w] == [b, k, l] => Self::channels([old, new]),
            // Of a linear layer, whose rows are the pixels of one channel after the other.
            ("embed.weight" | "hidden.0.weight", &[old, a], &[new, b]) if a == b => {
                let of = |more: usize, less: usize| less > 0 && more == CHANNELS[1] * less;
                let [grey, colour] = CHANNELS;
                (of(new, old).then_some([grey, colour]))
                    .or(of(old, new).then_some([colour, grey]))
                    .and_then(Self::channels)
            }
            _ => None,
        }
    }

    fn channels(sizes: [usize; 2]) -> Option<Self> {
        let [old, new] = sizes;
        (old != new && CHANNELS.contains(&old) && CHANNELS.contains(&new)).then_some(Self::Channels(sizes))
    }

    /// What is done, in words.
    pub fn about(self) -> String {
        match self {
            Self::Grid { sides: [old, new], .. } => {
                format!("{old}x{old} positions interpolated to {new}x{new}")
            }
            Self::Stretched([old, new]) => format!("{old} positions interpolated to {new}"),
            Self::Cut(new) => format!("the first {new} positions"),
            Self::Extended(old) => format!("{old} tokens and the special ones, the others new"),
            Self::Channels([1, new]) => format!("weights of one channel repeated for {new}, a share each"),
            Self::Channels([old, _]) => format!("weights of {old} channels summed"),
        }
    }

    /// The values, row by row, of a tensor of the shape `wanted`; those that are not known are the `fresh` ones.
    pub fn apply(self, values: &[f32], fresh: &[f32], wanted: &[usize]) -> Vec<f32> {
        let width = wanted.last().copied().unwrap_or(1);
        let row = |i: usize| values.get(i * width..(i + 1) * width).unwrap_or_default();
        match self {
            Self::Grid { class, sides: [old, new] } => {
                let mut found = values[..class * width].to_vec();
                for y in 0..new {
                    for x in 0..new {
                        let ([top, bottom], down) = neighbours(y, old, new);
                        let ([left, right], across) = neighbours(x, old, new);
                        let at = |y: usize, x: usize| row(class + y * old + x);
                        let upper = mixed(at(top, left), at(top, right), across);
                        let lower = mixed(at(bottom, left), at(bottom, right), across);
                        found.extend(mixed(&upper, &lower, down));
                    }
                }
                found
            }
            Self::Stretched([old, new]) => {
                let at = |i: usize| {
                    let ([before, after], share) = neighbours(i, old, new);
                    mixed(row(before), row(after), share)
                };
                (0..new).flat_map(at).collect()
            }
            Self::Cut(new) => values[..new * width].to_vec(),
            Self::Extended(old) => {
                let (known, special) = values.split_at(old * width);
                let new = fresh.get(known.len()..fresh.len() - special.len()).unwrap_or_default();
                [known, new, special].concat()
            }
            Self::Channels([old, new]) => {
                // `[outputs, channels, rest]`; of a linear layer `[channels, rest]`.
                let outputs = if wanted.len() > 2 { wanted[0] } else { 1 };
                let each = |of_output: &[f32]| -> Vec<f32> {
                    let rest = (of_output.len() / old).max(1);
                    let mut sum = vec![0.0; rest];
                    for channel in of_output.chunks_exact(rest) {
                        sum.iter_mut().zip(channel).for_each(|(sum, value)| *sum += value);
                    }
                    sum.iter_mut().for_each(|value| *value /= new as f32);
                    sum.repeat(new)
                };
                values.chunks((values.len() / outputs.max(1)).max(1)).flat_map(each).collect()
            }
        }
    }
}

/// The root of a square.
fn side(count: usize) -> Option<usize> {
    let root = count.isqrt();
    (root > 0 && root * root == count).then_some(root)
}

/// The places among `old` between which place `i` of `new` lies, and the share of the second.
fn neighbours(i: usize, old: usize, new: usize) -> ([usize; 2], f32) {
    let at = ((i as f32 + 0.5) * old as f32 / new as f32 - 0.5).max(0.0);
    let before = (at as usize).min(old - 1);
    ([before, (before + 1).min(old - 1)], at - before as f32)
}

fn mixed(a: &[f32], b: &[f32], share: f32) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + (b - a) * share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of PyTorch 2.9:
    ///
    /// ```python
    /// import torch, torch.nn.functional as F
    /// x = torch.tensor([3., 1, 4, 1])
    /// print(F.interpolate(x.view(1, 1, 2, 2), size=3, mode="bilinear").flatten().tolist())
    /// print(F.interpolate(torch.tensor([3., 1, 4, 1, 5]).view(1, 1, 5), size=8, mode="linear").flatten().tolist())
    /// y = torch.tensor([3., 1, 4, 1, 5, 9, 2, 6, 5])
    /// print(F.interpolate(y.view(1, 1, 3, 3), size=2, mode="bilinear").flatten().tolist())
    /// ```
    #[test]
    fn pytorchs_numbers() {
        let shape = |tokens: usize| [1, tokens, 1];
        for (old, values, new, wanted) in [
            (4, &[3., 1., 4., 1.][..], 9, &[3., 2., 1., 3.5, 2.25, 1., 4., 2.5, 1.][..]),
            (9, &[3., 1., 4., 1., 5., 9., 2., 6., 5.], 4, &[2.375, 4.4375, 2.75, 5.9375]),
        ] {
            let how = Adaptation::of("positions", &shape(old), &shape(new)).unwrap();
            assert_eq!(how.apply(values, &[], &shape(new)), wanted);
            // A class token in front stays as it is.
            let how = Adaptation::of("positions", &shape(old + 1), &shape(new + 1)).unwrap();
            assert_eq!(
                how.apply(&[&[7.0], values].concat(), &[], &shape(new + 1)),
                [&[7.0], wanted].concat()
            );
        }
        let how = Adaptation::of("positions", &[5, 1], &[8, 1]).unwrap();
        let found = how.apply(&[3., 1., 4., 1., 5.], &[], &[8, 1]);
        let wanted = [3.0, 2.125, 1.1875, 3.0625, 3.0625, 1.1875, 3.25, 5.0];
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn channels_are_summed_and_shared_out() {
        let how = Adaptation::of("stem.weight", &[2, 3, 1, 2], &[2, 1, 1, 2]).unwrap();
        let three: Vec<f32> = (1..=12).map(|n| n as f32).collect();
        assert_eq!(how.apply(&three, &[], &[2, 1, 1, 2]), [9., 12., 27., 30.]);
        let how = Adaptation::of("stem.weight", &[2, 1, 1, 2], &[2, 3, 1, 2]).unwrap();
        let found = how.apply(&[3., 6., 9., 12.], &[], &[2, 3, 1, 2]);
        assert_eq!(found, [1., 2., 1., 2., 1., 2., 3., 4., 3., 4., 3., 4.]);
        // Two pixels, three channels, width 1.
        let how = Adaptation::of("hidden.0.weight", &[2, 1], &[6, 1]).unwrap();
        assert_eq!(how.apply(&[3., 6.], &[], &[6, 1]), [1., 2., 1., 2., 1., 2.]);
        let back = Adaptation::of("hidden.0.weight", &[6, 1], &[2, 1]).unwrap();
        assert_eq!(back.apply(&[1., 2., 1., 2., 1., 2.], &[], &[2, 1]), [3., 6.]);
    }

    #[test]
    fn rows_are_cut_and_added() {
        let how = Adaptation::of("positions", &[3, 2], &[2, 2]).unwrap();
        assert_eq!(how.apply(&[1., 2., 3., 4., 5., 6.], &[], &[2, 2]), [1., 2., 3., 4.]);
        let how = Adaptation::of("tokens", &[6, 1], &[8, 1]).unwrap();
        let found = how.apply(&[1., 2., 3., 4., 5., 6.], &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], &[8, 1]);
        assert_eq!(found, [1., 2., 0.3, 0.4, 3., 4., 5., 6.]);
        for (name, found, wanted) in [
            ("tokens", &[8, 1][..], &[6, 1][..]),
            ("tokens", &[6, 1], &[8, 2]),
            ("positions", &[1, 49, 4], &[1, 48, 4]),
            ("positions", &[1, 49, 4], &[1, 50, 4]),
            ("segments", &[2, 4], &[3, 4]),
            ("embed.weight", &[16, 4], &[49, 4]),
            ("expand.weight", &[16, 4], &[48, 4]),
            ("conv2.weight", &[4, 2, 3, 3], &[4, 3, 3, 3]),
            ("stem.weight", &[4, 1, 3, 3], &[4, 3, 5, 5]),
        ] {
            assert_eq!(Adaptation::of(name, found, wanted), None, "{name} {found:?} {wanted:?}");
        }
    }
}
