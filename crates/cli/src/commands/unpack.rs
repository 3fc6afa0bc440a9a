//! `modelpack unpack`: unpacks an artifact into a directory. `pull -o` also uses this code;
//! `extract` is modctl's name for it.

use crate::{
    args::{SelectionArgs, TransferArgs},
    context::Context,
    failure::Failure,
    text,
};
use modelpack::{LeftOut, Place, UnpackOptions};
use std::path::{Path, PathBuf};

/// Unpack an artifact from any place into a directory
///
/// Existing files with the same bytes are left unchanged.
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack unpack registry.example.com/team/tiny:v1 -o ./tiny")]
pub struct Args {
    /// The artifact
    #[arg(value_name = "PLACE")]
    from: Place,
    /// The directory for the files; created if it does not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    unpack("unpacking", &args.from, &args.output, &args.selection, args.force, &args.transfer, context).await
}

/// Unpacks, and prints the digest.
pub async fn unpack(
    doing: &'static str,
    from: &Place,
    directory: &Path,
    selection: &SelectionArgs,
    force: bool,
    transfer: &TransferArgs,
    context: &Context,
) -> Result<(), Failure> {
    let options = UnpackOptions::default().selection(selection.read()?).replace(force);
    let unpacked = context.transfer(doing, transfer, async |m| m.unpack(from, directory, &options).await).await?;
    for layer in &unpacked.unnamed {
        context.output.warn(&format!("layer {} ({}) has no file name, and was left out", layer.digest, layer.media_type));
    }
    let unchanged = match unpacked.unchanged.len() {
        0 => String::new(),
        n => format!("; {} already present", text::count(n, "file")),
    };
    let (files, size) = (text::count(unpacked.written.len(), "file"), text::bytes(unpacked.bytes));
    context.output.note(&format!("unpacked {files}, {size}, to {}{unchanged}{}", directory.display(), left_out(unpacked.left_out)));
    context.output.result(&unpacked.digest.to_string(), &unpacked)
}

/// A message about files that a selection left out, to be appended to the result.
fn left_out(left_out: LeftOut) -> String {
    let left = match (left_out.files, left_out.archives) {
        (0, 0) => return String::new(),
        (files, 0) => text::count(files, "file"),
        (0, archives) => text::count(archives, "archive"),
        (files, archives) => format!("{} and {}", text::count(files, "file"), text::count(archives, "archive")),
    };
    format!("; left out {left}, {}", text::bytes(left_out.bytes))
}
