//! `modelpack cp`: from any place to any other. `push` and `pull` end here too.

use crate::{args::TransferArgs, context::Context, failure::Failure, text};
use modelpack::{Copied, Modelpack, Place};
use serde::Serialize;

/// Copy an artifact from any place to any other
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack cp registry.example.com/team/tiny:v1 oci-archive:tiny.tar")]
pub struct Args {
    /// Where it is
    #[arg(value_name = "FROM")]
    from: Place,
    /// Where it goes; a bare reference means its registry
    #[arg(value_name = "TO")]
    to: Place,
    /// Make it an artifact of the ModelPack specification, from a KitOps ModelKit or a model of Docker or Ollama; layers stay as they are
    #[arg(long = "to", value_name = "FORM", id = "form")]
    form: Option<Form>,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// What an artifact can be made.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    Modelpack,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.form {
        None => copy("copying", &args.transfer, context, async |m| m.copy(&args.from, &args.to).await).await,
        Some(Form::Modelpack) => {
            let convert = async |m: &Modelpack| m.convert(&args.from, &args.to).await;
            let converted = context.transfer("converting", &args.transfer, convert).await?;
            for value in &converted.invalid_values {
                context.output.note(&format!("left out: {value}"));
            }
            print(&converted.copied, &converted, context)
        }
    }
}

/// Copies by `work`, and prints the digest.
pub async fn copy(
    doing: &'static str,
    transfer: &TransferArgs,
    context: &Context,
    work: impl AsyncFnOnce(&Modelpack) -> modelpack::Result<Copied>,
) -> Result<(), Failure> {
    let copied = context.transfer(doing, transfer, work).await?;
    print(&copied, &copied, context)
}

/// Prints the digest of what was copied, and tells a person what was moved. A program gets `result`.
fn print(copied: &Copied, result: &impl Serialize, context: &Context) -> Result<(), Failure> {
    let (size, present) = (text::bytes(copied.moved), text::bytes(copied.present));
    context.output.note(&format!("{} to {}: {size} moved, {present} there already", copied.from, copied.to));
    note_referrers(copied, context);
    context.output.result(&copied.digest.to_string(), result)
}

/// Says what lies beside the original and not beside the copy.
pub fn note_referrers(copied: &Copied, context: &Context) {
    if let Some(left @ 1..) = copied.referrers_left_behind {
        let (referrers, refer) = (text::count(left, "referrer"), if left == 1 { "is" } else { "are" });
        context.output.note(&format!("{referrers} of {} (signatures, SBOMs and the like) {refer} not copied", copied.from));
    }
}
