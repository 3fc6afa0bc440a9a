//! GGUF: metadata, tensor infos and tensors in one file.

mod header;
mod reader;
mod types;

pub use header::{Header, Tensor, check};
pub use types::TensorType;
