//! `modelpack unpack`: an artifact becomes a directory again. `pull -o` ends here too; `extract` is modctl's name for it.

use crate::{args::TransferArgs, context::Context, failure::Failure, text};
use modelpack::Place;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Unpack an artifact into a directory, from wherever it is
///
/// Files that are there already with the same bytes are left as they are.
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack unpack registry.example.com/team/tiny:v1 -o ./tiny")]
pub struct Args {
    /// The artifact
    #[arg(value_name = "PLACE")]
    from: Place,
    /// Where the files go; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Replace files that are in the way
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    unpack("unpacking", &args.from, &args.output, args.force, &args.transfer, context).await
}

/// Unpacks, and prints the digest.
pub async fn unpack(
    doing: &'static str,
    from: &Place,
    directory: &Path,
    force: bool,
    transfer: &TransferArgs,
    context: &Context,
) -> Result<(), Failure> {
    let ((digest, unpacked), _) = context.transfer(doing, transfer, async |m| m.unpack(from, directory, force).await).await?;
    for layer in &unpacked.unnamed {
        context.output.warn(&format!("layer {} ({}) names no file, and was left out", layer.digest, layer.media_type));
    }
    let unchanged = match unpacked.unchanged.len() {
        0 => String::new(),
        n => format!("; {} there already", text::count(n, "file")),
    };
    let (files, size) = (text::count(unpacked.written.len(), "file"), text::bytes(unpacked.bytes));
    context.output.note(&format!("unpacked {files}, {size}, to {}{unchanged}", directory.display()));
    let paths = |paths: &[modelpack::spec::FilePath]| paths.iter().map(|path| path.as_str().to_owned()).collect::<Vec<_>>();
    let value = json!({
        "digest": digest.to_string(), "directory": directory.to_string_lossy(), "bytes": unpacked.bytes,
        "written": paths(&unpacked.written), "unchanged": paths(&unpacked.unchanged), "unnamed": unpacked.unnamed,
    });
    context.output.result(&digest.to_string(), &value)
}
