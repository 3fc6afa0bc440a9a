//! The commands, one file each. A command converts its arguments to one call of the facade, and
//! prints the result.

mod attach;
mod build;
mod cache;
pub mod completion;
mod cp;
mod demo;
mod diff;
mod fetch;
mod init;
mod inspect;
mod lint;
mod login;
mod logout;
mod ls;
mod modelfile;
#[cfg(feature = "mount")]
mod mount;
#[cfg(feature = "mount")]
mod mounts;
mod pack;
mod plan;
mod prune;
mod pull;
mod push;
mod rm;
mod scan;
mod serve;
mod tag;
#[cfg(feature = "mount")]
mod unmount;
mod unpack;
mod validate;
mod verify;
pub mod version;

use crate::{context::Context, failure::Failure};
use tracing::level_filters::LevelFilter;

#[derive(clap::Subcommand)]
pub enum Command {
    Init(init::Args),
    Pack(pack::Args),
    Push(push::Args),
    Pull(pull::Args),
    #[command(visible_alias = "extract")]
    Unpack(unpack::Args),
    Cp(cp::Args),
    #[cfg(feature = "mount")]
    Mount(mount::Args),
    #[cfg(feature = "mount")]
    Unmount(unmount::Args),
    #[cfg(feature = "mount")]
    Mounts(mounts::Args),
    Attach(attach::Args),
    Inspect(inspect::Args),
    Diff(diff::Args),
    Lint(lint::Args),
    Validate(validate::Args),
    Scan(scan::Args),
    Verify(verify::Args),
    Ls(ls::Args),
    Tag(tag::Args),
    Rm(rm::Args),
    Prune(prune::Args),
    Cache(cache::Args),
    Login(login::Args),
    Logout(logout::Args),
    Serve(serve::Args),
    Demo(demo::Args),
    Build(build::Args),
    Fetch(fetch::Args),
    Modelfile(modelfile::Args),
    Completion(completion::Args),
    Version(version::Args),
}

impl Command {
    /// Whether the command handles interrupts itself.
    pub fn ends_itself(&self) -> bool {
        match self {
            #[cfg(feature = "mount")]
            Self::Mount(_) => true,
            _ => matches!(self, Self::Serve(_)),
        }
    }

    /// What is logged if nothing else is said.
    pub fn log_level(&self) -> LevelFilter {
        match self {
            // Whoever reads from a mount learns only that something is wrong.
            #[cfg(feature = "mount")]
            Self::Mount(_) => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        }
    }

    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Init(args) => init::run(args, context).await,
            Self::Pack(args) => pack::run(args, context).await,
            Self::Push(args) => push::run(args, context).await,
            Self::Pull(args) => pull::run(args, context).await,
            Self::Unpack(args) => unpack::run(args, context).await,
            Self::Cp(args) => cp::run(args, context).await,
            #[cfg(feature = "mount")]
            Self::Mount(args) => mount::run(args, context).await,
            #[cfg(feature = "mount")]
            Self::Unmount(args) => unmount::run(args, context).await,
            #[cfg(feature = "mount")]
            Self::Mounts(args) => mounts::run(args, context).await,
            Self::Attach(args) => attach::run(args, context).await,
            Self::Inspect(args) => inspect::run(args, context).await,
            Self::Diff(args) => diff::run(args, context).await,
            Self::Lint(args) => lint::run(args, context).await,
            Self::Validate(args) => validate::run(args, context).await,
            Self::Scan(args) => scan::run(args, context).await,
            Self::Verify(args) => verify::run(args, context).await,
            Self::Ls(args) => ls::run(args, context).await,
            Self::Tag(args) => tag::run(args, context).await,
            Self::Rm(args) => rm::run(args, context).await,
            Self::Prune(args) => prune::run(args, context).await,
            Self::Cache(args) => cache::run(args, context).await,
            Self::Login(args) => login::run(args, context).await,
            Self::Logout(args) => logout::run(args, context).await,
            Self::Serve(args) => serve::run(args, context).await,
            Self::Demo(args) => Box::pin(demo::run(args, context)).await,
            Self::Build(args) => build::run(args, context).await,
            Self::Fetch(args) => fetch::run(args, context).await,
            Self::Modelfile(args) => modelfile::run(args, context).await,
            Self::Completion(args) => completion::run(&args, &context.output),
            Self::Version(_) => version::run(&context.output),
        }
    }
}
