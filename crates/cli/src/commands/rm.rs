//! `modelpack rm`: names are taken from artifacts of the store.

use crate::{args::RegistryArgs, context::Context, failure::Failure};
use modelpack::Place;

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
        let removed = modelpack.remove(&place).await?;
        context.output.result(&removed.digest.to_string(), &removed)?;
    }
    Ok(())
}
