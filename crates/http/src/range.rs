//! Ranges of bytes in their spellings: of what is read (`Range: bytes=0-9`), of the answer (`Content-Range: bytes 0-9/100`), and alone
//! (`0-9`), as registries write those of chunks. Here a range is half-open; on the wire both ends are inclusive.

use std::ops::Range;

/// What a `Range` header asks of a resource.
#[derive(Debug, PartialEq, Eq)]
pub enum Requested {
    /// All of it: the header is in another unit or names several ranges, which a server may ignore.
    Whole,
    /// These bytes, of which there is at least one.
    Part(Range<u64>),
    /// Nothing that the resource has.
    Unsatisfiable,
}

/// Reads a `Range` header for a resource of `size` bytes.
pub fn parse_request(header: &str, size: u64) -> Requested {
    let Some(ranges) = header.trim().strip_prefix("bytes=").filter(|ranges| !ranges.contains(',')) else {
        return Requested::Whole;
    };
    let range = match ranges.trim().split_once('-') {
        Some(("", suffix)) => number(suffix).map(|len| size.saturating_sub(len)..size),
        Some((first, "")) => number(first).map(|first| first..size),
        Some(_) => parse(ranges.trim()).map(|range| range.start..range.end.min(size)),
        None => None,
    };
    match range {
        Some(range) if !range.is_empty() => Requested::Part(range),
        _ => Requested::Unsatisfiable,
    }
}

/// `bytes=0-9`, of a range that is not empty.
pub fn print_request(range: &Range<u64>) -> String {
    format!("bytes={}", print(range))
}

/// `bytes 0-9/100`, of a range that is not empty.
pub fn print_response(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}/{size}", print(range))
}

/// Reads `bytes 0-9/100`; the size may be unknown, `*`.
pub fn parse_response(header: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, size) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let size = if size == "*" { None } else { Some(number(size)?) };
    Some((parse(range)?, size))
}

/// `bytes */100`, of a resource for which no requested range exists.
pub fn print_unsatisfiable(size: u64) -> String {
    format!("bytes */{size}")
}

/// `0-9`, of a range that is not empty.
pub fn print(range: &Range<u64>) -> String {
    format!("{}-{}", range.start, range.end.saturating_sub(1))
}

/// Reads `0-9`, which must not end before it begins.
pub fn parse(header: &str) -> Option<Range<u64>> {
    let (first, last) = header.split_once('-')?;
    let range = number(first)?..number(last)?.checked_add(1)?;
    (!range.is_empty()).then_some(range)
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_resource() {
        for (header, expected) in [
            ("bytes=0-9", Requested::Part(0..10)),
            ("bytes=500-1499", Requested::Part(500..1500)),
            ("bytes=2000-5000", Requested::Part(2000..2048)),
            ("bytes=2047-", Requested::Part(2047..2048)),
            ("bytes=-500", Requested::Part(1548..2048)),
            ("bytes=-5000", Requested::Part(0..2048)),
            ("bytes=0-18446744073709551614", Requested::Part(0..2048)),
            ("bytes=2048-", Requested::Unsatisfiable),
            ("bytes=5000-10000", Requested::Unsatisfiable),
            ("bytes=500-0", Requested::Unsatisfiable),
            ("bytes=-0", Requested::Unsatisfiable),
            ("bytes=-", Requested::Unsatisfiable),
            ("bytes=+1-2", Requested::Unsatisfiable),
            ("bytes=0-18446744073709551615", Requested::Unsatisfiable),
            ("bytes=x", Requested::Unsatisfiable),
            ("bytes=0-1,5-6", Requested::Whole),
            ("items=0-1", Requested::Whole),
        ] {
            assert_eq!(parse_request(header, 2048), expected, "{header}");
        }
        assert_eq!(parse_request("bytes=0-", 0), Requested::Unsatisfiable);
    }

    #[test]
    fn what_is_printed_is_read_back() {
        assert_eq!(parse_request(&print_request(&(3..7)), 10), Requested::Part(3..7));
        assert_eq!(parse_response(&print_response(&(3..7), 10)), Some((3..7, Some(10))));
        assert_eq!(parse_response("bytes 0-0/*"), Some((0..1, None)));
        assert_eq!(parse(&print(&(3..7))), Some(3..7));
    }

    #[test]
    fn malformed_ranges_are_none() {
        for bad in ["", "-", "5", "5-", "-5", "7-3", "a-b", "0-18446744073709551615", "bytes 0-1", " 0-1", "+0-1"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        for bad in ["0-1/2", "bytes */5", "bytes 0-1", "bytes 0-1/x"] {
            assert_eq!(parse_response(bad), None, "{bad:?}");
        }
    }
}
