//! Annotation keys of the specification and of the OCI image specification that artifacts of this project carry.

/// Path of a layer's file, relative to the model's directory, with `/`.
pub const FILEPATH: &str = "org.cncf.model.filepath";
/// Attributes of a layer's file as JSON: see [`FileMetadata`](crate::FileMetadata).
pub const FILE_METADATA: &str = "org.cncf.model.file.metadata+json";
/// `"true"` if the kind of a layer was inferred from its name, `"false"` if somebody said it.
pub const MEDIATYPE_UNTESTED: &str = "org.cncf.model.file.mediatype.untested";
/// The file name that `oras`, CRI-O and podman give a layer.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The tag of a manifest in the `index.json` of an OCI image layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// When an artifact was created, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// `"true"` on a gzip-compressed tar of a directory that `oras` packed.
pub const ORAS_UNPACK: &str = "io.deis.oras.content.unpack";

/// The model or models that a model was made from, by their names on a hub, separated by commas. Of this project: the specification has no
/// field for it.
pub const BASE_MODEL: &str = "dev.modelpack.base-model";
/// How many tokens a model takes, a whole number. Of this project.
pub const CONTEXT_LENGTH: &str = "dev.modelpack.context-length";
/// The kind of adapter that weights are, such as `lora`. Of this project.
pub const ADAPTER: &str = "dev.modelpack.adapter";

const CURRENT: &str = "org.cncf.model.";
const OLDER: &str = "org.cnai.model.";

/// `key` with the older names of the specification replaced by today's; any other is returned as it is.
pub(crate) fn normalise(key: &str) -> String {
    match key.strip_prefix(OLDER) {
        Some(rest) => format!("{CURRENT}{rest}"),
        None => key.to_owned(),
    }
}
