//! The rules on documents and recipes: READMEs agree, links lead somewhere, recipes were measured,
//! and nothing names a directory of somebody's machine.

use super::Finding;
use crate::fences;

/// First parts of paths that exist on one machine only.
const MACHINE_DIRECTORIES: [&str; 3] = ["home", "root", "work"];

/// A recipe opens with a comment that holds its command and its measured result.
pub(super) fn check_recipe(path: &str, text: &str) -> Vec<Finding> {
    let comment: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let is_command = |line: &&str| line.contains("cargo run") || line.contains("mnist-cli");
    let is_result = |line: &&str| line.to_lowercase().contains("measured") || has_percentage(line);
    let mut findings = Vec::new();
    let mut want = |holds: bool, found: &str, wanted: &str| {
        if !holds {
            findings.push(Finding::new(path, 1, found, wanted));
        }
    };
    want(
        comment.iter().any(is_command),
        "no command in the top comment",
        "a line with `cargo run` or `mnist-cli`",
    );
    want(
        comment.iter().any(is_result),
        "no result in the top comment",
        "a line with a figure in % or the word `measured`",
    );
    findings
}

/// Whether a `%` follows a digit, with or without a space.
fn has_percentage(line: &str) -> bool {
    let mut parts = line.split('%').peekable();
    while let Some(part) = parts.next() {
        let figure = part.trim_end().ends_with(|c: char| c.is_ascii_digit());
        if figure && parts.peek().is_some() {
            return true;
        }
    }
    false
}

/// Both READMEs hold the same blocks of commands in the same order.
pub(super) fn check_readmes(english: Option<&str>, chinese: Option<&str>) -> Vec<Finding> {
    const ENGLISH: &str = "README.md";
    const CHINESE: &str = "README.zh-CN.md";
    let missing = |path| vec![Finding::new(path, 1, "no such file", "a README in both languages")];
    let (Some(english), Some(chinese)) = (english, chinese) else {
        return missing(if english.is_none() { ENGLISH } else { CHINESE });
    };
    let (english, chinese) = (command_blocks(english), command_blocks(chinese));
    for ((_, wanted), (line, found)) in english.iter().zip(&chinese) {
        if found != wanted {
            let (found, wanted) = first_difference(found, wanted);
            let wanted = format!("{wanted}, as in {ENGLISH}");
            return vec![Finding::new(CHINESE, *line, found, wanted)];
        }
    }
    if english.len() == chinese.len() {
        return Vec::new();
    }
    let line = chinese.last().map_or(1, |(line, _)| *line);
    let found = format!("{} blocks of commands", chinese.len());
    vec![Finding::new(CHINESE, line, found, format!("the {} of {ENGLISH}", english.len()))]
}

/// Line of the fence and commands of each block of commands.
fn command_blocks(markdown: &str) -> Vec<(usize, Vec<String>)> {
    let blocks = fences::blocks(markdown);
    blocks.iter().filter_map(|block| Some((block.line, fences::commands(block)?))).collect()
}

fn first_difference(found: &[String], wanted: &[String]) -> (String, String) {
    let shown = |line: Option<&String>| line.map_or("nothing".to_owned(), |line| format!("`{line}`"));
    (0..found.len().max(wanted.len()))
        .map(|i| (shown(found.get(i)), shown(wanted.get(i))))
        .find(|(found, wanted)| found != wanted)
        .unwrap_or_default()
}

/// Relative links of the Markdown file lead to something that `exists` (paths from the root).
pub(super) fn check_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        in_code ^= fences::is_fence(line);
        if in_code {
            continue;
        }
        for target in link_targets(line) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let resolved = resolve(path, file);
            if !resolved.as_deref().is_some_and(&exists) {
                let found = format!("a link to {target}");
                findings.push(Finding::new(path, index + 1, found, "a file that exists"));
            }
        }
    }
    findings
}

/// What the links `[..](target)`, `[..]: target`, `src="target"` and `href="target"` point to.
fn link_targets(line: &str) -> Vec<&str> {
    // Every second part is between backticks, and so code.
    let mut targets = Vec::new();
    for prose in line.split('`').step_by(2) {
        for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            for rest in prose.split(opening).skip(1) {
                targets.extend(rest.split([closing, ' ']).next());
            }
        }
        if prose.starts_with('[')
            && let Some((_, target)) = prose.split_once("]: ")
        {
            targets.push(target.trim());
        }
    }
    targets
}

/// `target` seen from the file at `path`, from the root; `None` where it leaves the repository.
fn resolve(path: &str, target: &str) -> Option<String> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let from = if target.starts_with('/') { "" } else { directory };
    let mut parts: Vec<&str> = Vec::new();
    for part in from.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// No path below a home or work directory of one machine.
pub(super) fn check_machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for directory in MACHINE_DIRECTORIES {
            let needle = format!("/{directory}/");
            let at_start = |(at, _): (usize, &str)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "_-.~})]*".contains(c))
            };
            if line.match_indices(&needle).any(at_start) {
                let found = format!("a path in {needle}");
                let wanted = "a path that makes sense on any machine";
                findings.push(Finding::new(path, index + 1, found, wanted));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_open_with_command_and_result() {
        let good = "# MLP.\n# cargo run --release -p mnist-cli -- train mlp\n# 98.6 % of test\n\na = 1\n";
        let cases = [
            (good, 0),
            ("# mnist-cli train mlp\n# Measured: see README\n", 0),
            ("# mnist-cli train mlp\n# many % of test\n", 1),
            ("# 98.6% of test\n", 1),
            ("a = 1\n# mnist-cli train, 98.6 %\n", 2),
            ("", 2),
        ];
        for (text, wanted) in cases {
            assert_eq!(check_recipe("recipes/mlp.toml", text).len(), wanted, "in {text}");
        }
    }

    #[test]
    fn readmes_have_the_same_commands() {
        let english = "```sh\ncargo run # go\n```\n```text\nepoch\n```\n```sh\ncargo test\n```\n";
        let translated = "```sh\n# 训练\ncargo run\n```\n```text\n轮\n```\n```sh\ncargo test\n```\n";
        assert_eq!(check_readmes(Some(english), Some(translated)), []);

        let other = translated.replace("cargo test", "cargo test --all");
        let finding = check_readmes(Some(english), Some(&other)).remove(0);
        assert_eq!(finding.line, 8);
        assert_eq!(finding.found, "`cargo test --all`");

        assert_eq!(check_readmes(Some(english), Some("```sh\ncargo run\n```\n")).len(), 1);
        assert_eq!(check_readmes(Some(english), None)[0].path, "README.zh-CN.md");
        assert_eq!(check_readmes(None, Some(english))[0].path, "README.md");
    }

    #[test]
    fn relative_links_must_exist() {
        let exists = |path: &str| matches!(path, "docs/a.md" | "README.md" | "img/x.png");
        let good = "[a](a.md#part) [up](../README.md) ![i](/img/x.png \"t\") [h](https://x.org/y)\n\
                    [here](#part) `[c](none.md)` [m](mailto:a@b.c) <img src=\"../img/x.png\">\n\
                    ```\n[c](none.md)\n```\n[r]: a.md\n[draft]()\n";
        assert_eq!(check_links("docs/b.md", good, exists), []);
        for bad in ["[a](b.md)", "[a](../../README.md)", "[r]: none.md", "<img src=\"x.png\">"] {
            let findings = check_links("docs/b.md", &format!("\n{bad}"), exists);
            assert_eq!(findings.len(), 1, "{bad}");
            assert_eq!(findings[0].line, 2);
        }
    }

    #[test]
    fn machine_paths_are_found() {
        for directory in MACHINE_DIRECTORIES {
            for before in ["", "see ", "`", "\"", "file://", "(", "="] {
                let line = format!("first\n{before}/{directory}/x");
                let findings = check_machine_paths("a.md", &line);
                assert_eq!(findings.len(), 1, "{line}");
                assert_eq!(findings[0].line, 2);
            }
            for free in ["docs/", "https://x.org/", "~/", "../", "${X}/"] {
                let line = format!("{}/{directory}/x", free.trim_end_matches('/'));
                assert_eq!(check_machine_paths("a.md", &line), [], "{line}");
            }
        }
    }
}
