//! A Rust file with its comments, literals and test items blanked out.
//!
//! Not a parser: just enough of the language's lexical rules that a word in a comment or a string is
//! not taken for code. Blanks keep the line numbers.

/// Views of one Rust file, equal in their number of lines.
pub(crate) struct RustText {
    /// Without comments and literals.
    pub(crate) code: String,
    /// As `code`, without the items under `#[cfg(test)]`.
    pub(crate) shipped: String,
    /// Without literals, comments kept.
    pub(crate) prose: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl RustText {
    /// Reads `text`; text that is not Rust gives views that make no sense, never a panic.
    pub(crate) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut kinds = Vec::with_capacity(chars.len());
        while kinds.len() < chars.len() {
            let start = kinds.len();
            let (kind, end) = piece(&chars, start);
            kinds.resize(end.clamp(start + 1, chars.len()), kind);
        }
        let view = |keep: fn(Kind) -> bool| -> Vec<char> {
            let blank = |(&c, &kind): (&char, &Kind)| if keep(kind) || c == '\n' { c } else { ' ' };
            chars.iter().zip(&kinds).map(blank).collect()
        };
        let code = view(|kind| kind == Kind::Code);
        Self {
            shipped: without_tests(code.clone()).into_iter().collect(),
            code: code.into_iter().collect(),
            prose: view(|kind| kind != Kind::Literal).into_iter().collect(),
        }
    }
}

/// What starts at `start`, and where it ends.
fn piece(chars: &[char], start: usize) -> (Kind, usize) {
    let at = |offset: usize| chars.get(start + offset).copied().unwrap_or('\0');
    let before = |offset: usize| start.checked_sub(offset).map_or('\0', |i| chars[i]);
    match (at(0), at(1)) {
        ('/', '/') => (Kind::Comment, find(chars, start, '\n')),
        ('/', '*') => (Kind::Comment, block_comment_end(chars, start)),
        ('"', _) => (Kind::Literal, quoted_end(chars, start + 1, '"')),
        ('\'', '\\') => (Kind::Literal, quoted_end(chars, start + 1, '\'')),
        ('\'', _) if at(2) == '\'' => (Kind::Literal, start + 3),
        ('r', '"' | '#') => {
            let prefix = !is_word(before(1)) || (matches!(before(1), 'b' | 'c') && !is_word(before(2)));
            let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
            if prefix && at(1 + hashes) == '"' {
                (Kind::Literal, raw_string_end(chars, start + 2 + hashes, hashes))
            } else {
                (Kind::Code, start + 1)
            }
        }
        _ => (Kind::Code, start + 1),
    }
}

/// A character of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find(chars: &[char], from: usize, wanted: char) -> usize {
    chars[from..].iter().position(|&c| c == wanted).map_or(chars.len(), |offset| from + offset)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = start;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

/// The index after the closing quote, from the first character inside.
fn quoted_end(chars: &[char], inside: usize, quote: char) -> usize {
    let mut i = inside;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], inside: usize, hashes: usize) -> usize {
    let mut i = inside;
    while i < chars.len() {
        i = find(chars, i, '"') + 1;
        let closing = chars.iter().skip(i).take_while(|&&c| c == '#').count();
        if closing >= hashes {
            return i + hashes;
        }
    }
    chars.len()
}

/// Blanks each item under `#[cfg(test)]` or `#[cfg(all(test, ...))]`; all under `#![cfg(test)]`.
fn without_tests(mut code: Vec<char>) -> Vec<char> {
    let mut i = 0;
    while i < code.len() {
        let starts = |attribute: &str| code[i..].iter().copied().take(attribute.len()).eq(attribute.chars());
        let end = if starts("#![cfg(test)]") {
            code.len()
        } else if starts("#[cfg(test)]") || starts("#[cfg(all(test") {
            item_end(&code, i)
        } else {
            i += 1;
            continue;
        };
        for c in &mut code[i..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        i = end;
    }
    code
}

/// The end of the item whose attributes start at `start`: its `;` or the brace that closes it.
fn item_end(code: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    for (i, &c) in code.iter().enumerate().skip(start) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 {
                    return i + 1;
                }
            }
            ';' if depth == 0 => return i + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a view, for comparison.
    fn words(view: &str) -> Vec<&str> {
        view.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn comments_and_literals_are_blank() {
        let cases = [
            ("a // b\nc", vec!["a", "c"]),
            ("a /* b /* c */ d */ e", vec!["a", "e"]),
            (r#"a "b \" c" d"#, vec!["a", "d"]),
            (r###"a r#"b " c"# d"###, vec!["a", "d"]),
            (r###"x(br"b", e)"###, vec!["x", "b", "e"]),
            ("a 'b' c", vec!["a", "c"]),
            (r"a '\'' c", vec!["a", "c"]),
            (r"a '\u{41}' c", vec!["a", "c"]),
            ("fn f<'a>(x: &'a str) {}", vec!["fn", "f", "a", "x", "a", "str"]),
            ("a r#type b", vec!["a", "r", "type", "b"]),
            ("a '\"' b \"c\" d", vec!["a", "b", "d"]),
            ("a \"b", vec!["a"]),
            ("a /* b", vec!["a"]),
            ("'", vec![]),
            ("r#", vec!["r"]),
        ];
        for (text, wanted) in cases {
            assert_eq!(words(&RustText::new(text).code), wanted, "in {text}");
        }
    }

    #[test]
    fn prose_keeps_comments_but_no_literals() {
        assert_eq!(words(&RustText::new("a // b\n\"c\"").prose), ["a", "b"]);
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "/* 1\n2 */\n\"3\n4\"\n#[cfg(test)]\nmod tests {\n}\nend";
        let read = RustText::new(text);
        for view in [&read.code, &read.shipped, &read.prose] {
            assert_eq!(view.lines().count(), 8);
        }
        assert_eq!(read.shipped.lines().last(), Some("end"));
    }

    #[test]
    fn test_items_end_with_their_brace_or_semicolon() {
        let cases = [
            ("a #[cfg(test)] mod tests { b { c } d } e", vec!["a", "e"]),
            ("a #[cfg(test)] mod tests; e", vec!["a", "e"]),
            ("a #[cfg(test)] #[allow(x)] fn f(y: [u8; 3]) { b } e", vec!["a", "e"]),
            ("a #[cfg(all(test, unix))] use b; e", vec!["a", "e"]),
            ("#![cfg(test)] a", vec![]),
            ("#[cfg(feature)] a", vec!["cfg", "feature", "a"]),
        ];
        for (text, wanted) in cases {
            assert_eq!(words(&RustText::new(text).shipped), wanted, "in {text}");
        }
    }
}
