//! `modelpack serve`: a registry over a directory.

use crate::{context::Context, failure::Failure};
use modelpack::spec::json;
use modelpack::{AccessLog, RegistryOptions, ServerOptions, StoreError, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Serve a registry; Ctrl-C finishes requests in progress and stops it
#[derive(clap::Args)]
pub struct Args {
    /// The address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// The directory for its artifacts; default `registry` in the directory of the store
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Write one line of JSON to stderr for each request
    #[arg(long)]
    access_log: bool,
}

/// The address and the store of the running registry.
#[derive(Serialize)]
struct Serving<'a> {
    address: SocketAddr,
    #[serde(serialize_with = "json::path")]
    root: &'a Path,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let root = args.root.unwrap_or_else(|| context.settings.store.join("registry"));
    let access_log = args.access_log.then(|| AccessLog::new(io::stderr())).transpose();
    let access_log = access_log.map_err(StoreError::io("start the thread of", "the access log")).map_err(modelpack::Error::from)?;
    let options = ServerOptions::default().descriptors(all_descriptors()).access_log(access_log);
    let server = serve(&root, args.listen, RegistryOptions::default(), options).await.map_err(|error| {
        let is_read_only = matches!(error, modelpack::Error::Store(StoreError::ReadOnly { .. }));
        let failure = Failure::from(error);
        if is_read_only { failure.hint("use `--root DIR` with a directory that this user can write to") } else { failure }
    })?;
    let address = server.address();
    context.output.note(&format!("serving http://{address} from {}", root.display()));
    context.output.result("", &Serving { address, root: &root })?;
    let shutdown = async {
        context.interrupt.received().await;
    };
    server.run(shutdown).await.map_err(|error| modelpack::Error::from(error).into())
}

/// Raises the limit of open descriptors of this process to the maximum, and returns it. Shells and
/// services start with a much lower limit, because old programs cannot use more.
fn all_descriptors() -> usize {
    const ENOUGH: u64 = 1 << 16;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(ENOUGH).min(ENOUGH);
    let current = current.unwrap_or(ENOUGH);
    let raised = current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
    usize::try_from(if raised { wanted } else { current }).unwrap_or(usize::MAX)
}
