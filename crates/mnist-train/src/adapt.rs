//! Making a tensor of another model's encoder fit where sizes differ: tables of positions and of tokens.
//!
//! Positions of patches are interpolated on their grid, as the ViT's authors do for larger images (Dosovitskiy et al.
//! 2020, arXiv 2010.11929, section 3.2; linearly between the four neighbours, as `interpolate` of PyTorch with
//! `align_corners=False`); those of tokens along the sequence where it becomes longer, and cut where it becomes shorter,
//! since a text's beginning stays its beginning. New tokens get fresh rows between the known ones and the special ones.
//! Channels of a stem are summed when torchvision's names are read: see [`crate::foreign`].

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
}

impl Adaptation {
    /// How the tensor of this name inside its encoder, of the shape `found`, is made one of the shape `wanted`, if
    /// there is a way.
    pub(crate) fn of(name: &str, found: &[usize], wanted: &[usize]) -> Option<Self> {
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
            _ => None,
        }
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
        }
    }

    /// The values, row by row, of a tensor of rows of `width`; those that are not known are the `fresh` ones.
    pub(crate) fn apply(self, values: &[f32], fresh: &[f32], width: usize) -> Vec<f32> {
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
            assert_eq!(how.apply(values, &[], 1), wanted);
            // A class token in front stays as it is.
            let how = Adaptation::of("positions", &shape(old + 1), &shape(new + 1)).unwrap();
            assert_eq!(how.apply(&[&[7.0], values].concat(), &[], 1), [&[7.0], wanted].concat());
        }
        let how = Adaptation::of("positions", &[5, 1], &[8, 1]).unwrap();
        let found = how.apply(&[3., 1., 4., 1., 5.], &[], 1);
        let wanted = [3.0, 2.125, 1.1875, 3.0625, 3.0625, 1.1875, 3.25, 5.0];
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn rows_are_cut_and_added() {
        let how = Adaptation::of("positions", &[3, 2], &[2, 2]).unwrap();
        assert_eq!(how.apply(&[1., 2., 3., 4., 5., 6.], &[], 2), [1., 2., 3., 4.]);
        let how = Adaptation::of("tokens", &[6, 1], &[8, 1]).unwrap();
        let found = how.apply(&[1., 2., 3., 4., 5., 6.], &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 1);
        assert_eq!(found, [1., 2., 0.3, 0.4, 3., 4., 5., 6.]);
        for (name, found, wanted) in [
            ("tokens", &[8, 1][..], &[6, 1][..]),
            ("tokens", &[6, 1], &[8, 2]),
            ("positions", &[1, 49, 4], &[1, 48, 4]),
            ("positions", &[1, 49, 4], &[1, 50, 4]),
            ("segments", &[2, 4], &[3, 4]),
            ("embed.weight", &[16, 4], &[49, 4]),
        ] {
            assert_eq!(Adaptation::of(name, found, wanted), None, "{name} {found:?} {wanted:?}");
        }
    }
}
