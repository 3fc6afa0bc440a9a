//! `modelpack tag`: adds a name to an artifact of the store.

use super::cp::{HOW_TO_COPY, note_left_behind};
use crate::{args::RegistryArgs, context::Context, failure::Failure};
use modelpack::Place;

/// Give an artifact of the store another name
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack tag tiny:v1 registry.example.com/team/tiny:v1")]
pub struct Args {
    /// The artifact
    #[arg(value_name = "REFERENCE")]
    from: Place,
    /// Its additional name
    #[arg(value_name = "NEW")]
    to: Place,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let tagged = context.modelpack(&RegistryArgs::default()).tag(&args.from, &args.to).await?;
    note_left_behind(&tagged, HOW_TO_COPY, context);
    context.output.result(&tagged.digest.to_string(), &tagged)
}
