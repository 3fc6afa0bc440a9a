//! Judgement of the actions of the Keras loaders for an object with a class name.
//!
//! `deserialize_keras_object` takes the class or function `class_name` from `module`, or by
//! `registered_name`, and a model calls it with arguments from the same config. Keras up to 3.8,
//! and tf_keras to this day, import any module for that. Later versions accept what Keras itself
//! exports, which includes functions that load and fetch files and that disable the protection. So
//! the judgement uses a list of harmless names: most Keras classes, Keras functions that only
//! compute, and names that only the loading program can have registered.

#[cfg(test)]
mod tests;

use crate::{Finding, Severity, globals};
use modelpack_formats::pickle::Global;

/// The key for the class of an object.
pub(crate) const CLASS_NAME: &str = "class_name";
/// The key for the arguments of an object.
pub(crate) const CONFIG: &str = "config";

/// The keys whose texts are relevant.
pub(crate) const KEYS: [&str; 12] = [
    CLASS_NAME,
    CONFIG,
    "module",
    "registered_name",
    "spec_name",
    "function",
    "function_type",
    "vocabulary",
    "merges",
    "node_def",
    "attr_name",
    "cls_symbol",
];

/// The kept part of an object: the texts of some keys, and those of its config.
#[derive(Debug, Default)]
pub(crate) struct Object {
    texts: Vec<(&'static str, String)>,
    config: Option<Box<Object>>,
}

impl Object {
    /// Keeps the text of `key`. Returns the bytes that it uses.
    pub(crate) fn keep(&mut self, key: &'static str, text: String) -> usize {
        let bytes = held(&text);
        self.texts.push((key, text));
        bytes
    }

    /// Keeps the texts of its config. Returns the bytes that they use.
    pub(crate) fn keep_config(&mut self, config: Self) -> usize {
        self.config = Some(Box::new(Self { texts: config.texts, config: None }));
        self.config.as_ref().map_or(0, |config| config.held())
    }

    /// Removes the content of `key`. Returns the bytes that it used.
    pub(crate) fn forget(&mut self, key: &str) -> usize {
        let mut bytes = self.texts.iter().filter(|(of, _)| *of == key).map(|(_, text)| held(text)).sum();
        self.texts.retain(|(of, _)| *of != key);
        if key == CONFIG {
            bytes += self.config.take().map_or(0, |config| config.held());
        }
        bytes
    }

    /// The bytes that it uses.
    pub(crate) fn held(&self) -> usize {
        let texts: usize = self.texts.iter().map(|(_, text)| held(text)).sum();
        texts + self.config.as_ref().map_or(0, |config| config.held())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.texts.iter().find(|(of, _)| *of == key).map(|(_, text)| text.as_str())
    }

    /// A text of its config.
    fn of_config(&self, key: &str) -> Option<&str> {
        self.config.as_ref()?.text(key)
    }
}

/// The approximate memory of a kept text.
fn held(text: &str) -> usize {
    64 + text.len()
}

/// Layers that run or load what their config contains, in any module.
const GADGETS: [(&str, &str); 4] = [
    ("Lambda", "has a Keras Lambda layer, whose Python code the loader runs"),
    ("__lambda__", "has a Keras function as Python code, which the loader runs"),
    ("TorchModuleWrapper", "has a PyTorch module in a Keras layer, which the loader unpickles"),
    ("TFSMLayer", "has a Keras layer that loads another model from a path"),
];

/// Packages that contain Keras classes.
const PACKAGES: [&str; 8] =
    ["keras", "tf_keras", "keras_hub", "keras_nlp", "keras_cv", "keras_core", "tensorflow.keras", "tensorflow.python.keras"];

/// Keras functions that only compute: activations, losses, metrics, and classes with names like
/// functions.
#[rustfmt::skip]
const FUNCTIONS: [&str; 108] = [
    "KLD", "MAE", "MAPE", "MSE", "MSLE", "add", "average", "binary_accuracy", "binary_crossentropy", "binary_focal_crossentropy",
    "categorical_accuracy", "categorical_crossentropy", "categorical_focal_crossentropy", "categorical_generalized_cross_entropy",
    "categorical_hinge", "celu", "circle", "concatenate", "concordance_correlation", "constant", "cosine", "cosine_proximity",
    "cosine_similarity", "ctc", "dice", "dot", "elu", "exponential", "gelu", "gelu_approximate", "glorot_normal", "glorot_uniform", "glu",
    "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "he_normal", "he_uniform", "hinge", "huber", "identity",
    "kl_divergence", "kld", "kullback_leibler_divergence", "l1", "l1_l2", "l2", "leaky_relu", "lecun_normal", "lecun_uniform", "linear",
    "log_cosh", "log_sigmoid", "log_softmax", "logcosh", "mae", "mape", "max_norm", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "min_max_norm", "mish", "mse", "msle",
    "multiply", "non_neg", "normal", "ones", "orthogonal", "orthogonal_regularizer", "pearson_correlation", "poisson",
    "radial_constraint", "random_normal", "random_uniform", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax",
    "softplus", "softsign", "sparse_categorical_accuracy", "sparse_categorical_crossentropy", "sparse_plus", "sparse_sigmoid",
    "sparse_top_k_categorical_accuracy", "sparsemax", "squared_hinge", "squareplus", "stft", "swish", "tanh", "tanh_shrink", "threshold",
    "top_k_categorical_accuracy", "truncated_normal", "tversky", "uniform", "unit_norm", "variance_scaling", "zeros",
];

/// Keras functions that load, fetch or write given files, or disable the protection of a loader.
#[rustfmt::skip]
const DANGEROUS_FUNCTIONS: [&str; 22] = [
    "audio_dataset_from_directory", "clone_model", "deserialize", "deserialize_keras_object", "enable_unsafe_deserialization", "func_load",
    "get_file", "image_dataset_from_directory", "load_data", "load_img", "load_model", "load_weights", "model_from_config",
    "model_from_json", "model_from_yaml", "plot_model", "save_img", "save_model", "save_weights", "set_backend",
    "text_dataset_from_directory", "upload_preset",
];

/// Python functions that no other list contains. These are all functions of `builtins` that Keras
/// could find: functions of a model's author also have that module name, and only the loading
/// program can have them.
#[rustfmt::skip]
const PYTHON: [&str; 42] = [
    "abs", "aiter", "all", "anext", "any", "ascii", "bin", "buffer", "callable", "chr", "cmp", "coerce", "copyright", "credits", "divmod",
    "enumerate", "format", "hash", "hex", "id", "intern", "isinstance", "issubclass", "iter", "len", "license", "max", "min", "next", "oct",
    "ord", "pow", "print", "repr", "reversed", "round", "sorted", "sum", "unichr", "unicode", "xrange", "zip",
];

/// Python types that are written as Keras objects, besides those that are harmless in a pickle.
const TYPES: [&str; 3] = ["NoneType", "ellipsis", "type"];

/// Parts of TensorFlow whose functions only compute.
#[rustfmt::skip]
const TENSORFLOW: [&str; 17] = [
    "RaggedTensor", "SparseTensor", "Tensor", "__operators__", "audio", "bitwise", "dtypes", "image", "linalg", "math", "nn",
    "quantization", "ragged", "random", "sets", "signal", "sparse",
];

/// Top-level TensorFlow functions that access files or code.
#[rustfmt::skip]
const DANGEROUS_TENSORFLOW: [&str; 13] = [
    "Print", "Session", "import_graph_def", "load_file_system_library", "load_library", "load_op_library", "matching_files",
    "numpy_function", "print", "py_func", "py_function", "read_file", "write_file",
];

/// TensorFlow operators that access files or code, by their names in a graph.
#[rustfmt::skip]
const DANGEROUS_OPERATORS: [&str; 13] = [
    "EagerPyFunc", "ImmutableConst", "LoadLibrary", "MatchingFiles", "MergeV2Checkpoints", "PrintV2", "PyFunc", "ReadFile", "Restore", "Save",
    "ShardedFilename", "WholeFileReader", "WriteFile",
];

/// The finding for this object; `None` if it is harmless or not a Keras object.
pub(crate) fn judge(object: &Object) -> Option<Finding> {
    let class = object.text(CLASS_NAME)?;
    let dangerous = |message: String| Some(Finding::new(Severity::Dangerous, message));
    if let Some((_, message)) = GADGETS.iter().find(|(known, _)| *known == class) {
        return dangerous((*message).to_owned());
    }
    if object.of_config("function_type") == Some("lambda") {
        return dangerous(GADGETS[1].1.to_owned());
    }
    let module = object.text("module").filter(|module| !module.is_empty());
    if module.is_none_or(|module| is_of_keras(module).is_some()) {
        if let Some(finding) = judge_layer(class, object) {
            return Some(finding);
        }
        let has_words = ["Lookup", "Tokenizer", "Vectorization"].iter().any(|kind| class.contains(kind));
        if let Some(path) = ["vocabulary", "merges"].into_iter().find_map(|key| object.of_config(key)).filter(|_| has_words) {
            return dangerous(format!("makes its Keras loader read the file {:?} into a layer {}", shown(path), shown(class)));
        }
    }
    judge_import(class, module?, object)
}

/// Layers of older Keras versions that call a TensorFlow function, or a method of a value, by its
/// name.
fn judge_layer(class: &str, object: &Object) -> Option<Finding> {
    let (severity, name) = match class {
        "TFOpLambda" | "SlicingOpLambda" => object.of_config("function").and_then(|name| Some((judge_tensorflow(name)?, name)))?,
        "ClassMethod" => object.of_config("cls_symbol").and_then(|name| Some((judge_tensorflow(name)?, name)))?,
        "InstanceMethod" | "InstanceProperty" => (Severity::Dangerous, object.of_config("attr_name").filter(|name| name.starts_with('_'))?),
        "TensorFlowOpLayer" => judge_node(object.of_config("node_def")?)?,
        _ => return None,
    };
    Some(Finding::new(severity, format!("has a Keras layer {class} that calls {}", shown(name))))
}

/// The severity of a graph node in protobuf text or JSON (`op: "AddV2"`), and its operator; `None`
/// if it only computes.
fn judge_node(node: &str) -> Option<(Severity, &str)> {
    let operators = node.split("op").skip(1).filter_map(|rest| {
        let value = rest.trim_start_matches(['"', '\'', ':', ' ']);
        value.find(['"', '\'']).map(|end| &value[..end])
    });
    let mut is_told = false;
    for operator in operators {
        is_told = true;
        if DANGEROUS_OPERATORS.iter().any(|known| operator.starts_with(known)) {
            return Some((Severity::Dangerous, operator));
        }
    }
    (!is_told).then_some((Severity::Unknown, "an unnamed operator"))
}

/// The severity of a TensorFlow function, by its public name; `None` if it only computes.
fn judge_tensorflow(name: &str) -> Option<Severity> {
    let name = name.strip_prefix("compat.v1.").unwrap_or(name);
    match name.split_once('.') {
        Some((part, _)) if TENSORFLOW.contains(&part) => None,
        Some(("strings", rest)) if !rest.contains('.') => None,
        Some(("io" | "data" | "raw_ops" | "saved_model" | "summary" | "train", _)) => Some(Severity::Dangerous),
        None if DANGEROUS_TENSORFLOW.contains(&name) => Some(Severity::Dangerous),
        None if is_identifier(name) => None,
        _ => Some(Severity::Unknown),
    }
}

/// Judges a name that is taken from a module.
fn judge_import(class: &str, module: &str, object: &Object) -> Option<Finding> {
    let is_function = class == "function";
    let name = match class {
        "function" => object.text(CONFIG).unwrap_or("?"),
        "__typespec__" => object.text("spec_name").unwrap_or("?"),
        // Values that are created without use of their module.
        "__bytes__" | "__ellipsis__" | "__keras_tensor__" | "__numpy__" | "__slice__" | "__tensor__" => return None,
        class => class,
    };
    // Some versions look for one name if they do not find the other.
    let registered = object.text("registered_name").filter(|registered| *registered != "function" && !registered.is_empty());
    let (severity, name) =
        [Some(name), registered].into_iter().flatten().find_map(|name| Some((judge_name(module, name, class)?, name)))?;
    let global = format!("{}.{}", shown(module), shown(name));
    let how = if is_function { "take the function" } else { "import" };
    Some(Finding { global: Some(global.clone()), ..Finding::new(severity, format!("makes its Keras loader {how} {global}")) })
}

/// The severity of taking `name` from `module` for an object of this class; `None` if it is
/// harmless.
fn judge_name(module: &str, name: &str, class: &str) -> Option<Severity> {
    let global = || globals::judge(&Global { module: module.to_owned(), name: name.to_owned() });
    if module == "builtins" {
        return match class {
            "function" if is_identifier(name) && !PYTHON.contains(&name) => global().filter(|severity| *severity == Severity::Dangerous),
            _ if TYPES.contains(&name) || is_registered(name) => None,
            _ => global(),
        };
    }
    let Some(part) = is_of_keras(module) else {
        let is_spec = class == "__typespec__" && module.starts_with("tensorflow.python.") && is_class(name) && name.ends_with("Spec");
        return if is_spec { None } else { global() };
    };
    let is_operation = part == "ops" || part.starts_with("ops.");
    if is_registered(name) || FUNCTIONS.contains(&name) || is_operation && is_identifier(name) {
        return None;
    }
    // Names in `applications` are functions that fetch weights or read them from a file.
    let is_application = part.split('.').any(|part| part == "applications");
    if is_class(name) && !is_application && !GADGETS.iter().any(|(gadget, _)| *gadget == name) {
        return None;
    }
    let is_dangerous = DANGEROUS_FUNCTIONS.contains(&name) || GADGETS.iter().any(|(gadget, _)| *gadget == name);
    if is_dangerous { Some(Severity::Dangerous) } else { Some(attribute(name)) }
}

/// A Keras name that is neither a class nor a known function. Keras modules import other modules,
/// whose attributes can be named.
fn attribute(name: &str) -> Severity {
    let Some((module, name)) = name.split_once('.') else { return Severity::Unknown };
    globals::judge(&Global { module: module.to_owned(), name: name.to_owned() }).unwrap_or(Severity::Unknown)
}

/// The rest of a module's name after the package, if the package belongs to Keras.
fn is_of_keras(module: &str) -> Option<&str> {
    PACKAGES.iter().find_map(|package| {
        let rest = module.strip_prefix(package)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
    })
}

/// Whether the name can only be a registered one: Python names do not contain this character.
fn is_registered(name: &str) -> bool {
    name.contains('>')
}

/// Whether it is a single public name in a module.
fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether it is written like the name of a class.
fn is_class(name: &str) -> bool {
    is_identifier(name) && name.starts_with(|c: char| c.is_ascii_uppercase())
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
