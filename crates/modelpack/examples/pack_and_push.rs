//! Packs a directory into the local store, and pushes it to its registry.
//!
//! `cargo run -p modelpack --example pack_and_push -- STORE DIR registry.example.com/team/model:v1`

use modelpack::{ModelfilePath, Modelpack, Notices, Options, PackRequest, Place};
use std::{error::Error, path::PathBuf};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, directory, reference] = &arguments[..] else { return Err("expected STORE DIR REFERENCE".into()) };
    let place: Place = reference.parse()?;
    let modelpack = Modelpack::new(Options::new(store).notices(Notices::to(|notice| eprintln!("warning: {notice}"))));

    // Plans the packing: nothing is written yet.
    let directory = PathBuf::from(directory);
    let request = PackRequest::new(&directory).modelfile(ModelfilePath::find(&directory)).strict(true);
    let planned = modelpack.plan(&request).await?;
    for value in &planned.description.findings {
        println!("{} = {} ({})", value.field, value.value, value.source);
    }

    let packed = modelpack.pack(&request, &place).await?;
    println!("packed {} files, {} bytes, as {}", packed.files, packed.bytes, packed.digest);
    let pushed = modelpack.push(&place).await?;
    println!("pushed to {}: {} bytes moved, {} already present", pushed.to, pushed.moved, pushed.present);
    Ok(())
}
