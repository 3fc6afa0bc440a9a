//! The metadata of a model, from its files.
//!
//! [`classify()`] determines the kind of a file from its name. [`infer()`] fills the fields of the
//! config from the files. [`Metadata`] holds the values of one source, and a [`Description`] merges
//! several sources. [`gaps()`] finds the missing parts of a model. All of them read [`ModelFiles`],
//! which may be in any place.

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
