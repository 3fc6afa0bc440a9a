//! Headers of model files, and the JSON beside them.

use crate::scanned;
use modelpack_formats::{gguf as gguf_format, json as json_format, onnx as onnx_format, safetensors as safetensors_format, shard_index};
use modelpack_spec::ShardSet;
use serde_json::Value;
use std::io::Cursor;

/// A file's length is that of the bytes, or what the first eight claim: sparse files are as long as somebody likes.
fn sizes(data: &[u8]) -> [u64; 2] {
    let claimed = data.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    [data.len() as u64, claimed.saturating_mul(3)]
}

/// The tensors of a sound header have the length that is left for them.
pub(crate) fn safetensors(data: &[u8]) {
    for size in sizes(data) {
        let mut bytes = 0u64;
        if safetensors_format::read_header(data, size, |tensor| bytes = bytes.saturating_add(tensor.bytes)).is_ok() {
            assert!(bytes <= size, "{bytes} bytes of tensors in a file of {size}");
        }
    }
}

/// The tensors of a sound header lie within the file.
pub(crate) fn gguf(data: &[u8]) {
    for size in sizes(data) {
        let mut bytes = 0u64;
        let header = gguf_format::Header::read(Cursor::new(data), size, |tensor| bytes = bytes.saturating_add(tensor.bytes));
        if header.is_ok() {
            assert!(bytes <= size, "{bytes} bytes of tensors in a file of {size}");
        }
    }
}

/// The tensors of a sound model that are not in other files lie within it, as far as their types tell their length; files that are said
/// to be beside it are not named from the root.
pub(crate) fn onnx(data: &[u8]) {
    for size in sizes(data) {
        let mut bytes = 0u64;
        let header = onnx_format::read(Cursor::new(data), size, |item| {
            if let onnx_format::Item::Tensor(tensor) = item {
                match tensor.external {
                    Some(external) => {
                        assert!(external.offset.checked_add(tensor.bytes).is_some());
                        assert!(!external.is_beside() || !external.location.starts_with('/'));
                    }
                    // Whole numbers of few bytes may be written in fewer, down to one for eight.
                    None => bytes = bytes.saturating_add(tensor.bytes / 8),
                }
            }
        });
        if header.is_ok() {
            assert!(bytes <= size.saturating_mul(4), "{bytes} bytes of tensors in a file of {size}");
        }
    }
}

/// What the standard reads is read as the same value; each text is the same document in all encodings; and what is kept of a document in
/// part is the same as in the whole. A scan of it ends.
pub(crate) fn json(data: &[u8]) {
    scanned::json(data);
    use json_format::{Keep, read};
    let value = read(data, Keep::All);
    if let Ok(standard) = serde_json::from_slice::<Value>(data) {
        assert_eq!(value.as_ref(), Ok(&standard));
    }
    if let Ok(Value::Object(fields)) = &value
        && let Some((name, field)) = fields.iter().next()
    {
        let part = read(data, Keep::Fields(&[name])).expect("a part of what can be read can be read");
        assert_eq!(part, serde_json::json!({ name: field }));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let marked = || ['\u{feff}'].into_iter().chain(text.chars());
    let utf16: Vec<u8> = String::from_iter(marked()).encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf32: Vec<u8> = marked().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    let utf8 = read(String::from_iter(marked()).as_bytes(), Keep::All);
    assert_eq!(read(&*utf16, Keep::All), utf8);
    assert_eq!(read(&*utf32, Keep::All), utf8);
    if let Ok(value) = utf8 {
        let written = serde_json::to_vec(&value).expect("a value can be written");
        assert_eq!(read(&*written, Keep::All), Ok(value));
    }
}

/// An index names no more than its bytes hold, and the same each time. Of the shards that paths name, each is in one set, and a set lacks
/// what it does not have.
pub(crate) fn shards(data: &[u8]) {
    let names = || {
        let mut bytes = 0;
        let read = shard_index::read(data, |tensor, file| bytes += tensor.len() + file.len());
        (read.is_ok(), bytes)
    };
    let (is_index, bytes) = names();
    assert!(!is_index || bytes <= data.len(), "{bytes} bytes of names in an index of {}", data.len());
    assert_eq!(names(), (is_index, bytes));
    let text = String::from_utf8_lossy(data);
    for set in ShardSet::all(text.lines()).into_iter().flatten() {
        assert!(!set.first().is_empty() && set.total > 0);
        let is_whole = (0..2).any(|begin| set.paths.keys().copied().eq(begin..begin + set.total));
        assert!(!is_whole || set.lack().is_none(), "{:?}", set.lack());
        assert!(set.lack().is_some() || set.paths.len() >= set.total);
    }
}
