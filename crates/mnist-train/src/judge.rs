//! How good new images are, by our own classifier: Frechet distance in its features, share of each class, and the
//! training image that is nearest to each.

use std::{collections::BTreeMap, sync::Arc};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use mnist_data::{Key, LabelledImages, Loader};
use mnist_model::{generate::GenerateRequest, objectives::Picture};

use crate::{
    data::{AnyLoader, EVALUATION_BATCH},
    error::{Result, TrainError},
    frechet::Gaussian,
    grid,
    registry::{Probabilities, Trained},
    sampling,
};

/// A class is covered if at least this share of the new images is of it.
const COVERED: f64 = 0.01;
/// New images that are shown above their nearest training images.
const SHOWN: usize = 20;

/// What is found of a model that makes images.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// `frechet_distance`: of the new images from one half of the real ones; `frechet_distance_floor`: of the other half
    /// from it, of as many images; `classes_covered`; `share_of_CLASS` for each class.
    pub scores: BTreeMap<String, f64>,
    /// The bytes of a PNG: new images, each above the training image that is nearest by squared difference of pixels.
    pub nearest: Vec<u8>,
}

/// Judges as many new images as are in half of `real`, by a classifier of `classes` for images of the same size.
///
/// # Errors
/// [`TrainError::Settings`] if the one model makes no images, the other does not classify, or there are fewer than
/// four real images.
pub fn judge<B: Backend>(
    maker: &dyn Trained<B>,
    classifier: &dyn Trained<B>,
    classes: &[String],
    [real, train]: [&Loader; 2],
    seed: u64,
    device: &B::Device,
) -> Result<Judgement> {
    let halves = [0, 1].map(|half| real.indices().iter().copied().skip(half).step_by(2).collect::<Vec<_>>());
    let count = halves[0].len().min(halves[1].len());
    if count < 2 {
        return Err(TrainError::Settings("a distance needs four real images at least".into()));
    }
    let data = Arc::new(real.data().clone());
    let no_classifier =
        || TrainError::Settings("the model whose features are to be used does not classify".into());
    // Before minutes of distances.
    let one =
        AnyLoader::Images(Loader::new(data.clone(), real.indices().iter().copied().take(1).collect(), 1)?);
    classifier.probabilities(&one, device)?.ok_or_else(no_classifier)?;
    let request = GenerateRequest { count, ..Default::default() };
    let made = sampling::images(maker, &request, Key::new(seed).named("generate"), device)?.images;
    let [_, channels, rows, cols] = made.dims();
    // In 256 greys, as real images are.
    let pixels: Vec<u8> =
        made.into_data().iter::<f32>().map(|p| (p.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
    let made = Arc::new(LabelledImages::of_size(
        [channels, rows, cols].into(),
        classes.len(),
        pixels,
        vec![0; count],
    )?);

    let gaussian = |data: &AnyLoader| -> Result<Gaussian> {
        let found = classifier.features(data, device)?;
        found.and_then(|(features, width)| Gaussian::of(&features, width)).ok_or_else(|| {
            TrainError::Settings("the model whose features are to be used has no encoder of images".into())
        })
    };
    let of_real = |mut half: Vec<usize>| -> Result<Gaussian> {
        half.truncate(count);
        gaussian(&AnyLoader::Images(Loader::new(data.clone(), half, EVALUATION_BATCH)?))
    };
    let [first, second] = halves;
    let (first, second) = (of_real(first)?, of_real(second)?);
    let loader = AnyLoader::Images(Loader::new(made.clone(), (0..count).collect(), EVALUATION_BATCH)?);
    let of_made = gaussian(&loader)?;
    let distance = |a: &Gaussian| a.distance(&second).unwrap_or(f64::NAN);
    let mut scores = BTreeMap::from([
        ("frechet_distance".to_string(), distance(&of_made)),
        ("frechet_distance_floor".to_string(), distance(&first)),
    ]);

    let found = classifier.probabilities(&loader, device)?;
    let Probabilities { values: probabilities, .. } = found.ok_or_else(no_classifier)?;
    let mut counts = vec![0usize; classes.len()];
    for row in probabilities.chunks_exact(classes.len().max(1)) {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
        if let Some(of_class) = counts.get_mut(best) {
            *of_class += 1;
        }
    }
    let shares = counts.iter().map(|&of_class| of_class as f64 / count as f64);
    scores.insert("classes_covered".into(), shares.clone().filter(|share| *share >= COVERED).count() as f64);
    scores.extend(classes.iter().zip(shares).map(|(class, share)| (format!("share_of_{class}"), share)));
    Ok(Judgement { scores, nearest: nearest::<B>(&made, train, device)? })
}

/// The first images, each above the nearest of the training images.
fn nearest<B: Backend>(made: &LabelledImages, train: &Loader, device: &B::Device) -> Result<Vec<u8>> {
    let shown: Vec<&[u8]> = (0..SHOWN.min(made.len())).filter_map(|i| made.image(i)).collect();
    let nearest = shown.iter().map(|image| {
        let candidates = train.indices().iter().filter_map(|&i| train.data().image(i));
        candidates.min_by_key(|other| squared_difference(image, other)).unwrap_or_default()
    });
    let pixels = shown.iter().copied().chain(nearest).flatten().map(|&p| f32::from(p) / 255.0);
    let [channels, rows, cols] = made.size().dims();
    let data = TensorData::new(pixels.collect::<Vec<_>>(), [2 * shown.len(), channels, rows, cols]);
    let images = Tensor::<B, 4>::from_data(data, device);
    Ok(grid::png(Picture { name: "nearest-training-images", images, columns: shown.len() })?)
}

fn squared_difference(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(&a, &b)| u64::from(u32::from(a.abs_diff(b)).pow(2))).sum()
}
