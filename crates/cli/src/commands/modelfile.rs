//! `modelpack modelfile generate`: `init` under the name that modctl uses.

use super::init;
use crate::{context::Context, failure::Failure};

/// Work with Modelfiles, with modctl's names
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write a Modelfile for a directory into the working directory; `init` writes it into the
    /// model's directory
    Generate(Generate),
}

#[derive(clap::Args)]
struct Generate {
    #[command(flatten)]
    init: init::Args,
    #[command(flatten)]
    _hub: Hub,
}

/// modctl's flags for models on a hub. They are accepted so that they can be refused with a reason.
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
    Err("models are not fetched from a hub; download the model, and give its directory")
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let Command::Generate(args) = args.command;
    init::generate(args.init, context).await
}
