//! `modelpack pull`: from a registry into the store, or straight into a directory.

use super::{cp, unpack::unpack};
use crate::{args::TransferArgs, context::Context, failure::Failure};
use modelpack::{Error, InvalidPlace, Place};
use std::path::PathBuf;

/// Pull an artifact from its registry into the store, or straight into a directory
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack pull registry.example.com/team/tiny:v1 -o ./tiny")]
pub struct Args {
    /// The artifact in its registry
    reference: Place,
    /// Unpack into this directory, and keep no copy in the store
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// With --output: replace files that are in the way
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.output {
        Some(directory) => match args.reference.or_registry() {
            from @ Place::Registry(_) => unpack("pulling", &from, &directory, args.force, &args.transfer, context).await,
            other => Err(Error::from(InvalidPlace::NotARegistry(other.to_string())).into()),
        },
        None => cp::copy("pulling", &args.transfer, context, async |m| m.pull(&args.reference).await).await,
    }
}
