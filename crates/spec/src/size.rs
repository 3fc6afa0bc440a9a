//! Numbers of bytes as people write them.

/// A text is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size such as 500kB, 1.5MB or 10MiB")]
pub struct InvalidSize(pub String);

/// Reads a number of bytes such as `500kB`, `1.5MB` or `10MiB`, in upper or lower case. `k`, `M`, `G` and `T` are powers of 1000, also
/// without the `B`, and `Ki`, `Mi`, `Gi` and `Ti` are powers of 1024. A number without a unit is in bytes. A part of a byte is left out.
///
/// Fails if the text is something else, or if the number is not less than 2^64.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    read(text).ok_or_else(|| InvalidSize(text.to_owned()))
}

fn read(text: &str) -> Option<u64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    };
    let number = &text[..text.len() - unit.len()];
    let (whole, decimals) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    let bytes = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    // Further decimals are less than a byte of any unit.
    let decimals = &decimals[..decimals.len().min(18)];
    let parts: u64 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
    let part = u128::from(parts) * u128::from(factor) / 10u128.pow(decimals.len() as u32);
    bytes.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("7", 7),
            ("7B", 7),
            ("2k", 2000),
            ("2kB", 2000),
            ("2KB", 2000),
            ("3MB", 3_000_000),
            ("4g", 4_000_000_000),
            ("1TB", 1_000_000_000_000),
            ("2Ki", 2048),
            ("2KiB", 2048),
            ("3mib", 3 << 20),
            ("1GiB", 1 << 30),
            ("16TiB", 16 << 40),
            ("1.5MB", 1_500_000),
            ("0.25KiB", 256),
            ("1.0005k", 1000),
            ("1.9B", 1),
            ("0.9999999999999999999999999999k", 999),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "B",
            "-1",
            "+1",
            "1e3",
            "fast",
            "1.",
            ".5M",
            "1..5",
            "1.5.5",
            "1,5MB",
            "1 MB",
            "1MBit",
            "1kBs",
            "0x10",
            "٣",
            "99999999999GB",
            "16777216TiB",
            "18446744073709551616",
        ] {
            assert_eq!(parse_size(text), Err(InvalidSize(text.to_owned())));
        }
        assert_eq!(parse_size("fast").unwrap_err().to_string(), "\"fast\" is not a size such as 500kB, 1.5MB or 10MiB");
    }
}
