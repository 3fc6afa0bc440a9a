//! The number of parameters of a model and their numeric types, in the form of the specification.

use std::collections::BTreeMap;

/// The parameters counted so far.
#[derive(Default)]
pub(super) struct Parameters {
    count: u64,
    /// Whether the number of parameters of some tensor is unknown.
    uncountable: bool,
    /// The number of bytes for each numeric type, by the specification's name.
    bytes: BTreeMap<&'static str, u64>,
    /// Whether there are tensors or alternatives with other numeric types.
    has_other_types: bool,
    seen: Seen,
}

/// What was found besides plain parameters. Certain combinations mean that bytes hold several
/// parameters each, although no source gives the number.
#[derive(Default)]
pub(super) struct Seen {
    /// Tensors that convert packed weights back to numbers.
    pub(super) scales: bool,
    /// Scales of small blocks, as four-bit numbers have them.
    pub(super) block_scales: bool,
    /// Unsigned bytes that no source declares as packed.
    pub(super) bytes: bool,
    /// Signed bytes that no source declares as packed.
    pub(super) signed_bytes: bool,
}

impl Parameters {
    /// Adds a tensor of `count` parameters; `None` if the number is unknown.
    pub(super) fn add(&mut self, count: Option<u64>) {
        match count.and_then(|count| self.count.checked_add(count)) {
            Some(sum) => self.count = sum,
            None => self.uncountable = true,
        }
    }

    /// Adds `bytes` bytes of the numeric type `precision`.
    pub(super) fn add_bytes(&mut self, precision: &'static str, bytes: u64) {
        let sum = self.bytes.entry(precision).or_default();
        *sum = sum.saturating_add(bytes);
    }

    /// Notes that some parameters have an unknown numeric type.
    pub(super) fn add_unknown(&mut self) {
        self.uncountable = true;
        self.has_other_types = true;
    }

    /// The findings so far, for changes.
    pub(super) fn seen(&mut self) -> &mut Seen {
        &mut self.seen
    }

    /// Whether bytes that were counted as one parameter each may hold several.
    fn may_be_packed(&self) -> bool {
        self.seen.scales && self.seen.bytes || self.seen.block_scales && self.seen.signed_bytes
    }

    /// The values that all alternatives share; `None` if there are no alternatives.
    pub(super) fn common(alternatives: Vec<Self>) -> Option<Self> {
        alternatives.into_iter().reduce(|mut first, other| {
            first.uncountable |= other.size() != first.size();
            first.has_other_types |= other.precision() != first.precision();
            first
        })
    }

    /// Adds the parameters of another part of the same model.
    pub(super) fn merge(&mut self, part: Self) {
        self.add((!part.uncountable && !part.may_be_packed()).then_some(part.count));
        self.has_other_types |= part.has_other_types || part.may_be_packed();
        part.bytes.into_iter().for_each(|(precision, bytes)| self.add_bytes(precision, bytes));
    }

    /// The value of `paramSize`.
    pub(super) fn size(&self) -> Option<String> {
        if self.uncountable || self.may_be_packed() { None } else { size(self.count) }
    }

    /// The value of `precision`: the types by number of bytes, largest first.
    pub(super) fn precision(&self) -> Option<String> {
        let mut types: Vec<_> = self.bytes.iter().collect();
        types.sort_by_key(|(name, bytes)| (std::cmp::Reverse(**bytes), **name));
        let names: Vec<&str> = types.into_iter().map(|(name, _)| *name).collect();
        (!names.is_empty() && !self.has_other_types && !self.may_be_packed()).then(|| names.join(","))
    }
}

/// `count` with at most one decimal place, then K, M, B, T or Q; `None` if it rounds to zero.
pub(super) fn size(count: u64) -> Option<String> {
    const SCALES: [(u64, char); 5] =
        [(1_000, 'K'), (1_000_000, 'M'), (1_000_000_000, 'B'), (1_000_000_000_000, 'T'), (1_000_000_000_000_000, 'Q')];
    let tenths_of = |unit: u64| (u128::from(count) * 10 + u128::from(unit) / 2) / u128::from(unit);
    // The first unit for which the rounded number is less than a thousand: 999,960 becomes 1M, not
    // 1000K.
    let (tenths, scale) =
        SCALES.iter().map(|(unit, scale)| (tenths_of(*unit), *scale)).find(|(tenths, scale)| *tenths < 10_000 || *scale == 'Q')?;
    match (tenths / 10, tenths % 10) {
        (0, 0) => None,
        (whole, 0) => Some(format!("{whole}{scale}")),
        (whole, tenth) => Some(format!("{whole}.{tenth}{scale}")),
    }
}

/// The specification's name for a numeric type of PyTorch, such as `torch.float16`.
pub(super) fn precision_of_torch(dtype: &str) -> Option<&'static str> {
    Some(match dtype.strip_prefix("torch.").unwrap_or(dtype) {
        "float32" | "float" => "float32",
        "float64" | "double" => "float64",
        "float16" | "half" => "float16",
        "bfloat16" => "bfloat16",
        "float8_e4m3" | "float8_e4m3fn" => "float8_e4m3",
        "float8_e5m2" => "float8_e5m2",
        "int8" => "int8",
        "uint8" => "uint8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::value;

    #[test]
    fn sizes_have_at_most_one_decimal_and_always_a_unit() {
        for (count, expected) in [
            (22_713_216, "22.7M"),
            (7_250, "7.3K"),
            (600, "0.6K"),
            (50, "0.1K"),
            (7_000_000_000, "7B"),
            (6_738_415_616, "6.7B"),
            (999_949, "999.9K"),
            (999_950, "1M"),
            (671_026_419_200, "671B"),
            (1_000_000_000_000, "1T"),
            (u64::MAX, "18446.7Q"),
        ] {
            assert_eq!(size(count).as_deref(), Some(expected), "{count}");
            assert!(value::is_param_size(expected), "{expected}");
        }
        assert_eq!(size(49), None);
        assert_eq!(size(0), None);
    }
}
