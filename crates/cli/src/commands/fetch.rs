//! `modelpack fetch`: `pull --output`, with the flags of modctl.

use super::pull::unpack_from_registry;
use crate::{
    args::{SelectionArgs, TransferArgs},
    context::Context,
    failure::Failure,
};
use modelpack::Place;
use std::path::PathBuf;

/// Fetch files of an artifact from its registry into a directory, with modctl's flags
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack fetch registry.example.com/team/tiny:v1 -o ./tiny --patterns '*.json,tokenizer*'")]
pub struct Args {
    /// The artifact in its registry
    reference: Place,
    /// The directory for the files; created if it does not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// --include for each of these patterns, separated by commas
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    patterns: Vec<String>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Replace existing files
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
