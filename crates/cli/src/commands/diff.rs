//! `modelpack diff`: the differences between two artifacts or directories.

use crate::{
    args::{PlanArgs, TransferArgs},
    context::Context,
    failure::Failure,
    text::{self, Align, printable, shortened, table},
};
use modelpack::{
    Aspect, Diff, LayerChange, Model, ValueChange,
    spec::{Content, Layer, LayerType},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The number of characters of a value that are shown.
const VALUE: usize = 60;

/// Show the differences between two artifacts or directories: metadata, files, sizes, and the size
/// of the layers of B that A does not have
///
/// A directory is compared like the artifact packed from it. An archive layer is compared as a
/// whole. The exit code is 0 without differences and 1 with differences.
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack diff registry.example.com/team/tiny:v1 ./tiny")]
pub struct Args {
    /// An artifact, or a model's directory
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another artifact or directory
    #[arg(value_name = "B")]
    b: PathBuf,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (a, b) = (args.plan.model(&args.a)?, args.plan.model(&args.b)?);
    args.plan.expect_directory([&a, &b].iter().any(|model| matches!(model, Model::Files(_))))?;
    let (diff, _) = context.transfer("comparing", &args.transfer, async |m| m.diff(&a, &b).await).await?;
    context.output.result(&for_people(&args, &diff), &for_programs(&args, &diff))?;
    if diff.is_equal() { Ok(()) } else { Err(Failure::difference()) }
}

fn for_people(args: &Args, diff: &Diff) -> String {
    let name = |target: &Path| printable(&target.to_string_lossy()).into_owned();
    let rows = [("A", &args.a, &diff.digests[0]), ("B", &args.b, &diff.digests[1])];
    let mut parts = vec![table([Align::Left; 3], &rows.map(|(side, target, digest)| [side.to_owned(), name(target), digest.to_string()]))];
    let annotations = diff.annotations.iter().map(|change| value_row("annotation ", change));
    let values: Vec<_> = diff.metadata.iter().map(|change| value_row("", change)).chain(annotations).collect();
    if !values.is_empty() {
        parts.push(table([Align::Left; 4], &values));
    }
    let (minor, files): (Vec<_>, Vec<_>) = diff.layers.iter().partition(|change| change.aspects == [Aspect::Annotations]);
    if !files.is_empty() {
        parts.push(table([Align::Left, Align::Right, Align::Left], &files.into_iter().map(file_row).collect::<Vec<_>>()));
    }
    if !minor.is_empty() {
        let number = text::count(minor.len(), "layer");
        parts.push(format!("{number} changed only in annotations, such as times and owners; `--json` lists them"));
    }
    parts.push(summary(diff));
    parts.join("\n\n")
}

fn value_row(prefix: &str, change: &ValueChange) -> [String; 4] {
    let shown = |value: &Option<Value>| match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => shortened(&printable(text), VALUE),
        Some(other) => shortened(&printable(&other.to_string()), VALUE),
    };
    [format!("{prefix}{}", printable(&change.name)), shown(&change.old), "->".to_owned(), shown(&change.new)]
}

fn file_row(change: &LayerChange) -> [String; 3] {
    let old_and_new = |show: &dyn Fn(&Layer) -> String| {
        let mut shown: Vec<String> = [&change.old, &change.new].into_iter().flatten().map(show).collect();
        shown.dedup();
        shown.join(" -> ")
    };
    let mut name = old_and_new(&path_of);
    if change.aspects.contains(&Aspect::Type) {
        name = format!("{name}, {}", old_and_new(&type_of));
    }
    if let (true, Some(new)) = (change.aspects.contains(&Aspect::Executable), &change.new) {
        name = format!("{name}, {}", if new.is_executable() { "now executable" } else { "no longer executable" });
    }
    [what(change).to_owned(), old_and_new(&|layer| text::bytes(layer.descriptor.size)), name]
}

/// The kind of change of a layer, in one word.
fn what(change: &LayerChange) -> &'static str {
    match (&change.old, &change.new) {
        (None, _) => "added",
        (_, None) => "removed",
        _ if change.aspects.contains(&Aspect::Path) => "renamed",
        _ => "changed",
    }
}

fn path_of(layer: &Layer) -> String {
    let path = layer.path.as_ref().map_or_else(|| layer.descriptor.digest.to_string(), |path| printable(path.as_str()).into_owned());
    if matches!(layer.content, Content::Archive(_)) { format!("{path} (archive)") } else { path }
}

fn type_of(layer: &Layer) -> String {
    match layer.descriptor.media_type.parse::<LayerType>() {
        Ok(known) => format!("{} {}", known.kind.name(), known.encoding.name()),
        Err(_) => printable(&layer.descriptor.media_type).into_owned(),
    }
}

fn summary(diff: &Diff) -> String {
    let same = format!("{}, {}", text::count(diff.same.layers, "layer"), text::bytes(diff.same.bytes));
    if diff.is_equal() {
        let form = if diff.digests[0] == diff.digests[1] { "" } else { "; the manifests differ only in form, such as the order of layers" };
        return format!("No difference: {same}{form}");
    }
    let mut counts = Vec::new();
    for word in ["changed", "renamed", "added", "removed"] {
        let number = diff.layers.iter().filter(|change| what(change) == word).count();
        if number > 0 {
            counts.push(format!("{number} {word}"));
        }
    }
    counts.push(format!("the same: {same}"));
    let needed = match diff.to_fetch.layers {
        0 => "nothing".to_owned(),
        layers => format!("{}, {}", text::count(layers, "layer"), text::bytes(diff.to_fetch.bytes)),
    };
    format!("{}\nA download of B by a client that has A fetches {needed}", counts.join("; "))
}

fn for_programs(args: &Args, diff: &Diff) -> Value {
    let values = |changes: &[ValueChange]| -> Value {
        changes.iter().map(|change| json!({ "field": change.name, "old": change.old, "new": change.new })).collect()
    };
    let layer = |layer: &Layer| {
        json!({
            "path": layer.path.as_ref().map(|path| path.as_str()),
            "kind": layer.kind.map(|kind| kind.name()),
            "mediaType": layer.descriptor.media_type,
            "digest": layer.descriptor.digest.to_string(),
            "size": layer.descriptor.size,
            "archive": matches!(layer.content, Content::Archive(_)),
            "executable": layer.is_executable(),
        })
    };
    let layers = diff.layers.iter().map(|change| {
        let differs: Vec<&str> = change.aspects.iter().map(|aspect| aspect.name()).collect();
        json!({ "change": what(change), "differs": differs, "old": change.old.as_ref().map(layer), "new": change.new.as_ref().map(layer) })
    });
    json!({
        "a": { "target": args.a.to_string_lossy(), "digest": diff.digests[0].to_string() },
        "b": { "target": args.b.to_string_lossy(), "digest": diff.digests[1].to_string() },
        "equal": diff.is_equal(),
        "metadata": values(&diff.metadata),
        "annotations": values(&diff.annotations),
        "layers": layers.collect::<Vec<_>>(),
        "same": { "layers": diff.same.layers, "bytes": diff.same.bytes },
        "toFetch": { "layers": diff.to_fetch.layers, "bytes": diff.to_fetch.bytes },
    })
}
