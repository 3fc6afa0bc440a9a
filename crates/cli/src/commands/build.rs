//! `modelpack build`: `pack`, with the flags of modctl.

use super::pack::pack;
use crate::{
    args::TransferArgs,
    context::Context,
    failure::{Failure, Kind},
};
use modelpack::{Metadata, PackRequest, Place};
use std::path::PathBuf;

/// Pack a directory, with modctl's flags
#[derive(clap::Args)]
pub struct Args {
    /// The model's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What the artifact is called, and so where it goes; a bare reference means the store
    #[arg(short, long, value_name = "PLACE")]
    tag: Place,
    /// Which files are packed as what, and more; default DIR/Modelfile, if it is there
    #[arg(short = 'f', long = "modelfile", visible_alias = "file", value_name = "MODELFILE")]
    modelfile: Option<PathBuf>,
    /// One raw layer a file, the only form that is written
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    raw: bool,
    /// Pack straight into the registry, and keep no copy
    #[arg(long)]
    output_remote: bool,
    /// Where the model's source is
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// The model's revision in source control
    #[arg(long, value_name = "REVISION")]
    source_revision: Option<String>,
    /// The model reasons
    #[arg(long)]
    reasoning: bool,
    /// Leave the time of creation out, whatever SOURCE_DATE_EPOCH says
    #[arg(long)]
    no_creation_time: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if !args.raw {
        return Err(Failure::new(Kind::Usage, "--raw=false: tar layers cannot be written, only raw ones").hint("leave --raw out"));
    }
    let metadata = Metadata {
        created_at: if args.no_creation_time { None } else { context.created_at()? },
        source_url: args.source_url,
        revision: args.source_revision,
        reasoning: args.reasoning.then_some(true),
    };
    let request = PackRequest { directory: args.directory, modelfile: args.modelfile, metadata };
    let to = if args.output_remote { args.tag.or_registry() } else { args.tag };
    pack(request, &to, &args.transfer, context).await
}
