//! The headers of model files: bounded readers, one a format, over anything that reads and seeks.
//!
//! No reader reads weights, holds more than its bounds, runs anything, or believes a count, offset or length before it is checked.

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
