//! `modelpack demo`: all main commands once, in temporary directories, as a user would type them.

mod compare;
mod model;
mod scratch;

use crate::{
    args::{Cli, RegistryArgs},
    context::Context,
    failure::{Failure, Kind},
    settings::Settings,
    text,
};
use clap::Parser;
use compare::compare;
use model::write_small_model;
use modelpack::{RegistryOptions, ServerOptions, serve};
use scratch::Scratch;
use serde::Serialize;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Instant,
};

/// Show a model packed, pushed, pulled, verified and unpacked, in temporary directories
#[derive(clap::Args)]
pub struct Args {
    /// The model's directory; default a small generated model
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// The result of comparing the packed files with the unpacked files.
#[derive(Serialize)]
struct Compared {
    identical: bool,
    files: usize,
    /// Their size.
    bytes: u64,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let scratch = Scratch::create()?;
    let model = match args.directory {
        Some(directory) => directory,
        None => make_model(scratch.path("model")).await?,
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let root = scratch.path("registry");
    let server = serve(&root, anywhere, RegistryOptions::default(), ServerOptions::default()).await?;
    let address = server.address();
    if !context.output.json {
        let line = format!("$ modelpack serve --listen {address} --root {} &\n", quoted(&root.to_string_lossy()));
        context.output.result(&line, &())?;
    }
    let reference = format!("{address}/demo/model:v1");
    let unpacked = scratch.path("unpacked");
    let commands = commands(&model, &reference, [&scratch.path("store"), &scratch.path("other")], &unpacked);
    let served = async {
        server.run(std::future::pending()).await.map_err(modelpack::Error::from)?;
        Ok(())
    };
    let shown = async {
        for command in commands {
            show(command, context).await?;
        }
        let place = reference.parse().map_err(modelpack::Error::Place)?;
        let files = context.modelpack(&RegistryArgs::default()).inspect(&place).await?.layers;
        let (files, bytes) = compare(model, unpacked, files).await?;
        let same = format!("# the same: names, bytes and executable bits of {}, {}", text::count(files, "file"), text::bytes(bytes));
        context.output.result(&same, &Compared { identical: true, files, bytes })
    };
    tokio::select! {
        shown = shown => shown,
        served = served => served,
    }
}

/// The command lines with all their words.
fn commands(model: &Path, reference: &str, [store, other]: [&Path; 2], unpacked: &Path) -> [Vec<String>; 6] {
    let words = |words: &[&str], store: &Path| {
        let store = ["--store".to_owned(), store.to_string_lossy().into_owned()];
        ["modelpack".to_owned()].into_iter().chain(words.iter().map(|&word| word.to_owned())).chain(store).collect()
    };
    let (model, unpacked) = (model.to_string_lossy(), unpacked.to_string_lossy());
    let pulled = format!("store:{reference}");
    [
        words(&["pack", &model, "-t", reference], store),
        words(&["push", reference], store),
        words(&["inspect", reference], store),
        words(&["pull", reference], other),
        words(&["verify", &pulled], other),
        words(&["unpack", &pulled, "-o", &unpacked], other),
    ]
}

/// Prints a command, runs it like a typed command, and prints its duration.
async fn show(words: Vec<String>, context: &Context) -> Result<(), Failure> {
    let json = context.output.json;
    let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    if !json {
        context.output.result(&format!("$ {line}"), &())?;
    }
    let cli = Cli::try_parse_from(words).map_err(|e| Failure::new(Kind::Usage, e.to_string()))?;
    let settings = Settings { store: cli.globals.store.unwrap_or_default(), ..context.settings.clone() };
    let step = Context { settings, output: context.output.clone(), interrupt: context.interrupt.clone() };
    let start = Instant::now();
    cli.command.run(&step).await?;
    if !json {
        context.output.result(&format!("# {:.2} s\n", start.elapsed().as_secs_f64()), &())?;
    }
    Ok(())
}

/// A word, quoted for a shell if necessary.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@=+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

async fn make_model(directory: PathBuf) -> Result<PathBuf, Failure> {
    let made = tokio::task::spawn_blocking(move || write_small_model(&directory).map(|()| directory)).await;
    let made = made.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    made.map_err(|e| Failure::new(Kind::Io, format!("cannot create a model: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_change_is_quoted() {
        for (word, quoted_word) in
            [("a/b:v1", "a/b:v1"), ("with space", "'with space'"), ("it's", r"'it'\''s'"), ("$x", "'$x'"), ("", "''")]
        {
            assert_eq!(quoted(word), quoted_word);
        }
    }
}
