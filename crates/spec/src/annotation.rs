//! Annotation keys that artifacts of this project carry: those of the ModelPack specification, of
//! the OCI image specification and of this project.

/// Path of a layer's file, relative to the model's directory, with `/`.
pub const FILEPATH: &str = "org.cncf.model.filepath";
/// Attributes of a layer's file as JSON: see [`FileMetadata`](crate::FileMetadata).
pub const FILE_METADATA: &str = "org.cncf.model.file.metadata+json";
/// `"true"` if the layer's kind was inferred from the file's name, `"false"` if a person gave it.
pub const MEDIATYPE_UNTESTED: &str = "org.cncf.model.file.mediatype.untested";
/// The file name that `oras`, CRI-O and podman give a layer.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The tag of a manifest in the `index.json` of an OCI image layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The creation time of an artifact, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// `"true"` on a gzip-compressed tar of a directory that `oras` packed.
pub const ORAS_UNPACK: &str = "io.deis.oras.content.unpack";

/// The names, on a hub, of the models that this model was made from, separated by commas. This
/// project's own key: the specification has no field for it.
pub const BASE_MODEL: &str = "dev.modelpack.base-model";
/// The context length of the model in tokens, a whole number. This project's own key.
pub const CONTEXT_LENGTH: &str = "dev.modelpack.context-length";
/// The kind of adapter that the weights are, such as `lora`. This project's own key.
pub const ADAPTER: &str = "dev.modelpack.adapter";

/// The list of the hash states of a layer, as the JSON of a descriptor: see
/// [`HashStates`](crate::HashStates). This project's own key.
pub const HASH_STATES: &str = "dev.modelpack.hash-states";

const CURRENT: &str = "org.cncf.model.";
const OLDER: &str = "org.cnai.model.";

/// Replaces an older name of the specification in `key` by today's name. Any other key is returned
/// unchanged.
pub(crate) fn normalise(key: &str) -> String {
    match key.strip_prefix(OLDER) {
        Some(rest) => format!("{CURRENT}{rest}"),
        None => key.to_owned(),
    }
}
