//! `modelpack attach`: adds files to an artifact, or replaces them in it.

use crate::{
    args::{HashStatesArgs, TransferArgs},
    context::Context,
    failure::{Failure, Kind},
    text,
};
use modelpack::{
    AttachOptions, Attachment, Place,
    spec::{FilePath, LayerKind},
};
use std::path::{Component, Path, PathBuf};

/// Add files to an artifact, or replace files in it; the rest stays unchanged
///
/// A relative path below the working directory is also the path in the artifact. For other paths,
/// only the file name is used.
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack attach README.md -s tiny:v1 -t tiny:v2")]
pub struct Args {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The artifact to add the files to
    #[arg(short, long, value_name = "PLACE")]
    source: Place,
    /// The target of the new artifact; a bare reference means the store
    #[arg(short, long, value_name = "PLACE")]
    target: Place,
    /// The directory in the artifact for the files
    #[arg(short, long = "dir", visible_alias = "destination-dir", value_name = "DIR")]
    directory: Option<String>,
    /// The kind of the files; default: inferred from their names, or the kind of the replaced file
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<LayerKind>,
    /// Replace files that are already in the artifact
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    hash_states: HashStatesArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let attachment = |source: &PathBuf| {
        let path = path_in_artifact(source, args.directory.as_deref())?;
        Ok(Attachment::new(source, path).kind(args.kind))
    };
    let files = args.files.iter().map(attachment).collect::<Result<Vec<_>, Failure>>()?;
    let options = AttachOptions::default().replace(args.force);
    let attach = async |m: &modelpack::Modelpack| m.attach(&args.source, &files, &args.target, &options).await;
    let attached = context.transfer("attaching", &args.hash_states.of(args.transfer), attach).await?;
    let counts = [(&attached.added, "added"), (&attached.replaced, "replaced"), (&attached.unchanged, "already present")];
    let counts: Vec<String> =
        counts.iter().filter(|(files, _)| !files.is_empty()).map(|(files, word)| format!("{} {word}", files.len())).collect();
    let (size, to) = (text::bytes(attached.moved), &attached.to);
    context.output.note(&format!("{} of {}; {size} moved to {to}", counts.join(", "), text::count(files.len(), "file")));
    context.output.result(&attached.digest.to_string(), &attached)
}

fn kind(text: &str) -> Result<LayerKind, String> {
    let name = if text == "config" { "weight.config" } else { text };
    let known = LayerKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| "expected weight, config, code, dataset or doc".to_owned())
}

fn path_in_artifact(source: &Path, directory: Option<&str>) -> Result<FilePath, Failure> {
    let is_below = source.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let name = if directory.is_some() || !is_below { source.file_name().map(Path::new) } else { Some(source) };
    let invalid = |why: String| Failure::new(Kind::Usage, format!("{} can have no path in an artifact: {why}", source.display()));
    let name = name.and_then(Path::to_str).ok_or_else(|| invalid("it has no name in UTF-8".to_owned()))?;
    let path = directory.map_or_else(|| name.to_owned(), |directory| format!("{directory}/{name}"));
    path.parse().map_err(|e: modelpack::spec::InvalidPath| invalid(e.to_string()))
}
