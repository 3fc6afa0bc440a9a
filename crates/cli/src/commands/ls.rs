//! `modelpack ls`: what the store holds.

use crate::{
    args::RegistryArgs,
    context::Context,
    failure::Failure,
    text::{self, Align, printable},
};
use modelpack::{Listing, Unreadable};
use serde_json::{Value, json};

/// List the artifacts in the store
#[derive(clap::Args)]
pub struct Args {}

pub async fn run(_: Args, context: &Context) -> Result<(), Failure> {
    let Listing { artifacts: listed, unreadable } = context.modelpack(&RegistryArgs::default()).list().await?;
    for broken in &unreadable {
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

/// What cannot be read, why, and what can be done.
fn describe(broken: &Unreadable) -> String {
    let Unreadable { repository, tag, digest, layout, why } = broken;
    let Some(repository) = repository else { return format!("{} is passed over: {why}; rename it or move it away", layout.display()) };
    let which = match (tag, digest) {
        (Some(tag), _) => format!("{repository}:{tag}"),
        (None, Some(digest)) => format!("{repository}@{digest}"),
        (None, None) => return format!("{repository} cannot be read: {why}; `modelpack verify --repair` repairs the store"),
    };
    format!("{which} cannot be read: {why}; try `modelpack verify --repair {which}`")
}
