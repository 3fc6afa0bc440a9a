//! The rules for documents that are not keywords of a schema.

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

/// The name of each rule that is not a keyword of a schema, and what it requires.
pub const RULES: [(&str, &str); 22] = [
    (JSON, "the text is JSON (RFC 8259)"),
    (SIZE, "a document has at most 4 MiB and 250,000 values"),
    (DEPTH, "values are nested at most 32 levels deep"),
    (DUPLICATE_KEY, "an object has each field only once"),
    (OLDER_NAME, "names are those of the current specification, not older ones (vnd.cnai, org.cnai, diff_ids)"),
    (PARAM_SIZE, "paramSize is a number with at most one decimal place, then K, M, B, T or Q"),
    (PRECISION, "precision is a list of the specification's numeric types, each once, separated by commas"),
    (SPDX_EXPRESSION, "a licence is an SPDX licence expression; LicenseRef-NAME if it has no identifier"),
    (LAYERS_OR_MANIFESTS, "a manifest has layers, an index has manifests, and no document has both"),
    (FILEPATH_MISSING, "a raw layer is a file, so it has a path"),
    (FILEPATH_INVALID, "a path is relative, separated by /, and does not leave the model's directory"),
    (FILEPATH_CLASH, "the files of all layers fit into one directory, and no two layers have the same path"),
    (TITLE, "if a raw layer has a title, the title is its path"),
    (UNTESTED, "org.cncf.model.file.mediatype.untested is \"true\" or \"false\""),
    (METADATA, "file metadata is JSON with name, mode, uid, gid, size, mtime, typeflag, of the right types"),
    (METADATA_NAME, "the name in file metadata is the path of the layer, or the file name in this path"),
    (METADATA_SIZE, "the size in the file metadata of a raw layer is the size of the layer"),
    (METADATA_TYPEFLAG, "the typeflag in the file metadata of a raw layer is that of a regular file, 0 or 48"),
    (CONFIG_DIGEST, "the config has the digest and the size that the manifest names"),
    (DIFF_ID_COUNT, "the number of diffIds is the number of layers"),
    (DIFF_ID, "a diffId is the digest of the uncompressed content of its layer"),
    (READABLE, "a lenient reader can read the document, and a layer has the encoding in its media type"),
];
