//! Lists the content of an artifact, and fetches only the files that an engine needs besides the
//! weights.
//!
//! `cargo run -p modelpack --example choose_files -- REFERENCE DIR`

use modelpack::{Modelpack, Options, Patterns, Place, Preset, Selection, UnpackOptions, spec::json};
use std::{error::Error, path::Path};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [reference, directory] = &arguments[..] else { return Err("expected REFERENCE DIR".into()) };
    let place: Place = reference.parse()?;
    let modelpack = Modelpack::new(Options::new(std::env::temp_dir().join("modelpack")));

    // Only manifest and config are read, no layers.
    let inspection = modelpack.inspect(&place).await?;
    for layer in &inspection.layers {
        let (kind, path) = (layer.kind.map_or("-", |kind| kind.name()), layer.path.as_ref().map_or("-", |path| path.as_str()));
        println!("{:>12}  {kind:<13}  {path}", layer.size);
    }

    // The patterns use the syntax of .gitignore. Errors name their source by the first argument.
    let selection = Selection::default().presets([Preset::Config]).exclude(Patterns::new("exclude", ["*.bin"])?);
    let options = UnpackOptions::default().selection(selection);
    let unpacked = modelpack.unpack(&place, Path::new(directory), &options).await?;
    println!("{}", json::to_line(&unpacked));
    Ok(())
}
