//! How files would be packed: the arguments of every command that takes a model's directory.

use super::FilterArgs;
use crate::failure::{Failure, Kind};
use modelpack::{LayerPolicy, LayerRule, Model, ModelfilePath, PackRequest, PackSource, Place};
use std::path::{Path, PathBuf};

/// Which files of a directory are packed, and as which layers.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct PlanArgs {
    /// A Modelfile or Kitfile: which files are packed as what, and more; default that in DIR, if one is there
    #[arg(short = 'f', long = "file", visible_alias = "modelfile", value_name = "MODELFILE")]
    modelfile: Option<PathBuf>,
    /// How files become layers: raw, tar, tar+gzip or tar+zstd, after a selector if not for all files: `doc=tar`, `code,<1MB=tar+zstd`,
    /// `docs/**=tar`; may be given again, and the last that is for a file counts; default raw
    #[arg(long = "layer", value_name = "[SELECTOR=]ENCODING")]
    layers: Vec<LayerRule>,
    /// Bundle small files in tar layers if there would be more layers than this [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_layers: Option<u32>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl PlanArgs {
    /// What is asked of the facade.
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

    /// The directory `name` if it is there, or else the place that it names.
    pub fn model(&self, name: &Path) -> Result<Model, Failure> {
        if !name.is_dir() {
            return Ok(Model::Place(place(name)?));
        }
        Ok(Model::Files(Box::new(self.request(PackSource::Directory(name.to_owned()))?)))
    }

    /// Fails if something is said that is of no use, because there is no directory.
    pub fn expect_directory(&self, is_there: bool) -> Result<(), Failure> {
        let why = "--file, --layer, --max-layers, --include and --exclude are for a model's directory, and none is given";
        if is_there || *self == Self::default() { Ok(()) } else { Err(Failure::new(Kind::Usage, why)) }
    }

    /// Puts a rule before all others, so that each of them wins over it.
    pub fn begin_with(&mut self, rule: LayerRule) {
        self.layers.insert(0, rule);
    }
}

/// What is packed: the directory `name` if it is there, or else the artifact that it names. What names no artifact is a directory that is
/// not there.
pub fn source(name: &Path) -> PackSource {
    let text = name.to_string_lossy();
    let is_path =
        name.symlink_metadata().is_ok() || text.ends_with('/') || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
    match text.parse::<Place>() {
        Ok(place) if !is_path => PackSource::Place(place),
        _ => PackSource::Directory(name.to_owned()),
    }
}

/// The place that is called `name`, where a directory could have been.
pub fn place(name: &Path) -> Result<Place, Failure> {
    let place = name.to_string_lossy().parse::<Place>();
    place.map_err(|e| Failure::new(Kind::Usage, format!("{} is no directory, and {e}", name.display())))
}
