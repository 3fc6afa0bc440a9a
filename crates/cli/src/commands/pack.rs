//! `modelpack pack`: a directory becomes an artifact. `build` and `push DIR` end here too.

use super::plan;
use crate::{
    args::{PackArgs, TransferArgs},
    context::Context,
    failure::Failure,
    text,
};
use modelpack::{Finding, Place};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Pack a directory into the store, or straight into another place
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack pack ./tiny -t registry.example.com/team/tiny:v1")]
pub struct Args {
    /// The model's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What the artifact is called, and so where it goes; a bare reference means the store
    #[arg(short, long, value_name = "PLACE", required_unless_present = "dry_run")]
    tag: Option<Place>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    pack: PackArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    pack(args.directory, args.tag.as_ref(), &args.pack, true, &args.transfer, context).await
}

/// Packs, and prints the digest, or with nowhere to pack to the plan; SOURCE_DATE_EPOCH counts if `dated`.
pub async fn pack(
    directory: PathBuf,
    to: Option<&Place>,
    args: &PackArgs,
    dated: bool,
    transfer: &TransferArgs,
    context: &Context,
) -> Result<(), Failure> {
    let mut request = args.request(directory, dated, context)?;
    if request.modelfile.is_none() {
        request.modelfile = own_modelfile(&request.directory);
        if let Some(modelfile) = &request.modelfile {
            context.output.note(&format!("using {}", modelfile.display()));
        }
    }
    let to = match to {
        Some(to) if !args.dry_run => to,
        _ => return plan::show(&request, args.explain, transfer, context).await,
    };
    let doing = if matches!(to, Place::Registry(_)) { "pushing" } else { "packing" };
    let (packed, moved) = context.transfer(doing, transfer, async |m| m.pack(&request, to).await).await?;
    let present = if moved.skipped > 0 { format!("; {} of it was there already", text::bytes(moved.skipped)) } else { String::new() };
    let layers = if packed.layers == packed.files { String::new() } else { format!(" in {}", text::count(packed.layers, "layer")) };
    let files = text::count(packed.files, "file");
    context.output.note(&format!("packed {files}{layers}, {}, to {}{present}", text::bytes(packed.bytes), packed.to));
    let mut value = json!({
        "reference": packed.to.to_string(), "digest": packed.digest.to_string(), "layers": packed.layers,
        "files": packed.files, "bytes": packed.bytes, "present": moved.skipped,
    });
    if args.explain {
        explain(&packed.findings, &mut value, context);
    }
    context.output.result(&packed.digest.to_string(), &value)
}

/// Tells a person, or in the result a program, each value of the config and where it came from.
pub fn explain(said: &[Finding], value: &mut Value, context: &Context) {
    explanation(said).lines().for_each(|line| context.output.note(line));
    value["metadata"] = findings(said);
}

/// Each value of the config and where it came from, a line each.
fn explanation(findings: &[Finding]) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let cell = |text: &str| text::shortened(&text::printable(text), 60);
    let rows = findings.iter().map(|said| [said.field.to_owned(), cell(&shown(&said.value)), said.source.clone()]);
    let header = ["FIELD", "VALUE", "FROM"].map(str::to_owned);
    text::table([text::Align::Left; 3], &[header].into_iter().chain(rows).collect::<Vec<_>>())
}

fn findings(findings: &[Finding]) -> Value {
    findings.iter().map(|said| json!({ "field": said.field, "value": said.value, "from": said.source })).collect()
}

/// The Modelfile that lies in the directory itself, or else the Kitfile.
pub fn own_modelfile(directory: &Path) -> Option<PathBuf> {
    ["Modelfile", "Kitfile", "kitfile", ".kitfile"].map(|name| directory.join(name)).into_iter().find(|path| path.is_file())
}
