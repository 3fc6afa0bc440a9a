//! Headers of model files, and JSON files.

use crate::scanned;
use modelpack_formats::{gguf as gguf_format, json as json_format, onnx as onnx_format, safetensors as safetensors_format, shard_index};
use modelpack_spec::ShardSet;
use serde_json::Value;
use std::io::Cursor;

/// The sizes to test: the number of bytes, and the number that the first eight bytes declare,
/// because a sparse file may have any size.
fn sizes(data: &[u8]) -> [u64; 2] {
    let claimed = data.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    [data.len() as u64, claimed.saturating_mul(3)]
}

/// The tensors of a valid header fit exactly into the rest of the file.
pub(crate) fn safetensors(data: &[u8]) {
    for size in sizes(data) {
        let mut bytes = 0u64;
        if safetensors_format::read_header(data, size, |tensor| bytes = bytes.saturating_add(tensor.bytes)).is_ok() {
            assert!(bytes <= size, "{bytes} bytes of tensors in a file of {size}");
        }
    }
}

/// The tensors of a valid header are within the file.
pub(crate) fn gguf(data: &[u8]) {
    for size in sizes(data) {
        let mut bytes = 0u64;
        let header = gguf_format::Header::read(Cursor::new(data), size, |tensor| bytes = bytes.saturating_add(tensor.bytes));
        if header.is_ok() {
            assert!(bytes <= size, "{bytes} bytes of tensors in a file of {size}");
        }
    }
}

/// The internal tensors of a valid model fit into the file, as far as their types determine their
/// length. External files that are reported as beside the model have no absolute path.
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
                    // Integers may be encoded with fewer bytes, down to one byte for eight.
                    None => bytes = bytes.saturating_add(tensor.bytes / 8),
                }
            }
        });
        if header.is_ok() {
            assert!(bytes <= size.saturating_mul(4), "{bytes} bytes of tensors in a file of {size}");
        }
    }
}

/// Standard JSON is read as the same value; a text gives the same document in all encodings; and
/// selected fields of a document equal those of the whole document. A scan of it ends.
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

/// An index gives no more names than its bytes contain, and the same names each time. Of the shards
/// among the paths, each is in exactly one set, and a set reports exactly the shards that it does
/// not have.
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
