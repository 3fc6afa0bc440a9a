//! `modelpack cp`: copies from any place to any other. `push` and `pull` also use this code.

use crate::{
    args::{HashStatesArgs, TransferArgs},
    context::Context,
    failure::{Failure, Kind},
    text,
};
use modelpack::{
    Copied, CopyReferrers, ImagePrefix, Modelpack, Place,
    spec::{Descriptor, media_type},
};
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
    /// Convert it: `modelpack` makes a ModelPack artifact of a KitOps ModelKit or a model of Docker
    /// or Ollama, with unchanged layers; `image` makes an OCI image that containerd, Podman and
    /// KServe mount
    #[arg(long = "to", value_name = "FORM", id = "form")]
    form: Option<Form>,
    /// With `--to image`: the directory of the image that has the files [default: /models]
    #[arg(long, value_name = "DIR", requires = "form")]
    prefix: Option<ImagePrefix>,
    /// Also copy what refers to it, such as signatures and SBOMs; the default if the target is
    /// oci: or oci-archive:
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "form")]
    referrers: Option<bool>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    hash_states: HashStatesArgs,
}

/// The target format of a conversion.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    Modelpack,
    Image,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let transfer = args.hash_states.of(args.transfer);
    match args.form {
        None => {
            let referrers = match args.referrers {
                None => CopyReferrers::ToLayouts,
                Some(true) => CopyReferrers::Always,
                Some(false) => CopyReferrers::Never,
            };
            copy("copying", &transfer, context, async |m| m.copy_with(&args.from, &args.to, referrers).await).await
        }
        Some(Form::Modelpack) => {
            if args.prefix.is_some() {
                return Err(Failure::new(
                    Kind::Usage,
                    "`--prefix` is for `--to image` only: a ModelPack artifact has no directory for its files",
                ));
            }
            let convert = async |m: &Modelpack| m.convert(&args.from, &args.to).await;
            let converted = context.transfer("converting", &transfer, convert).await?;
            for value in &converted.invalid_values {
                context.output.note(&format!("left out: {value}"));
            }
            print(&converted.copied, "", &converted, context)
        }
        Some(Form::Image) => {
            let prefix = args.prefix.unwrap_or_default();
            let work = async |m: &Modelpack| m.to_image(&args.from, &args.to, &prefix).await;
            let image = context.transfer("converting", &transfer, work).await?;
            let (layers, platforms) = (text::count(image.layers, "layer"), image.platforms.join(", "));
            context.output.note(&format!("an image of {layers} for {platforms}; the files are in {}", image.prefix));
            print(&image.copied, "", &image, context)
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
    print(&copied, HOW_TO_COPY, &copied, context)
}

/// What to do about referrers that are left behind.
pub const HOW_TO_COPY: &str = "; `modelpack cp --referrers` copies them";

/// Prints the digest of the copy, with notices about the moved bytes and about its referrers; `result` is the JSON output.
fn print(copied: &Copied, what_to_do: &str, result: &impl Serialize, context: &Context) -> Result<(), Failure> {
    let (size, present) = (text::bytes(copied.moved), text::bytes(copied.present));
    context.output.note(&format!("{} to {}: {size} moved, {present} already present", copied.from, copied.to));
    let is_more_than_a_list = |referrer: &&Descriptor| referrer.artifact_type.as_deref() != Some(media_type::HASH_STATES);
    if let count @ 1.. = copied.referrers.iter().filter(is_more_than_a_list).count() {
        context.output.note(&format!("{} copied", referrers(count, copied)));
    }
    note_left_behind(copied, what_to_do, context);
    context.output.result(&copied.digest.to_string(), result)
}

/// Reports referrers of the original that the copy does not have, and what to do about that.
pub fn note_left_behind(copied: &Copied, what_to_do: &str, context: &Context) {
    if let Some(left @ 1..) = copied.referrers_left_behind {
        context.output.note(&format!("{} not copied{what_to_do}", referrers(left, copied)));
    }
}

/// The beginning of a sentence about `count` referrers.
fn referrers(count: usize, copied: &Copied) -> String {
    let is = if count == 1 { "is" } else { "are" };
    format!("{} of {} (signatures, SBOMs and the like) {is}", text::count(count, "referrer"), copied.from)
}
