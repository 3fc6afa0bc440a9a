//! The names of what a document may break besides the keywords of its schema.

pub(crate) const JSON: &str = "json";
pub(crate) const SIZE: &str = "size";
pub(crate) const DEPTH: &str = "depth";
pub(crate) const DUPLICATE_KEY: &str = "duplicate-key";
pub(crate) const OLDER_NAME: &str = "older-name";
pub(crate) const PARAM_SIZE: &str = "param-size";
pub(crate) const PRECISION: &str = "precision";
pub(crate) const SPDX_EXPRESSION: &str = "spdx-expression";
pub(crate) const LAYERS_OR_MANIFESTS: &str = "layers-or-manifests";
pub(crate) const FILEPATH_MISSING: &str = "filepath-missing";
pub(crate) const FILEPATH_INVALID: &str = "filepath-invalid";
pub(crate) const FILEPATH_CLASH: &str = "filepath-clash";
pub(crate) const TITLE: &str = "title";
pub(crate) const UNTESTED: &str = "untested";
pub(crate) const METADATA: &str = "metadata";
pub(crate) const METADATA_NAME: &str = "metadata-name";
pub(crate) const METADATA_SIZE: &str = "metadata-size";
pub(crate) const METADATA_TYPEFLAG: &str = "metadata-typeflag";
pub(crate) const CONFIG_DIGEST: &str = "config-digest";
pub(crate) const DIFF_ID_COUNT: &str = "diff-id-count";
pub(crate) const DIFF_ID: &str = "diff-id";
pub(crate) const READABLE: &str = "readable";

/// Every rule that no keyword of a schema says, and what it wants.
pub const RULES: [(&str, &str); 22] = [
    (JSON, "the text is JSON (RFC 8259)"),
    (SIZE, "a document has at most 4 MiB and 250,000 values"),
    (DEPTH, "values are nested at most 32 deep"),
    (DUPLICATE_KEY, "an object names a field once"),
    (OLDER_NAME, "names are those of today's specification, not of an older release (vnd.cnai, org.cnai, diff_ids)"),
    (PARAM_SIZE, "paramSize is a number with at most one decimal and one of K, M, B, T, Q"),
    (PRECISION, "precision is a list of the specification's numeric types, each once, separated by commas"),
    (SPDX_EXPRESSION, "a licence is an SPDX licence expression; LicenseRef- names one that has no identifier"),
    (LAYERS_OR_MANIFESTS, "a manifest has layers, an index has manifests, nothing has both"),
    (FILEPATH_MISSING, "a raw layer is a file, and has its path"),
    (FILEPATH_INVALID, "a path is relative, with /, and stays in the model's directory"),
    (FILEPATH_CLASH, "the files of all layers can lie in one directory, and no two layers have one path"),
    (TITLE, "the title of a raw layer, where it has one, is its path"),
    (UNTESTED, "org.cncf.model.file.mediatype.untested is \"true\" or \"false\""),
    (METADATA, "file metadata is JSON with name, mode, uid, gid, size, mtime and typeflag, each of its type"),
    (METADATA_NAME, "the name in file metadata is that of the path, or the path"),
    (METADATA_SIZE, "the size in the file metadata of a raw layer is that of the layer"),
    (METADATA_TYPEFLAG, "the typeflag in the file metadata of a raw layer is that of a file, 0 or 48"),
    (CONFIG_DIGEST, "the config has the digest and size that the manifest says"),
    (DIFF_ID_COUNT, "there are as many diffIds as layers"),
    (DIFF_ID, "a diffId is the digest of its layer's bytes before they were compressed"),
    (READABLE, "a reader of the specification can read the document, and a layer the encoding that its type names"),
];
