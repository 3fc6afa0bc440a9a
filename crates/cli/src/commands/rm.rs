//! `modelpack rm`: names are taken from artifacts of the store.

use crate::{args::RegistryArgs, context::Context, failure::Failure};
use modelpack::Place;

/// Remove tags from the store; with a digest, remove that manifest and all its tags
///
/// The files stay until `modelpack prune` finds that no artifact needs them.
#[derive(clap::Args)]
pub struct Args {
    /// The artifacts to remove
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
