//! Options for packing a directory, which `pack`, `push DIR` and `build` share.

use super::{MetadataArgs, PlanArgs};
use crate::{context::Context, failure::Failure};
use modelpack::{Field, PackRequest, PackSource};

/// Options for packing a directory.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct PackArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Show each value of the config and its source
    #[arg(long)]
    pub explain: bool,
    /// Show the plan and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Refuse if loading a file could run code, or if a file is malformed or unreadable
    #[arg(long)]
    pub require_safe: bool,
    /// Refuse an incomplete model: a missing shard, a missing tensor, a git LFS pointer instead of
    /// a file
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl PackArgs {
    /// The request for the facade. SOURCE_DATE_EPOCH is used if `dated` is set.
    pub fn request(&self, source: PackSource, dated: bool, context: &Context) -> Result<PackRequest, Failure> {
        let mut metadata = self.metadata.read()?;
        if let (None, true, Some(time)) = (&self.metadata.created_at, dated, context.created_at()?) {
            metadata.say(Field::CREATED_AT, &time, "SOURCE_DATE_EPOCH")?;
        }
        let request = self.plan.request(source)?.metadata(metadata).scratch(&context.settings.scratch);
        Ok(request.require_safe(self.require_safe).strict(self.strict))
    }
}
