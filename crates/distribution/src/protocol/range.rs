//! The ranges of uploads, which the specification writes without a unit: `0-9`.

use modelpack_http::range::print;

/// The range that an upload of `len` bytes has received: `0-9`. An empty upload gives `0-0`,
/// because the format cannot express an empty range.
pub(crate) fn print_received(len: u64) -> String {
    print(&(0..len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_http::range::parse;

    #[test]
    fn what_is_printed_is_read_back() {
        assert_eq!(parse(&print_received(7)), Some(0..7));
        assert_eq!(print_received(0), "0-0");
    }
}
