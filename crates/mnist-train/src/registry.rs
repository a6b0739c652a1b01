//! The registry of objectives. A new objective is one file in `mnist-model` and one line in `objectives!`:
//! training, resume, evaluation, the tests of all objectives and the tables follow from it.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::backend::{AutodiffBackend, Backend};
use mnist_data::{Binarise, Examples, Task};
use mnist_model::{
    generate::{GenerateRequest, Generated, Watch, unwatched},
    nets::EncoderConfig,
    objectives::{
        AutoencoderConfig, ChosenBy, ClassifyConfig, ClassifyTokensConfig, ContrastiveConfig, FixmatchConfig,
        GanConfig, LabelSequenceConfig, LanguageModelConfig, MaskedConfig, Objective, ObjectiveConfig,
        RegressionConfig, VIEWS, VaeConfig,
    },
    parameters::{Parameter, parameters, summary},
};

use crate::{
    checkpoint,
    data::{AnyLoader, Kind, TrainingData},
    error::{Result, TrainError},
    evaluate, grid,
    learner::{self, Outcome, Session},
    likelihood::{self, Likelihood},
    metrics::Predictions,
    plan::{self, Plan},
    run::Run,
    rundir::Facts,
    tensors::unflatten,
    weights,
};

/// An objective's configuration, as a run's settings and the data's facts give it.
trait FromRun: ObjectiveConfig + Sized {
    fn from_run(run: &Run, facts: &Facts) -> Self;

    /// What is to be told of token sequences, if it learns from such.
    fn task(_run: &Run) -> Option<Task> {
        None
    }

    /// As it is while it is trained: with what is added for that alone.
    fn in_training(run: &Run, facts: &Facts) -> Self {
        Self::from_run(run, facts)
    }

    /// Whether it can do with settings that are not its own.
    fn check_run(_run: &Run) -> Result<(), String> {
        Ok(())
    }

    /// The examples as it wants them, where a run's settings do not say it all.
    fn prepare(_run: &Run, loader: AnyLoader) -> AnyLoader {
        loader
    }
}

/// The encoder of a run on images.
fn encoder(run: &Run, facts: &Facts) -> EncoderConfig {
    let &Facts { size, mean, std, .. } = facts;
    EncoderConfig { mean, std, ..EncoderConfig::new(&run.net, run.nets.clone(), size) }
}

/// As [`encoder`], with what fine-tuning learns beside it.
fn adapted(run: &Run, facts: &Facts) -> EncoderConfig {
    EncoderConfig { lora: run.finetune.lora(), ..encoder(run, facts) }
}

// Configurations from runs.

impl FromRun for ClassifyConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self { encoder: encoder(run, facts), classes: facts.classes.len(), settings: run.classify.clone() }
    }

    fn in_training(run: &Run, facts: &Facts) -> Self {
        Self { encoder: adapted(run, facts), ..Self::from_run(run, facts) }
    }

    fn prepare(run: &Run, loader: AnyLoader) -> AnyLoader {
        match loader {
            AnyLoader::Images(loader) if run.data.labels > 0 => AnyLoader::Images(loader.only_labelled()),
            loader => loader,
        }
    }
}

/// Class probabilities, example by example, and the labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probabilities {
    /// Row after row, `[answers, classes]`.
    pub values: Vec<f32>,
    /// True class of each answer.
    pub labels: Vec<usize>,
    /// Which example each answer is of: more than one where positions have classes.
    pub examples: Vec<usize>,
}

impl Probabilities {
    /// What figures are made of.
    ///
    /// # Errors
    /// As [`Predictions::new`].
    pub fn predictions(self, classes: usize) -> Result<Predictions> {
        Ok(Predictions::new(classes, self.values, self.labels)?.of_sequences(self.examples))
    }
}

/// A trained model, whatever it was trained for.
pub trait Trained<B: Backend>: Send {
    /// Means of all scores over a split; see [`Objective::scores`].
    ///
    /// # Errors
    /// [`TrainError::Settings`] if the examples are not of the model's kind.
    fn scores(&self, data: &AnyLoader, device: &B::Device) -> Result<BTreeMap<String, f64>>;

    /// Class probabilities and labels of a split, if the model classifies; see [`Objective::probabilities`].
    ///
    /// # Errors
    /// As [`Trained::scores`].
    fn probabilities(&self, data: &AnyLoader, device: &B::Device) -> Result<Option<Probabilities>>;

    /// A number for each of a split's examples, if the model tells one; see [`Objective::values`].
    ///
    /// # Errors
    /// As [`Trained::scores`].
    fn values(&self, data: &AnyLoader, device: &B::Device) -> Result<Option<Vec<f32>>>;

    /// Features of a split's examples as they are, row after row, and their width, if the model has an encoder; see
    /// [`Objective::features`].
    ///
    /// # Errors
    /// As [`Trained::scores`].
    fn features(&self, data: &AnyLoader, device: &B::Device) -> Result<Option<(Vec<f32>, usize)>>;

    /// What it does with the first batch of a split, files by their names; see [`Objective::pictures`] and
    /// [`Objective::excerpts`].
    ///
    /// # Errors
    /// As [`Trained::scores`]; what drawing can meet.
    fn pictures(&self, data: &AnyLoader, device: &B::Device) -> Result<Vec<(String, Vec<u8>)>>;

    /// Importance-weighted likelihood of a split with so many samples, if the model has one; see [`likelihood::of`].
    ///
    /// # Errors
    /// As [`Trained::scores`].
    fn likelihood(&self, data: &AnyLoader, samples: usize, device: &B::Device) -> Result<Option<Likelihood>>;

    /// New examples, if the model makes some; the caller has seeded the backend. See [`Objective::generate`].
    fn generate(&self, request: &GenerateRequest, device: &B::Device) -> Option<Generated<B>> {
        self.generate_watched(request, device, &mut unwatched)
    }

    /// As [`Trained::generate`], watched; see [`Objective::generate_watched`].
    fn generate_watched(
        &self,
        request: &GenerateRequest,
        device: &B::Device,
        watch: &mut Watch<'_>,
    ) -> Option<Generated<B>>;

    /// Numbers in a code that it makes an image of, if it does; see [`Objective::code_width`].
    fn code_width(&self) -> Option<usize>;

    /// A table of its tensors.
    fn summary(&self) -> String;
}

impl<B: Backend, M: Objective<B>> Trained<B> for M
where
    M::Input: Kind,
{
    fn scores(&self, data: &AnyLoader, device: &B::Device) -> Result<BTreeMap<String, f64>> {
        Ok(evaluate::scores(self, M::Input::wanted(data)?, device))
    }

    fn probabilities(&self, data: &AnyLoader, device: &B::Device) -> Result<Option<Probabilities>> {
        let data = M::Input::wanted(data)?;
        let (mut all, mut before) = (Probabilities::default(), 0);
        for batch in data.in_order() {
            let answers = M::Input::answers(&batch);
            let (examples, each) = (batch.len(), answers.len() / batch.len().max(1));
            let Some(found) = Objective::probabilities(self, batch.to_device(device)) else {
                return Ok(None);
            };
            let [_, classes] = found.dims();
            let found: Vec<f32> = found.into_data().iter::<f32>().collect();
            // What has no answer is not measured.
            for (i, (row, answer)) in found.chunks_exact(classes.max(1)).zip(answers).enumerate() {
                if let Ok(answer) = usize::try_from(answer) {
                    all.labels.push(answer);
                    all.values.extend(row);
                    all.examples.push(before + i / each.max(1));
                }
            }
            before += examples;
        }
        Ok(Some(all))
    }

    fn values(&self, data: &AnyLoader, device: &B::Device) -> Result<Option<Vec<f32>>> {
        let mut all = Vec::new();
        for batch in M::Input::wanted(data)?.in_order() {
            let Some(found) = Objective::values(self, batch.to_device(device)) else { return Ok(None) };
            all.extend(found.into_data().iter::<f32>());
        }
        Ok(Some(all))
    }

    fn features(&self, data: &AnyLoader, device: &B::Device) -> Result<Option<(Vec<f32>, usize)>> {
        let (mut all, mut width) = (Vec::new(), 0);
        for (i, batch) in M::Input::wanted(&data.clone().plain())?.in_order().enumerate() {
            evaluate::seed::<B>(i, device);
            let Some(found) = Objective::features(self, batch.to_device(device)) else { return Ok(None) };
            [_, width] = found.dims();
            all.extend(found.into_data().iter::<f32>());
        }
        Ok(Some((all, width)))
    }

    fn pictures(&self, data: &AnyLoader, device: &B::Device) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(grid::of(self, M::Input::wanted(data)?, device)?)
    }

    fn likelihood(&self, data: &AnyLoader, samples: usize, device: &B::Device) -> Result<Option<Likelihood>> {
        Ok(likelihood::of(self, M::Input::wanted(data)?, samples, device))
    }

    fn generate_watched(
        &self,
        request: &GenerateRequest,
        device: &B::Device,
        watch: &mut Watch<'_>,
    ) -> Option<Generated<B>> {
        Objective::generate_watched(self, request, device, watch)
    }

    fn code_width(&self) -> Option<usize> {
        Objective::code_width(self)
    }

    fn summary(&self) -> String {
        summary::<B, M>(self)
    }
}

impl FromRun for AutoencoderConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self { encoder: encoder(run, facts), settings: run.autoencoder.clone() }
    }
}

impl FromRun for ContrastiveConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self { encoder: encoder(run, facts), settings: run.contrastive.clone() }
    }

    fn check_run(run: &Run) -> Result<(), String> {
        if run.augment.is_off() && run.data.binarise != Binarise::Dynamic {
            return Err("contrastive learning tells images apart by distorted views, and nothing in [augment] distorts: \
                        say for example --set augment.shift=2 --set augment.rotation=15"
                .into());
        }
        Ok(())
    }

    /// Two views of each image under the run's distortions.
    fn prepare(run: &Run, loader: AnyLoader) -> AnyLoader {
        match loader {
            AnyLoader::Images(images) => AnyLoader::Images(images.views(vec![run.augment.clone(); VIEWS])),
            other => other,
        }
    }
}

impl FromRun for FixmatchConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self {
            classify: ClassifyConfig::from_run(run, facts),
            labels: run.data.labels,
            batch: run.batch_size,
            settings: run.fixmatch.clone(),
        }
    }

    fn in_training(run: &Run, facts: &Facts) -> Self {
        let classify = ClassifyConfig::in_training(run, facts);
        Self { classify, ..Self::from_run(run, facts) }
    }

    /// Where some labels are not to be known, that is in training, two views of each image and some labelled ones in
    /// each batch.
    fn prepare(run: &Run, loader: AnyLoader) -> AnyLoader {
        match loader {
            AnyLoader::Images(images) if images.source().hides_labels() => {
                let views = vec![run.augment.clone(), run.fixmatch.strong.clone()];
                AnyLoader::Images(images.views(views).labelled_first(run.fixmatch.labelled))
            }
            loader => loader,
        }
    }
}

impl FromRun for GanConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self { encoder: encoder(run, facts), settings: run.gan.clone() }
    }
}

impl FromRun for VaeConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self {
            encoder: encoder(run, facts),
            black_and_white: run.data.binarise != Binarise::None,
            settings: run.vae.clone(),
        }
    }
}

/// Number of different tokens, and tokens in a sequence; 0 where the data are none.
fn sequences(facts: &Facts) -> [usize; 2] {
    facts.tokens.as_ref().map_or([0; 2], |tokens| [tokens.vocabulary, tokens.length])
}

/// How the pixels of lossless tokens became black or white, as scores name it.
fn binarised(how: Binarise) -> &'static str {
    match how {
        Binarise::None => "no",
        Binarise::Dynamic => "dynamic",
        Binarise::Static => "static",
    }
}

impl FromRun for LanguageModelConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        let [vocabulary, length] = sequences(facts);
        Self {
            vocabulary,
            length,
            binarised: facts
                .tokens
                .as_ref()
                .filter(|tokens| tokens.images)
                .map(|_| binarised(run.data.binarise).into()),
            net: run.transformer.clone(),
            settings: run.language_model.clone(),
        }
    }

    fn task(_run: &Run) -> Option<Task> {
        Some(Task::Next)
    }
}

impl FromRun for MaskedConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        let [vocabulary, length] = sequences(facts);
        Self { vocabulary, length, net: run.transformer.clone(), settings: run.masked.clone() }
    }

    fn task(run: &Run) -> Option<Task> {
        Some(Task::Hidden(run.masked.hiding))
    }
}

/// Early stopping needs a score to stop by.
fn check_patience(run: &Run) -> Result<(), String> {
    let nothing = chosen_by(run).is_ok_and(|by| !by.says_something());
    match run.early_stopping.patience {
        patience if patience > 0 && nothing => Err(format!(
            "early_stopping.patience is {patience}, but the objective {} has no score that says when to stop; \
             leave it 0",
            run.objective
        )),
        _ => Ok(()),
    }
}

/// Whether there is something that `recompute` could compute again.
fn check_recompute(run: &Run) -> Result<(), String> {
    if !run.recompute {
        return Ok(());
    }
    let (name, dropout) = match task(run).map_err(|e| e.to_string())? {
        Some(_) => ("transformer", run.transformer.dropout),
        None if run.net == "vit" => ("vit", run.nets.vit.dropout),
        None => {
            let net = &run.net;
            return Err(format!("recompute is about the layers of a Transformer; the net {net} has none"));
        }
    };
    if dropout > 0.0 {
        return Err(format!(
            "recompute would drop out other values the second time; set {name}.dropout, which is {dropout}, to 0"
        ));
    }
    Ok(())
}

impl FromRun for ClassifyTokensConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        let [vocabulary, length] = sequences(facts);
        Self {
            vocabulary,
            length,
            classes: facts.classes.len(),
            net: run.transformer.clone(),
            settings: run.classify_tokens.clone(),
            lora: None,
        }
    }

    fn in_training(run: &Run, facts: &Facts) -> Self {
        Self { lora: run.finetune.lora(), ..Self::from_run(run, facts) }
    }

    fn task(run: &Run) -> Option<Task> {
        Some(Task::Class { decoder: run.classify_tokens.causal })
    }
}

impl FromRun for LabelSequenceConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        let [vocabulary, length] = sequences(facts);
        Self {
            vocabulary,
            length,
            classes: facts.classes.len(),
            net: run.transformer.clone(),
            settings: run.label_sequence.clone(),
            lora: None,
        }
    }

    fn in_training(run: &Run, facts: &Facts) -> Self {
        Self { lora: run.finetune.lora(), ..Self::from_run(run, facts) }
    }

    fn task(_run: &Run) -> Option<Task> {
        Some(Task::Label)
    }
}

impl FromRun for RegressionConfig {
    fn from_run(run: &Run, facts: &Facts) -> Self {
        Self { encoder: encoder(run, facts), classes: facts.classes.len() }
    }

    fn in_training(run: &Run, facts: &Facts) -> Self {
        Self { encoder: adapted(run, facts), ..Self::from_run(run, facts) }
    }

    fn prepare(run: &Run, loader: AnyLoader) -> AnyLoader {
        ClassifyConfig::prepare(run, loader)
    }
}

macro_rules! objectives {
    ($($name:literal: $config:ty, $about:literal;)*) => {
        /// Names of all objectives, and what each is.
        pub const TABLE: &[(&str, &str)] = &[$(($name, $about),)*];

        /// Names of the objectives that learn from tokens.
        pub fn on_tokens() -> Vec<&'static str> {
            let run = Run::default();
            let all = [$(($name, <$config>::task(&run).is_some()),)*];
            all.into_iter().filter(|(_, tokens)| *tokens).map(|(name, _)| name).collect()
        }

        /// Trains the model that a run's settings name; see [`learner::fit`].
        ///
        /// # Errors
        /// Those of [`learner::fit`], and [`TrainError::Settings`] for settings that make no model.
        pub fn fit<B: AutodiffBackend>(
            facts: &Facts,
            session: Session<'_>,
            devices: &[B::Device],
        ) -> Result<Outcome> {
            match session.run.objective.as_str() {
                $($name => learner::fit::<B, $config>(&<$config>::in_training(session.run, facts), session, devices),)*
                other => Err(unknown(other)),
            }
        }

        /// What a run will take; see [`plan::plan`].
        ///
        /// # Errors
        /// Those of [`plan::plan`], and [`TrainError::Settings`] for settings that make no model.
        pub fn plan<B: AutodiffBackend>(
            run: &Run,
            data: &TrainingData,
            device: &B::Device,
            seconds: f64,
        ) -> Result<Plan> {
            match run.objective.as_str() {
                $($name => plan::plan::<B, $config>(&<$config>::in_training(run, &data.facts), run, data, device, seconds),)*
                other => Err(unknown(other)),
            }
        }

        /// The tensors that a run trains and starts from.
        ///
        /// # Errors
        /// [`TrainError::Settings`] for settings that make no model.
        pub fn trained<B: Backend>(run: &Run, facts: &Facts, device: &B::Device) -> Result<Vec<Parameter>> {
            match run.objective.as_str() {
                $($name => {
                    let config = <$config>::in_training(run, facts);
                    Ok(parameters(&config.init::<B>(device).map_err(TrainError::Settings)?))
                })*
                other => Err(unknown(other)),
            }
        }

        /// A model with fresh weights, as a run's settings name it.
        ///
        /// # Errors
        /// [`TrainError::Settings`] for settings that make no model.
        pub fn fresh<B: Backend>(run: &Run, facts: &Facts, device: &B::Device) -> Result<Box<dyn Trained<B>>> {
            match run.objective.as_str() {
                $($name => {
                    let model = <$config>::from_run(run, facts).init::<B>(device).map_err(TrainError::Settings)?;
                    Ok(Box::new(model))
                })*
                other => Err(unknown(other)),
            }
        }

        /// The examples as a run's objective wants them.
        ///
        /// # Errors
        /// [`TrainError::Settings`] for an unknown objective.
        pub fn prepare(run: &Run, loader: AnyLoader) -> Result<AnyLoader> {
            match run.objective.as_str() {
                $($name => Ok(<$config>::prepare(run, loader)),)*
                other => Err(unknown(other)),
            }
        }

        /// The score by which validation chooses for a run's objective.
        ///
        /// # Errors
        /// [`TrainError::Settings`] for an unknown objective.
        pub fn chosen_by(run: &Run) -> Result<ChosenBy> {
            match run.objective.as_str() {
                $($name => Ok(<$config>::CHOSEN_BY),)*
                other => Err(unknown(other)),
            }
        }

        /// Whether an objective learns from labels; an unknown one does not.
        pub fn learns_from_labels(objective: &str) -> bool {
            match objective {
                $($name => <$config>::LABELS,)*
                _ => false,
            }
        }

        /// What is to be told of token sequences, if a run's objective learns from such.
        ///
        /// # Errors
        /// [`TrainError::Settings`] for an unknown objective.
        pub fn task(run: &Run) -> Result<Option<Task>> {
            match run.objective.as_str() {
                $($name => Ok(<$config>::task(run)),)*
                other => Err(unknown(other)),
            }
        }

        /// Whether a run's settings make a model.
        ///
        /// # Errors
        /// A message that names the setting.
        pub fn check(run: &Run, facts: &Facts) -> Result<(), String> {
            check_recompute(run)?;
            check_patience(run)?;
            match run.objective.as_str() {
                $($name => {
                    <$config>::check_run(run)?;
                    <$config>::from_run(run, facts).check()
                })*
                other => Err(unknown(other).to_string()),
            }
        }

        /// Loads the model of a run from a file of weights, made under settings with this digest.
        ///
        /// # Errors
        /// [`TrainError::Io`]; [`TrainError::Checkpoint`] naming every tensor that does not fit.
        pub fn load<B: Backend>(
            run: &Run,
            facts: &Facts,
            weights: &Path,
            settings: &str,
            device: &B::Device,
        ) -> Result<Box<dyn Trained<B>>> {
            match run.objective.as_str() {
                $($name => {
                    let model = <$config>::from_run(run, facts).init::<B>(device).map_err(TrainError::Settings)?;
                    let values = weights::load_weights(weights, &parameters(&model), settings, device)?;
                    Ok(Box::new(unflatten(model, values)))
                })*
                other => Err(unknown(other)),
            }
        }

        /// The model of a run with the weights that a checkpoint would be kept for: the moving average where there
        /// is one.
        ///
        /// # Errors
        /// [`TrainError::Io`]; [`TrainError::Checkpoint`] where it is damaged or does not fit.
        pub fn load_checkpoint<B: Backend>(
            run: &Run,
            facts: &Facts,
            checkpoint: &Path,
            settings: &str,
            device: &B::Device,
        ) -> Result<Box<dyn Trained<B>>> {
            match run.objective.as_str() {
                $($name => {
                    let model = <$config>::in_training(run, facts).init::<B>(device).map_err(TrainError::Settings)?;
                    let values = checkpoint::load_chosen(checkpoint, &parameters(&model), settings, device)?;
                    Ok(Box::new(unflatten(model, values)))
                })*
                other => Err(unknown(other)),
            }
        }
    };
}

objectives! {
    "classify": ClassifyConfig, "classification: an encoder, a linear head, cross-entropy";
    "classify-tokens": ClassifyTokensConfig, "classification of token sequences: of texts and of images as tokens";
    "label-sequence": LabelSequenceConfig, "a class for each token: the punctuation of a text, the digits of a strip";
    "regression": RegressionConfig, "the value of a digit as a number: an encoder, one unit, squared error";
    "autoencoder": AutoencoderConfig, "an image through a narrow code and back, denoising if asked for";
    "contrastive": ContrastiveConfig, "SimCLR: two views of an image are to be found by their features";
    "fixmatch": FixmatchConfig, "classification with few labels: the other images are labelled by the model itself";
    "gan": GanConfig, "two players: a generator of images, and a discriminator that can be reused";
    "vae": VaeConfig, "a variational autoencoder: codes as distributions, a likelihood, new digits";
    "language-model": LanguageModelConfig, "GPT: the next token of an image or a text from those before it";
    "masked": MaskedConfig, "BERT: hidden tokens of an image or a text, and whether the second part follows the first";
}

fn unknown(name: &str) -> TrainError {
    let names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
    TrainError::Settings(format!("no objective is called {name:?}; there are: {}", names.join(", ")))
}
