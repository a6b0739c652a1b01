//! Fenced code blocks of Markdown: the README's commands are read, not repeated elsewhere.

/// A fenced block: the word after the opening fence, and its lines.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    /// Line number of the opening fence, from 1.
    pub(crate) line: usize,
    /// First word after the fence (`sh`, `text`), or empty.
    pub(crate) language: String,
    /// The lines between the fences.
    pub(crate) lines: Vec<String>,
}

/// Whether the line opens or closes a fence.
pub(crate) fn is_fence(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("```") || line.starts_with("~~~")
}

/// The fenced blocks of `markdown`, in order; an unclosed one ends with the text.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (index, line) in markdown.lines().enumerate() {
        if is_fence(line) {
            open = !open;
            if open {
                let info = line.trim_start().trim_start_matches(['`', '~']);
                let language = info.split([' ', ',']).next().unwrap_or_default().to_owned();
                blocks.push(Block { line: index + 1, language, lines: Vec::new() });
            }
        } else if open && let Some(block) = blocks.last_mut() {
            block.lines.push(line.to_owned());
        }
    }
    blocks
}

/// The commands of a block of commands; `None` for a block of anything else.
///
/// Comments, which a translation may translate, and a leading `$ ` are left out.
pub(crate) fn commands(block: &Block) -> Option<Vec<String>> {
    let shell = matches!(block.language.as_str(), "sh" | "bash" | "shell" | "console");
    let bare = block.language.is_empty();
    let is_command = |line: &String| line.starts_with("cargo ");
    if !(shell || bare && block.lines.iter().any(is_command)) {
        return None;
    }
    let commands = block.lines.iter().map(|line| command(line)).filter(|line| !line.is_empty());
    Some(commands.collect())
}

/// One line of a block without prompt and comment.
fn command(line: &str) -> String {
    let line = line.trim();
    let line = line.strip_prefix("$ ").unwrap_or(line);
    if line.starts_with('#') {
        return String::new();
    }
    line.split(" # ").next().unwrap_or_default().trim().to_owned()
}

/// The README's test command: the first line of a fenced block that starts with `cargo test`.
pub(crate) fn test_command(readme: &str) -> Option<Vec<String>> {
    let blocks = blocks(readme);
    let lines = blocks.iter().flat_map(|block| block.lines.iter().map(|line| command(line)));
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    lines.map(words).find(|words| words.starts_with(&["cargo".into(), "test".into()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# Title\n\ncargo test --not-this\n\n```sh\n# set up\n$ cargo run -- train # go\n\
                          cargo test --workspace  # all of them\n```\n\n```text\nepoch 1\n```\n";

    #[test]
    fn blocks_carry_their_language_and_line() {
        let found = blocks(README);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].language.as_str()), (5, "sh"));
        assert_eq!(found[1].lines, ["epoch 1"]);
    }

    #[test]
    fn commands_are_free_of_comments_and_prompts() {
        let found = blocks(README);
        let wanted = vec!["cargo run -- train".to_owned(), "cargo test --workspace".to_owned()];
        assert_eq!(commands(&found[0]), Some(wanted));
        assert_eq!(commands(&found[1]), None);
    }

    #[test]
    fn a_bare_block_counts_when_it_holds_cargo() {
        assert!(commands(&blocks("```\ncargo run\n```")[0]).is_some());
        assert!(commands(&blocks("```\n+---+\n```")[0]).is_none());
    }

    #[test]
    fn the_test_command_comes_from_a_fenced_block_only() {
        assert_eq!(test_command(README).unwrap(), ["cargo", "test", "--workspace"]);
        assert_eq!(test_command("cargo test --workspace\n\n```sh\ncargo build\n```"), None);
    }
}
