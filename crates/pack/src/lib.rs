//! A model directory becomes an artifact, and an artifact a directory again.
//!
//! [`plan`] decides which files of a directory are packed and what they are to the model, as a [`Modelfile`] says or by looking
//! at their names ([`classify`]).
//! [`infer()`] reads what the files themselves say of the model. [`layers()`] decides which layers the files become, and [`pack()`] writes them.

mod attach;
mod classify;
mod completeness;
mod convert;
mod directory;
mod error;
mod infer;
mod json;
mod layers;
mod metadata;
mod modelfile;
mod pack;
mod patterns;
mod plan;
mod preview;
mod selection;
mod unpack;

pub use attach::{Attached, attach};
pub use classify::classify;
pub use completeness::{Gap, gaps};
pub use convert::{Converted, convert};
pub use error::{Error, Result};
pub use infer::{Finding, Inferred, infer};
pub use layers::{InvalidLayerRule, LayerPolicy, LayerRule, PlannedLayer, layers};
pub use metadata::{Description, Field, InvalidValue, Metadata};
pub use modelfile::{Modelfile, ModelfileError, ModelfileProblem, generate};
pub use pack::{PackOptions, pack};
pub use patterns::{InvalidPattern, Patterns};
pub use plan::{FileFilter, Plan, PlannedFile, SourceFile, plan, plan_file};
pub use preview::preview;
pub use selection::{NotAPreset, Preset, Selection};
pub use unpack::{Allowance, LeftOut, UnpackOptions, Unpacked, content_digest, unpack};
