//! `modelpack ls`: lists the content of a store, a registry, a layout or an archive.

use crate::{
    args::RegistryArgs,
    context::Context,
    failure::{Failure, Kind},
    text::{self, Align, printable},
};
use modelpack::{ListTarget, ListedEntry, Listing, Unreadable};
use serde::Serialize;

/// List the content of a store, a registry, a layout or an archive
#[derive(clap::Args)]
#[command(after_help = "\
What is listed:
  (nothing)          all artifacts in the store
  NAME               the artifacts in the store with this name, or a name below it; write
                     `store:` before a name with a host
  HOST/NAME          the tags of a repository in its registry
  HOST/              the repositories of a registry
  oci:PATH           the manifests in an OCI image layout directory
  oci-archive:FILE   the manifests in a tar archive of an image layout

Example: modelpack ls registry.example.com/team/tiny")]
pub struct Args {
    /// The target to list; without it, the artifacts in the store
    #[arg(value_name = "WHAT")]
    what: Option<ListTarget>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let modelpack = context.modelpack(&args.registry);
    match args.what {
        None => artifacts(&modelpack.list(None).await?, context),
        Some(ListTarget::Store(name)) => artifacts(&modelpack.list(Some(&name)).await?, context),
        Some(ListTarget::Layout(path)) => entries(&modelpack.list_layout(&path).await?, context),
        Some(ListTarget::Archive(path)) => entries(&modelpack.list_archive(&path).await?, context),
        Some(ListTarget::Tags(name)) => {
            let tags = modelpack.list_tags(&name).await?;
            lines(tags.iter().map(|listed| listed.tag.as_str()), &tags, context)
        }
        Some(ListTarget::Repositories(host)) => {
            let listed = modelpack.list_repositories(&host).await.map_err(|error| without_catalogue(error.into(), &host))?;
            lines(listed.iter().map(|listed| listed.repository.as_str()), &listed, context)
        }
    }
}

/// Adds a hint, because many registries do not list their repositories.
fn without_catalogue(failure: Failure, host: &str) -> Failure {
    if !failure.is(Kind::NotFound) {
        return failure;
    }
    failure.hint(format!("not every registry has one; `modelpack ls {host}/NAME` lists the tags of a repository"))
}

/// Prints one name per line.
fn lines<'a>(names: impl Iterator<Item = &'a str>, listed: &impl Serialize, context: &Context) -> Result<(), Failure> {
    context.output.result(&names.collect::<Vec<_>>().join("\n"), listed)
}

fn entries(listed: &[ListedEntry], context: &Context) -> Result<(), Failure> {
    let mut rows = vec![["NAME", "DIGEST", "SIZE", "TYPE"].map(str::to_owned)];
    rows.extend(listed.iter().map(|entry| {
        let kind = entry.artifact_type.as_deref().unwrap_or("-");
        [
            entry.name.as_deref().map_or("-".into(), |name| printable(name).into_owned()),
            entry.digest.short().to_owned(),
            entry.size.map_or("-".into(), text::bytes),
            format!("{}{}", printable(kind), if entry.is_referrer { " (refers to another)" } else { "" }),
        ]
    }));
    context.output.result(&text::table([Align::Left, Align::Left, Align::Right, Align::Left], &rows), &listed)
}

fn artifacts(listing: &Listing, context: &Context) -> Result<(), Failure> {
    for broken in &listing.unreadable {
        context.output.warn(&describe(broken));
    }
    let mut rows = vec![["REPOSITORY", "TAG", "DIGEST", "CREATED", "SIZE"].map(str::to_owned)];
    rows.extend(listing.artifacts.iter().map(|artifact| {
        [
            artifact.repository.to_string(),
            artifact.tag.as_ref().map_or("-".into(), ToString::to_string),
            artifact.digest.short().to_owned(),
            artifact.created_at.as_deref().map_or("-".into(), |time| printable(time).into_owned()),
            text::bytes(artifact.size),
        ]
    }));
    context.output.result(&text::table([Align::Left, Align::Left, Align::Left, Align::Left, Align::Right], &rows), listing)
}

/// A message about an unreadable repository or artifact, with advice.
fn describe(broken: &Unreadable) -> String {
    let Unreadable { repository, tag, digest, layout, why, is_denied, .. } = broken;
    let Some(repository) = repository else {
        let advice = if *is_denied { ASK_OWNER } else { "rename it or move it away" };
        return format!("{} is skipped: {why}; {advice}", layout.display());
    };
    let which = match (tag, digest) {
        (Some(tag), _) => format!("{repository}:{tag}"),
        (None, Some(digest)) => format!("{repository}@{digest}"),
        (None, None) => repository.to_string(),
    };
    let advice = match (is_denied, tag, digest) {
        (true, ..) => ASK_OWNER.to_owned(),
        (false, None, None) => "`modelpack verify --repair` repairs the store".to_owned(),
        _ => format!("try `modelpack verify --repair {which}`"),
    };
    format!("{which} cannot be read: {why}; {advice}")
}

/// The advice for users without read permission.
pub const ASK_OWNER: &str = "only its owner can give you the permission to read it";
