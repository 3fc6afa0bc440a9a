//! Text for display: sizes, times and tables, and escaping of untrusted text.

use modelpack::spec::json::is_steering;
use std::{borrow::Cow, time::Duration};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Untrusted text, with characters that could affect a terminal or reorder a line escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_steering)
}

/// The same for text of several lines. Tabs and line ends are kept.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_steering(c) && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if is_escaped(c) { c.escape_debug().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The number of characters that are shown from the beginning and from the end of a long message.
const BEGINNING: usize = 600;
const END: usize = 300;

/// The message or, if it is very long, its beginning, the number of characters left out, and its
/// end. A message begins with what failed and ends with the reason; untrusted text may be between
/// them.
pub fn brief(message: &str) -> Cow<'_, str> {
    let left_out = message.chars().count().saturating_sub(BEGINNING + END);
    // For fewer characters, the note would not save space.
    if left_out < 100 {
        return Cow::Borrowed(message);
    }
    let at = |character: usize| message.char_indices().nth(character).map_or(message.len(), |(at, _)| at);
    let (beginning, end) = (&message[..at(BEGINNING)], &message[at(BEGINNING + left_out)..]);
    Cow::Owned(format!("{beginning}… ({left_out} characters left out) …{end}"))
}

/// A size in decimal units, such as `1.8 MB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        // A value that would print as 1000.0 is printed in the next unit.
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A duration in its two largest units, such as `1 min 20 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// `1 file`, `2 files`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The first `limit` characters of a text, in one line.
pub fn shortened(text: &str, limit: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", words[..end].trim_end()),
        None => words,
    }
}

/// The columns that a terminal needs for a text without control characters.
pub fn width(text: &str) -> usize {
    text.width()
}

/// A text that fits into so many columns of a terminal. If it is too long, `…` replaces its middle.
pub fn middle_shortened(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let Some(room) = columns.checked_sub(1) else { return Cow::Borrowed("") };
    let fits = |limit: usize| {
        let mut taken = 0;
        move |c: &char| {
            taken += c.width().unwrap_or(0);
            taken <= limit
        }
    };
    let beginning: String = text.chars().take_while(fits(room.div_ceil(2))).collect();
    let end: String = text.chars().rev().take_while(fits(room - width(&beginning))).collect();
    Cow::Owned(beginning + "…" + &end.chars().rev().collect::<String>())
}

/// The alignment of the cells of a column.
#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    Left,
    Right,
}

/// Rows in columns with two spaces between them, one row per line.
pub fn table<const N: usize>(align: [Align; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|i| rows.iter().map(|row| width(&row[i])).max().unwrap_or(0));
    let lines = rows.iter().map(|row| {
        let mut line = String::new();
        for i in 0..N {
            let padding = " ".repeat(widths[i] - width(&row[i]));
            let gap = if i == 0 { "" } else { "  " };
            match align[i] {
                Align::Left => line.extend([gap, &row[i], &padding]),
                Align::Right => line.extend([gap, &padding, &row[i]]),
            }
        }
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_becomes_one_short_line() {
        assert_eq!(shortened("two\n  lines ", 100), "two lines");
        assert_eq!(shortened(&"é".repeat(200), 100), format!("{}…", "é".repeat(100)));
    }

    #[test]
    fn names_cannot_affect_the_terminal() {
        assert_eq!(printable("名前 é.txt"), "名前 é.txt");
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{7f}"), "a\\u{1b}[2Jb\\r\\nc\\u{7f}");
        assert_eq!(printable("\u{202e}txt.exe"), "\\u{202e}txt.exe");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(printable("\u{61c}a"), "\\u{61c}a");
        assert_eq!(printable_lines("a\tb\u{1b}\n\n\u{202e}c\r\n"), "a\tb\\u{1b}\n\n\\u{202e}c\\r\n");
    }

    #[test]
    fn the_beginning_and_the_end_of_a_very_long_message_are_shown() {
        let sentence = format!("cannot read {}: it is not there", "é".repeat(100_000));
        let shortened = brief(&sentence);
        assert!(shortened.starts_with("cannot read éé") && shortened.ends_with("éé: it is not there"), "{shortened}");
        assert!(shortened.contains("characters left out") && shortened.chars().count() < 1000, "{shortened}");
        let bearable = "x".repeat(BEGINNING + END + 99);
        assert_eq!(brief(&bearable), bearable);
    }

    #[test]
    fn sizes_are_decimal() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (90_900_000, "90.9 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [(0, "0 s"), (80, "1 min 20 s"), (7500, "2 h 5 min")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_middle_of_a_long_name_is_left_out() {
        assert_eq!(middle_shortened("model.safetensors", 17), "model.safetensors");
        assert_eq!(middle_shortened("model.safetensors", 16), "model.sa…tensors");
        assert_eq!(middle_shortened("model.safetensors", 2), "m…");
        assert_eq!(middle_shortened("model.safetensors", 0), "");
        assert_eq!(middle_shortened("名前名前", 6), "名…前", "a wide character is not cut");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["SIZE".into(), "PATH".into(), "KIND".into()], ["1.0 kB".into(), "名前.txt".into(), "doc".into()]];
        let lines = ["  SIZE  PATH      KIND", "1.0 kB  名前.txt  doc"];
        assert_eq!(table([Align::Right, Align::Left, Align::Left], &rows), lines.join("\n"));
    }
}
