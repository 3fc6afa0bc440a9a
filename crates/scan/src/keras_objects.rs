//! Formats that contain Keras configs as JSON among other bytes: HDF5, in which older Keras
//! versions store whole models, and the metadata of a SavedModel. A loader may run such configs.
//!
//! Neither format is parsed. Both contain a config unchanged and in one piece, unless an HDF5 heap
//! is compressed. So every JSON object among the file's bytes is scanned, at any position.

use crate::{FileReport, json};
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// The name of the attribute with the config of a model.
const MODEL_CONFIG: &[u8] = b"model_config";
/// The beginning of a heap. Its version and the length of its identifiers follow, then the length
/// of the description of its filters.
const HEAP: &[u8] = b"FRHP\0";
/// The offset of that length after the heap's beginning.
const FILTERS: usize = 7;
/// The longest config that is kept.
const MAX_CONFIG: usize = 64 << 20;
/// How many bytes may be scanned again because something that began like an object was not one.
const MAX_AGAIN: u64 = 64 << 20;

/// The name of the file with the configs of a SavedModel's layers, from which TensorFlow's Keras
/// recreates the layers.
pub(crate) const METADATA: &str = "keras_metadata.pb";

/// Looks for configs in the metadata of a SavedModel, from the current position.
pub(crate) fn scan_metadata(file: impl Read, report: &mut FileReport) {
    let mut found = Found::default();
    match found.read(&mut BufReader::with_capacity(64 << 10, file), report) {
        Err(error) => report.unread(format!("has the configs of Keras layers, but cannot be read: {error}")),
        Ok(()) if found.again > MAX_AGAIN || found.is_unclear => report.unread("has configs of Keras layers that cannot be read"),
        Ok(()) => report.looked("the configs of a SavedModel's Keras layers"),
    }
}

/// Looks for configs in HDF5, from the current position.
pub(crate) fn scan_hdf5(file: impl Read, report: &mut FileReport) {
    let mut found = Found::default();
    match found.read(&mut BufReader::with_capacity(64 << 10, file), report) {
        Err(error) => report.unread(format!("is HDF5, but cannot be read: {error}")),
        Ok(()) if found.is_filtered => report.unread("is HDF5 with a compressed heap, which could contain the config of a Keras model"),
        Ok(()) if found.again > MAX_AGAIN => report.unread("is HDF5 with too much content that begins like a model config"),
        Ok(()) if found.is_unclear => report.unread("is HDF5 with the config of a Keras model that cannot be read"),
        Ok(()) if found.is_model && found.configs == 0 => report.unread("is HDF5 with a Keras model whose config was not found"),
        Ok(()) if found.is_model => report.looked("HDF5: the config of its Keras model"),
        Ok(()) => report.looked("HDF5: it has no config of a Keras model"),
    }
}

#[derive(Default)]
struct Found {
    is_model: bool,
    is_filtered: bool,
    /// Whether something looks like a config, but is not JSON or is too long.
    is_unclear: bool,
    configs: usize,
    again: u64,
    /// The last bytes, as many as the search needs.
    last: Vec<u8>,
}

impl Found {
    fn read(&mut self, file: &mut impl BufRead, report: &mut FileReport) -> io::Result<()> {
        let mut object: Option<Object> = None;
        loop {
            let bytes = file.fill_buf()?.to_vec();
            if bytes.is_empty() {
                break;
            }
            self.look_for_names(&bytes);
            for byte in &bytes {
                object = self.take(object, *byte, report);
            }
            file.consume(bytes.len());
        }
        // An object without an end may contain others.
        while let Some(open) = object {
            object = self.again(&open.text, report);
        }
        Ok(())
    }

    /// The open object after this byte.
    fn take(&mut self, object: Option<Object>, byte: u8, report: &mut FileReport) -> Option<Object> {
        let Some(mut open) = object else { return (byte == b'{').then(Object::new) };
        match open.take(byte) {
            _ if self.again > MAX_AGAIN => None,
            Next::More => Some(open),
            Next::Whole => {
                self.judge(&open.text, report);
                None
            }
            Next::None => self.again(&open.text, report),
        }
    }

    /// Scans the bytes after the first byte of a text that is not an object.
    fn again(&mut self, text: &[u8], report: &mut FileReport) -> Option<Object> {
        self.is_unclear |= text.len() >= MAX_CONFIG;
        // This uses a list and no recursion, because the file determines the depth.
        let mut rest = text.get(1..).unwrap_or_default().to_vec();
        loop {
            self.again += rest.len() as u64;
            let begin = rest.iter().position(|byte| *byte == b'{').filter(|_| self.again <= MAX_AGAIN)?;
            let mut open = Object::new();
            let mut at = begin + 1;
            let next = loop {
                let Some(byte) = rest.get(at) else { return Some(open) };
                at += 1;
                match open.take(*byte) {
                    Next::More => {}
                    next => break next,
                }
            };
            match next {
                Next::Whole => {
                    self.judge(&open.text, report);
                    rest.drain(..at);
                }
                _ => drop(rest.drain(..=begin)),
            }
        }
    }

    fn judge(&mut self, text: &[u8], report: &mut FileReport) {
        let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        // Any letter could be written as an escape.
        if !has(b"class_name") && !has(b"\\u") {
            return;
        }
        let mut own = FileReport::new("", text.len() as u64);
        json::scan(Cursor::new(text), &mut own);
        self.is_unclear |= own.looked_at.is_empty();
        self.configs += 1;
        own.findings.into_iter().for_each(|finding| report.find(finding));
    }

    fn look_for_names(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let has = |word: &[u8]| self.last.windows(word.len()).any(|window| window == word);
        self.is_model |= has(MODEL_CONFIG);
        let heaps = self.last.windows(HEAP.len() + 4).filter(|window| window.starts_with(HEAP));
        self.is_filtered |= heaps.into_iter().any(|heap| heap[FILTERS..FILTERS + 2] != [0, 0]);
        self.last.drain(..self.last.len().saturating_sub(MODEL_CONFIG.len() - 1));
    }
}

/// A possible JSON object, as far as it was read.
struct Object {
    text: Vec<u8>,
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
}

enum Next {
    More,
    Whole,
    None,
}

impl Object {
    /// An object after its opening brace.
    fn new() -> Self {
        Self { text: vec![b'{'], depth: 1, is_in_text: false, is_escaped: false }
    }

    fn take(&mut self, byte: u8) -> Next {
        if self.text.len() == MAX_CONFIG {
            return Next::None;
        }
        self.text.push(byte);
        match byte {
            _ if self.is_in_text && byte < 0x20 => return Next::None,
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_in_text => self.is_escaped = true,
            b'"' => self.is_in_text = !self.is_in_text,
            _ if self.is_in_text => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b'+' | b'-' | b'.' => {}
            _ if byte.is_ascii_alphanumeric() => {}
            _ => return Next::None,
        }
        if self.depth == 0 { Next::Whole } else { Next::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;

    const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

    fn found(parts: &[&[u8]]) -> (Vec<Severity>, FileReport) {
        let mut report = FileReport::new("model.h5", 0);
        scan_hdf5(Cursor::new([&[MAGIC], parts].concat().concat()), &mut report);
        (report.findings.iter().map(|finding| finding.severity).collect(), report)
    }

    #[test]
    fn weights_have_no_config() {
        let (severities, report) = found(&[b"layer_names\0\0{\"\xff\x00{ {{{ ", &[0; 70_000]]);
        assert!(severities.is_empty() && report.looked_at.len() == 1, "{report:?}");
    }

    #[test]
    fn the_config_of_a_model_is_judged_at_any_position() {
        let dense = br#"{"class_name":"Sequential","config":{"layers":[{"class_name":"Dense","config":{"x":"}{"}}]}}"#;
        let lambda = br#"{"class_name":"Sequential","config":{"layers":[{"class_name":"Lambda","config":{}}]}}"#;
        let (severities, report) = found(&[b"model_config\0", dense]);
        assert!(severities.is_empty() && report.looked_at == ["HDF5: the config of its Keras model"], "{report:?}");
        for before in [&b"model_config\0"[..], b"model_config{", b"model_config{\"", &[&[b'x'; 65_530][..], b"model_config"].concat()] {
            assert_eq!(found(&[before, lambda]).0, [Severity::Dangerous], "{}", before.escape_ascii());
        }
        assert_eq!(found(&[b"model_config", dense, lambda]).0, [Severity::Dangerous]);
    }

    #[test]
    fn the_configs_of_a_saved_models_layers_are_judged() {
        let found = |bytes: &[u8]| {
            let mut report = FileReport::new(METADATA, 0);
            scan_metadata(Cursor::new(bytes), &mut report);
            (report.findings.iter().map(|finding| finding.severity).collect::<Vec<_>>(), report.looked_at.len())
        };
        let dense = br#"{"class_name":"Dense","config":{"units":1},"shared_object_id":1}"#;
        let lambda = br#"{"class_name":"Lambda","config":{"function":{"class_name":"__tuple__","items":["4wEA",null,null]}}}"#;
        assert_eq!(found(&[b"\n\x90\x01\x08\x01\x12\x06root_a", &dense[..]].concat()), (vec![], 1));
        assert_eq!(found(&[b"\n\x90\x01\x08\x01\x12\x06root_a", &dense[..], b"\"\x03", lambda].concat()), (vec![Severity::Dangerous], 1));
        assert_eq!(found(&[&b"\"{"[..], &dense[..], b"{"].concat()), (vec![], 1));
    }

    #[test]
    fn a_missing_config_is_a_finding() {
        let heap = |filters: u8| [HEAP, &[7, 0, filters, 0][..]].concat();
        assert_eq!(found(&[b"model_config"]).0, [Severity::Unread]);
        assert_eq!(found(&[&heap(9)]).0, [Severity::Unread]);
        assert_eq!(found(&[&heap(0)]).0, []);
        assert_eq!(found(&[b"model_config", &[b'{'; 20_000]]).0, [Severity::Unread]);
    }
}
