//! `modelpack ls`: what the store holds.

use crate::{
    args::RegistryArgs,
    context::Context,
    failure::Failure,
    text::{self, Align, printable},
};
use serde_json::{Value, json};

/// List the artifacts in the store
#[derive(clap::Args)]
pub struct Args {}

pub async fn run(_: Args, context: &Context) -> Result<(), Failure> {
    let listed = context.modelpack(&RegistryArgs::default()).list().await?;
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
    let values: Vec<Value> = listed
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
    context.output.result(&text::table([Align::Left, Align::Left, Align::Left, Align::Left, Align::Right], &rows), &values)
}
