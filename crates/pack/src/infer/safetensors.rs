//! Safetensors: parameters and precision, by the tensors of all shards.

use super::{
    findings::{Findings, field},
    folder::{Folder, open},
    parameters::{self, Parameters},
    quantization::{self, Quantization},
    transformers::TransformersConfig,
    weights::{self, Shards},
};
use modelpack_formats::safetensors::{Tensor, read_header};

/// What elements of a numeric type are to a model.
enum Holds {
    /// Parameters; of this precision, if the specification has a word for it.
    Parameters(Option<&'static str>),
    /// Parameters, packed when the model is quantized.
    Bytes,
    /// Packed parameters, when they are in the tensors that quantizers make.
    Words,
    /// Positions, counters and masks, which are no parameters.
    Indices,
}

/// What the elements of a numeric type of the format are; of a type that is not here, parameters without a word for their precision.
const HOLDS: [(&str, Holds); 15] = [
    ("F64", Holds::Parameters(Some("float64"))),
    ("F32", Holds::Parameters(Some("float32"))),
    ("F16", Holds::Parameters(Some("float16"))),
    ("BF16", Holds::Parameters(Some("bfloat16"))),
    ("F8_E4M3", Holds::Parameters(Some("float8_e4m3"))),
    ("F8_E5M2", Holds::Parameters(Some("float8_e5m2"))),
    ("C64", Holds::Parameters(Some("complex64"))),
    ("I8", Holds::Parameters(Some("int8"))),
    ("U8", Holds::Bytes),
    ("I32", Holds::Words),
    ("U32", Holds::Words),
    ("I16", Holds::Indices),
    ("I64", Holds::Indices),
    ("U64", Holds::Indices),
    ("BOOL", Holds::Indices),
];

/// Says what the headers of all shards tell, and where they cannot, what their index does.
pub(super) fn describe(folder: &Folder<'_>, config: Option<&TransformersConfig>, found: &mut Findings) {
    let older = config.and_then(TransformersConfig::quantization).is_none().then(|| quantization::beside(folder)).flatten();
    if let Some((quantization, path)) = &older {
        found.say(field::QUANTIZATION, quantization.method.clone(), path.as_str());
    }
    let counted = weights::count(folder, "safetensors", |directory, shards| {
        // The parts of a pipeline have configs of their own.
        let own = folder.is_pipeline().then(|| TransformersConfig::read_in(folder, directory)).flatten();
        let quantization = own.as_ref().or(config).and_then(TransformersConfig::quantization);
        if let Some(own) = &own {
            own.describe_quantization(found);
        }
        count_shards(shards, quantization.as_ref().or(older.as_ref().map(|(quantization, _)| quantization)), found)
    });
    let Some((parameters, source)) = counted else { return };
    found.say(field::PARAM_SIZE, parameters.size(), format!("{source}: tensor shapes"));
    if let Some((index, path)) = folder.json_fields("model.safetensors.index.json", &["metadata"]) {
        let total = index["metadata"]["total_parameters"].as_u64().and_then(parameters::size);
        found.say(field::PARAM_SIZE, total, format!("{path}: `metadata.total_parameters`"));
    }
    found.say(field::PRECISION, parameters.precision(), format!("{source}: tensor types"));
}

/// The parameters of one model; `None` if the header of some shard is not to be believed.
fn count_shards(shards: &Shards<'_>, quantization: Option<&Quantization>, found: &mut Findings) -> Option<Parameters> {
    let mut parameters = Parameters::default();
    for shard in &shards.files {
        let file = open(shard)?;
        let read = read_header(file, shard.size, |tensor| count(&tensor, quantization, &mut parameters));
        read.map_err(|why| found.note(shard, why)).ok()?;
    }
    Some(parameters)
}

/// Adds a tensor to the model's parameters.
pub(super) fn count(tensor: &Tensor<'_>, quantization: Option<&Quantization>, parameters: &mut Parameters) {
    let name = tensor.name.rsplit('.').next().unwrap_or(tensor.name);
    if belongs_to_quantization(name) {
        return;
    }
    let packed = |bits: u64| quantization.and_then(|q| q.bits).and_then(|packed| Some(tensor.elements.checked_mul(bits)? / packed));
    let holds = HOLDS.iter().find(|(dtype, _)| *dtype == tensor.dtype).map_or(&Holds::Parameters(None), |(_, holds)| holds);
    match holds {
        Holds::Parameters(precision) => {
            parameters.add(Some(tensor.elements));
            if let Some(precision) = precision {
                parameters.add_bytes(precision, tensor.bytes);
            }
        }
        Holds::Bytes if quantization.is_some() => parameters.add(packed(tensor.bits)),
        Holds::Bytes => {
            parameters.add(Some(tensor.elements));
            parameters.add_bytes("uint8", tensor.bytes);
        }
        Holds::Words if matches!(name, "weight" | "qweight" | "weight_packed") => parameters.add(packed(tensor.bits)),
        Holds::Words | Holds::Indices => {}
    }
}

/// Whether quantizers keep under this name what turns packed weights back into numbers: scales, zero points, orders, shapes.
fn belongs_to_quantization(name: &str) -> bool {
    let suffixes = ["scales", "_scale", "_scale_inv", "_scale_2", "qzeros", "zero_point", "g_idx", "absmax", "quant_map", "weight_shape"];
    matches!(name, "biases" | "SCB" | "weight_format")
        || name.starts_with("bitsandbytes__")
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}
