//! `modelpack ls`: lists the content of a store, a registry, a layout or an archive.

use crate::{
    args::RegistryArgs,
    context::Context,
    failure::{Failure, Kind},
    text::{self, Align, printable},
};
use modelpack::{ListTarget, ListedEntry, Listing, Unreadable};
use serde_json::{Value, json};

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
            let values: Vec<Value> = tags.iter().map(|tag| json!({ "repository": name.to_string(), "tag": tag.to_string() })).collect();
            lines(tags.iter().map(ToString::to_string), &values, context)
        }
        Some(ListTarget::Repositories(host)) => {
            let names = modelpack.list_repositories(&host).await.map_err(|error| without_catalogue(error.into(), &host))?;
            let names: Vec<String> = names.iter().map(|name| format!("{host}/{name}")).collect();
            let values: Vec<Value> = names.iter().map(|name| json!({ "repository": name })).collect();
            lines(names, &values, context)
        }
    }
}

/// Adds a hint, because many registries do not list their repositories.
fn without_catalogue(failure: Failure, host: &str) -> Failure {
    match failure.kind() {
        Kind::NotFound => failure.hint(format!("not every registry has one; `modelpack ls {host}/NAME` lists the tags of a repository")),
        _ => failure,
    }
}

/// Prints one name per line.
fn lines(names: impl IntoIterator<Item = String>, values: &[Value], context: &Context) -> Result<(), Failure> {
    let names: Vec<String> = names.into_iter().collect();
    context.output.result(&names.join("\n"), &values)
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
    let values: Vec<Value> = listed
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "digest": entry.digest.to_string(),
                "artifactType": entry.artifact_type,
                "size": entry.size,
                "referrer": entry.is_referrer,
            })
        })
        .collect();
    context.output.result(&text::table([Align::Left, Align::Left, Align::Right, Align::Left], &rows), &values)
}

fn artifacts(listing: &Listing, context: &Context) -> Result<(), Failure> {
    let Listing { artifacts: listed, unreadable } = listing;
    for broken in unreadable {
        context.output.warn(&describe(broken));
    }
    let mut rows = vec![["REPOSITORY", "TAG", "DIGEST", "CREATED", "SIZE"].map(str::to_owned)];
    rows.extend(listed.iter().map(|artifact| {
        [
            artifact.repository.to_string(),
            artifact.tag.as_ref().map_or("-".into(), ToString::to_string),
            artifact.digest.short().to_owned(),
            artifact.created_at.as_deref().map_or("-".into(), |time| printable(time).into_owned()),
            text::bytes(artifact.size),
        ]
    }));
    let mut values: Vec<Value> = listed
        .iter()
        .map(|artifact| {
            json!({
                "repository": artifact.repository.to_string(),
                "tag": artifact.tag.as_ref().map(ToString::to_string),
                "digest": artifact.digest.to_string(),
                "createdAt": artifact.created_at,
                "size": artifact.size,
                "layout": artifact.layout.to_string_lossy(),
            })
        })
        .collect();
    values.extend(unreadable.iter().map(|broken| {
        json!({
            "repository": broken.repository.as_ref().map(ToString::to_string),
            "tag": broken.tag.as_ref().map(ToString::to_string),
            "digest": broken.digest.as_ref().map(ToString::to_string),
            "layout": broken.layout.to_string_lossy(),
            "error": broken.why,
        })
    }));
    context.output.result(&text::table([Align::Left, Align::Left, Align::Left, Align::Left, Align::Right], &rows), &values)
}

/// A message about an unreadable repository or artifact, with advice.
fn describe(broken: &Unreadable) -> String {
    let Unreadable { repository, tag, digest, layout, why, is_denied } = broken;
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
