//! Variational autoencoder (Kingma & Welling 2013, arXiv 1312.6114): an image as a distribution of codes, a code as a
//! distribution of images, and a lower bound of the likelihood that joins the two.
//!
//! Any net encodes, a [`Decoder`] decodes. Codes are Gaussian with a diagonal covariance, their prior is the standard
//! normal distribution, pixels are independent Bernoulli variables given the code. The divergence may weigh more or
//! less than 1 (Higgins et al. 2017, "beta-VAE") and may come in slowly, which keeps codes from being given up early
//! (Bowman et al. 2015, arXiv 1511.06349). Likelihoods are estimated with importance weights (Burda et al. 2015,
//! arXiv 1509.00519).

use burn::{
    module::Module,
    tensor::{Distribution, Tensor, TensorData, activation::sigmoid, backend::Backend},
};
use cpu_ops::bernoulli_log_likelihood;
use mnist_data::{Batch, HostBatch};
use serde::{Deserialize, Serialize};

use super::{ChosenBy, Losses, Objective, ObjectiveConfig, Part, Picture, Progress, Score, side_by_side};
use crate::generate::{GenerateRequest, Generated, Watch};
use crate::{
    blocks::{Linear, output_linear},
    decoder::{Decoder, DecoderConfig},
    nets::{Encoder, EncoderConfig, Net, at_least_one},
};

/// Settings of the objective that a recipe may set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct VaeSettings {
    /// Numbers in a code.
    pub code: usize,
    /// Weight of the divergence; 1 makes the loss the bound of the likelihood.
    pub beta: f64,
    /// Share of the training in which that weight rises from 0, in [0, 1].
    pub warmup: f64,
    /// From codes to images.
    pub decoder: DecoderConfig,
}

impl Default for VaeSettings {
    fn default() -> Self {
        Self { code: 32, beta: 1.0, warmup: 0.0, decoder: DecoderConfig::default() }
    }
}

/// All that makes a [`Vae`].
#[derive(Clone, Debug)]
pub struct VaeConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// Whether pixels are black or white: the likelihood is of such.
    pub black_and_white: bool,
    /// What a recipe may set.
    pub settings: VaeSettings,
}

/// An encoder with two heads, and a decoder.
#[derive(Module, Debug)]
pub struct Vae<B: Backend> {
    /// The encoder.
    pub net: Net<B>,
    /// `[width, code]`.
    pub mean: Linear<B>,
    /// `[width, code]`.
    pub log_variance: Linear<B>,
    /// From codes to images.
    pub decoder: Decoder<B>,
    pixel_mean: f32,
    pixel_std: f32,
    beta: f64,
    warmup: f64,
}

impl ObjectiveConfig for VaeConfig {
    type Input = HostBatch;
    type Model<B: Backend> = Vae<B>;

    const CHOSEN_BY: ChosenBy = ChosenBy { score: "negative_elbo", larger_is_better: false };

    fn check(&self) -> Result<(), String> {
        let VaeSettings { code, beta, warmup, decoder } = &self.settings;
        self.encoder.check()?;
        at_least_one("vae.code", &[*code])?;
        if !(0.0..=1000.0).contains(beta) {
            return Err(format!("`vae.beta` is {beta}; it has to be 0 to 1000"));
        }
        if !(0.0..=1.0).contains(warmup) {
            return Err(format!("`vae.warmup` is {warmup}; it is a share of the training, 0 to 1"));
        }
        if !self.black_and_white {
            return Err(
                "`data.binarise` is none; a VAE's likelihood is of black and white pixels: make them \
                        `dynamic` or `static`"
                    .into(),
            );
        }
        decoder.check(*code, self.encoder.size).map_err(|e| format!("vae.{e}"))
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Result<Vae<B>, String> {
        self.check()?;
        let VaeSettings { code, beta, warmup, ref decoder } = self.settings;
        let net = self.encoder.init(device)?;
        Ok(Vae {
            mean: output_linear(net.width(), code, device),
            log_variance: output_linear(net.width(), code, device),
            net,
            decoder: decoder.init(code, self.encoder.size, device),
            pixel_mean: self.encoder.mean,
            pixel_std: self.encoder.std,
            beta,
            warmup,
        })
    }
}

/// A Gaussian distribution of each example's code, `[batch, code]` both.
struct Posterior<B: Backend> {
    mean: Tensor<B, 2>,
    log_variance: Tensor<B, 2>,
}

impl<B: Backend> Posterior<B> {
    /// A code of each example, `[batch, code]`: a function of the distribution and noise, so that gradients pass.
    fn sample(&self) -> Tensor<B, 2> {
        let noise = self.mean.random_like(Distribution::Normal(0.0, 1.0));
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * noise
    }

    /// Divergence from the prior, `[batch]`, nats (appendix B).
    fn divergence(&self) -> Tensor<B, 1> {
        let [batch, _code] = self.mean.dims();
        let variance = self.log_variance.clone().exp();
        let terms = self.mean.clone().square() + variance - self.log_variance.clone() - 1.0;
        terms.sum_dim(1).reshape([batch]) * 0.5
    }
}

impl<B: Backend> Vae<B> {
    /// Distributions of codes of images, pixels in 0-1, `[batch, channels, height, width]`.
    fn encode(&self, images: Tensor<B, 4>) -> Posterior<B> {
        let features = self.normalised_features(images); // [batch, width]
        Posterior {
            mean: self.mean.forward(features.clone()),
            log_variance: self.log_variance.forward(features),
        }
    }

    fn normalised_features(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        self.net.forward((images - self.pixel_mean) / self.pixel_std)
    }

    /// Probability of white of each pixel, `[batch, channels, height, width]`, given codes `[batch, code]`.
    fn decode(&self, codes: Tensor<B, 2>) -> Tensor<B, 4> {
        sigmoid(self.decoder.forward(codes))
    }

    /// The two parts of minus the evidence lower bound of each image, nats, `[batch]` both: what the code does not
    /// tell of the image, and what it tells beyond the prior. With one code drawn.
    fn elbo_parts(&self, images: Tensor<B, 4>) -> [Tensor<B, 1>; 2] {
        let posterior = self.encode(images.clone());
        let logits = self.decoder.forward(posterior.sample()); // [batch, channels, height, width]
        let likelihood = bernoulli_log_likelihood(logits.flatten(1, 3), images.flatten(1, 3));
        [likelihood.neg(), posterior.divergence()]
    }

    /// Numbers in a code.
    fn code(&self) -> usize {
        let [_width, code] = self.mean.weight.dims();
        code
    }
}

impl<B: Backend> Objective<B> for Vae<B> {
    type Input = HostBatch;

    fn losses(&self, batch: Batch<B>, progress: Progress) -> Losses<B> {
        let rise = if self.warmup > 0.0 { (progress.share() / self.warmup).min(1.0) } else { 1.0 };
        let [reconstruction, divergence] = self.elbo_parts(batch.images).map(Tensor::mean);
        let part = |name, value: &Tensor<B, 1>| Part { name, unit: "nats", value: value.clone().detach() };
        let parts = vec![part("reconstruction", &reconstruction), part("kl", &divergence)];
        Losses { total: reconstruction + divergence * (self.beta * rise), parts }
    }

    fn scores(&self, batch: Batch<B>) -> Vec<Score<B>> {
        let [reconstruction, divergence] = self.elbo_parts(batch.images);
        let negative_elbo = reconstruction.clone() + divergence.clone();
        vec![
            Score { name: "negative_elbo", unit: "nats", values: negative_elbo },
            Score { name: "reconstruction", unit: "nats", values: reconstruction },
            Score { name: "kl", unit: "nats", values: divergence },
        ]
    }

    fn features(&self, batch: Batch<B>) -> Option<Tensor<B, 2>> {
        Some(self.normalised_features(batch.images))
    }

    fn log_weights(&self, batch: Batch<B>, samples: usize) -> Option<Tensor<B, 2>> {
        let Posterior { mean, log_variance } = self.encode(batch.images.clone());
        let ([batch_size, code], device) = (mean.dims(), mean.device());
        let shape = [batch_size, samples, code];
        let noise = Tensor::<B, 3>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let spread = (log_variance.clone() * 0.5).exp().unsqueeze_dim::<3>(1); // [batch, 1, code]
        let codes = mean.unsqueeze_dim::<3>(1) + spread * noise.clone(); // [batch, samples, code]
        // log p(z) - log q(z | x), where the factors 2 pi cancel.
        let of_codes = (noise.square() - codes.clone().square() + log_variance.unsqueeze_dim::<3>(1)) * 0.5;
        let of_codes = of_codes.sum_dim(2).reshape([batch_size, samples]);
        let logits = self.decoder.forward(codes.reshape([batch_size * samples, code]));
        let likelihood = bernoulli_log_likelihood(logits.flatten(1, 3), batch.images.flatten(1, 3));
        Some(likelihood.reshape([batch_size, samples]) + of_codes)
    }

    fn generate_watched(
        &self,
        request: &GenerateRequest,
        device: &B::Device,
        _watch: &mut Watch<'_>,
    ) -> Option<Generated<B>> {
        let images = self.decode(request.codes(self.code(), device));
        Some(Generated::Images(Picture { name: "samples", images, columns: 16 }))
    }

    fn code_width(&self) -> Option<usize> {
        Some(self.code())
    }

    fn pictures(&self, batch: Batch<B>) -> Vec<Picture<B>> {
        let device = batch.images.device();
        let codes = self.encode(batch.images.clone()).mean;
        let mut all = vec![Picture {
            name: "reconstructions",
            ..side_by_side(vec![batch.images, self.decode(codes.clone())])
        }];
        if let Some(Generated::Images(samples)) = self.generate(&GenerateRequest::default(), &device) {
            all.push(samples);
        }
        all.extend(interpolations(codes).map(|(codes, columns)| Picture {
            name: "interpolations",
            images: self.decode(codes),
            columns,
        }));
        if self.code() == 2 {
            let codes = Tensor::from_data(latent_grid(MAP_SIDE), &device);
            all.push(Picture { name: "latent-map", images: self.decode(codes), columns: MAP_SIDE });
        }
        all
    }
}

/// Images in a row and in a column of the map of a two-dimensional code.
const MAP_SIDE: usize = 20;

/// Codes on straight lines between those of pairs of neighbours in a batch, `[pairs * columns, code]`, and the number
/// of columns; none of fewer than two.
fn interpolations<B: Backend>(codes: Tensor<B, 2>) -> Option<(Tensor<B, 2>, usize)> {
    const PAIRS: usize = 8;
    const COLUMNS: usize = 12;
    let [batch, code] = codes.dims();
    let pairs = (batch / 2).min(PAIRS);
    if pairs == 0 {
        return None;
    }
    let ends = codes.narrow(0, 0, 2 * pairs).reshape([pairs, 2, code]);
    let [from, to] = [0, 1].map(|end| ends.clone().narrow(1, end, 1)); // [pairs, 1, code]
    let steps = (0..COLUMNS).map(|step| {
        let share = step as f64 / (COLUMNS - 1) as f64;
        from.clone() * (1.0 - share) + to.clone() * share
    });
    Some((Tensor::cat(steps.collect(), 1).reshape([pairs * COLUMNS, code]), COLUMNS))
}

/// Two-dimensional codes that cut the prior into `side * side` cells of equal probability, `[side * side, 2]`, the
/// second number growing upwards as in the paper's figure 4.
fn latent_grid(side: usize) -> TensorData {
    let quantiles: Vec<f32> =
        (0..side).map(|i| normal_quantile((i as f64 + 0.5) / side as f64) as f32).collect();
    let codes: Vec<f32> =
        quantiles.iter().rev().flat_map(|&y| quantiles.iter().flat_map(move |&x| [x, y])).collect();
    TensorData::new(codes, [side * side, 2])
}

/// The number below which the standard normal distribution has this share, in (0.0001, 0.9999): by bisection of
/// its series (Abramowitz & Stegun 26.2.11).
fn normal_quantile(share: f64) -> f64 {
    let distribution = |x: f64| {
        let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= x * x / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 + density * sum
    };
    let (mut low, mut high) = (-4.0, 4.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if distribution(middle) < share { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;
    use crate::nets::NetSettings;

    fn config() -> VaeConfig {
        let encoder = EncoderConfig::new("mlp", NetSettings::default(), [8, 8]);
        VaeConfig {
            encoder: EncoderConfig { mean: 0.1, std: 0.3, ..encoder },
            black_and_white: true,
            settings: VaeSettings { code: 3, ..Default::default() },
        }
    }

    fn images(count: usize) -> Batch<Flex> {
        let device = Default::default();
        let pixels: Vec<f32> = (0..count * 64).map(|i| f32::from(i * i % 7 < 3)).collect();
        let images = Tensor::<Flex, 1>::from_floats(&pixels[..], &device).reshape([count, 1, 8, 8]);
        Batch { images, labels: Tensor::zeros([count], &device) }
    }

    /// Numbers of one batch that are `[1]` or `[batch]`.
    fn values(tensor: Tensor<Flex, 1>) -> Vec<f32> {
        tensor.into_data().to_vec().unwrap()
    }

    /// scipy.stats.norm.ppf([.025, .5, .9])
    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        for (share, wanted) in [(0.025, -1.959963984540054), (0.5, 0.0), (0.9, 1.2815515655446004)] {
            assert!((normal_quantile(share) - wanted).abs() < 1e-9, "{share}");
        }
        let codes: Vec<f32> = latent_grid(2).to_vec().unwrap();
        let q = 0.674_489_75;
        for (found, wanted) in codes.iter().zip([-q, q, q, q, -q, -q, q, -q]) {
            assert!((found - wanted).abs() < 1e-6, "{codes:?}");
        }
    }

    /// ```python
    /// import torch
    /// from torch.distributions import Normal, kl_divergence
    /// m, v = torch.tensor([[1., -2.], [0., .5]]), torch.tensor([[0., 1.], [-3., .2]])
    /// print(kl_divergence(Normal(m, (v / 2).exp()), Normal(0., 1.)).sum(1))
    /// ```
    #[test]
    fn the_divergence_is_pytorchs() {
        let device = Default::default();
        let posterior = Posterior::<Flex> {
            mean: Tensor::from_floats([[1.0, -2.0], [0.0, 0.5]], &device),
            log_variance: Tensor::from_floats([[0.0, 1.0], [-3.0, 0.2]], &device),
        };
        let found = values(posterior.divergence());
        for (found, wanted) in found.iter().zip([2.859_141, 1.160_595]) {
            assert!((found - wanted).abs() < 1e-5, "{found} is not {wanted}");
        }
    }

    #[test]
    fn the_divergence_comes_in_as_told() {
        let device = Default::default();
        let mut config = config();
        (config.settings.beta, config.settings.warmup) = (2.0, 0.5);
        let model = config.init::<Flex>(&device).unwrap();
        for (step, weight) in [(0, 0.0), (25, 1.0), (50, 2.0), (99, 2.0)] {
            let Losses { total, parts } = model.losses(images(4), Progress { phase: 0, step, total: 100 });
            let parts: Vec<f32> = parts.into_iter().flat_map(|part| values(part.value)).collect();
            let wanted = parts[0] + weight * parts[1];
            assert!((values(total)[0] - wanted).abs() < 1e-3, "{step}: {parts:?}");
        }
    }

    #[test]
    fn the_mean_log_weight_is_the_bound() {
        let device = Default::default();
        let model = config().init::<Flex>(&device).unwrap();
        let batch = images(3);
        let weights = model.log_weights(batch.clone(), 4_000).unwrap();
        assert_eq!(weights.dims(), [3, 4_000]);
        let of_weights: Vec<f32> = weights.sum_dim(0).into_data().to_vec().unwrap();
        let of_scores: Vec<f32> = (0..2_000)
            .map(|_| values(model.scores(batch.clone()).remove(0).values).iter().sum::<f32>())
            .collect();
        // Both are means of independent draws: within five standard errors of their difference.
        let ((of_weights, a), (of_scores, b)) = (mean_and_error(&of_weights), mean_and_error(&of_scores));
        assert!((of_weights + of_scores).abs() < 5.0 * a.hypot(b), "{of_weights} {a}, {of_scores} {b}");
        assert!(a.hypot(b) < 0.02 * of_scores, "{a} {b}: draws too wide to tell anything");
    }

    /// The mean of some independent draws, and its standard error.
    fn mean_and_error(draws: &[f32]) -> (f64, f64) {
        let count = draws.len() as f64;
        let mean = draws.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = draws.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, (variance / count).sqrt())
    }

    #[test]
    fn pictures_and_new_images_are_made_of_any_batch() {
        let device = Default::default();
        let mut config = config();
        config.settings.code = 2;
        let model = config.init::<Flex>(&device).unwrap();
        for (batch, wanted) in [
            (1, vec![("reconstructions", 2), ("samples", 64), ("latent-map", 400)]),
            (5, vec![("reconstructions", 10), ("samples", 64), ("interpolations", 24), ("latent-map", 400)]),
        ] {
            let found = model.pictures(images(batch));
            let found: Vec<_> = found.iter().map(|p| (p.name, p.images.dims()[0])).collect();
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn settings_that_make_no_model_are_refused() {
        let bad = |change: fn(&mut VaeConfig)| {
            let mut config = config();
            change(&mut config);
            config.init::<Flex>(&Default::default()).err().unwrap()
        };
        assert!(bad(|c| c.settings.code = 0).contains("vae.code"));
        assert!(bad(|c| c.settings.beta = f64::NAN).contains("vae.beta"));
        assert!(bad(|c| c.settings.warmup = 1.5).contains("vae.warmup"));
        assert!(bad(|c| c.black_and_white = false).contains("data.binarise"));
        assert!(bad(|c| c.settings.decoder.hidden = vec![0]).contains("vae.`decoder.hidden`"));
    }
}
