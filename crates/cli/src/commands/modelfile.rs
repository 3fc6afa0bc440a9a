//! `modelpack modelfile generate`: `init`, by the name that modctl gives it.

use super::init;
use crate::{context::Context, failure::Failure};

/// Work with Modelfiles, by modctl's names
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write a Modelfile for a directory into the current one; `init` writes it into the model's
    Generate(init::Args),
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let Command::Generate(args) = args.command;
    init::generate(args, context).await
}
