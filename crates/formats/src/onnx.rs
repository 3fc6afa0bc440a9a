//! ONNX: a protobuf message, `ModelProto`. The reader skips tensor data, inside the file and in
//! external files.

mod header;
mod types;
mod wire;

pub use header::{External, Header, Item, Node, Tensor, check, read};
pub use types::DataType;
