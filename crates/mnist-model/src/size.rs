//! The dial of size: named sizes of a [`Transformer`](crate::transformer::Transformer), from 0.1 to 300 million
//! trainable parameters.
//!
//! A size is named by what its layers hold, 12 * layers * width^2 and some thousands: embeddings, positions and heads
//! come to it. Width and depth grow together, roughly as in ViT's table (Dosovitskiy et al. 2020, arXiv 2010.11929,
//! table 1; `300m` is its Large); `hidden` is 4 * width, as in the first Transformer.

/// What a size sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What it is called: millions of trainable parameters.
    pub name: &'static str,
    /// Length of a token's vector.
    pub width: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
    /// Units of the feed-forward nets' hidden layers.
    pub hidden: usize,
}

const fn size(name: &'static str, width: usize, heads: usize, layers: usize) -> Size {
    Size { name, width, heads, layers, hidden: 4 * width }
}

/// All sizes, the smallest first.
pub const SIZES: &[Size] = &[
    size("0.1m", 64, 2, 2),
    size("0.3m", 64, 2, 6),
    size("1m", 128, 4, 5),
    size("3m", 224, 7, 5),
    size("10m", 320, 5, 8),
    size("30m", 448, 7, 12),
    size("100m", 832, 13, 12),
    size("300m", 1024, 16, 24),
];

impl Size {
    /// The size of this name.
    ///
    /// # Errors
    /// A message with all names.
    pub fn named(name: &str) -> Result<Self, String> {
        SIZES.iter().copied().find(|size| size.name == name).ok_or_else(|| {
            let names: Vec<_> = SIZES.iter().map(|size| size.name).collect();
            format!("no size is called {name:?}; there are: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;
    use crate::{
        nets::VitConfig,
        parameters::parameter_count,
        token_net::{TokenNetConfig, TokenNetSettings},
        transformer::{Sight, TransformerConfig},
    };

    #[test]
    fn a_size_holds_what_its_name_says() {
        for &Size { name, width, heads, layers, hidden } in SIZES {
            let wanted = name.trim_end_matches('m').parse::<f64>().unwrap() * 1e6;
            // By layer, so that the largest need not be made.
            let one = TransformerConfig { width, heads, layers: 1, hidden, dropout: 0.0 };
            one.check().unwrap();
            let norm = 2 * width;
            let layer = parameter_count(&one.init::<Flex>(&Default::default())) - norm;
            let found = (layers * layer + norm) as f64;
            assert!((found / wanted - 1.0).abs() < 0.05, "{name}: {found}");
        }
    }

    #[test]
    fn nets_of_a_size_hold_little_more() {
        let device = Default::default();
        for &Size { name, width, heads, layers, hidden } in &SIZES[..4] {
            let wanted = name.trim_end_matches('m').parse::<f64>().unwrap() * 1e6;
            let vit = VitConfig { width, heads, layers, hidden, ..Default::default() };
            let vit = parameter_count(&vit.init::<Flex>([28, 28].into(), &device)) as f64;
            let settings = TokenNetSettings { width, heads, layers, hidden, dropout: 0.0 };
            let net = TokenNetConfig { vocabulary: 64, length: 64, sight: Sight::Past, settings };
            let net = parameter_count(&net.init::<Flex>(&device)) as f64;
            for found in [vit, net] {
                assert!((0.97..1.12).contains(&(found / wanted)), "{name}: {found}");
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_all_names() {
        assert_eq!(Size::named("10m").unwrap().width, 320);
        let error = Size::named("huge").unwrap_err();
        assert!(
            error.contains("\"huge\"") && error.contains("0.1m, 0.3m") && error.contains("300m"),
            "{error}"
        );
    }
}
