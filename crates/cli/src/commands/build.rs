//! `modelpack build`: `pack`, with the flags of modctl.

use super::pack::pack;
use crate::{
    args::{PackArgs, TransferArgs},
    context::Context,
    failure::{Failure, Kind},
};
use modelpack::Place;
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
    /// One raw layer a file, the only form that is written
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    raw: bool,
    /// Pack straight into the registry, and keep no copy
    #[arg(long)]
    output_remote: bool,
    /// Leave the time of creation out, whatever SOURCE_DATE_EPOCH says
    #[arg(long)]
    no_creation_time: bool,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    pack: PackArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if !args.raw {
        return Err(Failure::new(Kind::Usage, "--raw=false: tar layers cannot be written, only raw ones").hint("leave --raw out"));
    }
    let to = if args.output_remote { args.tag.or_registry() } else { args.tag };
    pack(args.directory, &to, &args.pack, !args.no_creation_time, &args.transfer, context).await
}
