//! `modelpack version`.

use crate::{failure::Failure, output::Output};
use serde::Serialize;

const NAME: &str = "modelpack";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Print name and version
#[derive(clap::Args)]
pub struct Args {}

/// The name and version of the program.
#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

pub fn run(output: &Output) -> Result<(), Failure> {
    output.result(&format!("{NAME} {VERSION}"), &Version { name: NAME, version: VERSION })
}
