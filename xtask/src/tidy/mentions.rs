//! The paths that Rust code names, `use` trees spelled out.
//!
//! `use std::{fs, io::{self, Write}};` names `std::fs`, `std::io::self` and `std::io::Write`; a
//! method is written `.name`, a macro `name!`, and a call without arguments ends in `()`.

use super::rust_text::is_word;

/// A path named by the code.
#[derive(Debug, PartialEq)]
pub(crate) struct Mention {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Segments, joined by `::`.
    pub(crate) path: String,
}

impl Mention {
    /// Whether the path contains the segments of `pattern` one after another.
    ///
    /// A segment `*Name` stands for any that ends in `Name`; a plain one also means the method and
    /// the call.
    pub(crate) fn matches(&self, pattern: &str) -> bool {
        let path: Vec<&str> = self.path.split("::").collect();
        let pattern: Vec<&str> = pattern.split("::").collect();
        path.windows(pattern.len())
            .any(|window| window.iter().zip(&pattern).all(|(found, wanted)| same(found, wanted)))
    }
}

fn same(found: &str, wanted: &str) -> bool {
    let bare = found.trim_start_matches('.').trim_end_matches("()");
    match wanted.strip_prefix('*') {
        Some(ending) => bare.ends_with(ending),
        None => found == wanted || bare == wanted,
    }
}

enum Token {
    Word(String),
    PathSeparator,
    Mark(char),
}

/// Every path that `code` (without comments and literals) names, in order.
pub(crate) fn mentions(code: &str) -> Vec<Mention> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        i = if let (_, Token::Word(_)) = tokens[i] {
            let prefix = if follows_qualified_type(&tokens, i) { "<_>" } else { "" };
            path(&tokens, i, prefix, &mut found)
        } else {
            i + 1
        };
    }
    found
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (token, length) = if length > 0 {
                (Token::Word(rest[..length].to_owned()), length)
            } else if rest.starts_with("::") {
                (Token::PathSeparator, 2)
            } else {
                (Token::Mark(first), first.len_utf8())
            };
            tokens.push((index + 1, token));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn mark(tokens: &[(usize, Token)], i: usize) -> Option<char> {
    match tokens.get(i) {
        Some((_, Token::Mark(c))) => Some(*c),
        _ => None,
    }
}

fn separator(tokens: &[(usize, Token)], i: usize) -> bool {
    matches!(tokens.get(i), Some((_, Token::PathSeparator)))
}

/// `<B as Backend>::seed`: whether the word at `i` is such a `seed`.
fn follows_qualified_type(tokens: &[(usize, Token)], i: usize) -> bool {
    i >= 2 && separator(tokens, i - 1) && mark(tokens, i - 2) == Some('>')
}

/// Whether the word at `i` follows a single dot.
fn is_method(tokens: &[(usize, Token)], i: usize) -> bool {
    let dot = |back: usize| i >= back && mark(tokens, i - back) == Some('.');
    dot(1) && !dot(2)
}

/// Adds the path (or the tree of paths) that starts with the word at `i`; returns where it ends.
fn path(tokens: &[(usize, Token)], mut i: usize, prefix: &str, found: &mut Vec<Mention>) -> usize {
    let line = tokens[i].0;
    let mut path = prefix.to_owned();
    while let Some((_, Token::Word(word))) = tokens.get(i) {
        if !path.is_empty() {
            path.push_str("::");
        }
        if is_method(tokens, i) {
            path.push('.');
        }
        path.push_str(word);
        i += 1;
        if !separator(tokens, i) {
            break;
        }
        match tokens.get(i + 1) {
            Some((_, Token::Word(_))) => i += 1,
            Some((_, Token::Mark('{'))) => return group(tokens, i + 2, &path, found),
            _ => break,
        }
    }
    match (mark(tokens, i), mark(tokens, i + 1)) {
        (Some('!'), next) if next != Some('=') => path.push('!'),
        (Some('('), Some(')')) => path.push_str("()"),
        _ => {}
    }
    found.push(Mention { line, path });
    i
}

/// Adds the paths of `prefix::{...}` from the first token inside; returns the index after it.
fn group(tokens: &[(usize, Token)], mut i: usize, prefix: &str, found: &mut Vec<Mention>) -> usize {
    while let Some((_, token)) = tokens.get(i) {
        i = match token {
            Token::Mark('}') => return i + 1,
            Token::Word(_) => path(tokens, i, prefix, found),
            _ => i + 1,
        };
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        mentions(code).into_iter().map(|mention| mention.path).collect()
    }

    #[test]
    fn use_trees_are_spelled_out() {
        let code = "use std::{fs, io::{self, Write}, time::Instant};";
        let wanted = ["use", "std::fs", "std::io::self", "std::io::Write", "std::time::Instant"];
        assert_eq!(paths(code), wanted);
    }

    #[test]
    fn methods_macros_and_calls_are_marked() {
        assert_eq!(paths("data.test()"), ["data", ".test()"]);
        assert_eq!(paths("println!()"), ["println!"]);
        assert_eq!(paths("a != b"), ["a", "b"]);
        assert_eq!(paths("0..seed()"), ["0", "seed()"]);
        assert_eq!(paths("<B as Backend>::seed(d)"), ["B", "as", "Backend", "<_>::seed", "d"]);
    }

    #[test]
    fn lines_are_those_of_the_first_segment() {
        let found = mentions("a\n\nburn::\n  backend");
        assert_eq!(found[1], Mention { line: 3, path: "burn::backend".into() });
    }

    #[test]
    fn patterns_match_whole_segments() {
        let cases = [
            ("burn::backend::Flex", "backend::Flex", true),
            ("burn::backend::Flexible", "backend::Flex", false),
            ("Flex::backend", "backend::Flex", false),
            ("burn::record::CompactRecorder", "*Recorder", true),
            ("x::into_recorder", "*Recorder", false),
            (".into_record()", "into_record", true),
            (".test()", ".test()", true),
            ("test()", ".test()", false),
            ("rand::rng()", "rand::rng", true),
            ("unsafe_code", "unsafe", false),
        ];
        for (path, pattern, wanted) in cases {
            let mention = Mention { line: 1, path: path.into() };
            assert_eq!(mention.matches(pattern), wanted, "{path} against {pattern}");
        }
    }
}
