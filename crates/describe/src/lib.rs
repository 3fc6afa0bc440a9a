//! What the files of a model tell of it.
//!
//! [`classify()`] tells from a file's name what it is to the model. [`infer()`] fills the fields of the config from the files,
//! [`Metadata`] holds what a source states, and a [`Description`] merges several sources. [`gaps()`] finds what is missing of the
//! model. All of them read [`ModelFiles`], which may be anywhere.

mod classify;
mod completeness;
mod config;
mod infer;
mod json;
mod metadata;
mod model_files;

pub use classify::{classify, is_of_tokenizer};
pub use completeness::{Gap, gaps};
pub use infer::{Finding, Inferred, format_by_name, infer, public_url};
pub use metadata::{Description, Field, InvalidValue, Metadata};
pub use model_files::{ModelFile, ModelFiles};
