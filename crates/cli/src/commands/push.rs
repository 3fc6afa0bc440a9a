//! `modelpack push`: pushes an artifact from the store, or packs a directory, into a registry.

use super::{cp, pack::pack};
use crate::{
    args::{HashStatesArgs, PackArgs, TransferArgs},
    context::Context,
    failure::{Failure, Kind},
};
use modelpack::Place;
use std::path::Path;

/// Push an artifact from the store, or pack a directory or an artifact directly into a registry
///
/// An artifact that is packed directly is not copied into the store.
#[derive(clap::Args)]
#[command(
    override_usage = "modelpack push [OPTIONS] REFERENCE\n       modelpack push [OPTIONS] DIR|PLACE REFERENCE",
    after_help = "Example: modelpack push ./tiny registry.example.com/team/tiny:v1"
)]
pub struct Args {
    /// An artifact in the store; or the model's directory or an artifact, and the destination
    #[arg(value_name = "[DIR|PLACE] REFERENCE", num_args = 1..=2, required = true)]
    what: Vec<String>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    hash_states: HashStatesArgs,
    #[command(flatten)]
    pack: PackArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let transfer = args.hash_states.of(args.transfer);
    match args.what.as_slice() {
        [directory, reference] => {
            let to = parse(reference)?.or_registry();
            pack(directory.as_ref(), Some(&to), &args.pack, true, &transfer, context).await
        }
        [directory] if args.pack.dry_run => pack(directory.as_ref(), None, &args.pack, true, &transfer, context).await,
        [directory] if Path::new(directory).is_dir() => {
            let failure = Failure::new(Kind::Usage, format!("{directory} is a directory, but no destination was given"));
            Err(failure.hint(format!("modelpack push {directory} registry.example.com/team/model:v1")))
        }
        [reference] if args.pack == PackArgs::default() => {
            let reference = parse(reference)?;
            cp::copy("pushing", &transfer, context, async |m| m.push(&reference).await).await
        }
        _ => Err(Failure::new(Kind::Usage, "flags for packing a directory cannot be used with an artifact in the store")
            .hint("modelpack push DIR REFERENCE packs and pushes")),
    }
}

fn parse(text: &str) -> Result<Place, Failure> {
    text.parse().map_err(|e: modelpack::InvalidPlace| modelpack::Error::from(e).into())
}
