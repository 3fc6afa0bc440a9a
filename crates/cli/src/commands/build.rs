//! `modelpack build`: `pack`, with the flags of modctl.

use super::pack::pack;
use crate::{
    args::{HashStatesArgs, PackArgs, TransferArgs},
    context::Context,
    failure::Failure,
};
use modelpack::{LayerRule, Place, spec::Encoding};
use std::path::PathBuf;

/// Pack a directory, with modctl's flags
#[derive(clap::Args)]
pub struct Args {
    /// The model's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The name and target of the artifact; a bare reference means the store
    #[arg(short, long, value_name = "PLACE", required_unless_present = "dry_run")]
    tag: Option<Place>,
    /// One raw layer per file; with `=false`, one tar layer per file
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    raw: bool,
    /// Pack directly into the registry, without a copy in the store
    #[arg(long)]
    output_remote: bool,
    /// Leave out the time of creation, even if SOURCE_DATE_EPOCH is set
    #[arg(long)]
    no_creation_time: bool,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    hash_states: HashStatesArgs,
    #[command(flatten)]
    pack: PackArgs,
}

pub async fn run(mut args: Args, context: &Context) -> Result<(), Failure> {
    if !args.raw {
        args.pack.plan.begin_with(LayerRule::all(Encoding::Tar));
    }
    let to = args.tag.map(|tag| if args.output_remote { tag.or_registry() } else { tag });
    pack(&args.directory, to.as_ref(), &args.pack, !args.no_creation_time, &args.hash_states.of(args.transfer), context).await
}
