//! Ranges in their three forms: in a request for a blob (`Range: bytes=0-9`), in the response
//! (`Content-Range: bytes 0-9/100`), and for a pushed chunk (`Content-Range: 0-9`). In code a range
//! is half-open; on the wire both ends are inclusive.

use std::ops::Range;

/// The part of a blob that a `Range` header requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Requested {
    /// The whole blob: the header has another unit or several ranges, which a server may ignore.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// No byte of the blob is in the range.
    Unsatisfiable,
}

/// Parses a `Range` header for a blob of `size` bytes.
pub(crate) fn parse_request(header: &str, size: u64) -> Requested {
    let Some(ranges) = header.trim().strip_prefix("bytes=").filter(|ranges| !ranges.contains(',')) else {
        return Requested::Whole;
    };
    let range = match ranges.trim().split_once('-') {
        Some(("", suffix)) => number(suffix).map(|len| size.saturating_sub(len)..size),
        Some((first, "")) => number(first).map(|first| first..size),
        Some(_) => parse_chunk(ranges.trim()).map(|range| range.start..range.end.min(size)),
        None => None,
    };
    match range {
        Some(range) if !range.is_empty() => Requested::Part(range),
        _ => Requested::Unsatisfiable,
    }
}

/// Formats a non-empty range as `bytes=0-9`.
pub(crate) fn print_request(range: &Range<u64>) -> String {
    format!("bytes={}", print_chunk(range))
}

/// Formats a non-empty range as `bytes 0-9/100`.
pub(crate) fn print_response(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}/{size}", print_chunk(range))
}

/// Parses `bytes 0-9/100`. The size may be unknown, `*`.
pub(crate) fn parse_response(header: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, size) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let size = if size == "*" { None } else { Some(number(size)?) };
    Some((parse_chunk(range)?, size))
}

/// Formats `bytes */100`, for a blob that has none of the requested bytes.
pub(crate) fn print_unsatisfiable(size: u64) -> String {
    format!("bytes */{size}")
}

/// Formats a non-empty range as `0-9`.
pub(crate) fn print_chunk(range: &Range<u64>) -> String {
    format!("{}-{}", range.start, range.end.saturating_sub(1))
}

/// Parses `0-9`. The range must not end before it begins.
pub(crate) fn parse_chunk(header: &str) -> Option<Range<u64>> {
    let (first, last) = header.split_once('-')?;
    let range = number(first)?..number(last)?.checked_add(1)?;
    (!range.is_empty()).then_some(range)
}

/// The range that an upload of `len` bytes has received: `0-9`. An empty upload gives `0-0`,
/// because the format cannot express an empty range.
pub(crate) fn print_received(len: u64) -> String {
    print_chunk(&(0..len))
}

/// Accepts digits only; `parse` alone would accept a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_ranges_are_resolved_for_a_blob() {
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
    fn printed_ranges_are_parsed_unchanged() {
        assert_eq!(parse_request(&print_request(&(3..7)), 10), Requested::Part(3..7));
        assert_eq!(parse_response(&print_response(&(3..7), 10)), Some((3..7, Some(10))));
        assert_eq!(parse_response("bytes 0-0/*"), Some((0..1, None)));
        assert_eq!(parse_chunk(&print_chunk(&(3..7))), Some(3..7));
        assert_eq!(parse_chunk(&print_received(7)), Some(0..7));
        assert_eq!(print_received(0), "0-0");
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for bad in ["", "-", "5", "5-", "-5", "7-3", "a-b", "0-18446744073709551615", "bytes 0-1", " 0-1", "+0-1"] {
            assert_eq!(parse_chunk(bad), None, "{bad:?}");
        }
        for bad in ["0-1/2", "bytes */5", "bytes 0-1", "bytes 0-1/x"] {
            assert_eq!(parse_response(bad), None, "{bad:?}");
        }
    }
}
