//! The binary `modelpack`: arguments become validated options, options one call of the facade, and
//! its result is printed.
//!
//! Results go to stdout, everything else to stderr. The environment is read only in `settings`; all
//! errors become a `Failure`.

// The modules of a program are not reachable from outside. Here `pub` marks the items that a module
// offers to the others.
#![allow(unreachable_pub)]

mod args;
mod commands;
mod context;
mod failure;
mod interrupt;
mod log;
#[cfg(feature = "mount")]
mod notify;
mod output;
mod progress;
mod settings;
mod source_date;
mod text;

use args::Cli;
use commands::{Command, completion, version};
use context::Context;
use failure::Failure;
use interrupt::Interrupt;
use output::Output;
use settings::Settings;
use std::{process::ExitCode, time::Duration};

/// How long the program waits at its end for cancelled threads, so that they can remove their
/// temporary files.
const CLEAN_UP: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let Cli { globals, command } = match Cli::of_process() {
        Ok(cli) => cli,
        Err(error) => return args::report(&error),
    };
    let output = Output::new(&globals);
    let result = match command {
        // These must start at once, without a runtime, store or client.
        Command::Version(_) => version::run(&output),
        Command::Completion(args) => completion::run(&args, &output),
        command => run(command, globals, output.clone()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&output),
    }
}

fn run(command: Command, globals: args::Globals, output: Output) -> Result<(), Failure> {
    let settings = Settings::read(globals.store, |name| std::env::var_os(name));
    log::start(globals.verbose, settings.log.as_deref(), command.log_level(), output.clone())?;
    let cannot_start = |e: std::io::Error| Failure::new(failure::Kind::Other, format!("cannot start: {e}"));
    let interrupt = Interrupt::listen().map_err(cannot_start)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot_start)?;
    let ends_itself = command.ends_itself();
    let context = Context { settings, output, interrupt };
    let result = runtime.block_on(async {
        let work = command.run(&context);
        if ends_itself { work.await } else { context.interrupt.or(work).await }
    });
    runtime.shutdown_timeout(CLEAN_UP);
    result
}
