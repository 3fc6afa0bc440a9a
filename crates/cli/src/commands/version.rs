//! `modelpack version`.

use crate::{failure::Failure, output::Output};
use serde_json::json;

const NAME: &str = "modelpack";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Print the name and the version
#[derive(clap::Args)]
pub struct Args {}

pub fn run(output: &Output) -> Result<(), Failure> {
    output.result(&format!("{NAME} {VERSION}"), &json!({ "name": NAME, "version": VERSION }))
}
