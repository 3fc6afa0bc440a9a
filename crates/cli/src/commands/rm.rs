//! `modelpack rm`: names are taken from artifacts of the store.

use crate::{args::RegistryArgs, context::Context, failure::Failure};
use modelpack::Place;
use serde_json::json;

/// Remove tags from the store, or with a digest that manifest and all its tags
///
/// Files stay until `modelpack prune` finds that nothing needs them.
#[derive(clap::Args)]
pub struct Args {
    /// What is removed
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
