//! `modelpack unmount`: ends a mount.

use crate::{context::Context, failure::Failure};
use modelpack::mount::{Unmount, unmount};
use serde::Serialize;
use std::path::PathBuf;

/// Unmount a model that is mounted
#[derive(clap::Args)]
pub struct Args {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Also if processes use it: they go on, and nobody else finds it
    #[arg(long)]
    lazy: bool,
}

#[derive(Serialize)]
struct Unmounted {
    #[serde(serialize_with = "modelpack::spec::json::path")]
    directory: PathBuf,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let how = if args.lazy { Unmount::WhenIdle } else { Unmount::IfIdle };
    unmount(&args.directory, how)?;
    context.output.result("", &Unmounted { directory: args.directory })
}
