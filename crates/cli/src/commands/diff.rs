//! `modelpack diff`: the differences between two artifacts or directories.

use crate::{
    args::{PlanArgs, TransferArgs},
    context::Context,
    failure::Failure,
    text::{self, Align, printable, shortened, table},
};
use modelpack::{Aspect, Change, Diff, InspectedLayer, LayerChange, Model, ValueChange, spec::LayerType};
use serde_json::Value;
use std::path::PathBuf;

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
    let diff = context.transfer("comparing", &args.transfer, async |m| m.diff(&a, &b).await).await?;
    context.output.result(&for_people(&diff), &diff)?;
    if diff.equal { Ok(()) } else { Err(Failure::difference()) }
}

fn for_people(diff: &Diff) -> String {
    let rows = [("A", &diff.a), ("B", &diff.b)];
    let rows = rows.map(|(name, side)| [name.to_owned(), printable(&side.target).into_owned(), side.digest.to_string()]);
    let mut parts = vec![table([Align::Left; 3], &rows)];
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
    let old_and_new = |show: &dyn Fn(&InspectedLayer) -> String| {
        let mut shown: Vec<String> = [&change.old, &change.new].into_iter().flatten().map(show).collect();
        shown.dedup();
        shown.join(" -> ")
    };
    let mut name = old_and_new(&path_of);
    if change.aspects.contains(&Aspect::Type) {
        name = format!("{name}, {}", old_and_new(&type_of));
    }
    if let (true, Some(new)) = (change.aspects.contains(&Aspect::Executable), &change.new) {
        name = format!("{name}, {}", if new.is_executable { "now executable" } else { "no longer executable" });
    }
    [change.change.name().to_owned(), old_and_new(&|layer| text::bytes(layer.size)), name]
}

fn path_of(layer: &InspectedLayer) -> String {
    let path = layer.path.as_ref().map_or_else(|| layer.digest.to_string(), |path| printable(path.as_str()).into_owned());
    if layer.is_archive { format!("{path} (archive)") } else { path }
}

fn type_of(layer: &InspectedLayer) -> String {
    match layer.media_type.parse::<LayerType>() {
        Ok(known) => format!("{} {}", known.kind.name(), known.encoding.name()),
        Err(_) => printable(&layer.media_type).into_owned(),
    }
}

fn summary(diff: &Diff) -> String {
    let same = format!("{}, {}", text::count(diff.same.layers, "layer"), text::bytes(diff.same.bytes));
    if diff.equal {
        let form = if diff.a.digest == diff.b.digest { "" } else { "; the manifests differ only in form, such as the order of layers" };
        return format!("No difference: {same}{form}");
    }
    let mut counts = Vec::new();
    for kind in [Change::Changed, Change::Renamed, Change::Added, Change::Removed] {
        let number = diff.layers.iter().filter(|change| change.change == kind).count();
        if number > 0 {
            counts.push(format!("{number} {}", kind.name()));
        }
    }
    counts.push(format!("the same: {same}"));
    let needed = match diff.to_fetch.layers {
        0 => "nothing".to_owned(),
        layers => format!("{}, {}", text::count(layers, "layer"), text::bytes(diff.to_fetch.bytes)),
    };
    format!("{}\nA download of B by a client that has A fetches {needed}", counts.join("; "))
}
