//! `modelpack pull`: copies an artifact from a registry into the store, or unpacks it into a
//! directory.

use super::{cp, unpack::unpack};
use crate::{
    args::{SelectionArgs, TransferArgs},
    context::Context,
    failure::{Failure, Kind},
};
use modelpack::{Error, InvalidPlace, Place};
use std::path::{Path, PathBuf};

/// Pull an artifact from its registry into the store, or directly into a directory
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack pull registry.example.com/team/tiny:v1 -o ./tiny")]
pub struct Args {
    /// The artifact in its registry
    reference: Place,
    /// Unpack into this directory, without a copy in the store
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// With --output: replace existing files
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.output {
        Some(directory) => unpack_from_registry(args.reference, &directory, &args.selection, args.force, &args.transfer, context).await,
        None if args.selection != SelectionArgs::default() => {
            let why = "--include, --exclude and --preset need --output, because the store holds only complete artifacts";
            let hint = format!("modelpack pull {} --output DIR, with the same flags", args.reference);
            Err(Failure::new(Kind::Usage, why).hint(hint))
        }
        None => cp::copy("pulling", &args.transfer, context, async |m| m.pull(&args.reference).await).await,
    }
}

/// Unpacks directly from the artifact's registry.
pub async fn unpack_from_registry(
    reference: Place,
    directory: &Path,
    selection: &SelectionArgs,
    force: bool,
    transfer: &TransferArgs,
    context: &Context,
) -> Result<(), Failure> {
    match reference.or_registry() {
        from @ Place::Registry(_) => unpack("pulling", &from, directory, selection, force, transfer, context).await,
        other => Err(Error::from(InvalidPlace::NotARegistry(other.to_string())).into()),
    }
}
