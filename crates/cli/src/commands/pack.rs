//! `modelpack pack`: a directory becomes an artifact. `build` and `push DIR` end here too.

use crate::{args::TransferArgs, context::Context, failure::Failure, text};
use modelpack::{Metadata, PackRequest, Place};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Pack a directory into the store, or straight into another place
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack pack ./tiny -t registry.example.com/team/tiny:v1")]
pub struct Args {
    /// The model's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What the artifact is called, and so where it goes; a bare reference means the store
    #[arg(short, long, value_name = "PLACE")]
    tag: Place,
    /// Which files are packed as what, and more; default DIR/Modelfile, if it is there
    #[arg(short = 'f', long = "file", value_name = "MODELFILE")]
    modelfile: Option<PathBuf>,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let metadata = Metadata { created_at: context.created_at()?, ..Metadata::default() };
    let request = PackRequest { directory: args.directory, modelfile: args.modelfile, metadata };
    pack(request, &args.tag, &args.transfer, context).await
}

/// Packs, and prints the digest.
pub async fn pack(mut request: PackRequest, to: &Place, transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    if request.modelfile.is_none() {
        request.modelfile = own_modelfile(&request.directory);
        if let Some(modelfile) = &request.modelfile {
            context.output.note(&format!("using {}", modelfile.display()));
        }
    }
    let doing = if matches!(to, Place::Registry(_)) { "pushing" } else { "packing" };
    let (packed, moved) = context.transfer(doing, transfer, async |m| m.pack(&request, to).await).await?;
    let present = if moved.skipped > 0 { format!("; {} of it was there already", text::bytes(moved.skipped)) } else { String::new() };
    context.output.note(&format!("packed {}, {}, to {}{present}", text::count(packed.files, "file"), text::bytes(packed.bytes), packed.to));
    let value = json!({
        "reference": packed.to.to_string(), "digest": packed.digest.to_string(),
        "files": packed.files, "bytes": packed.bytes, "present": moved.skipped,
    });
    context.output.result(&packed.digest.to_string(), &value)
}

/// The Modelfile that lies in the directory itself.
fn own_modelfile(directory: &Path) -> Option<PathBuf> {
    let path = directory.join("Modelfile");
    path.is_file().then_some(path)
}
