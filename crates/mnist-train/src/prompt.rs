//! What a trained model of tokens goes on from: the beginning of a text, a part of an image; and its tokens made into
//! text or pixels again.

use mnist_data::{Patches, Tokeniser, tokens};

use crate::{
    error::{Result, TrainError},
    rundir::SavedRun,
    token_data::TokenFacts,
};

/// A patch or token that is not given but to be found.
const UNKNOWN: i32 = -1;

/// Whether a run's model finds hidden tokens in any place, and does not only go on behind given ones.
pub fn is_masked(saved: &SavedRun) -> bool {
    saved.run.objective == "masked"
}

/// The tokens that a model of text goes on from after `prompt`.
///
/// # Errors
/// [`TrainError::Settings`] for a prompt that leaves no room in the model's context; [`TrainError::Data`].
pub fn of_text(
    prompt: &str,
    saved: &SavedRun,
    facts: &TokenFacts,
    tokeniser: &Tokeniser,
) -> Result<Vec<i32>> {
    // A passage begins after a newline.
    let given = tokeniser.encode(&format!("\n{prompt}"))?;
    let masked = is_masked(saved);
    let room = if masked { facts.length.saturating_sub(3) } else { facts.length };
    if given.len() >= room {
        return Err(TrainError::Settings(format!(
            "the prompt is {} tokens long; the model's context leaves room for {} at most",
            given.len(),
            room.saturating_sub(1)
        )));
    }
    if masked {
        let given = given.get(1..).unwrap_or_default();
        return Ok(hidden_but(given, room - room / 2, facts));
    }
    Ok(given)
}

/// The tokens that a model of images goes on from, given its patches row by row (`-1` or none: not known). A model that
/// only goes on takes those before the first that is not known.
pub fn of_patches(given: &[i32], saved: &SavedRun, facts: &TokenFacts, patches: &Patches) -> Vec<i32> {
    if is_masked(saved) {
        return hidden_but(given, upper_half(patches), facts);
    }
    let known = given.iter().copied().take_while(|token| *token != UNKNOWN);
    std::iter::once(special(facts, tokens::START)).chain(known).collect()
}

/// Patches in the upper half of an image.
pub fn upper_half(patches: &Patches) -> usize {
    let [rows, cols] = patches.grid();
    rows.div_ceil(2) * cols
}

/// Tokens of the patches of an image (`[height * width]`, pixels in 0-1), `-1` for those with a pixel in `erased`
/// (a flag for each pixel; those it lacks are not).
pub fn patches_without(image: &[f32], erased: &[bool], patches: &Patches) -> Vec<i32> {
    let mut found = patches.encode(image);
    let ([_, width], [_, cols], [tall, wide]) = (patches.size(), patches.grid(), patches.patch());
    for (pixel, _) in erased.iter().enumerate().filter(|(_, erased)| **erased) {
        let patch = pixel / width.max(1) / tall.max(1) * cols + pixel % width.max(1) / wide.max(1);
        if let Some(token) = found.get_mut(patch) {
            *token = UNKNOWN;
        }
    }
    found
}

/// A sequence without special tokens.
pub fn contents(row: &[i32], vocabulary: usize) -> Vec<i32> {
    let known = |token: &&i32| usize::try_from(**token).is_ok_and(|token| token < vocabulary);
    row.iter().filter(known).copied().collect()
}

fn special(facts: &TokenFacts, which: usize) -> i32 {
    i32::try_from(facts.vocabulary + which).unwrap_or(i32::MAX)
}

/// `[START] a [SEPARATOR] b [SEPARATOR]` of all that a masked model's sequence holds: what is given, then -1; `a` has
/// `first` tokens.
fn hidden_but(given: &[i32], first: usize, facts: &TokenFacts) -> Vec<i32> {
    let content = facts.length.saturating_sub(3);
    let first = first.min(content);
    let at = |i: usize| given.get(i).copied().unwrap_or(UNKNOWN);
    let mut start = vec![special(facts, tokens::START)];
    start.extend((0..first).map(at));
    start.push(special(facts, tokens::SEPARATOR));
    start.extend((first..content).map(at));
    start.push(special(facts, tokens::SEPARATOR));
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_with_an_erased_pixel_is_not_known() {
        let patches = Patches::lossless([4, 6], [2, 3]).unwrap();
        let image: Vec<f32> = (0..24).map(|i| f32::from(u8::from(i == 0 || i == 23))).collect();
        let known = patches.encode(&image);
        assert_eq!(patches_without(&image, &[], &patches), known);
        // Pixel (1, 4) is in the patch on the upper right, (3, 0) in that on the lower left.
        for (pixel, patch) in [(10, 1), (18, 2)] {
            let erased: Vec<bool> = (0..24).map(|i| i == pixel).collect();
            let mut wanted = known.clone();
            wanted[patch] = UNKNOWN;
            assert_eq!(patches_without(&image, &erased, &patches), wanted);
        }
    }

    #[test]
    fn hidden_tokens_stand_between_marks() {
        let facts = TokenFacts { vocabulary: 10, length: 7, images: true };
        let (start, end) = (special(&facts, tokens::START), special(&facts, tokens::SEPARATOR));
        assert_eq!(hidden_but(&[5, -1, 6], 2, &facts), [start, 5, -1, end, 6, -1, end]);
        assert_eq!(hidden_but(&[], 9, &facts), [start, -1, -1, -1, -1, end, end]);
        assert_eq!(contents(&[start, 3, end, 9], 10), [3, 9]);
    }
}
