//! `recipes [NAME]`: the built-in recipes and pipelines, or the text of one.

use std::{io::Write, process::ExitCode};

use anyhow::Result;

use crate::{args::Recipes, recipes::Recipe};

/// Prints a line for each, or one as it is: to be copied, changed and given to `train`.
pub(crate) fn run(args: &Recipes) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if let Some(name) = &args.name {
        out.write_all(Recipe::find_any(name)?.text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let wide = Recipe::all().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in Recipe::all() {
        writeln!(out, "{name:wide$}  {}", title(text))?;
    }
    writeln!(
        out,
        "\nmnist-cli recipes NAME prints one, with the command that it is for and what was measured with it"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The first sentence of the comment that a recipe begins with.
fn title(text: &str) -> String {
    let lines: Vec<_> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
    let whole = lines.join(" ");
    match whole.find(". ") {
        Some(end) => whole[..=end].into(),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use mnist_train::run::Run;

    use super::*;

    #[test]
    fn every_recipe_says_in_a_sentence_what_it_is() {
        for (name, text) in Recipe::all() {
            let title = title(text);
            let length = title.chars().count();
            assert!(title.ends_with(['.', '?', '!']) && (20..=240).contains(&length), "{name}: {title:?}");
            assert!(text.contains("# command:"), "{name}");
        }
    }

    #[test]
    fn every_recipe_has_a_quick_form() {
        for (name, text) in Recipe::all().filter(|(name, _)| !name.starts_with("pipeline-")) {
            let run = Run::resolve(Some((text, name.as_ref())), &["quick=true".into()]).unwrap();
            assert!(run.steps <= 100 && run.epochs == 1 && run.batch_size <= 64, "{name}");
        }
    }
}
