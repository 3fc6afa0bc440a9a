//! `modelpack rm`: removes names from artifacts of the store.

use crate::{args::RegistryArgs, context::Context, failure::Failure};
use modelpack::Place;
use serde_json::json;

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
        let digest = modelpack.remove(&place).await?;
        let value = json!({ "reference": place.or_store().to_string(), "digest": digest.to_string() });
        context.output.result(&digest.to_string(), &value)?;
    }
    Ok(())
}
