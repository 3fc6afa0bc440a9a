//! Long runs of the real binary where things go wrong: see `docs/reference/reliability.md`.

// Nothing of a program is reachable from outside: here `pub` is what a module offers to the others.
#![allow(unreachable_pub)]

mod faults;
mod kills;
mod model;
mod random;
mod rounds;
mod scene;
mod server;
mod soak;
mod task;

use clap::Parser;
use kills::Kills;
use rounds::Rounds;
use server::Server;
use soak::Soak;
use std::{error::Error, path::PathBuf, process::ExitCode};

/// Run the real modelpack where things go wrong, and check after each round that nothing is lost or wrong
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
    /// Transfers through a proxy that breaks the traffic
    Faults(Rounds),
    /// Commands and registries that are ended at any moment
    Kills(Rounds),
    /// Several users of one registry and one store at once, and collection all the while
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

/// Does a run; says whether nothing failed in it.
fn sound(run: Run, modelpack: Option<PathBuf>) -> Result<bool, Box<dyn Error>> {
    let modelpack = || -> Result<PathBuf, Box<dyn Error>> {
        let path = match modelpack {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("modelpack"),
        };
        Ok(path.canonicalize().map_err(|e| format!("{}: {e}; `cargo build -p modelpack-cli` makes it", path.display()))?)
    };
    Ok(match run {
        Run::Faults(rounds) => {
            let modelpack = modelpack()?;
            rounds.run("faults", |random, tally| faults::round(&modelpack, random, tally))
        }
        Run::Kills(rounds) => {
            let kills = Kills::new(modelpack()?)?;
            rounds.run("kills", |random, tally| kills.round(random, tally))
        }
        Run::Soak(soak) => soak.run(&modelpack()?),
        Run::Serve(server) => server.run().map(|()| true)?,
    })
}
