//! `modelpack mounts`: lists the models that are mounted.

use crate::{
    context::Context,
    failure::Failure,
    text::{self, Align, printable},
};
use modelpack::mount::mounts;

/// List the models that are mounted on this machine
#[derive(clap::Args)]
pub struct Args {}

pub async fn run(_: Args, context: &Context) -> Result<(), Failure> {
    let mounts = mounts()?;
    let mut rows = vec![["DIRECTORY", "MODEL"].map(str::to_owned)];
    rows.extend(
        mounts.iter().map(|mount| [printable(&mount.directory.display().to_string()).into_owned(), printable(&mount.source).into_owned()]),
    );
    context.output.result(&text::table([Align::Left, Align::Left], &rows), &mounts)
}
