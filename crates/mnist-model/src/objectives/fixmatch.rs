//! Semi-supervised classification, FixMatch (Sohn et al. 2020, arXiv 2001.07685): what the model says of a weakly
//! distorted image, where it is sure, is the label of the same image strongly distorted.
//!
//! The loss is cross-entropy of the labelled images' weak views, plus that of all images' strong views against the
//! class that their weak views are given (a pseudo-label, through which no gradient goes), counted where its
//! probability reaches a threshold. Before that probabilities are aligned: multiplied by how often a class is
//! predicted for labelled images over how often for all, so that a class cannot take another's images over
//! (ReMixMatch: Berthelot et al. 2019, arXiv 1911.09785, section 3.1; by predictions for labelled images in place of
//! their labels, as in AdaMatch: Berthelot et al. 2021, arXiv 2106.04732). Departures: distortions of pen strokes in
//! place of RandAugment; the labelled images of a batch are among those that get pseudo-labels.

use burn::{
    module::{Module, RunningState},
    tensor::{Int, Tensor, backend::Backend},
};
use cpu_ops::{cross_entropy_per_sample, softmax};
use mnist_data::{Augment, Batch, HostBatch};
use serde::{Deserialize, Serialize};

use super::{
    ChosenBy, Classify, ClassifyConfig, ClassifyLoss, Losses, Objective, ObjectiveConfig, Part, Progress,
    Score,
};
use crate::{blocks::Linear, nets::Net};

/// Views of each image: weakly and strongly distorted.
pub const FIXMATCH_VIEWS: usize = 2;

/// Weight of a new batch in the averages of predictions.
const MOMENTUM: f64 = 0.01;

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct FixmatchSettings {
    /// Labelled images in each batch, at least 1 and fewer than the batch has; the others are drawn from all.
    pub labelled: usize,
    /// Probability from which a class counts as a pseudo-label, in (0, 1].
    pub threshold: f64,
    /// What the loss on pseudo-labels is multiplied by, 0 or more.
    pub weight: f64,
    /// Whether probabilities are aligned.
    pub align: bool,
    /// Distortions of the strong view; those of the weak one are `augment`.
    pub strong: Augment,
}

impl Default for FixmatchSettings {
    fn default() -> Self {
        let strong = Augment {
            shift: 2.0,
            rotation: 15.0,
            scale: 0.15,
            shear: 8.0,
            elastic_alpha: 15.0,
            elastic_sigma: 4.0,
            ..Augment::default()
        };
        Self { labelled: 64, threshold: 0.95, weight: 1.0, align: true, strong }
    }
}

/// All that makes a [`Fixmatch`].
#[derive(Clone, Debug)]
pub struct FixmatchConfig {
    /// The classifier that is made.
    pub classify: ClassifyConfig,
    /// Labelled examples that there are; 0 is all, which leaves nothing to do for this objective.
    pub labels: usize,
    /// Examples in a batch.
    pub batch: usize,
    /// What a recipe may set.
    pub settings: FixmatchSettings,
}

/// A classifier that labels images itself while it learns.
#[derive(Module, Debug)]
pub struct Fixmatch<B: Backend> {
    /// The encoder.
    pub net: Net<B>,
    /// `[width, classes]`.
    pub head: Linear<B>,
    /// `[classes]`: mean prediction for labelled images.
    labelled: RunningState<Tensor<B, 1>>,
    /// `[classes]`: mean prediction for all images.
    all: RunningState<Tensor<B, 1>>,
    mean: f32,
    std: f32,
    label_smoothing: f32,
    threshold: f64,
    weight: f64,
    align: bool,
}

impl ObjectiveConfig for FixmatchConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Fixmatch<B>;

    const CHOSEN_BY: ChosenBy = ClassifyConfig::CHOSEN_BY;
    const LABELS: bool = true;
    // Labelled images come first, and the averages of what is guessed are of all images.
    const WHOLE_BATCH: bool = true;

    fn check(&self) -> Result<(), String> {
        self.classify.check()?;
        let FixmatchSettings { labelled, threshold, weight, align: _, strong } = &self.settings;
        if self.labels == 0 {
            let what = "fixmatch learns from a few labelled images and all others without their labels";
            return Err(format!("{what}; data.labels is 0, all: say how many, for example --labels 100"));
        }
        if self.classify.settings.loss != ClassifyLoss::CrossEntropy {
            return Err("fixmatch minimises cross-entropy; leave `classify.loss` as it is".into());
        }
        if !(1..self.batch).contains(labelled) {
            let most = self.batch.saturating_sub(1);
            return Err(format!(
                "`fixmatch.labelled` is {labelled}; it has to be 1 to {most}, so that a batch of {} has room for others",
                self.batch
            ));
        }
        if !(*threshold > 0.0 && *threshold <= 1.0) {
            return Err(format!("`fixmatch.threshold` is {threshold}; it has to be above 0 and at most 1"));
        }
        if !(0.0..=1000.0).contains(weight) {
            return Err(format!("`fixmatch.weight` is {weight}; it has to be 0 to 1000"));
        }
        strong.validate().map_err(|e| format!("fixmatch.strong: {e}"))
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Fixmatch<B>, String> {
        self.check()?;
        let Classify { net, head, mean, std, label_smoothing, .. } = self.classify.init(device)?;
        let FixmatchSettings { threshold, weight, align, .. } = self.settings;
        let classes = self.classify.classes;
        let alike = || RunningState::new(Tensor::ones([classes], device) / classes as f64);
        let (labelled, all) = (alike(), alike());
        Ok(Fixmatch { net, head, labelled, all, mean, std, label_smoothing, threshold, weight, align })
    }
}

impl<B: Backend> Fixmatch<B> {
    /// The classifier.
    fn classifier(&self) -> Classify<B> {
        let &Self { mean, std, label_smoothing, .. } = self;
        Classify {
            net: self.net.clone(),
            head: self.head.clone(),
            mean,
            std,
            label_smoothing,
            squared: false,
        }
    }

    /// Loss on labels, loss on pseudo-labels and the share of images that have one, `[1]` each.
    ///
    /// # Shapes
    /// - `logits`: `[batch * views, classes]`, weak and strong view one after the other
    /// - `labels`: `[batch]`, below 0 where there is none
    fn parts(&self, logits: Tensor<B, 2>, labels: Tensor<B, 1, Int>) -> [Tensor<B, 1>; 3] {
        let [views, classes] = logits.dims();
        let batch = views / FIXMATCH_VIEWS;
        let pairs = logits.reshape([batch, FIXMATCH_VIEWS, classes]);
        let view = |i| pairs.clone().narrow(1, i, 1).reshape([batch, classes]);
        let (weak, strong) = (view(0), view(1));

        let known = labels.clone().greater_equal_elem(0).float(); // [batch]
        let each = cross_entropy_per_sample(weak.clone(), labels.clamp_min(0), self.label_smoothing);
        let count = known.clone().sum().clamp_min(1.0);
        let labelled = (each * known.clone()).sum() / count;

        let guess = softmax(weak.detach()); // [batch, classes]
        let guess = if self.align { self.aligned(guess, known) } else { guess };
        let (sureness, class) = guess.max_dim_with_indices(1); // [batch, 1] each
        let sure = sureness.greater_equal_elem(self.threshold).float().reshape([batch]);
        let each = cross_entropy_per_sample(strong, class.reshape([batch]), 0.0);
        [labelled, (each * sure.clone()).mean(), sure.mean()]
    }
}

impl<B: Backend> Fixmatch<B> {
    /// Probabilities `[batch, classes]` that hold each class as often as labelled images do; `known`, `[batch]`, is 1
    /// for these, else 0.
    fn aligned(&self, guess: Tensor<B, 2>, known: Tensor<B, 1>) -> Tensor<B, 2> {
        let [batch, classes] = guess.dims();
        // A batch without labelled images (a part of one, on one of several devices) leaves their average as it is.
        let moved = |average: &RunningState<Tensor<B, 1>>, counted: Tensor<B, 1>| {
            let count = counted.clone().sum(); // [1]
            let sum = (guess.clone() * counted.reshape([batch, 1])).sum_dim(0).reshape([classes]);
            let old = average.value_sync();
            let step = (sum - old.clone() * count.clone()) / count.clamp_min(1.0);
            let new = old + step * MOMENTUM;
            average.update(new.clone());
            new
        };
        let ratio = moved(&self.labelled, known.clone()) / moved(&self.all, known.ones_like());
        let guess = guess.clone() * ratio.reshape([1, classes]);
        guess.clone() / guess.sum_dim(1)
    }
}

impl<B: Backend> Objective<B> for Fixmatch<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, _: Progress) -> Losses<B> {
        let logits = self.classifier().forward(batch.images);
        let [labelled, pseudo, share] = self.parts(logits, batch.labels);
        let part = |name, unit, value: &Tensor<B, 1>| Part { name, unit, value: value.clone().detach() };
        let parts = vec![
            part("labelled_cross_entropy", "nats", &labelled),
            part("pseudo_cross_entropy", "nats", &pseudo),
            part("pseudo_labelled", "share", &share),
        ];
        Losses { total: labelled + pseudo * self.weight, parts }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        self.classifier().scores(batch)
    }

    fn probabilities(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        self.classifier().probabilities(batch)
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        self.classifier().features(batch)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use burn_flex::Flex;

    use super::*;
    use crate::nets::{EncoderConfig, MlpConfig, NetSettings};

    fn config() -> FixmatchConfig {
        let nets = NetSettings { mlp: MlpConfig { hidden: vec![3], dropout: 0.0 }, ..Default::default() };
        let encoder = EncoderConfig::new("mlp", nets, [1, 3]);
        let classify = ClassifyConfig { encoder, classes: 3, settings: Default::default() };
        let settings = FixmatchSettings { threshold: 0.7, labelled: 2, ..Default::default() };
        FixmatchConfig { classify, labels: 10, batch: 8, settings }
    }

    /// The losses of logits that are given, by the paper's equations 3 and 4:
    ///
    /// ```python
    /// import torch, torch.nn.functional as F
    /// z = (torch.arange(24) * 7 % 11).reshape(4, 2, 3) / 3
    /// y = torch.tensor([2, -1, 0, -1])
    /// weak, strong = z[:, 0], z[:, 1]
    /// p, pseudo = weak.softmax(1).max(1)
    /// print(F.cross_entropy(weak[y >= 0], y[y >= 0]), p)
    /// print(((p >= 0.7) * F.cross_entropy(strong, pseudo, reduction="none")).mean())
    /// w, u = torch.full((2, 3), 1 / 3)
    /// for _ in range(200):
    ///     w, u = w + 0.01 * (weak.softmax(1)[y >= 0].mean(0) - w), u + 0.01 * (weak.softmax(1).mean(0) - u)
    /// p, pseudo = F.normalize(weak.softmax(1) * w / u, 1, 1).max(1)
    /// print(((p >= 0.7) * F.cross_entropy(strong, pseudo, reduction="none")).mean(), (p >= 0.7).float().mean())
    /// ```
    #[test]
    fn the_losses_are_the_papers() {
        let device = Default::default();
        let found = |align, times| {
            let mut config = config();
            config.settings.align = align;
            let model = config.init::<Flex>(&device).unwrap();
            let logits: Vec<f32> = (0..24).map(|i| (i * 7 % 11) as f32 / 3.0).collect();
            let logits = Tensor::<Flex, 2>::from_data(TensorData::new(logits, [8, 3]), &device);
            let labels = Tensor::<Flex, 1, Int>::from_ints([2, -1, 0, -1], &device);
            let all =
                (0..times).map(|_| model.parts(logits.clone(), labels.clone()).map(|x| x.into_scalar()));
            all.last().unwrap()
        };
        let close = |found: [f32; 3], theirs: [f32; 3]| {
            assert!(found.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?} {theirs:?}");
        };
        close(found(false, 1), [1.5115, 0.4771, 0.5]);
        close(found(true, 200), [1.5115, 0.5961, 0.75]);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = |change: fn(&mut FixmatchConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert!(wrong(|c| c.labels = 0).contains("data.labels"));
        assert!(wrong(|c| c.settings.labelled = 8).contains("fixmatch.labelled"));
        assert!(wrong(|c| c.settings.labelled = 0).contains("fixmatch.labelled"));
        assert!(wrong(|c| c.settings.threshold = 1.5).contains("fixmatch.threshold"));
        assert!(wrong(|c| c.settings.weight = -1.0).contains("fixmatch.weight"));
        assert!(wrong(|c| c.settings.strong.scale = 2.0).contains("fixmatch.strong"));
    }
}
