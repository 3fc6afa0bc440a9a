//! The first paragraph of prose in a Markdown text.

/// A description is a sentence or two. Longer paragraphs are truncated.
const MAX_CHARS: usize = 500;
/// The limit for a paragraph with its markup.
const MAX_PARAGRAPH_CHARS: usize = 8 << 10;

/// The kind of a line, by its beginning.
#[derive(PartialEq)]
enum Line {
    Blank,
    Heading,
    /// An underline: the line above is a heading, if there is one; otherwise this is a rule.
    Underline,
    /// The beginning of a block that continues to the next blank line: list, table, quotation,
    /// HTML.
    Block,
    /// The beginning of a block that continues to the same mark.
    Fence(&'static str),
    Comment,
    Prose,
}

impl Line {
    fn new(line: &str) -> Self {
        let text = line.trim();
        let is_item = || {
            let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
            rest.len() < text.len() && (rest.starts_with(". ") || rest.starts_with(") "))
        };
        let begins_with = |marks: &[&str]| marks.iter().any(|mark| text.starts_with(mark));
        if text.is_empty() {
            Self::Blank
        } else if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| text.starts_with(mark)) {
            Self::Fence(mark)
        } else if text.starts_with("<!--") {
            Self::Comment
        } else if text.starts_with('#') {
            Self::Heading
        } else if text.bytes().all(|b| b == b'=') || text.bytes().all(|b| b == b'-') {
            Self::Underline
        } else if begins_with(&["|", ">", "<", "- ", "* ", "+ "]) || line.starts_with("    ") || line.starts_with('\t') || is_item() {
            Self::Block
        } else {
            Self::Prose
        }
    }
}

/// The first paragraph that is a sentence, without markup.
pub(super) fn first_paragraph(markdown: &str) -> Option<String> {
    let mut paragraph = String::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let kind = Line::new(line);
        if kind == Line::Prose || (kind == Line::Block && !paragraph.is_empty() && line.starts_with(char::is_whitespace)) {
            paragraph.extend(line.chars().chain([' ']).take(MAX_PARAGRAPH_CHARS.saturating_sub(paragraph.len())));
            continue;
        }
        if kind == Line::Underline {
            paragraph.clear();
        }
        let found = sentence(&paragraph);
        if found.is_some() {
            return found;
        }
        paragraph.clear();
        match kind {
            Line::Block => _ = lines.find(|line| line.trim().is_empty()),
            Line::Fence(mark) => _ = lines.find(|line| line.trim().starts_with(mark)),
            Line::Comment if !line.contains("-->") => _ = lines.find(|line| line.contains("-->")),
            _ => {}
        }
    }
    sentence(&paragraph)
}

/// The heading at the beginning of a text, without markup. `None` for generic headings such as
/// "Model card".
pub(super) fn title(markdown: &str) -> Option<String> {
    const GENERIC: [&str; 12] = [
        "model",
        "model card",
        "model id",
        "model description",
        "model details",
        "model summary",
        "introduction",
        "overview",
        "readme",
        "description",
        "usage",
        "license",
    ];
    let mut lines = markdown.lines().map(str::trim);
    let heading = plain(lines.find(|line| !line.is_empty())?.strip_prefix("# ")?);
    let begin = "model card for ";
    let is_prefixed = heading.get(..begin.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(begin));
    let title = heading[if is_prefixed { begin.len() } else { 0 }..].trim().trim_end_matches('#').trim();
    let end = title.len().saturating_sub(" model card".len());
    let is_suffixed = title.get(end..).is_some_and(|suffix| suffix.eq_ignore_ascii_case(" model card"));
    let title = if is_suffixed { title[..end].trim() } else { title };
    let is_title = title.chars().count() <= 100 && !GENERIC.contains(&title.to_lowercase().as_str());
    is_title.then(|| title.to_owned())
}

/// A paragraph without markup. `None` if it is not a sentence, such as a row of badges or links.
fn sentence(paragraph: &str) -> Option<String> {
    let text = plain(paragraph);
    let words = text.split(' ').filter(|word| word.chars().any(char::is_alphabetic)).count();
    if words < 4 || text.starts_with('[') || text.contains(" | ") {
        return None;
    }
    let Some((end, _)) = text.char_indices().nth(MAX_CHARS) else { return Some(text) };
    let cut = &text[..end];
    Some(format!("{}…", cut.rsplit_once(' ').map_or(cut, |(words, _)| words)))
}

/// Text without images, link targets, emphasis, code marks and tags, and with single spaces.
fn plain(markdown: &str) -> String {
    let mut plain = String::new();
    let mut rest = markdown;
    while let Some(c) = rest.chars().next() {
        let through = |end: char| rest.find(end).map(|at| at + end.len_utf8());
        let skipped = match c {
            '!' if rest.starts_with("![") => rest.find("](").and_then(|at| Some(at + rest[at..].find(')')? + 1)),
            '[' => through(']').filter(|after| rest[*after..].starts_with(['(', '['])).map(|_| 1),
            ']' if rest.starts_with("](") => through(')'),
            ']' if rest.starts_with("][") => rest[1..].find(']').map(|at| at + 2),
            '<' if rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') => through('>'),
            '*' | '`' => Some(1),
            _ => None,
        };
        if skipped.is_none() {
            plain.push(c);
        }
        rest = &rest[skipped.unwrap_or(c.len_utf8())..];
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_is_found_after_other_blocks() {
        let card = "\
<!-- A comment
of two lines -->
# Model

[![badge](https://a/b.svg)](https://a) [Paper](https://p)

<div align=\"center\">
inside of HTML there are words too
</div>

| a table | with four words |
|---|---|

- a list item of many words
  that goes on

```
code has words as well
```

Another Kind Of Heading
=======================

> a quotation of some words

**It** maps [sentences](https://s) to
`vectors`, see [1] and [the paper][2].

A second paragraph follows here.
";
        assert_eq!(first_paragraph(card).as_deref(), Some("It maps sentences to vectors, see [1] and the paper."));
    }

    #[test]
    fn a_text_without_prose_has_no_description() {
        for card in [
            "",
            "# Only a heading",
            "[More Information Needed]",
            "```\nnever closed, and many words",
            "<!-- never closed",
            "Home | Paper | Code | Demo",
        ] {
            assert_eq!(first_paragraph(card), None, "{card:?}");
        }
    }

    #[test]
    fn the_title_is_the_first_heading_unless_it_is_generic() {
        for (card, expected) in [
            ("\n# Tiny [Llama](https://x)\n\ntext", Some("Tiny Llama")),
            ("# Model Card for Mistral-7B", Some("Mistral-7B")),
            ("# Gemma 3 model card\n", Some("Gemma 3")),
            ("# Model Card for Model ID\n", None),
            ("# Model Card", None),
            ("text\n# Tiny", None),
            ("## Usage", None),
            ("#", None),
            ("", None),
        ] {
            assert_eq!(title(card).as_deref(), expected, "{card:?}");
        }
    }

    #[test]
    fn a_long_paragraph_is_truncated_between_words() {
        let cut = first_paragraph(&"wörd ".repeat(100_000)).unwrap();
        assert!(cut.chars().count() <= MAX_CHARS + 1 && cut.ends_with("wörd…"), "{cut}");
    }

    #[test]
    fn broken_markup_is_harmless() {
        for text in [
            "[[[[[[ one two three four",
            "![ one two three four",
            "<b one two three four",
            "]( one two three four",
            "a]é[b](c one two three",
        ] {
            first_paragraph(text);
        }
        assert_eq!(first_paragraph("one two three < four").as_deref(), Some("one two three < four"));
    }
}
