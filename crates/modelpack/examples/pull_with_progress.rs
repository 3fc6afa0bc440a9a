//! Pulls an artifact from its registry directly into a directory without another copy, and shows
//! the progress.
//!
//! `cargo run -p modelpack --example pull_with_progress -- registry.example.com/team/model:v1 DIR`

use modelpack::{ErrorKind, Modelpack, Options, Place, Progress, UnpackOptions};
use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [reference, directory] = &arguments[..] else { return Err("expected REFERENCE DIR".into()) };
    let from = reference.parse::<Place>()?.or_registry();
    let directory = PathBuf::from(directory);

    let progress = Arc::<Progress>::default();
    // The store caches the digests of files, so that a second call does not hash them again.
    let modelpack = Modelpack::new(Options::new(std::env::temp_dir().join("modelpack"))).with_progress(progress.clone());
    let pull = tokio::spawn(async move { modelpack.unpack(&from, &directory, &UnpackOptions::default()).await });
    while !pull.is_finished() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = progress.snapshot();
        eprint!("\r{} of {} bytes", now.done(), now.total);
    }
    eprintln!();

    match pull.await? {
        Ok(unpacked) => {
            println!("{}: {} files written, {} already present", unpacked.digest, unpacked.written.len(), unpacked.unchanged.len())
        }
        Err(error) if error.kind() == ErrorKind::Network => {
            return Err(format!("{error}; the same call continues where this one stopped").into());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
