//! Arrays that joblib writes into the middle of a pickle, after the object that describes them.

use super::{Global, Value};

/// The form of an array in a pickle.
pub(super) enum Array {
    /// This many bytes.
    Bytes(u64),
    /// A nested pickle.
    Objects,
    /// An unknown number of bytes.
    Unknown,
}

/// Whether the object declares that an array follows.
pub(super) fn is_wrapper(object: &Value) -> bool {
    let Some(object) = object.object() else { return false };
    let is_wrapper = |global: &Global| global.name == "NumpyArrayWrapper" && global.module.split('.').any(|part| part == "joblib");
    // Protocols 0 and 1 create it through a function whose first argument is the class.
    let first = || object.arguments.tuple()?.first()?.global();
    object.callable.global().is_some_and(is_wrapper) || first().is_some_and(is_wrapper)
}

/// Whether a byte with the length of the padding precedes the array's bytes.
pub(super) fn is_aligned(state: &Value) -> bool {
    state.item("numpy_array_alignment_bytes").is_some_and(|bytes| bytes.int().is_some())
}

pub(super) fn of(state: &Value) -> Array {
    let dtype = state.item("dtype");
    let code = dtype.as_ref().and_then(Value::object).filter(|object| {
        object.callable.global().is_some_and(|global| global.module.split('.').next() == Some("numpy") && global.name == "dtype")
    });
    let Some(code) = code.and_then(|object| object.arguments.tuple()?.first()?.text()) else { return Array::Unknown };
    let Some((kind, size)) = code.split_at_checked(1) else { return Array::Unknown };
    let Ok(size) = size.parse::<u64>() else { return Array::Unknown };
    let size = match kind {
        "O" => return Array::Objects,
        "U" => size.checked_mul(4),
        "b" | "i" | "u" | "f" | "c" | "S" | "M" | "m" => Some(size),
        // Records may contain objects.
        _ => None,
    };
    let shape = state.item("shape");
    let lengths = shape.as_ref().and_then(Value::tuple).map(|lengths| lengths.iter().map(|n| n.int().and_then(|n| u64::try_from(n).ok())));
    let bytes = lengths.and_then(|mut lengths| lengths.try_fold(size?, |product, length| product.checked_mul(length?)));
    bytes.map_or(Array::Unknown, Array::Bytes)
}
