//! Images as examples: distorted views, and pixels made black or white.
//!
//! Binarisation is what likelihoods of MNIST are measured on. *Static* takes a threshold; *dynamic* draws each pixel
//! anew, white with the probability of its grey (Salakhutdinov & Murray 2008; Burda et al. 2015, arXiv 1509.00519).
//! The two are different data: a likelihood says which it is of.

use std::{collections::HashMap, sync::Arc};

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    augment::{Augment, Augmenter},
    batch::HostBatch,
    loader::{Purpose, Source},
    rng::Key,
    set::LabelledImages,
};

/// How grey pixels become black or white.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Binarise {
    /// Not at all.
    #[default]
    None,
    /// White with the probability of the grey value, drawn anew in each epoch; one draw for all measuring.
    Dynamic,
    /// White from half on.
    Static,
}

/// Label of an example whose label is not to be known.
pub const UNLABELLED: i32 = -1;

/// Labelled images and what is made of them.
#[derive(Clone, Debug)]
pub struct Images {
    data: Arc<LabelledImages>,
    views: Vec<Augment>,
    binarise: Binarise,
    /// Whether an example's label is shown; `None` shows all.
    labelled: Option<Arc<[bool]>>,
}

impl Images {
    /// The images as they are, with all their labels.
    pub fn new(data: Arc<LabelledImages>) -> Self {
        Self { data, views: vec![Augment::default()], binarise: Binarise::None, labelled: None }
    }

    /// A view of each image under each of these; none leaves one view, as it is.
    pub fn views(self, mut augments: Vec<Augment>) -> Self {
        if augments.is_empty() {
            augments.push(Augment::default());
        }
        Self { views: augments, ..self }
    }

    /// Makes pixels black or white.
    pub fn binarise(self, binarise: Binarise) -> Self {
        Self { binarise, ..self }
    }

    /// Shows the labels of these examples only; the others have [`UNLABELLED`].
    pub fn labelled(self, examples: &[usize]) -> Self {
        let mut shown = vec![false; self.data.len()];
        examples.iter().for_each(|&i| {
            if let Some(shown) = shown.get_mut(i) {
                *shown = true;
            }
        });
        Self { labelled: Some(shown.into()), ..self }
    }

    /// The images.
    pub fn data(&self) -> &LabelledImages {
        &self.data
    }

    /// Whether the label of an example is shown.
    pub fn is_labelled(&self, index: usize) -> bool {
        self.labelled.as_ref().is_none_or(|shown| shown.get(index) == Some(&true))
    }

    /// Whether there are examples whose labels are not shown.
    pub fn hides_labels(&self) -> bool {
        self.labelled.is_some()
    }

    fn label(&self, index: usize) -> i32 {
        if self.is_labelled(index) { self.data.label(index).map_or(0, i32::from) } else { UNLABELLED }
    }
}

impl Source for Images {
    type Batch = HostBatch;
    /// For each view, whether it is distorted or only divided by 255.
    type Scratch = Vec<Augmenter>;

    fn len(&self) -> usize {
        self.data.len()
    }

    fn scratch(&self) -> Vec<Augmenter> {
        let augmenter = |augment: &Augment| augment.augmenter(self.data.rows(), self.data.cols());
        let mut all: Vec<_> = self.views.iter().map(augmenter).collect();
        all.push(augmenter(&Augment::default())); // the last one, for measuring
        all
    }

    fn batch(&self, indices: &[usize], purpose: Purpose, scratch: &mut Vec<Augmenter>) -> HostBatch {
        let (values, views) = (self.data.values(), self.views.len());
        let as_they_are = matches!(purpose, Purpose::Measure(_)) && views == 1;
        let mut pixels = vec![0.0; indices.len() * views * values];
        let examples = pixels.chunks_exact_mut((views * values).max(1)).zip(indices);
        let mut before = HashMap::new();
        for (out, &index) in examples {
            let image = self.data.image(index).unwrap_or_default(); // indices are checked in `Loader::of`
            let key = purpose.key().with(index as u64);
            let again = before.entry(index).and_modify(|count| *count += 1).or_insert(0);
            let key = if *again == 0 { key } else { key.named("again").with(*again) };
            for (view, out) in out.chunks_exact_mut(values).enumerate() {
                // The first view has the key that an only one has.
                let key = if view == 0 { key } else { key.named("view").with(view as u64) };
                let augmenter = if as_they_are { views } else { view };
                if let Some(augmenter) = scratch.get_mut(augmenter) {
                    augmenter.apply(image, key, out);
                }
                binarise(self.binarise, key, out);
            }
        }
        HostBatch {
            pixels,
            views,
            labels: indices.iter().map(|&index| self.label(index)).collect(),
            indices: indices.to_vec(),
            size: self.data.size(),
        }
    }
}

/// Makes pixels in 0-1 black or white.
fn binarise(how: Binarise, key: Key, pixels: &mut [f32]) {
    match how {
        Binarise::None => {}
        Binarise::Static => pixels.iter_mut().for_each(|p| *p = f32::from(*p >= 0.5)),
        Binarise::Dynamic => {
            let mut rng = key.named("binarise").rng();
            pixels.iter_mut().for_each(|p| *p = f32::from(rng.random::<f32>() < *p));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Examples;

    fn images() -> Images {
        let pixels = (0..30).map(|i| (i * 8) as u8).collect();
        Images::new(Arc::new(LabelledImages::new(2, 3, 5, pixels, vec![0, 1, 2, 3, 4]).unwrap()))
    }

    fn batch(images: &Images, purpose: Purpose) -> HostBatch {
        images.batch(&[4, 1], purpose, &mut images.scratch())
    }

    #[test]
    fn a_draw_of_pixels_has_their_grey_as_its_mean() {
        let images = images().binarise(Binarise::Dynamic);
        let mut sum = vec![0.0; 12];
        for epoch in 0..2000 {
            let drawn = batch(&images, Purpose::Train(Key::new(1).with(epoch)));
            assert!(drawn.pixels.iter().all(|p| [0.0, 1.0].contains(p)));
            sum.iter_mut().zip(&drawn.pixels).for_each(|(sum, p)| *sum += p / 2000.0);
        }
        let grey = batch(&images.clone().binarise(Binarise::None), Purpose::Measure(Key::new(1)));
        assert!(sum.iter().zip(&grey.pixels).all(|(a, b)| (a - b).abs() < 0.05), "{sum:?}");
        let key = Purpose::Measure(Key::new(3));
        assert_eq!(batch(&images, key), batch(&images, key));
    }

    #[test]
    fn a_threshold_is_half() {
        let drawn = batch(&images().binarise(Binarise::Static), Purpose::Measure(Key::new(1)));
        assert_eq!(drawn.pixels, [1., 1., 1., 1., 1., 1., 0., 0., 0., 0., 0., 0.]);
    }

    #[test]
    fn views_differ_and_the_first_is_that_of_one_view() {
        let strong = Augment { shift: 1.0, ..Default::default() };
        let (one, two) = (images().views(vec![strong.clone()]), images().views(vec![strong.clone(), strong]));
        for purpose in [Purpose::Train(Key::new(1)), Purpose::Measure(Key::new(1))] {
            let both = batch(&two, purpose);
            assert_eq!((both.len(), both.views, both.pixels.len()), (2, 2, 24));
            assert_ne!(both.pixels[..6], both.pixels[6..12]);
            let single = batch(&one, Purpose::Train(Key::new(1)));
            assert_eq!(both.pixels[12..18], single.pixels[6..]);
        }
        let measured = batch(&one, Purpose::Measure(Key::new(1)));
        assert_eq!(measured, batch(&images(), Purpose::Train(Key::new(9))));
    }

    #[test]
    fn labels_are_shown_as_told() {
        let some = images().labelled(&[1]);
        assert_eq!(batch(&some, Purpose::Train(Key::new(1))).labels, [UNLABELLED, 1]);
    }
}
