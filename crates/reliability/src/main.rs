//! Long runs of the real binary where things go wrong: see `docs/reliability.md`.

// Nothing of a program is reachable from outside: here `pub` is what a module offers to the others.
#![allow(unreachable_pub)]

mod faults;
mod kills;
mod model;
mod random;
mod rounds;
mod scene;
mod task;

use clap::Parser;
use kills::Kills;
use rounds::Rounds;
use std::{path::PathBuf, process::ExitCode};

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("modelpack"));
    let modelpack = arguments.modelpack.or_else(beside).and_then(|path| path.canonicalize().ok());
    let Some(modelpack) = modelpack else {
        eprintln!("error: there is no modelpack; `cargo build -p modelpack-cli` makes it, --modelpack says where it is");
        return ExitCode::from(2);
    };
    let sound = match arguments.run {
        Run::Faults(rounds) => rounds.run("faults", |random, tally| faults::round(&modelpack, random, tally)),
        Run::Kills(rounds) => {
            let kills = Kills::new(modelpack);
            rounds.run("kills", |random, tally| kills.round(random, tally))
        }
    };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
