//! Packing a directory into a place.

use crate::{Modelpack, Place, Result};
use modelpack_pack::{Modelfile, PackOptions, Plan, infer, pack, plan};
use modelpack_spec::{Capabilities, Config, Digest, ModelConfig, ModelDescriptor, Selector, Tag};
use modelpack_store::blocking;
use std::path::PathBuf;

/// What to pack.
#[derive(Clone, Debug, Default)]
pub struct PackRequest {
    /// The model's directory.
    pub directory: PathBuf,
    /// The Modelfile that says which files are packed; without one they are found by looking.
    pub modelfile: Option<PathBuf>,
    /// What is said of the model beside its files and Modelfile; wins over both.
    pub metadata: Metadata,
}

/// What only the caller can know of a model.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// When it was created, RFC 3339.
    pub created_at: Option<String>,
    /// Where its source is.
    pub source_url: Option<String>,
    /// Its revision in source control.
    pub revision: Option<String>,
    /// Whether it reasons.
    pub reasoning: Option<bool>,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Where it is.
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How many files it has.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Modelpack {
    /// Packs a directory; a bare reference means the store. With a registry as the place, no copy is kept here.
    pub async fn pack(&self, request: &PackRequest, to: &Place) -> Result<Packed> {
        let to = to.clone().or_store();
        let request = request.clone();
        let (plan, config) = blocking(move || prepare(&request)).await?;
        let target = self.target(&to, None).await?;
        let at = target.selector.clone().unwrap_or_else(|| Selector::Tag(Tag::latest()));
        let options = PackOptions {
            concurrency: self.options.concurrency,
            progress: self.options.progress.clone(),
            // Without a store that can be written, files are hashed each time.
            digest_cache: self.store().ok().map(|store| store.digest_cache().clone()),
        };
        let manifest = pack(&plan, config, target.sink(), &at, &options).await?;
        target.finish().await?;
        let bytes = plan.files.iter().map(|file| file.size).sum();
        Ok(Packed { to, digest: manifest.digest().clone(), files: plan.files.len(), bytes })
    }
}

/// Finds the files and what they say of the model; blocks.
fn prepare(request: &PackRequest) -> Result<(Plan, Config)> {
    let modelfile = request.modelfile.as_deref().map(Modelfile::read).transpose()?;
    let plan = plan(&request.directory, modelfile.as_ref())?;
    let inferred = infer(&plan.files);
    let said = modelfile.unwrap_or_default();
    let given = &request.metadata;
    let capabilities = inferred.config.capabilities.clone();
    let capabilities = match given.reasoning {
        Some(reasoning) => Some(Capabilities { reasoning: Some(reasoning), ..capabilities.unwrap_or_default() }),
        None => capabilities,
    };
    let config = Config {
        descriptor: ModelDescriptor {
            created_at: given.created_at.clone(),
            name: said.name.or(inferred.descriptor.name),
            family: said.family.or(inferred.descriptor.family),
            source_url: given.source_url.clone().or(inferred.descriptor.source_url),
            revision: given.revision.clone().or(inferred.descriptor.revision),
            ..inferred.descriptor
        },
        config: ModelConfig {
            architecture: said.architecture.or(inferred.config.architecture),
            format: said.format.or(inferred.config.format),
            param_size: said.param_size.or(inferred.config.param_size),
            precision: said.precision.or(inferred.config.precision),
            quantization: said.quantization.or(inferred.config.quantization),
            capabilities,
            ..inferred.config
        },
        ..Config::default()
    };
    Ok((plan, config))
}
