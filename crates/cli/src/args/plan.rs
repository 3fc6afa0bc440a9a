//! Options of every command that takes a model's directory: which files are packed, and how.

use super::FilterArgs;
use crate::failure::{Failure, Kind};
use modelpack::{LayerPolicy, LayerRule, Model, ModelfilePath, PackRequest, PackSource, Place};
use std::path::{Path, PathBuf};

/// The files of a directory that are packed, and their layers.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct PlanArgs {
    /// A Modelfile or Kitfile with the files and metadata; default the one in DIR, if there is one
    #[arg(short = 'f', long = "file", visible_alias = "modelfile", value_name = "MODELFILE")]
    modelfile: Option<PathBuf>,
    /// The encoding of layers: raw, tar, tar+gzip or tar+zstd, after a selector if not for all
    /// files: `doc=tar`, `code,<1MB=tar+zstd`, `docs/**=tar`; repeatable, the last matching rule
    /// applies; default raw
    #[arg(long = "layer", value_name = "[SELECTOR=]ENCODING")]
    layers: Vec<LayerRule>,
    /// Bundle small files in tar layers if there would be more layers than this [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_layers: Option<u32>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl PlanArgs {
    /// The request for the facade.
    pub fn request(&self, source: PackSource) -> Result<PackRequest, Failure> {
        let default = LayerPolicy::default();
        let max_layers = self.max_layers.map_or(default.max_layers, |max| max as usize);
        let modelfile = self.modelfile.clone().map(ModelfilePath::Named).or_else(|| match &source {
            PackSource::Directory(directory) => ModelfilePath::find(directory),
            PackSource::Place(_) => None,
        });
        let layers = LayerPolicy::default().rules(self.layers.clone()).max_layers(max_layers);
        Ok(PackRequest::new(source).modelfile(modelfile).filter(self.filter.read()?).layers(layers))
    }

    /// The directory `name` if it exists, or else the place with this name.
    pub fn model(&self, name: &Path) -> Result<Model, Failure> {
        if !name.is_dir() {
            return Ok(Model::Place(place(name)?));
        }
        Ok(Model::Files(Box::new(self.request(PackSource::Directory(name.to_owned()))?)))
    }

    /// Fails if options for a directory are given without a directory.
    pub fn expect_directory(&self, is_there: bool) -> Result<(), Failure> {
        let why = "--file, --layer, --max-layers, --include and --exclude need a model's directory, but none is given";
        if is_there || *self == Self::default() { Ok(()) } else { Err(Failure::new(Kind::Usage, why)) }
    }

    /// Inserts a rule before all others, so that every other rule overrides it.
    pub fn begin_with(&mut self, rule: LayerRule) {
        self.layers.insert(0, rule);
    }
}

/// The source for packing: the directory `name` if it exists, or else the artifact with this name.
/// A name that is not a valid place is a missing directory.
pub fn source(name: &Path) -> PackSource {
    let text = name.to_string_lossy();
    let is_path =
        name.symlink_metadata().is_ok() || text.ends_with('/') || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
    match text.parse::<Place>() {
        Ok(place) if !is_path => PackSource::Place(place),
        _ => PackSource::Directory(name.to_owned()),
    }
}

/// The place `name`, if a directory could also be given.
pub fn place(name: &Path) -> Result<Place, Failure> {
    let place = name.to_string_lossy().parse::<Place>();
    place.map_err(|e| Failure::new(Kind::Usage, format!("{} is not a directory, and {e}", name.display())))
}
