//! The grammars of single config values, each as a predicate on a text (specification,
//! `docs/config.md`).

pub use crate::licence::{is_licence_expression, licence_fault};

/// The allowed values of `config.precision`.
#[rustfmt::skip]
pub const PRECISIONS: [&str; 18] = [
    "float32", "float64", "float16", "bfloat16", "float8_e4m3", "float8_e5m2", "complex32", "complex64", "complex128",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
];

/// The allowed values of `inputTypes` and `outputTypes`.
pub const MODALITIES: [&str; 6] = ["text", "image", "audio", "video", "embedding", "other"];

/// Whether `text` is a `paramSize`: a number with at most one decimal, followed by K, M, B, T or Q
/// in either case. `8x7B` is not one.
pub fn is_param_size(text: &str) -> bool {
    let Some(count) = text.strip_suffix(|c: char| "KMBTQkmbtq".contains(c)) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match count.split_once('.') {
        Some((whole, tenth)) => digits(whole) && digits(tenth) && tenth.len() == 1,
        None => digits(count),
    }
}

/// Whether `text` is a `precision`: values of [`PRECISIONS`], each at most once, separated by
/// commas.
pub fn is_precision(text: &str) -> bool {
    let words: Vec<&str> = text.split(',').collect();
    words.iter().enumerate().all(|(at, word)| PRECISIONS.contains(word) && !words[..at].contains(word))
}

/// Whether `text` is one of [`MODALITIES`].
pub fn is_modality(text: &str) -> bool {
    MODALITIES.contains(&text)
}

/// Whether `text` has the form of a two-letter ISO 639 code: two lower-case letters.
pub fn is_language(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|b| b.is_ascii_lowercase())
}

/// Whether `text` is a media type without parameters (RFC 6838, section 4.2).
pub fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let may_begin = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        may_begin && name.len() <= 127 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

/// Whether `text` is a `date-time` of RFC 3339, section 5.6: a valid date, a time, and an offset.
///
/// A leap second is accepted only at the end of a UTC day.
pub fn is_date_time(text: &str) -> bool {
    date_time(text.as_bytes()).is_some()
}

/// Year, month and day of the date that is `days` days after 1 January 1970.
pub fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// The time that is `seconds` seconds after 1 January 1970, as RFC 3339 writes it. Later times than the last one that it can write, in the
/// year 9999, become that one.
pub fn rfc3339(seconds: u64) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    let seconds = seconds.min(LAST);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn date_time(text: &[u8]) -> Option<()> {
    let number = |from: usize, length: usize| -> Option<i32> {
        let digits = text.get(from..from + length)?;
        digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i32::from(b - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| text.get(at).is_some_and(|b| allowed.contains(b)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    [(4, &b"-"[..]), (7, b"-"), (10, b"Tt"), (13, b":"), (16, b":")].into_iter().try_for_each(|(at, allowed)| is(at, allowed))?;
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap_year => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    if text.get(at) == Some(&b'.') {
        let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        at += 1 + digits;
        (digits > 0).then_some(())?;
    }
    let offset = match text.get(at)? {
        b'Z' | b'z' => {
            at += 1;
            0
        }
        sign @ (b'+' | b'-') => {
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            is(at + 3, b":")?;
            (hours < 24 && minutes < 60).then_some(())?;
            at += 6;
            (hours * 60 + minutes) * if *sign == b'+' { 1 } else { -1 }
        }
        _ => return None,
    };
    let minute_of_utc = (hour * 60 + minute - offset).rem_euclid(24 * 60);
    (at == text.len() && (second < 60 || minute_of_utc == 24 * 60 - 1)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert!(is(text), "{text:?} is refused"));
        bad.iter().for_each(|text| assert!(!is(text), "{text:?} is accepted"));
    }

    #[test]
    fn parameter_sizes() {
        check(
            is_param_size,
            &["7B", "0.5b", "135M", "1.0t", "6.7B"],
            &["", "B", "7", "8x7B", "1.25B", ".5B", "7.B", "7 B", "-7B", "7BB", "７B"],
        );
    }

    #[test]
    fn media_types() {
        check(
            is_media_type,
            &["application/x", "a/b+c", "application/vnd.x.v1+json"],
            &["", "a", "a/", "/a", "a/b/c", "a/+b", "a/b;c=d", "a/b c"],
        );
    }

    #[test]
    fn precisions() {
        check(
            is_precision,
            &["float16", "float16,float8_e4m3", "bool"],
            &["", "bf16", "float16, bool", "float16,", "Float16", "bool,bool"],
        );
    }

    #[test]
    fn words_and_languages() {
        check(is_modality, &["text", "other"], &["", "Text", "tabular"]);
        check(is_language, &["en", "zh"], &["", "EN", "eng", "e", "é", "e1"]);
    }

    #[test]
    fn seconds_become_dates() {
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn dates_and_times() {
        check(
            is_date_time,
            &[
                "2025-01-01T00:00:00Z",
                "2024-02-29t23:59:59.123456789+05:30",
                "2000-02-29T00:00:00z",
                "2016-12-31T23:59:60Z",
                "2017-01-01T05:29:60+05:30",
                "2025-01-01T00:00:00-00:00",
            ],
            &[
                "",
                "2025",
                "2025-01-01",
                "2025-01-01 00:00:00Z",
                "2025-01-01T00:00:00",
                "2025-1-01T00:00:00Z",
                "2025-13-01T00:00:00Z",
                "2025-02-29T00:00:00Z",
                "1900-02-29T00:00:00Z",
                "2025-01-00T00:00:00Z",
                "2025-01-01T24:00:00Z",
                "2025-01-01T00:60:00Z",
                "2025-01-01T00:00:61Z",
                "2025-01-01T12:00:60Z",
                "2025-01-01T00:00:00.Z",
                "2025-01-01T00:00:00+0530",
                "2025-01-01T00:00:00+24:00",
                "2025-01-01T00:00:00Z ",
                "2025-01-01T00:00:00+05:3",
                "２025-01-01T00:00:00Z",
            ],
        );
    }
}
