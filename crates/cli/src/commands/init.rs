//! `modelpack init`: writes a Modelfile for a directory. `modelfile generate` is modctl's name for it.

use crate::{
    args::{InitFilterArgs, MetadataArgs},
    context::Context,
    failure::{Failure, Kind},
};
use modelpack::PackRequest;
use modelpack::spec::json;
use serde::Serialize;
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Write a Modelfile with the files and the inferred metadata of a model, to be edited by hand
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack init ./tiny && modelpack pack ./tiny -t tiny:v1")]
pub struct Args {
    /// The model's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory for the Modelfile; default DIR
    #[arg(short = 'O', long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace an existing Modelfile
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    filter: InitFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let output = args.output.clone().unwrap_or_else(|| args.directory.clone());
    write(args, &output, context).await
}

/// The Modelfile that was written.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(serialize_with = "json::path")]
    modelfile: &'a Path,
}

/// `modelfile generate` writes to the working directory.
pub async fn generate(args: Args, context: &Context) -> Result<(), Failure> {
    let output = args.output.clone().unwrap_or_else(|| ".".into());
    write(args, &output, context).await
}

async fn write(args: Args, output: &Path, context: &Context) -> Result<(), Failure> {
    let path = output.join("Modelfile");
    let request = PackRequest::new(args.directory).filter(args.filter.read()?).metadata(args.metadata.read()?);
    let text = context.modelpack(&Default::default()).modelfile(&request).await?;
    fs::create_dir_all(output).and_then(|()| save(&path, &text, args.overwrite)).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(Kind::Conflict, format!("{} already exists", path.display())).hint("`--overwrite` replaces it")
        }
        _ => Failure::new(Kind::Io, format!("cannot write {}: {e}", path.display())),
    })?;
    context.output.result(&path.to_string_lossy(), &Written { modelfile: &path })
}

fn save(path: &Path, text: &str, overwrite: bool) -> std::io::Result<()> {
    if overwrite {
        // A temporary file is renamed, so the old file stays complete until the new one is
        // complete.
        let readable = fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        return file.persist(path).map(|_| ()).map_err(|e| e.error);
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
