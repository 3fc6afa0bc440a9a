//! How a directory is packed: the arguments that `pack`, `push DIR` and `build` share.

use super::{FilterArgs, MetadataArgs};
use crate::{context::Context, failure::Failure};
use modelpack::{Field, LayerPolicy, LayerRule, PackRequest};
use std::path::PathBuf;

/// How a directory is packed.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct PackArgs {
    /// A Modelfile or Kitfile: which files are packed as what, and more; default that in DIR, if one is there
    #[arg(short = 'f', long = "file", visible_alias = "modelfile", value_name = "MODELFILE")]
    pub modelfile: Option<PathBuf>,
    /// Show each value of the config, and where it came from
    #[arg(long)]
    pub explain: bool,
    /// Show what would be packed, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How files become layers: raw, tar, tar+gzip or tar+zstd, after a selector if not for all files: `doc=tar`, `code,<1MB=tar+zstd`,
    /// `docs/**=tar`; may be given again, and the last that is for a file counts; default raw
    #[arg(long = "layer", value_name = "[SELECTOR=]ENCODING")]
    layers: Vec<LayerRule>,
    /// Bundle small files in tar layers if there would be more layers than this [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_layers: Option<u32>,
    /// Pack nothing if loading a file could run code, or a file is not what its format wants
    #[arg(long)]
    pub require_safe: bool,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub metadata: MetadataArgs,
}

impl PackArgs {
    /// What is asked of the facade; SOURCE_DATE_EPOCH counts if `dated`.
    pub fn request(&self, directory: PathBuf, dated: bool, context: &Context) -> Result<PackRequest, Failure> {
        let mut metadata = self.metadata.read()?;
        if let (None, true, Some(time)) = (&self.metadata.created_at, dated, context.created_at()?) {
            metadata.say(Field::CREATED_AT, &time, "SOURCE_DATE_EPOCH")?;
        }
        let default = LayerPolicy::default();
        let max_layers = self.max_layers.map_or(default.max_layers, |max| max as usize);
        let layers = LayerPolicy { rules: self.layers.clone(), max_layers };
        Ok(PackRequest {
            directory,
            modelfile: self.modelfile.clone(),
            filter: self.filter.read()?,
            metadata,
            layers,
            require_safe: self.require_safe,
        })
    }

    /// Puts a rule before all others, so that each of them wins over it.
    pub fn begin_with(&mut self, rule: LayerRule) {
        self.layers.insert(0, rule);
    }
}
