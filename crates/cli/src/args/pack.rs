//! How a directory is packed: the arguments that `pack`, `push DIR` and `build` share.

use super::{MetadataArgs, PlanArgs};
use crate::{context::Context, failure::Failure};
use modelpack::{Field, PackRequest, PackSource};

/// How a directory is packed.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct PackArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Show each value of the config, and where it came from
    #[arg(long)]
    pub explain: bool,
    /// Show what would be packed, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Pack nothing if loading a file could run code, or a file is not what its format wants, or cannot be read
    #[arg(long)]
    pub require_safe: bool,
    /// Pack nothing if something is missing of the model: a shard, a tensor, a file that git LFS keeps elsewhere
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl PackArgs {
    /// What is asked of the facade; SOURCE_DATE_EPOCH counts if `dated`.
    pub fn request(&self, source: PackSource, dated: bool, context: &Context) -> Result<PackRequest, Failure> {
        let mut metadata = self.metadata.read()?;
        if let (None, true, Some(time)) = (&self.metadata.created_at, dated, context.created_at()?) {
            metadata.say(Field::CREATED_AT, &time, "SOURCE_DATE_EPOCH")?;
        }
        let request = self.plan.request(source)?.metadata(metadata).scratch(&context.settings.scratch);
        Ok(request.require_safe(self.require_safe).strict(self.strict))
    }
}
