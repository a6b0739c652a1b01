//! What of a Markdown text is read: prose and what programs print, not code, formulas, comments and targets of links.

use crate::fences;

/// In place of what is not read; it parts what stands on its two sides.
pub(super) const HIDDEN: char = '\0';

/// The text with all hidden that is not read. Lines stay where they are.
pub(super) fn prose(text: &str) -> Vec<char> {
    let mut shown = Vec::new();
    let mut paragraph = String::new();
    // The word behind the fence, inside of a block.
    let mut block: Option<String> = None;
    for line in text.lines() {
        if fences::is_fence(line) {
            hide(&mut paragraph, &mut shown);
            let word = line.trim_start().trim_start_matches(['`', '~']);
            block = match block {
                None => Some(word.split([' ', ',']).next().unwrap_or_default().to_owned()),
                Some(_) => None,
            };
            shown.extend([HIDDEN, '\n']);
        } else if let Some(language) = &block {
            if language == "text" {
                shown.extend(line.chars());
            }
            // Lines of output are no sentence.
            shown.extend([HIDDEN, '\n']);
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
            if line.trim().is_empty() {
                hide(&mut paragraph, &mut shown);
            }
        }
    }
    hide(&mut paragraph, &mut shown);
    shown
}

/// Appends a paragraph without code, formulas, comments and targets of links, and empties it.
fn hide(paragraph: &mut String, shown: &mut Vec<char>) {
    const HIDING: [(&str, &str); 5] = [("`", "`"), ("$$", "$$"), ("$", "$"), ("<!--", "-->"), ("](", ")")];
    let mut rest = paragraph.as_str();
    while let Some(next) = rest.chars().next() {
        let found = HIDING.iter().find(|(opening, _)| rest.starts_with(opening));
        let hidden = found.and_then(|(opening, closing)| {
            let inside = &rest[opening.len()..];
            Some(opening.len() + inside.find(closing)? + closing.len())
        });
        let length = hidden.unwrap_or(next.len_utf8());
        let taken = &rest[..length];
        match hidden {
            Some(_) => {
                shown.push(HIDDEN);
                shown.extend(taken.chars().filter(|c| *c == '\n'));
            }
            None => shown.push(next),
        }
        rest = &rest[length..];
    }
    paragraph.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_stays_on_its_line() {
        let text =
            "# Title\n\n`a\nb` $x\ny$\n<!-- c\nd -->\n```sh\nrun\n```\n```text\nshown\n```\n[at](b.md)";
        let shown: String = prose(text).into_iter().filter(|c| *c != HIDDEN).collect();
        let lines: Vec<&str> = shown.lines().map(str::trim).collect();
        assert_eq!(lines, ["# Title", "", "", "", "", "", "", "", "", "", "", "shown", "", "[at"]);
    }
}
