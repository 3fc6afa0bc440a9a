//! `modelpack rm`: removes names from artifacts of the store.

use crate::{args::RegistryArgs, context::Context, failure::Failure};
use modelpack::Place;

/// Remove tags from the store or, with a digest, the manifest and all its tags
///
/// Blobs stay until `modelpack prune` removes them.
#[derive(clap::Args)]
pub struct Args {
    /// The tags or manifests to remove
    #[arg(value_name = "REFERENCE", required = true)]
    references: Vec<Place>,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let modelpack = context.modelpack(&RegistryArgs::default());
    for place in args.references {
        let removed = modelpack.remove(&place).await?;
        context.output.result(&removed.digest.to_string(), &removed)?;
    }
    Ok(())
}
