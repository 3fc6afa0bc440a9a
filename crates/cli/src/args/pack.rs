//! How a directory is packed: the arguments that `pack`, `push DIR` and `build` share.

use super::{FilterArgs, MetadataArgs};
use crate::{context::Context, failure::Failure};
use modelpack::{Field, PackRequest};
use std::path::PathBuf;

/// How a directory is packed.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct PackArgs {
    /// Which files are packed as what, and more; default DIR/Modelfile, if it is there
    #[arg(short = 'f', long = "file", visible_alias = "modelfile", value_name = "MODELFILE")]
    pub modelfile: Option<PathBuf>,
    /// Show each value of the config, and where it came from
    #[arg(long)]
    pub explain: bool,
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
        Ok(PackRequest { directory, modelfile: self.modelfile.clone(), filter: self.filter.read()?, metadata })
    }
}
