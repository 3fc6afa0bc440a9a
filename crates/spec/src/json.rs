//! The JSON form of results and log lines. Text from untrusted sources in it cannot affect a terminal.

use serde::{Serialize, Serializer};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// A JSON document in one line. Characters that could [affect a terminal](is_steering) are written
/// as `\uXXXX`, which has the same meaning.
///
/// Panics if the document cannot be serialised. Documents with string keys always can.
pub fn to_line(document: &impl Serialize) -> String {
    line(document, is_steering)
}

/// A JSON document in one line of ASCII: every other character is written as `\uXXXX`, which has the same meaning.
///
/// Panics if the document cannot be serialised. Documents with string keys always can.
pub fn to_ascii_line(document: &impl Serialize) -> String {
    line(document, |c| !matches!(c, ' '..='~'))
}

/// Whether a character could control a terminal or reorder a line. These are control characters,
/// line separators, and marks of text direction.
pub fn is_steering(c: char) -> bool {
    let separates_lines = matches!(c, '\u{2028}' | '\u{2029}');
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || separates_lines || directs
}

fn line(document: &impl Serialize, is_escaped: impl Fn(char) -> bool) -> String {
    let json = serde_json::to_string(document).expect("keys are strings, so it always serialises");
    if !json.chars().any(&is_escaped) {
        return json;
    }
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if is_escaped(c) {
            // Such characters occur in JSON strings only.
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| write!(line, "\\u{unit:04x}").expect("writing to a string cannot fail"));
        } else {
            line.push(c);
        }
    }
    line
}

/// Writes a local path as text, for `#[serde(serialize_with)]`. Bytes that are not UTF-8 are
/// written as U+FFFD.
pub fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Writes local paths like [`path`].
pub fn paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    #[test]
    fn a_line_means_the_same_and_steers_nothing() {
        let value = json!({ "\u{202e}key": "C1 \u{9b}31m, C0 \u{1b}[2J\n, DEL \u{7f}, \u{2066}\u{61c}\u{2028} é 名 😀 \\" });
        let line = to_line(&value);
        assert!(!line.chars().any(is_steering), "{line}");
        assert!(line.contains(r"\u202ekey") && line.contains(r"C1 \u009b31m") && line.contains("é 名 😀"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
        let ascii = to_ascii_line(&value);
        assert!(ascii.bytes().all(|byte| matches!(byte, b' '..=b'~')) && ascii.contains(r"\u540d \ud83d\ude00"), "{ascii}");
        assert_eq!(serde_json::from_str::<Value>(&ascii).unwrap(), value);
    }

    #[test]
    fn a_path_of_any_bytes_is_written() {
        #[derive(Serialize)]
        struct Paths(#[serde(serialize_with = "path")] PathBuf, #[serde(serialize_with = "paths")] Vec<PathBuf>);
        let odd = PathBuf::from(OsStr::from_bytes(b"a\xff"));
        assert_eq!(to_line(&Paths(odd.clone(), vec![odd])), "[\"a\u{fffd}\",[\"a\u{fffd}\"]]");
    }
}
