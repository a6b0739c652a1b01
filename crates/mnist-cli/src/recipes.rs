//! Built-in recipes, so that an installed binary needs no repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::args::UsageError;

/// Name and text of each file in recipes/.
const BUILT_IN: &[(&str, &str)] = &[
    ("default", include_str!("../../../recipes/default.toml")),
    ("autoencoder", include_str!("../../../recipes/autoencoder.toml")),
    ("contrastive", include_str!("../../../recipes/contrastive.toml")),
    ("language-model", include_str!("../../../recipes/language-model.toml")),
    ("language-model-text", include_str!("../../../recipes/language-model-text.toml")),
    ("masked", include_str!("../../../recipes/masked.toml")),
    ("masked-text", include_str!("../../../recipes/masked-text.toml")),
    ("classify-tokens", include_str!("../../../recipes/classify-tokens.toml")),
    ("classify-image-tokens", include_str!("../../../recipes/classify-image-tokens.toml")),
    ("finetune", include_str!("../../../recipes/finetune.toml")),
    ("resnet", include_str!("../../../recipes/resnet.toml")),
    ("few-labels", include_str!("../../../recipes/few-labels.toml")),
    ("mlp", include_str!("../../../recipes/mlp.toml")),
    ("punctuation", include_str!("../../../recipes/punctuation.toml")),
    ("strips", include_str!("../../../recipes/strips.toml")),
    ("regression", include_str!("../../../recipes/regression.toml")),
    ("fashion", include_str!("../../../recipes/fashion.toml")),
    ("record", include_str!("../../../recipes/record.toml")),
    ("fixmatch", include_str!("../../../recipes/fixmatch.toml")),
    ("gan", include_str!("../../../recipes/gan.toml")),
    ("gan-quick", include_str!("../../../recipes/gan-quick.toml")),
    ("vae", include_str!("../../../recipes/vae.toml")),
    ("vae-2d", include_str!("../../../recipes/vae-2d.toml")),
    ("vae-quick", include_str!("../../../recipes/vae-quick.toml")),
    ("vit-100m", include_str!("../../../recipes/vit-100m.toml")),
    ("tiny", include_str!("../../../recipes/tiny.toml")),
];

/// Name and text of each file recipes/pipeline-*.toml.
const PIPELINES: &[(&str, &str)] = &[
    ("pipeline-quick", include_str!("../../../recipes/pipeline-quick.toml")),
    ("pipeline-contrastive", include_str!("../../../recipes/pipeline-contrastive.toml")),
    ("pipeline-resnet", include_str!("../../../recipes/pipeline-resnet.toml")),
    ("pipeline-text", include_str!("../../../recipes/pipeline-text.toml")),
];

/// A recipe's text, and where it is from.
pub(crate) struct Recipe {
    /// Short name, for naming runs.
    pub name: String,
    /// Where it is from, for errors.
    pub origin: PathBuf,
    /// TOML.
    pub text: String,
}

impl Recipe {
    /// A file, or else a built-in recipe by name.
    ///
    /// # Errors
    /// [`UsageError`] with the built-in names; a file that cannot be read.
    pub(crate) fn find(wanted: &str) -> Result<Self> {
        find("recipe", wanted, BUILT_IN)
    }

    /// A file, or else a built-in pipeline by name.
    ///
    /// # Errors
    /// As [`Recipe::find`].
    pub(crate) fn find_pipeline(wanted: &str) -> Result<Self> {
        find("pipeline", wanted, PIPELINES)
    }

    /// A file, or else a built-in recipe or pipeline by name.
    ///
    /// # Errors
    /// As [`Recipe::find`].
    pub(crate) fn find_any(wanted: &str) -> Result<Self> {
        find("recipe", wanted, &[BUILT_IN, PIPELINES].concat())
    }

    /// Name and text of each built-in recipe and pipeline.
    pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        BUILT_IN.iter().chain(PIPELINES).copied()
    }

    /// Names of the built-in pipelines.
    #[cfg(test)]
    pub(crate) fn pipelines() -> impl Iterator<Item = &'static str> {
        PIPELINES.iter().map(|(name, _)| *name)
    }
}

fn find(kind: &str, wanted: &str, built_in: &[(&str, &str)]) -> Result<Recipe> {
    let path = Path::new(wanted);
    if path.is_file() {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the {kind} {wanted}"))?;
        let name = path.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
        return Ok(Recipe { name, origin: path.into(), text });
    }
    match built_in.iter().find(|(name, _)| *name == wanted) {
        Some((name, text)) => Ok(Recipe {
            name: (*name).into(),
            origin: format!("recipes/{name}.toml").into(),
            text: (*text).into(),
        }),
        None => {
            let other = [("recipe", BUILT_IN), ("pipeline", PIPELINES)]
                .into_iter()
                .find(|(other, table)| *other != kind && table.iter().any(|(name, _)| *name == wanted));
            if let Some((other, _)) = other {
                let command = if other == "pipeline" { "pipeline" } else { "train` or `pretrain" };
                let message = format!("{wanted} is a {other}, not a {kind}: it is for `{command}`");
                return Err(UsageError(message).into());
            }
            let names: Vec<_> = built_in.iter().map(|(name, _)| *name).collect();
            Err(UsageError(format!(
                "there is no {kind} {wanted}: it is not a file, and the built-in ones are {}",
                names.join(", ")
            ))
            .into())
        }
    }
}
