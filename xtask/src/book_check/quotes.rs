//! Code that a chapter quotes has to be in the file that it names.

use std::{collections::HashMap, fs, path::Path};

use crate::fences;

/// How many quotes a chapter has, and what is wrong with them: each line of a `rust` block behind a text that names a
/// `.rs` file has to be in that file, in the same order; a line `// ...` stands for any that are left out.
pub(super) fn check(root: &Path, path: &str, text: &str) -> (usize, Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    let mut files: HashMap<String, Vec<String>> = HashMap::new();
    let (mut count, mut wrong) = (0, Vec::new());
    for block in fences::blocks(text).iter().filter(|block| block.language == "rust") {
        let above = lines.iter().take(block.line.saturating_sub(1)).rev();
        let Some(file) = above.flat_map(|line| named(line)).next() else { continue };
        count += 1;
        let content = files.entry(file.clone()).or_insert_with(|| {
            let content = fs::read_to_string(root.join(&file)).unwrap_or_default();
            content.lines().map(|line| line.trim().to_owned()).collect()
        });
        let mut rest = content.iter();
        let quoted = block.lines.iter().map(|line| line.trim());
        for line in quoted.filter(|line| !line.is_empty() && !line.starts_with("// ...")) {
            if !rest.any(|known| known == line) {
                wrong.push(format!("{path}:{}: `{line}` is not in {file}, or not in this order", block.line));
                break;
            }
        }
    }
    (count, wrong)
}

/// The file of Rust that a line names last, between backticks, with its path.
fn named(line: &str) -> Option<String> {
    let between = line.split('`').skip(1).step_by(2);
    between.filter(|word| word.ends_with(".rs") && word.contains('/')).last().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn what_is_not_there_is_found() {
        let quote = |lines: &str| {
            let text = format!("It is in `xtask/src/fences.rs`:\n\n```rust,ignore\n{lines}\n```\n");
            check(&workspace::root(), "x.md", &text)
        };
        assert_eq!(
            quote("/// Line number of the opening fence, from 1.\n// ...\npub(crate) lines: Vec<String>,"),
            (1, vec![])
        );
        assert_eq!(quote("pub(crate) lines: Vec<u8>,").1.len(), 1);
        let swapped = "pub(crate) lines: Vec<String>,\n/// Line number of the opening fence, from 1.";
        assert_eq!(quote(swapped).1.len(), 1);
    }
}
