//! The arguments that every command takes, and those that several share.

mod help;
mod metadata;
mod pack;
mod plan;
mod select;

pub use metadata::MetadataArgs;
pub use pack::PackArgs;
pub use plan::{PlanArgs, place, source};
pub use select::{FilterArgs, InitFilterArgs, SelectionArgs};

use crate::{
    commands::Command,
    failure::{Ending, Failure, Kind},
    output::Output,
    text::{brief, printable_lines},
};
use clap::{ArgAction, FromArgMatches, Parser, error::ErrorKind};
use modelpack::{KeepHashStates, Rate, spec::parse_size};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

const PLACES: &str = "\
Places:
  REFERENCE                [HOST[:PORT]/]NAME[:TAG][@DIGEST]: read from the store, else from its
                           registry; `push` and `cp` write to its registry, all else to the store
  docker://REFERENCE       a registry
  store:REFERENCE          the local store
  oci:PATH[:NAME]          an OCI image layout directory, and the tag or full name of a
                           manifest in it; without a name, the only model in it
  oci-archive:FILE[:NAME]  a tar archive of an image layout
A digest, as in oci:PATH@DIGEST, selects a manifest by its digest.";

/// Pack AI models into OCI artifacts, move them through any registry, unpack them.
#[derive(Parser)]
#[command(name = "modelpack", version, after_help = PLACES, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The arguments of this process.
    pub fn of_process() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&help::command().try_get_matches()?)
    }
}

#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// The local store; default $MODELPACK_STORE, else modelpack in $XDG_DATA_HOME or ~/.local/share
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Print results and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print results, and errors, as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Log requests and retries to stderr, never credentials; -vv logs more; see also $MODELPACK_LOG
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
}

/// Options for access to registries.
#[derive(Clone, Default, clap::Args)]
pub struct RegistryArgs {
    /// Use plain HTTP for registries (on this machine, it is tried first without this flag)
    #[arg(long)]
    pub plain_http: bool,
    /// Accept any TLS certificate
    #[arg(long)]
    pub insecure: bool,
    /// Trust the authorities, or servers, whose certificates are in this file in PEM format too
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Cut a connection and try again when no byte has moved for this long, such as 90s or 2m [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// Parses a duration: a number and its unit (`ms`, `s`, `m` or `h`), or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("it is a number with a unit: `ms`, `s`, `m` or `h`".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "it is a number with a unit, such as `30s`".to_owned())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| "it is too long".to_owned())?;
    if duration < Duration::from_millis(1) { Err("it must be at least 1 ms".to_owned()) } else { Ok(duration) }
}

/// Options for transfers.
#[derive(Clone, clap::Args)]
pub struct TransferArgs {
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The highest number of connections at the same time; fewer are used if more make nothing faster
    #[arg(short, long, value_name = "N", alias = "concurrency", default_value_t = modelpack::DEFAULT_CONNECTIONS, value_parser = connections)]
    pub connections: usize,
    /// Transfer at most this many bytes per second, such as 500k, 1.5MB or 10MiB
    #[arg(long, value_name = "RATE")]
    pub limit_rate: Option<Rate>,
    /// Set by commands with [`HashStatesArgs`].
    #[arg(skip)]
    pub hash_states: KeepHashStates,
}

/// The cache of the node.
#[derive(Clone, Default, clap::Args)]
pub struct CacheDirectoryArgs {
    /// The cache of this node; default $MODELPACK_CACHE, else a directory beside the store
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// The cache of the node, and how large it may be.
#[derive(Clone, Default, clap::Args)]
pub struct CacheArgs {
    #[command(flatten)]
    pub directory: CacheDirectoryArgs,
    /// Let the cache use at most so many bytes of the disk, such as 500GB; give all commands that
    /// use it the same size [default: what the disk has]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub cache_size: Option<u64>,
}

/// Options for what readers verify large files by.
#[derive(Clone, clap::Args)]
pub struct HashStatesArgs {
    /// Do not write lists of hash states, which let readers verify a large file with all processors
    #[arg(long)]
    no_hash_states: bool,
    /// Also keep these lists in a registry without the referrers API, where they get a tag
    #[arg(long, conflicts_with = "no_hash_states")]
    hash_states: bool,
}

impl HashStatesArgs {
    /// The options for transfers, with these.
    pub fn of(&self, transfer: TransferArgs) -> TransferArgs {
        let hash_states = match (self.no_hash_states, self.hash_states) {
            (true, _) => KeepHashStates::Never,
            (_, true) => KeepHashStates::Always,
            _ => KeepHashStates::IfListed,
        };
        TransferArgs { hash_states, ..transfer }
    }
}

impl TransferArgs {
    /// The defaults, for access to registries with `registry`.
    pub fn with(registry: RegistryArgs) -> Self {
        Self { registry, connections: modelpack::DEFAULT_CONNECTIONS, limit_rate: None, hash_states: KeepHashStates::default() }
    }
}

fn connections(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

/// Prints the requested help, or the error in the arguments.
pub fn report(error: &clap::Error) -> ExitCode {
    // The arguments were not parsed, so the flag is searched in them directly.
    let json = std::env::args_os().any(|argument| argument == "--json");
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // An error means that the reader has closed the output, which is not a failure.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ if json => {
            let text = error.to_string();
            let message = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
            let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
            Failure::new(Kind::Usage, message).report(&Output { json, quiet: true, ..Output::default() })
        }
        _ => {
            // The message repeats the argument, which may contain any characters.
            let message = error.render().to_string();
            let _ = io::stderr().write_all(printable_lines(&brief(&message)).as_bytes());
            Ending::from(Kind::Usage).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        for (text, milliseconds) in [("30s", 30_000), ("90", 90_000), ("250ms", 250), ("1.5m", 90_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "s", "-1s", "1d", "1 s", "0", "0.1ms", "1.2.3s", "99999999999999999999h", "NaN", "inf"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
