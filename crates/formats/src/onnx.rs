//! ONNX: a protobuf message, `ModelProto`, whose tensors are skipped, and so are those that it keeps in other files.

mod header;
mod types;
mod wire;

pub use header::{External, Header, Item, Node, Tensor, check, read};
pub use types::DataType;
