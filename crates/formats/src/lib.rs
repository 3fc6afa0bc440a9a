//! Bounded readers for the headers of model files, one per format, over anything that implements
//! `Read` and `Seek`.
//!
//! The readers do not read weights, do not exceed their memory bounds, do not run anything, and
//! check every count, offset and length before they use it.

mod bounded_json;
pub mod compressed;
pub mod gguf;
pub mod json;
mod malformed;
mod names;
pub mod onnx;
pub mod pickle;
pub mod safetensors;
pub mod shard_index;
pub mod tar;
pub mod zip;

pub use malformed::{Fault, Malformed};
