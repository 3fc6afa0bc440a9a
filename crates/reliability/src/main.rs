//! Long runs of the real binary under faults: see `docs/reference/reliability.md`.

// The modules of a program are not reachable from outside. Here `pub` marks the items that a module
// offers to the others.
#![allow(unreachable_pub)]

mod faults;
mod full_disks;
mod kills;
mod losses;
mod model;
mod mounts;
mod power_cut;
mod rounds;
mod scene;
mod server;
mod soak;
mod task;

use clap::Parser;
use kills::Kills;
use mounts::Mounts;
use rounds::Rounds;
use server::Server;
use soak::Soak;
use std::{error::Error, path::PathBuf, process::ExitCode};

/// Run the real modelpack binary under faults, and check after each round that no data is lost or
/// wrong
#[derive(Parser)]
#[command(name = "reliability")]
struct Arguments {
    /// The program [default: modelpack beside this one]
    #[arg(long, global = true, value_name = "FILE")]
    modelpack: Option<PathBuf>,
    #[command(subcommand)]
    run: Run,
}

#[derive(clap::Subcommand)]
enum Run {
    /// Transfers through a proxy that injects faults
    Faults(Rounds),
    /// Commands and registries that are ended at random moments
    Kills {
        #[command(flatten)]
        rounds: Rounds,
        /// The number of bytes of each connection that may be moved again after a command was ended
        #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
        loss: u64,
    },
    /// Commands whose disk, or that of their registry, is full at some moment
    FullDisks(Rounds),
    /// Readers of mounted models, while requests have faults, and the process that serves the mount is killed
    Mounts(Rounds),
    /// Several concurrent users of one registry and one store, with continuous garbage collection
    Soak(Soak),
    #[command(hide = true)]
    Serve(Server),
}

fn main() -> ExitCode {
    let Arguments { modelpack, run } = Arguments::parse();
    match sound(run, modelpack) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Performs a run. Returns whether nothing failed.
fn sound(run: Run, modelpack: Option<PathBuf>) -> Result<bool, Box<dyn Error>> {
    let modelpack = || -> Result<PathBuf, Box<dyn Error>> {
        let path = match modelpack {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("modelpack"),
        };
        Ok(path.canonicalize().map_err(|e| format!("{}: {e}; build it with `cargo build -p modelpack-cli`", path.display()))?)
    };
    Ok(match run {
        Run::Faults(rounds) => {
            let modelpack = modelpack()?;
            rounds.run("faults", |random, tally| faults::round(&modelpack, random, tally))
        }
        Run::Kills { rounds, loss } => {
            let kills = Kills::new(modelpack()?, loss)?;
            rounds.run("kills", |random, tally| kills.round(random, tally))
        }
        Run::FullDisks(rounds) => {
            let modelpack = modelpack()?;
            rounds.run("full-disks", |random, tally| full_disks::round(&modelpack, random, tally))
        }
        Run::Mounts(rounds) => match Mounts::new(modelpack()?)? {
            Some(mounts) => rounds.run("mounts", |random, tally| mounts.round(random, tally)),
            None => {
                eprintln!("NOT RUN: mounting needs root and /dev/fuse");
                true
            }
        },
        Run::Soak(soak) => soak.run(&modelpack()?),
        Run::Serve(server) => server.run().map(|()| true)?,
    })
}
