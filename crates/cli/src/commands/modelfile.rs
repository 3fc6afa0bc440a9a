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
    Generate(Generate),
}

#[derive(clap::Args)]
struct Generate {
    #[command(flatten)]
    init: init::Args,
    #[command(flatten)]
    _hub: Hub,
}

/// modctl's flags for models in a hub, known so that they are refused with a reason.
#[derive(clap::Args)]
struct Hub {
    #[arg(long, hide = true, value_parser = no_hub)]
    model_url: Option<String>,
    #[arg(short, long, hide = true, value_parser = no_hub)]
    provider: Option<String>,
    #[arg(long, hide = true, value_parser = no_hub)]
    download_dir: Option<String>,
}

fn no_hub(_: &str) -> Result<String, &'static str> {
    Err("models are not fetched from a hub; download the model, and name its directory")
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let Command::Generate(args) = args.command;
    init::generate(args.init, context).await
}
