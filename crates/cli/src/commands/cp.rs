//! `modelpack cp`: copies from any place to any other. `push` and `pull` also use this code.

use crate::{args::TransferArgs, context::Context, failure::Failure, text};
use modelpack::{Copied, Modelpack, Place};
use serde::Serialize;

/// Copy an artifact from any place to any other
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack cp registry.example.com/team/tiny:v1 oci-archive:tiny.tar")]
pub struct Args {
    /// The source
    #[arg(value_name = "FROM")]
    from: Place,
    /// The target; a bare reference means its registry
    #[arg(value_name = "TO")]
    to: Place,
    /// Convert it to a ModelPack artifact, from a KitOps ModelKit or a model of Docker or Ollama;
    /// layers stay unchanged
    #[arg(long = "to", value_name = "FORM", id = "form")]
    form: Option<Form>,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// The target format of a conversion.
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

/// Copies with `work`, and prints the digest.
pub async fn copy(
    doing: &'static str,
    transfer: &TransferArgs,
    context: &Context,
    work: impl AsyncFnOnce(&Modelpack) -> modelpack::Result<Copied>,
) -> Result<(), Failure> {
    let copied = context.transfer(doing, transfer, work).await?;
    print(&copied, &copied, context)
}

/// Prints the digest of the copy, with a notice about the moved bytes; `result` is the JSON output.
fn print(copied: &Copied, result: &impl Serialize, context: &Context) -> Result<(), Failure> {
    let (size, present) = (text::bytes(copied.moved), text::bytes(copied.present));
    context.output.note(&format!("{} to {}: {size} moved, {present} already present", copied.from, copied.to));
    note_referrers(copied, context);
    context.output.result(&copied.digest.to_string(), result)
}

/// Reports referrers of the original that the copy does not have.
pub fn note_referrers(copied: &Copied, context: &Context) {
    if let Some(left @ 1..) = copied.referrers_left_behind {
        let (referrers, refer) = (text::count(left, "referrer"), if left == 1 { "is" } else { "are" });
        context.output.note(&format!("{referrers} of {} (signatures, SBOMs and the like) {refer} not copied", copied.from));
    }
}
