//! `SOURCE_DATE_EPOCH` (reproducible-builds.org): the only time source of packing.

use crate::failure::{Failure, Kind};
use modelpack::spec::value::rfc3339;

/// The last second that RFC 3339 can represent, in the year 9999.
const LAST: u64 = 253_402_300_799;

/// Converts seconds since 1970, as text, to RFC 3339. Fails if the text is not such a number.
pub fn to_rfc3339(text: &str) -> Result<String, Failure> {
    let seconds = text.parse::<u64>().ok().filter(|&seconds| seconds <= LAST && text.bytes().all(|b| b.is_ascii_digit()));
    let seconds = seconds.ok_or_else(|| {
        let message = format!("SOURCE_DATE_EPOCH is {text:?}, which is not a number of seconds since 1970");
        Failure::new(Kind::Usage, message).hint("set it as in SOURCE_DATE_EPOCH=$(git log -1 --format=%ct), or unset it")
    })?;
    Ok(rfc3339(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, date) in [
            ("0", "1970-01-01T00:00:00Z"),
            ("951782400", "2000-02-29T00:00:00Z"),
            ("1735689599", "2024-12-31T23:59:59Z"),
            ("4107542400", "2100-03-01T00:00:00Z"),
            ("253402300799", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(to_rfc3339(seconds).unwrap(), date);
        }
    }

    #[test]
    fn other_texts_than_seconds_are_refused() {
        for text in ["", "yesterday", "-1", "+1", "1.5", " 1", "253402300800", "99999999999999999999999"] {
            assert!(to_rfc3339(text).unwrap_err().is(Kind::Usage), "{text:?}");
        }
    }
}
