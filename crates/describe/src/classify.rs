//! Determines the kind of a file from its name, with the tables of file types that packing tools
//! share.
//!
//! The specification does not define these rules. The tables agree with those of `modctl`, so that
//! both tools give the layers of a model the same types. The exception is tokenizer files that
//! `modctl` does not know: an engine needs them to start, so a pull of weights and configs alone
//! must include them.

use modelpack_spec::{FilePath, LayerKind};

/// An unknown file larger than this, in bytes, is classified as weights.
const LARGE: u64 = 128_000_000;

/// The kind of the file, and whether the name determined it.
///
/// Only the last component of the path is used, and case is ignored. If a name matches several
/// kinds, the first of weight config, weight, code and doc wins. A file with an unknown name is a
/// weight if it is larger than 128 MB, and code otherwise.
pub fn classify(path: &FilePath, size: u64) -> (LayerKind, bool) {
    let name = path.file_name().to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if is_config(&name, extension) {
        (LayerKind::WeightConfig, true)
    } else if is_weight(&name, extension) {
        (LayerKind::Weight, true)
    } else if is_code(&name, extension) {
        (LayerKind::Code, true)
    } else if is_doc(&name, extension) {
        (LayerKind::Doc, true)
    } else {
        (if size > LARGE { LayerKind::Weight } else { LayerKind::Code }, false)
    }
}

fn is_config(name: &str, extension: &str) -> bool {
    let sentencepiece = name.starts_with("sentencepiece") && matches!(extension, "model" | "vocab");
    let whole = matches!(name, "vocab.txt" | "merges.txt" | "added_tokens.txt" | "spiece.model" | "tiktoken.model" | "chat_template.jinja");
    #[rustfmt::skip]
    let by_extension = matches!(
        extension,
        // General
        "json" | "jsonl" | "json5" | "jsonc" | "yaml" | "yml" | "toml" | "ini" | "config" | "cfg" | "conf" | "properties" | "props"
        | "prop" | "xml" | "xsd" | "rng"
        // Model files
        | "modelcard" | "meta" | "tiktoken" | "hparams" | "params" | "hyperparams" | "wandb" | "mlflow" | "tensorboard"
    );
    by_extension || whole || sentencepiece || name.contains("tokenizer.model") || name.starts_with("config.json.") || is_of_tokenizer(name)
}

/// Whether it is a tokenizer file that modctl's table lacks: `vocab.bpe` of GPT-2 and CLIP,
/// `source.spm` of Marian, `spm.model` of DeBERTa, `ice_text.model` of ChatGLM, `dict.txt` of
/// fairseq, `tokens.txt` of speech engines, additional chat templates. `name` must be in lower
/// case.
pub fn is_of_tokenizer(name: &str) -> bool {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    let (stem, extension) = stem.rsplit_once('.').unwrap_or((stem, ""));
    let begins_with = |words: &[&str]| {
        words.iter().any(|word| stem == *word || stem.strip_prefix(word).is_some_and(|rest| rest.starts_with(['.', '-', '_'])))
    };
    match extension {
        "bpe" | "codes" | "spm" | "jinja" | "jinja2" => true,
        "txt" | "tsv" => stem.contains("vocab") || begins_with(&["merges", "dict", "lexicon", "tokens", "special_tokens", "added_tokens"]),
        "model" | "vocab" => stem.ends_with(".bpe") || begins_with(&["bpe", "sp", "spm", "spiece", "tokenizer", "vocab", "ice_text"]),
        "" => stem == "vocab",
        _ => false,
    }
}

fn is_weight(name: &str, extension: &str) -> bool {
    #[rustfmt::skip]
    let by_extension = matches!(
        extension,
        // PyTorch and related frameworks
        "safetensors" | "bin" | "pt" | "pth" | "mar" | "pte" | "pt2" | "ptl" | "ckpt" | "checkpoint" | "dist_ckpt"
        // TensorFlow, Keras
        | "tflite" | "h5" | "hdf" | "hdf5" | "pb" | "meta" | "index" | "keras"
        // GGML
        | "gguf" | "ggml" | "ggmf" | "ggjt" | "q4_0" | "q4_1" | "q5_0" | "q5_1" | "q8_0" | "f16" | "f32" | "llamafile"
        // By content
        | "tensor" | "weights" | "state" | "embedding" | "vocab" | "model"
        // Other engines and frameworks
        | "ot" | "engine" | "trt" | "onnx" | "mlmodel" | "coreml" | "mil" | "mleap" | "surml" | "caffemodel" | "prototxt" | "dlc"
        | "circle" | "nb" | "ftz" | "ark"
        // Arrays, objects and tables
        | "msgpack" | "pkl" | "pickle" | "joblib" | "npy" | "npz" | "nc" | "arrow" | "parquet" | "db"
    );
    // Not in modctl's table: `.onnx.data`, the name that PyTorch's current exporter gives the
    // weights of a large model.
    by_extension
        || [".bin.", ".data-", ".gguf.", ".onnx_data", ".onnx.data", ".llamafile."].iter().any(|part| name.contains(part))
        || is_shard(name)
}

/// `tensor[0-9]*_[0-9]*`: a tensor of a sharded checkpoint.
fn is_shard(name: &str) -> bool {
    let begins_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    name.strip_prefix("tensor").is_some_and(|rest| begins_with_digit(rest) && rest.split('_').skip(1).any(begins_with_digit))
}

fn is_code(name: &str, extension: &str) -> bool {
    #[rustfmt::skip]
    let by_extension = matches!(
        extension,
        // Languages
        "py" | "ipynb" | "sh" | "patch" | "c" | "h" | "hxx" | "cpp" | "cc" | "cxx" | "c++" | "hpp" | "hh" | "h++" | "java" | "js" | "mjs"
        | "cjs" | "jsx" | "ts" | "tsx" | "go" | "rs" | "swift" | "rb" | "php" | "scala" | "kt" | "kts" | "r" | "m" | "mm" | "f" | "f90"
        | "f95" | "f03" | "f08" | "jl" | "lua" | "pl" | "pm" | "cs" | "vb" | "dart" | "groovy" | "elm" | "erl" | "hrl" | "ex" | "exs"
        | "hs" | "lhs" | "clj" | "cljs" | "cljc" | "cl" | "lisp" | "lsp" | "scm" | "ss" | "rkt" | "sql" | "psql" | "mysql" | "sqlite"
        | "zig" | "cu" | "cuh"
        // Scripts
        | "bash" | "zsh" | "fish" | "csh" | "tcsh" | "ksh" | "ps1" | "psm1" | "psd1" | "bat" | "cmd" | "vbs" | "wsf" | "applescript"
        | "scpt" | "awk" | "sed" | "expect"
        // Build files
        | "env" | "dockerfile" | "mk" | "cmake" | "gradle" | "sbt" | "mill" | "bazel" | "bzl" | "buck" | "ninja" | "gyp" | "gypi" | "waf"
        | "gemspec"
        // Libraries
        | "so" | "dll" | "dylib" | "lib" | "a"
    );
    // Project files with the extension of a config file, such as `package.json`, were already
    // classified as configs.
    let whole = matches!(
        name,
        "cmakelists.txt" | "yarn.lock" | "poetry.lock" | "cargo.lock" | "go.mod" | "go.sum" | "composer.lock" | "mix.lock" | "rebar.lock"
    );
    let prefixes = [
        ".env",
        "makefile",
        "dockerfile",
        "build.gradle",
        "settings.gradle",
        "build",
        "workspace",
        "buck",
        "wscript",
        "pipfile",
        "gemfile",
    ];
    by_extension
        || whole
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
        || name.contains(".env.")
        || (name.starts_with("requirements") && extension == "txt")
}

fn is_doc(name: &str, extension: &str) -> bool {
    #[rustfmt::skip]
    let by_extension = matches!(
        extension,
        // Text
        "txt" | "md" | "pdf" | "log" | "doc" | "docx" | "docm" | "dot" | "dotx" | "dotm" | "rtf" | "odt" | "ott" | "fodt" | "pages" | "wpd"
        // Tables
        | "xls" | "xlsx" | "xlsm" | "xlsb" | "xlt" | "xltx" | "xltm" | "ods" | "ots" | "fods" | "numbers" | "csv"
        // Slides
        | "ppt" | "pptx" | "pptm" | "pps" | "ppsx" | "ppsm" | "pot" | "potx" | "potm" | "odp" | "otp" | "fodp" | "key"
        // Books and help
        | "epub" | "mobi" | "azw" | "azw3" | "fb2" | "fb3" | "lit" | "pdb" | "djvu" | "djv" | "chm" | "hlp" | "xps"
        // Web
        | "html" | "htm" | "xhtml" | "mhtml" | "mht" | "xsl" | "xslt"
        // Markup
        | "tex" | "latex" | "ltx" | "bib" | "rst" | "asciidoc" | "adoc" | "textile" | "wiki" | "mediawiki" | "org" | "texi" | "texinfo"
        | "info" | "man"
        // Images
        | "jpg" | "jpeg" | "png" | "gif" | "bmp" | "tiff" | "ico" | "webp" | "heic" | "heif" | "hevc" | "svg"
        // Videos
        | "mp4" | "mov" | "avi" | "mkv" | "webm" | "m4v" | "flv" | "wmv" | "mpg" | "mpeg"
    );
    by_extension
        || ["license", "readme", "setup"].iter().any(|prefix| name.starts_with(prefix))
        || ["requirements", ".tfevents"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: LayerKind, names: &[&str]) {
        for name in names {
            assert_eq!(classify(&name.parse().unwrap(), 1), (kind, true), "{name}");
        }
    }

    #[test]
    fn names_of_each_kind() {
        check(
            LayerKind::WeightConfig,
            &[
                "config.json",
                "config.json.bak",
                "vocab.txt",
                "merges.txt",
                "tokenizer.model",
                "tokenizer.model.v3",
                "old_tokenizer.model",
                "spiece.model",
                "sentencepiece.bpe.model",
                "sentencepiece.vocab",
                "sentence.bpe.model",
                "vocab.bpe",
                "vocab",
                "vocab.en.txt",
                "rwkv_vocab_v20230424.txt",
                "bpe_simple_vocab_16e6.txt.gz",
                "bpe.codes",
                "source.spm",
                "spm.model",
                "spiece.vocab",
                "ice_text.model",
                "dict.en.txt",
                "tokens.txt",
                "special_tokens.txt",
                "chat_template_tools.jinja",
                "added_tokens.json",
                "preprocessor_config.json",
                "chat_template.jinja",
                "model.safetensors.index.json",
                "cl100k.tiktoken",
                "package.json",
            ],
        );
        check(
            LayerKind::Weight,
            &[
                "model-00001-of-00002.safetensors",
                "pytorch_model.bin",
                "model.bin.1",
                "model.ckpt.data-00000-of-00001",
                "model.ckpt.index",
                "model.gguf",
                "model.gguf.part1",
                "model.onnx_data_1",
                "model.onnx.data",
                "tensor0_1",
                "tensor12_x_3.dat",
                "en.vocab",
                "unigram.model",
                "spam.model",
                "model.q4_0",
                "chart.prototxt",
            ],
        );
        check(
            LayerKind::Code,
            &[
                "run.py",
                "train.ipynb",
                "kernel.cu",
                "x.h++",
                "analysis.R",
                "Makefile",
                "Makefile.am",
                "Dockerfile.gpu",
                "requirements.txt",
                "requirements-dev.txt",
                "CMakeLists.txt",
                ".env.local",
                "prod.env.example",
                "go.mod",
                "libx.so",
                "BUILD",
            ],
        );
        check(
            LayerKind::Doc,
            &[
                "README.md",
                "README",
                "LICENSE",
                "LICENSE-MIT",
                "notes.txt",
                "paper.pdf",
                "logo.png",
                "demo.mp4",
                "events.out.tfevents.123.host",
                "my_requirements",
                "setup.sketch",
                "data.csv",
                "dictionary.txt",
                "tokens_of_thanks.md",
            ],
        );
    }

    #[test]
    fn case_and_directories_are_ignored() {
        check(LayerKind::Weight, &["MODEL.SAFETENSORS", "docs.md/weights.GGUF"]);
        check(LayerKind::Doc, &["model.bin/readme.MD"]);
        check(LayerKind::Code, &["MAKEFILE"]);
    }

    #[test]
    fn the_first_matching_kind_wins() {
        check(LayerKind::WeightConfig, &["model.meta", "pyproject.toml", "requirements.yaml", "README.json", "setup.cfg"]);
        check(LayerKind::Weight, &["README.bin", "tensor1_2.py"]);
        check(LayerKind::Code, &["setup.py", "requirements.txt"]);
    }

    #[test]
    fn size_decides_for_unknown_names() {
        for name in ["blob", "data.xyz", "tensor_1", "tensorx1_1", "tensor1_x"] {
            let path: FilePath = name.parse().unwrap();
            assert_eq!(classify(&path, 128_000_000), (LayerKind::Code, false), "{name}");
            assert_eq!(classify(&path, 128_000_001), (LayerKind::Weight, false), "{name}");
        }
    }
}
