//! Judgement of the globals that pickles import.
//!
//! The main list contains harmless globals, because a list of all harmful ones is impossible. A
//! global is on the list if calling it with harmless arguments only creates a value. Names are
//! compared as a whole, so an attribute of a listed name is not listed. Some of the other globals
//! are known ways to run code; all others are unknown.

use crate::Severity;
use modelpack_formats::pickle::Global;

/// Harmless globals by module. Most of them are those that PyTorch allows with `weights_only`.
#[rustfmt::skip]
const ALLOWED: &[(&str, &[&str])] = &[
    ("builtins", &[
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "long", "object", "range", "set",
        "slice", "str", "tuple", "unicode", "xrange", "Ellipsis", "NotImplemented",
    ]),
    ("collections", &["Counter", "OrderedDict", "defaultdict", "deque"]),
    ("copyreg", &["_reconstructor"]),
    ("_codecs", &["encode"]),
    ("datetime", &["date", "datetime", "time", "timedelta", "timezone"]),
    ("decimal", &["Decimal"]),
    ("fractions", &["Fraction"]),
    ("uuid", &["UUID"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("pathlib", &["PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("numpy", &["dtype", "ndarray", "matrix", "recarray"]),
    ("numpy", NUMPY_SCALARS),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("joblib.numpy_pickle", &["NumpyArrayWrapper"]),
    ("sklearn.externals.joblib.numpy_pickle", &["NumpyArrayWrapper"]),
    ("torch", TORCH),
    ("torch", TORCH_DTYPES),
    ("torch", TORCH_STORAGES),
    ("torch.cuda", TORCH_STORAGES),
    ("torch.cuda", TORCH_TENSORS),
    ("torch", TORCH_TENSORS),
    ("torch.sparse", TORCH_TENSORS),
    ("torch.storage", &["TypedStorage", "UntypedStorage", "_TypedStorage", "_UntypedStorage"]),
    ("torch.nn.parameter", &["Buffer", "Parameter"]),
    ("torch.serialization", &["_get_layout"]),
    ("torch.jit._pickle", &[
        "build_boollist", "build_doublelist", "build_intlist", "build_tensor_from_id", "build_tensorlist", "restore_type_tag",
    ]),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch._utils", &[
        "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_device_tensor_from_numpy", "_rebuild_meta_tensor_no_storage",
        "_rebuild_nested_tensor", "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_qtensor",
        "_rebuild_sparse_tensor", "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_wrapper_subclass",
    ]),
];

#[rustfmt::skip]
const NUMPY_SCALARS: &[&str] = &[
    "bool_", "bool", "bytes_", "complex128", "complex64", "datetime64", "float16", "float32", "float64", "int16", "int32",
    "int64", "int8", "longlong", "str_", "timedelta64", "uint16", "uint32", "uint64", "uint8", "ulonglong", "void",
];

#[rustfmt::skip]
const TORCH: &[&str] = &[
    "Size", "Tensor", "device", "per_channel_affine", "per_channel_affine_float_qparams", "per_channel_symmetric",
    "per_tensor_affine", "per_tensor_symmetric",
];

#[rustfmt::skip]
const TORCH_DTYPES: &[&str] = &[
    "bfloat16", "bits16", "bits1x8", "bits2x4", "bits4x2", "bits8", "bool", "cdouble", "cfloat", "chalf", "complex128",
    "complex32", "complex64", "double", "float", "float16", "float32", "float4_e2m1fn_x2", "float64", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "half", "int", "int1", "int16", "int2", "int3", "int32",
    "int4", "int5", "int6", "int64", "int7", "int8", "long", "qint32", "qint8", "quint2x4", "quint4x2", "quint8", "short", "uint1",
    "uint16", "uint2", "uint3", "uint32", "uint4", "uint5", "uint6", "uint64", "uint7", "uint8",
];

#[rustfmt::skip]
const TORCH_STORAGES: &[&str] = &[
    "BFloat16Storage", "BoolStorage", "ByteStorage", "CharStorage", "ComplexDoubleStorage", "ComplexFloatStorage",
    "DoubleStorage", "FloatStorage", "HalfStorage", "IntStorage", "LongStorage", "QInt32Storage", "QInt8Storage", "QUInt2x4Storage",
    "QUInt4x2Storage", "QUInt8Storage", "ShortStorage", "UntypedStorage",
];

#[rustfmt::skip]
const TORCH_TENSORS: &[&str] = &[
    "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor", "IntTensor",
    "LongTensor", "ShortTensor",
];

/// Modules that, with their submodules, give access to code, programs, files or the network.
#[rustfmt::skip]
const DANGEROUS_MODULES: &[&str] = &[
    "aiohttp", "_aix_support", "antigravity", "asyncio", "atexit", "bdb", "cffi", "cgitb", "cloudpickle", "code", "codeop",
    "commands", "concurrent", "cPickle", "cProfile", "_ctypes", "ctypes", "dill", "distutils", "doctest", "ensurepip", "fileinput",
    "ftplib", "gc", "http", "httplib", "httpx", "idlelib", "imaplib", "imp", "importlib", "inspect", "_io", "io",
    "joblib.numpy_pickle_compat", "lib2to3", "linecache", "logging.config", "mailcap", "marshal", "mmap", "multiprocessing",
    "nntplib", "nose", "nt", "ntpath", "numpy.ctypeslib", "numpy.f2py", "numpy.testing", "_operator", "operator", "os",
    "_osx_support", "pdb", "_pickle", "pickle", "pip", "pkg_resources", "pkgutil", "platform", "popen2", "poplib", "posix",
    "posixpath", "_posixsubprocess", "profile", "pty", "py_compile", "pydoc", "_pyrepl", "requests", "resource", "rlcompleter",
    "runpy", "sched", "setuptools", "shelve", "shutil", "signal", "site", "smtpd", "smtplib", "socket", "socketserver", "sqlite3",
    "ssl", "subprocess", "sys", "sysconfig", "tarfile", "telnetlib", "tempfile", "test", "_thread", "threading", "timeit",
    "torch._dynamo", "torch._inductor", "torch.cpp_extension", "torch.distributed.rpc", "torch.fx", "torch.hub", "torch.jit",
    "torch.ops", "torch.package", "torch.testing", "torch.utils.bottleneck", "torch.utils.collect_env", "torch.utils.cpp_extension",
    "torch.utils.data.datapipes", "trace", "unittest", "urllib", "urllib2", "urllib3", "venv", "webbrowser", "_winapi", "winreg",
    "wsgiref", "xmlrpc", "zipapp", "zipfile", "zipimport",
];

/// Names that give access to code, programs or files, in other modules.
#[rustfmt::skip]
const DANGEROUS: &[(&str, &[&str])] = &[
    ("builtins", &[
        "__build_class__", "__import__", "apply", "breakpoint", "classmethod", "compile", "delattr", "dir", "eval", "exec",
        "execfile", "exit", "file", "filter", "getattr", "globals", "hasattr", "help", "input", "locals", "map", "memoryview",
        "open", "property", "quit", "raw_input", "reduce", "reload", "setattr", "staticmethod", "super", "type", "vars",
    ]),
    ("functools", &["partial", "partialmethod", "reduce"]),
    ("types", &["CodeType", "FunctionType", "LambdaType", "MethodType", "ModuleType"]),
    ("copyreg", &["add_extension", "constructor", "pickle"]),
    ("codecs", &["open"]),
    ("logging", &["FileHandler"]),
    ("uuid", &["_get_command_stdout", "_popen"]),
    ("weakref", &["finalize"]),
    ("joblib", &["load"]),
    ("joblib.numpy_pickle", &["load"]),
    ("keras.models", &["load_model"]),
    ("numpy", &["fromfile", "load", "loadtxt", "memmap", "save", "savetxt"]),
    ("pandas", &["eval", "read_pickle"]),
    ("pandas.io.common", &["get_handle"]),
    ("pandas.io.pickle", &["read_pickle"]),
    ("torch", &["load", "save"]),
    ("torch.serialization", &["load", "save"]),
    ("torch.storage", &["_load_from_bytes"]),
    ("torch.utils._config_module", &["ConfigModule.load_config", "load_config"]),
    ("torch.utils.checkpoint", &["checkpoint"]),
];

/// Whether a global is a class of the code in the TorchScript archive itself.
///
/// PyTorch's loader of such archives looks for it there and imports nothing from Python. No Python
/// module has this name.
pub(crate) fn is_of_torch_script(global: &Global) -> bool {
    global.module == "__torch__" || global.module.starts_with("__torch__.")
}

/// The severity of importing a global; `None` if it is harmless.
pub(crate) fn judge(global: &Global) -> Option<Severity> {
    let module = match global.module.as_str() {
        "__builtin__" | "__builtins__" | "exceptions" => "builtins",
        "copy_reg" => "copyreg",
        module => module,
    };
    let is_listed = |list: &[(&str, &[&str])], name: &str| list.iter().any(|(of, names)| *of == module && names.contains(&name));
    if is_listed(ALLOWED, &global.name) {
        return None;
    }
    // An attribute of a name is as dangerous as the name.
    let name = global.name.split('.').next().unwrap_or_default();
    let is_below = |known: &&str| module == *known || module.strip_prefix(*known).is_some_and(|rest| rest.starts_with('.'));
    let is_dangerous = DANGEROUS_MODULES.iter().any(is_below)
        || is_listed(DANGEROUS, name)
        || is_listed(DANGEROUS, &global.name)
        // A name with a dunder after a dot gives access from a value to all of Python.
        || global.name.contains(".__")
        || global.name.contains('.') && global.name.split('.').any(|part| DANGEROUS_MODULES.contains(&part));
    Some(if is_dangerous { Severity::Dangerous } else { Severity::Unknown })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(module: &str, name: &str) -> Option<Severity> {
        judge(&Global { module: module.to_owned(), name: name.to_owned() })
    }

    #[test]
    fn globals_of_weights_are_harmless() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "BFloat16Storage"),
            ("torch", "float8_e4m3fn"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "dtype"),
            ("__builtin__", "set"),
            ("copy_reg", "_reconstructor"),
        ] {
            assert_eq!(judged(module, name), None, "{module}.{name}");
        }
    }

    #[test]
    fn ways_to_run_code_are_dangerous() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("nt", "system"),
            ("subprocess", "Popen"),
            ("builtins", "eval"),
            ("__builtin__", "exec"),
            ("builtins", "getattr"),
            ("runpy", "_run_code"),
            ("importlib", "import_module"),
            ("importlib.util", "spec_from_loader"),
            ("torch.storage", "_load_from_bytes"),
            ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
            ("numpy.testing._private.utils", "runstring"),
            ("collections", "OrderedDict.__init__.__globals__"),
            ("torch.serialization", "os.system"),
            ("mailcap", "findmatch"),
            ("unittest.mock", "_importer"),
            ("uuid", "_get_command_stdout"),
        ] {
            assert_eq!(judged(module, name), Some(Severity::Dangerous), "{module}.{name}");
        }
    }

    #[test]
    fn unlisted_globals_are_unknown_and_not_harmless() {
        for (module, name) in [
            ("sklearn.linear_model._base", "LinearRegression"),
            ("torch", "FloatStorage.from_buffer"),
            ("torch._utils", "_rebuild_tensor_v2 "),
            ("collections.abc", "OrderedDict"),
            ("", ""),
            ("builtins", "print"),
        ] {
            assert_eq!(judged(module, name), Some(Severity::Unknown), "{module}.{name}");
        }
    }

    #[test]
    fn no_name_is_on_both_lists() {
        for (module, names) in ALLOWED {
            assert!(!DANGEROUS_MODULES.contains(module), "{module}");
            for name in *names {
                assert!(!DANGEROUS.iter().any(|(of, names)| of == module && names.contains(name)), "{module}.{name}");
            }
        }
    }
}
