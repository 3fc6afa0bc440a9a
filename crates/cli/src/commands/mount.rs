//! `modelpack mount`: a model as a directory, before its bytes are here.

use crate::{
    args::{CacheArgs, TransferArgs},
    context::Context,
    failure::{Ending, Failure, Kind},
    notify::Readiness,
};
use modelpack::{
    Place,
    mount::{MountOptions, Unmount, Unverified, unmount},
};
use std::{
    fs::{self, File},
    io::{self, Seek},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Mount a model as a read-only directory; its bytes are fetched when they are read, and meanwhile
///
/// The mount ends with Ctrl-C, or with `modelpack unmount DIR`.
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack mount registry.example.com/team/tiny:v1 /mnt/tiny")]
pub struct Args {
    /// The model
    #[arg(value_name = "PLACE")]
    from: Place,
    /// An empty directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    cache: CacheArgs,
    /// What is read of files without hash states before all of the file has arrived and is verified:
    /// nothing, so that reading waits; or what has arrived
    #[arg(long, value_name = "POLICY", default_value = "strict")]
    policy: Policy,
    /// End the command when the model is mounted, and keep it mounted
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Policy {
    Strict,
    Eventual,
}

/// How often a process that has to end by itself is looked at.
const POLL: Duration = Duration::from_millis(20);

/// The log of a mount is kept for so long after its last message.
const LOG_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let cache = args.cache.directory.cache.clone().unwrap_or_else(|| context.settings.cache.clone());
    if args.detach {
        return detach(&cache, context).await;
    }
    let unverified = match args.policy {
        Policy::Strict => Unverified::Hidden,
        Policy::Eventual => Unverified::Visible,
    };
    let options = MountOptions::new(cache).cache_size(args.cache.cache_size).unverified(unverified);
    let modelpack = context.modelpack_without_progress(&args.transfer);
    let mounted = tokio::select! {
        biased;
        ending = context.interrupt.received() => return Err(Failure::new(ending, "interrupted; nothing is mounted")),
        mounted = async { modelpack.mounter(&options)?.mount(&args.from, &args.directory).await } => mounted?,
    };
    let description = mounted.description();
    context.output.note(&format!(
        "{} ({}) is mounted at {}",
        description.source,
        description.digest.short(),
        description.directory.display()
    ));
    context.output.result("", description)?;
    context.settings.notify.tell_ready();
    tokio::select! {
        () = mounted.ended() => return Ok(()),
        _ = context.interrupt.received() => {}
    }
    let directory = args.directory.clone();
    if let Err(error) = end(&directory, Unmount::IfIdle).await {
        context.output.note(&format!("{error}; it ends when nobody uses it any more"));
        end(&directory, Unmount::WhenIdle).await?;
        mounted.ended().await;
    }
    Ok(())
}

async fn end(directory: &Path, how: Unmount) -> modelpack::Result<()> {
    let directory = directory.to_owned();
    tokio::task::spawn_blocking(move || unmount(&directory, how)).await.expect("unmounting does not panic")
}

/// Runs this command again in another process, and waits until that one has mounted the model.
async fn detach(cache: &Path, context: &Context) -> Result<(), Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::new(Kind::Io, format!("cannot {what}: {error}"))
    };
    fs::create_dir_all(cache).map_err(failed("create the cache"))?;
    remove_old_logs(cache);
    let path = cache.join(format!("mount-{}.log", std::process::id()));
    let log = File::create(&path).map_err(failed("create the log"))?;
    let ready = Readiness::listen().map_err(failed("wait for the mount"))?;
    let program = std::env::current_exe().map_err(failed("find this program"))?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut command = Command::new(program);
    let mut result = tempfile::tempfile_in(cache).map_err(failed("create a file in the cache"))?;
    let stdout = result.try_clone().map_err(failed("share a file"))?;
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(log);
    let mut child = ready.be_told_by(&mut command).spawn().map_err(failed("start the process of the mount"))?;
    loop {
        if ready.is_told() {
            result.rewind().and_then(|()| io::copy(&mut result, &mut io::stdout())).map_err(failed("print the result"))?;
            context.output.note(&format!("the process {} serves the mount, and writes its messages to {}", child.id(), path.display()));
            return Ok(());
        }
        if let Some(status) = child.try_wait().map_err(failed("wait for the mount"))? {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let _ = fs::remove_file(&path);
            let kind = status.code().map_or(Kind::Other, Ending::kind_of);
            return Err(Failure::new(kind, said.trim().trim_start_matches("error: ").to_owned()));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Removes the logs of earlier mounts that nobody has written to for long.
fn remove_old_logs(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let is_log = entry.file_name().to_str().is_some_and(|name| name.starts_with("mount-") && name.ends_with(".log"));
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        if is_log && modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > LOG_AGE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
