//! `modelpack login`: checks credentials for a registry and stores them where Docker stores them.

use super::logout::registry_host;
use crate::{
    args::RegistryArgs,
    context::Context,
    failure::{Failure, Kind},
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    thread,
};
use tokio::sync::oneshot;

/// Log in to a registry
///
/// The credentials are checked, and then stored in Docker's config.json, in its credential helper,
/// or in $REGISTRY_AUTH_FILE.
#[derive(clap::Args)]
#[command(after_help = "Example: echo $TOKEN | modelpack login registry.example.com -u me --password-stdin")]
pub struct Args {
    /// The registry: HOST[:PORT]
    #[arg(value_parser = registry_host)]
    registry: String,
    /// The user's name
    #[arg(short, long)]
    username: Option<String>,
    /// The password or token; visible to other users in the list of processes
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    options: RegistryArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let username = match args.username {
        Some(username) => username,
        None if args.password_stdin => {
            return Err(Failure::new(Kind::Usage, "--password-stdin needs a user name").hint("add --username NAME"));
        }
        None => ask("a user name", "--username NAME", read_username).await?,
    };
    let password = match args.password {
        Some(password) => password,
        None if args.password_stdin => wait_for(read_stdin).await?,
        None => {
            let _restore = Echo::remember();
            ask("a password", "--password-stdin", || rpassword::prompt_password("Password: ")).await?
        }
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::new(Kind::Usage, "user name and password must not be empty"));
    }
    let modelpack = context.modelpack(&args.options);
    let logged_in = modelpack.login(&args.registry, &username, &password).await.map_err(|error| {
        let failure = Failure::from(error);
        if failure.is(Kind::Unauthorized) { failure.hint("check user name and password") } else { failure }
    })?;
    context.output.note(&format!("logged in to {} as {username}", args.registry));
    context.output.result("", &logged_in)
}

/// Prompts at the terminal.
async fn ask(what: &str, flag: &str, read: impl FnOnce() -> io::Result<String> + Send + 'static) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::new(Kind::Usage, format!("{what} is required, but there is no terminal for a prompt")).hint(format!("add {flag}"))
        );
    }
    wait_for(read).await
}

/// Reads on a separate thread, so that an interrupt can end the program without waiting for it.
async fn wait_for(read: impl FnOnce() -> io::Result<String> + Send + 'static) -> Result<String, Failure> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || sender.send(read()));
    let read = receiver.await.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()));
    read.map_err(|e| Failure::new(Kind::Io, format!("cannot read from stdin: {e}")))
}

fn read_username() -> io::Result<String> {
    write!(io::stderr(), "Username: ")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// All of stdin, without the final line end that `echo` adds.
fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

/// The terminal settings before a password prompt. They are restored, even if Ctrl-C ends the
/// prompt.
struct Echo(Option<(File, Termios)>);

impl Echo {
    fn remember() -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        Self(terminal.and_then(|terminal| tcgetattr(&terminal).ok().map(|before| (terminal, before))))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some((terminal, before)) = &self.0 {
            // An error means that the terminal is gone.
            let _ = tcsetattr(terminal, OptionalActions::Now, before);
        }
    }
}
