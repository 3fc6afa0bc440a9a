//! `modelpack fetch`: `pull --output`, with the flags of modctl.

use super::pull::unpack_from_registry;
use crate::{
    args::{SelectionArgs, TransferArgs},
    context::Context,
    failure::Failure,
};
use modelpack::Place;
use std::path::PathBuf;

/// Pull files of an artifact into a directory, with the flags of modctl
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack fetch registry.example.com/team/tiny:v1 -o ./tiny --patterns '*.json,tokenizer*'")]
pub struct Args {
    /// The artifact in its registry
    reference: Place,
    /// The directory for the files; it is created if it does not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Patterns as for --include, separated by commas
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    patterns: Vec<String>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Replace files that are there and are different
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let mut selection = args.selection;
    selection.include.extend(args.patterns);
    unpack_from_registry(args.reference, &args.output, &selection, args.force, &args.transfer, context).await
}
