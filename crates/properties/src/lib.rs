//! Properties of the parsers of hostile input that hold for any bytes.
//!
//! Each function here is the body of a fuzz target with the same name in `fuzz/`. The tests call it
//! with every seed that is stored there. No function may panic, overflow, or allocate memory
//! according to a declared length.

mod archive;
mod documents;
mod formats;
mod scanned;
mod texts;

/// A property that holds for any bytes. It panics if the property is violated.
pub type Property = fn(&[u8]);

/// Every property, with the name of its fuzz target and of its directory of seeds.
pub const PROPERTIES: [(&str, Property); 18] = [
    ("annotations", documents::annotations),
    ("compressed", scanned::compressed),
    ("config", documents::config),
    ("gguf", formats::gguf),
    ("hdf5", scanned::hdf5),
    ("json", formats::json),
    ("kitfile", texts::kitfile),
    ("manifest", documents::manifest),
    ("modelfile", texts::modelfile),
    ("onnx", formats::onnx),
    ("path", texts::path),
    ("pickle", scanned::pickle),
    ("reference", texts::reference),
    ("safetensors", formats::safetensors),
    ("shards", formats::shards),
    ("tar", archive::tar),
    ("validate", documents::validate),
    ("zip", scanned::zip),
];

/// Checks the property `name` for `data`.
pub fn check(name: &str, data: &[u8]) {
    let (_, property) = PROPERTIES.iter().find(|(known, _)| *known == name).expect("a fuzz target has the name of a property");
    property(data);
}
