//! `modelpack completion`: a shell script for the completion of arguments.

use crate::{args::Cli, failure::Failure, output::Output};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a shell script for the completion of arguments
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack completion bash > ~/.local/share/bash-completion/completions/modelpack")]
pub struct Args {
    shell: Shell,
}

pub fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "modelpack", &mut script);
    output.bytes(&script)
}
