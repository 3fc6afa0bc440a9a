//! `modelpack pack`: packs a directory into an artifact. `build` and `push DIR` use the same code.

use super::{plan, scan};
use crate::{
    args::{HashStatesArgs, PackArgs, TransferArgs, source},
    context::Context,
    failure::{Failure, Kind},
    text,
};
use modelpack::{Description, Finding, ModelfilePath, PackRequest, PackSource, Place};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The maximum length of a value in an explanation, in characters: the length of the longest commit
/// id.
const VALUE: usize = 64;

const AFTER_HELP: &str = "\
The artifact to pack can be in the store, a registry, an image layout or an archive. A directory has priority over an artifact of the \
same name. Unchanged layers keep their bytes. Values of the config come from the flags, then from the Modelfile, then from \
the config of the artifact, then from the files.

Example: modelpack pack ./tiny -t registry.example.com/team/tiny:v1";

/// Pack a directory, or the files of an artifact, into the store or directly into another place
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The model's directory, or an artifact
    #[arg(value_name = "DIR|PLACE")]
    source: PathBuf,
    /// The name and the destination of the artifact; a bare reference means the store
    #[arg(short, long, value_name = "PLACE", required_unless_present = "dry_run")]
    tag: Option<Place>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    hash_states: HashStatesArgs,
    #[command(flatten)]
    pack: PackArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    pack(&args.source, args.tag.as_ref(), &args.pack, true, &args.hash_states.of(args.transfer), context).await
}

/// Packs and prints the digest; without a destination, prints the plan. Uses SOURCE_DATE_EPOCH if
/// `dated` is true.
pub async fn pack(
    from: &Path,
    to: Option<&Place>,
    args: &PackArgs,
    dated: bool,
    transfer: &TransferArgs,
    context: &Context,
) -> Result<(), Failure> {
    let request = args.request(source(from), dated, context)?;
    if let (Some(found @ ModelfilePath::InDirectory(_)), PackSource::Directory(directory)) = (&request.modelfile, &request.source) {
        context.output.note(&format!("using {}", found.path(directory).display()));
    }
    let packed = pack_request(&request, to, args, transfer, context).await;
    packed.map_err(|failure| match &request.source {
        // The argument can be either, so the message names both.
        PackSource::Place(Place::Reference(_)) if failure.is(Kind::NotFound) => {
            Failure::new(Kind::NotFound, format!("the directory {} was not found, and {}", from.display(), failure.message()))
        }
        _ => failure,
    })
}

async fn pack_request(
    request: &PackRequest,
    to: Option<&Place>,
    args: &PackArgs,
    transfer: &TransferArgs,
    context: &Context,
) -> Result<(), Failure> {
    let to = match to {
        Some(to) if !args.dry_run => to,
        _ => return plan::show(request, args.explain, transfer, context).await,
    };
    let doing = if matches!(to, Place::Registry(_)) { "pushing" } else { "packing" };
    let packed = context.transfer(doing, transfer, async |m| m.pack(request, to).await).await?;
    warn(&packed.description, context);
    scan::warn(&packed.scan, &context.output);
    let present = if packed.present > 0 { format!("; {} of it already present", text::bytes(packed.present)) } else { String::new() };
    let layers = if packed.layers == packed.files { String::new() } else { format!(" in {}", text::count(packed.layers, "layer")) };
    let files = text::count(packed.files, "file");
    context.output.note(&format!("packed {files}{layers}, {}, to {}{present}", text::bytes(packed.bytes), packed.to));
    if args.explain {
        explain(&packed.description, context);
    }
    context.output.result(&packed.digest.to_string(), &packed)
}

/// Warns of files that should contain metadata of the model, but gave none.
pub fn warn(description: &Description, context: &Context) {
    description.warnings.iter().for_each(|warning| context.output.warn(warning));
}

/// Prints each value of the config and its source as notices. The JSON result contains them too.
pub fn explain(description: &Description, context: &Context) {
    explanation(description).lines().for_each(|line| context.output.note(line));
    description.notes.iter().for_each(|note| context.output.note(&text::printable(note)));
}

/// A table of each value of the config and its source, each followed by the values that it
/// overruled.
fn explanation(description: &Description) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let cell = |text: &str| text::shortened(&text::printable(text), VALUE);
    let row = |field: &str, finding: &Finding, note: &str| {
        [field.to_owned(), cell(&shown(&finding.value)), format!("{}{note}", text::printable(&finding.source))]
    };
    if description.findings.is_empty() {
        return "no metadata of the model was found".to_owned();
    }
    let mut rows = vec![["FIELD", "VALUE", "FROM"].map(str::to_owned)];
    for finding in &description.findings {
        rows.push(row(finding.field, finding, ""));
        rows.extend(description.overruled_by(finding).map(|other| row("", other, " (overruled)")));
    }
    text::table([text::Align::Left; 3], &rows)
}
