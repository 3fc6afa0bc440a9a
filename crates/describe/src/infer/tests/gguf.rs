//! Metadata from GGUF headers.

use super::{annotation, inferred, source, value};
use serde_json::{Value, json};

/// Writes GGUF files, which are valid unless a test changes them.
pub(super) struct Gguf {
    pairs: Vec<u8>,
    pair_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: u64,
    alignment: u32,
    is_big_endian: bool,
}

pub(super) const F32: u32 = 0;
pub(super) const F16: u32 = 1;
pub(super) const Q8_0: u32 = 8;
pub(super) const Q4_K: u32 = 12;
pub(super) const Q6_K: u32 = 14;

impl Gguf {
    pub(super) fn new() -> Self {
        Self { pairs: Vec::new(), pair_count: 0, tensors: Vec::new(), tensor_count: 0, data: 0, alignment: 32, is_big_endian: false }
    }

    pub(super) fn big_endian() -> Self {
        Self { is_big_endian: true, ..Self::new() }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u64(&self, value: u64) -> [u8; 8] {
        if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn text_bytes(&self, text: &str) -> Vec<u8> {
        [&self.u64(text.len() as u64), text.as_bytes()].concat()
    }

    /// Adds a key with a value in raw bytes.
    pub(super) fn raw(self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.raw_key(key.as_bytes(), kind, value)
    }

    pub(super) fn raw_key(mut self, key: &[u8], kind: u32, value: &[u8]) -> Self {
        let pair = [&self.u64(key.len() as u64), key, &self.u32(kind), value].concat();
        self.pairs.extend(pair);
        self.pair_count += 1;
        self
    }

    pub(super) fn text(self, key: &str, value: &str) -> Self {
        let value = self.text_bytes(value);
        self.raw(key, 8, &value)
    }

    pub(super) fn number(self, key: &str, value: u32) -> Self {
        let value = self.u32(value);
        self.raw(key, 4, &value)
    }

    pub(super) fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut value = [&self.u32(8)[..], &self.u64(values.len() as u64)].concat();
        values.iter().for_each(|text| value.extend(self.text_bytes(text)));
        self.raw(key, 9, &value)
    }

    /// Sets the alignment of the tensor data.
    pub(super) fn aligned(self, alignment: u32) -> Self {
        Self { alignment, ..self.number("general.alignment", alignment) }
    }

    /// Adds a tensor with `bytes` bytes of data.
    pub(super) fn tensor(mut self, kind: u32, shape: &[u64], bytes: u64) -> Self {
        let offset = self.data.next_multiple_of(self.alignment.into());
        self = self.tensor_at(kind, shape, offset);
        self.data = offset + bytes;
        self
    }

    pub(super) fn tensor_at(self, kind: u32, shape: &[u64], offset: u64) -> Self {
        let name = format!("blk.{}.weight", self.tensor_count);
        self.named_tensor_at(name.as_bytes(), kind, shape, offset)
    }

    /// Adds a tensor of one F32 number for each of these names.
    pub(super) fn scalars(mut self, names: &[&[u8]]) -> Self {
        for name in names {
            let offset = self.data.next_multiple_of(self.alignment.into());
            self = self.named_tensor_at(name, F32, &[1], offset);
            self.data = offset + 4;
        }
        self
    }

    fn named_tensor_at(mut self, name: &[u8], kind: u32, shape: &[u64], offset: u64) -> Self {
        let mut info = [&self.u64(name.len() as u64), name, &self.u32(shape.len() as u32)].concat();
        shape.iter().for_each(|length| info.extend(self.u64(*length)));
        info.extend(self.u32(kind));
        info.extend(self.u64(offset));
        self.tensors.extend(info);
        self.tensor_count += 1;
        self
    }

    pub(super) fn file(self) -> Vec<u8> {
        let (tensors, pairs) = (self.tensor_count, self.pair_count);
        self.file_with(3, tensors, pairs)
    }

    pub(super) fn file_with(self, version: u32, tensors: u64, pairs: u64) -> Vec<u8> {
        let mut file =
            [b"GGUF", &self.u32(version)[..], &self.u64(tensors), &self.u64(pairs), self.pairs.as_slice(), &self.tensors].concat();
        let data = file.len().next_multiple_of(self.alignment as usize);
        file.resize(data + self.data as usize, 0);
        file
    }
}

fn tiny(file: Gguf) -> Gguf {
    file.text("general.architecture", "llama")
        .text("general.name", "Tiny")
        .text("general.license", "apache-2.0")
        .text("general.size_label", "7B")
        .texts("general.languages", &["en", "de", "code"])
        .number("general.file_type", 15)
        .texts("tokenizer.ggml.tokens", &["a", "b"])
        .raw("tokenizer.ggml.scores", 9, &[[0; 4].as_slice(), &[0; 8]].concat())
        .text("tokenizer.chat_template", "{% if tools %}{% endif %}<think>")
        .tensor(F32, &[256], 1024)
        .tensor(Q4_K, &[256, 10], 1440)
        .tensor(Q6_K, &[256, 2], 420)
}

#[test]
fn a_header_fills_the_config() {
    let inferred = inferred(&[("tiny.Q4_K_M.gguf", &tiny(Gguf::new()).file())]);
    let descriptor = json!({"family": "llama", "name": "Tiny", "licenses": ["Apache-2.0"]});
    let config = json!({
        "architecture": "transformer", "format": "gguf", "paramSize": "3.3K", "quantization": "Q4_K_M",
        "capabilities": {"reasoning": true, "toolUsage": true, "languages": ["en", "de"]},
    });
    assert_eq!(serde_json::to_value(&inferred.descriptor).unwrap(), descriptor);
    assert_eq!(serde_json::to_value(&inferred.config).unwrap(), config);
    assert_eq!(source(&inferred, "config.quantization"), "tiny.Q4_K_M.gguf: `general.file_type`, tensor types");
}

#[test]
fn both_byte_orders_and_both_versions_are_read() {
    let little = inferred(&[("tiny.gguf", &tiny(Gguf::new()).file())]);
    assert_eq!(inferred(&[("tiny.gguf", &tiny(Gguf::big_endian()).file())]), little);
    assert_eq!(inferred(&[("tiny.gguf", &tiny(Gguf::new()).file_with(2, 3, 9))]), little);
}

#[test]
fn the_tensors_of_all_files_of_one_model_are_counted() {
    let first = Gguf::new().text("general.architecture", "llama").number("general.file_type", 15);
    let second = Gguf::new().tensor(Q4_K, &[256, 4], 576);
    let third = Gguf::new().tensor(F32, &[1000], 4000);
    let inferred = inferred(&[
        ("x-00001-of-00003.gguf", &first.file()),
        ("x-00002-of-00003.gguf", &second.file()),
        ("x-00003-of-00003.gguf", &third.file()),
    ]);
    assert_eq!(value(&inferred, "config.paramSize"), "2K");
    assert_eq!(value(&inferred, "config.quantization"), "Q4_K_M");
    assert_eq!(value(&inferred, "config.precision"), Value::Null);
}

#[test]
fn several_quantizations_give_their_common_values() {
    let model = |file_type| Gguf::new().text("general.architecture", "qwen2").number("general.file_type", file_type);
    let four = model(15).tensor(Q4_K, &[256, 4], 576);
    let eight = model(7).tensor(Q8_0, &[256, 4], 1088);
    let projector = Gguf::new().text("general.architecture", "clip").tensor(F16, &[5000], 10_000);
    let inferred = inferred(&[("a.Q4_K_M.gguf", &four.file()), ("a.Q8_0.gguf", &eight.file()), ("mmproj-a.gguf", &projector.file())]);
    assert_eq!(value(&inferred, "descriptor.family"), "qwen2");
    assert_eq!(value(&inferred, "config.paramSize"), "1K");
    assert_eq!(value(&inferred, "config.quantization"), Value::Null);
}

#[test]
fn a_malformed_file_beside_a_valid_one_gives_no_metadata() {
    let sound = Gguf::new().text("general.architecture", "qwen2").tensor(Q4_K, &[256, 4], 576);
    let inferred = inferred(&[("a.gguf", &sound.file()), ("b.gguf", b"GGUF")]);
    assert_eq!(value(&inferred, "descriptor.family"), Value::Null);
}

#[test]
fn a_file_type_that_no_tensor_confirms_is_ignored() {
    let quantization = |file: Gguf| value(&inferred(&[("a.gguf", &file.file())]), "config.quantization");
    let stale = || Gguf::new().tensor(F32, &[32], 128).tensor(Q8_0, &[256, 4], 1088);
    assert_eq!(quantization(stale().number("general.file_type", 15)), "Q8_0");
    assert_eq!(quantization(stale().number("general.file_type", 0)), "Q8_0");
    assert_eq!(quantization(stale().number("general.file_type", 1024 + 7)), "Q8_0");
    assert_eq!(quantization(stale()), "Q8_0");
    assert_eq!(quantization(Gguf::new().number("general.file_type", 15).tensor(F16, &[32], 64)), Value::Null);
}

#[test]
fn the_origin_in_a_file_is_recorded() {
    let file = Gguf::new()
        .text("general.architecture", "llama")
        .text("general.author", "Somebody")
        .text("general.organization", "Example")
        .text("general.description", "A model for tests.")
        .text("general.license", "other")
        .text("general.license.name", "own")
        .text("general.url", "https://user:secret@example.com/model")
        .text("general.repo_url", "file:///home/me")
        .text("general.base_model.0.name", "Base")
        .text("general.base_model.0.repo_url", "https://huggingface.co/org/base")
        .text("general.base_model.1.name", "Other Base")
        .text("general.quantized_by", &"x".repeat(5000))
        .number("llama.context_length", 4096)
        .number("llama.rope.scaling.original_context_length", 1024)
        .tensor(F16, &[1000], 2000);
    let inferred = inferred(&[("a.gguf", &file.file())]);
    let descriptor = json!({
        "authors": ["Somebody"], "vendor": "Example", "description": "A model for tests.", "licenses": ["LicenseRef-own"], "family": "llama",
        "docURL": "https://example.com/model",
    });
    assert_eq!(serde_json::to_value(&inferred.descriptor).unwrap(), descriptor);
    assert_eq!(annotation(&inferred, "dev.modelpack.base-model"), Some(("org/base,Other Base", "a.gguf: `general.base_model`")));
    assert_eq!(annotation(&inferred, "dev.modelpack.context-length"), Some(("4096", "a.gguf: `llama.context_length`")));
}

#[test]
fn plain_numbers_have_a_precision() {
    let inferred = inferred(&[("a.gguf", &Gguf::new().tensor(F16, &[1000], 2000).tensor(F32, &[10], 40).file())]);
    assert_eq!(value(&inferred, "config.precision"), "float16,float32");
    assert_eq!(value(&inferred, "config.quantization"), Value::Null);
}

#[test]
fn the_size_label_is_used_if_there_are_no_tensors() {
    let size = |label: &str| value(&inferred(&[("a.gguf", &Gguf::new().text("general.size_label", label).file())]), "config.paramSize");
    assert_eq!(size("135M"), "135M");
    assert_eq!(size("8x7B"), Value::Null);
}

#[test]
fn the_config_of_the_original_model_gives_no_numbers() {
    let config = br#"{"model_type":"llama","torch_dtype":"bfloat16","quantization_config":{"quant_method":"fp8"}}"#;
    let inferred = inferred(&[("a.gguf", &Gguf::new().tensor(Q8_0, &[256, 4], 1088).file()), ("config.json", config)]);
    assert_eq!(value(&inferred, "descriptor.family"), "llama");
    assert_eq!(value(&inferred, "config.precision"), Value::Null);
    assert_eq!(value(&inferred, "config.quantization"), "Q8_0");
}
