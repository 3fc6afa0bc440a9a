//! `modelpack verify`: every byte of an artifact is read and compared with its digest.

use crate::{args::TransferArgs, context::Context, failure::Failure, text};
use modelpack::Place;
use serde_json::json;

/// Read every byte of an artifact and compare it with its digest
#[derive(clap::Args)]
pub struct Args {
    /// The artifact
    #[arg(value_name = "PLACE")]
    place: Place,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (verified, _) = context.transfer("verifying", &args.transfer, async |m| m.verify(&args.place).await).await?;
    context.output.note(&format!("verified {}, {}", text::count(verified.blobs, "blob"), text::bytes(verified.bytes)));
    let value = json!({ "digest": verified.digest.to_string(), "blobs": verified.blobs, "bytes": verified.bytes });
    context.output.result(&verified.digest.to_string(), &value)
}
