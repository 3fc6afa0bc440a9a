//! Safetensors: parameters and precision, from the tensors of all shards.

use super::{
    findings::{Findings, field},
    folder::Folder,
    parameters::{self, Parameters},
    quantization::{self, Quantization},
    transformers::TransformersConfig,
    weights::{self, Shards},
};
use modelpack_formats::safetensors::{Tensor, read_header};

/// The meaning of the elements of a numeric type.
enum Holds {
    /// Parameters with this precision, if the specification has a name for it.
    Parameters(Option<&'static str>),
    /// Eight-bit parameters, or packed ones if there are scales of small blocks.
    SignedBytes,
    /// Parameters, which are packed if the model is quantized.
    Bytes,
    /// Packed parameters, if they are in tensors that quantizers write.
    Words,
    /// Positions, counters and masks, which are not parameters.
    Indices,
    /// Scales of small blocks, which are not parameters.
    Scales,
}

/// The meaning of each numeric type of the format. Types with fewer than eight bits, and types that
/// only some hardware has, are quantizations without a name in the specification.
const HOLDS: [(&str, Holds); 22] = [
    ("F64", Holds::Parameters(Some("float64"))),
    ("F32", Holds::Parameters(Some("float32"))),
    ("F16", Holds::Parameters(Some("float16"))),
    ("BF16", Holds::Parameters(Some("bfloat16"))),
    ("F8_E4M3", Holds::Parameters(Some("float8_e4m3"))),
    ("F8_E5M2", Holds::Parameters(Some("float8_e5m2"))),
    ("F8_E4M3FNUZ", Holds::Parameters(None)),
    ("F8_E5M2FNUZ", Holds::Parameters(None)),
    ("F8_E8M0", Holds::Scales),
    ("F6_E2M3", Holds::Parameters(None)),
    ("F6_E3M2", Holds::Parameters(None)),
    ("F4", Holds::Parameters(None)),
    ("C64", Holds::Parameters(Some("complex64"))),
    ("I8", Holds::SignedBytes),
    ("U8", Holds::Bytes),
    ("I16", Holds::Words),
    ("U16", Holds::Words),
    ("I32", Holds::Words),
    ("U32", Holds::Words),
    ("I64", Holds::Indices),
    ("U64", Holds::Indices),
    ("BOOL", Holds::Indices),
];

/// The names under which quantizers store packed weights. Each element holds as many weights as
/// fit.
const PACKED: [&str; 3] = ["weight", "qweight", "weight_packed"];

/// The names under which quantizers store encoded weights whose number cannot be derived from a
/// number of bits: ExLlama, AQLM, VPTQ, QuIP#.
const CODES: [&str; 7] = ["q_weight", "trellis", "codes", "indices", "outlier_indices", "res_indices", "Qidxs"];

/// Records the metadata of the headers of all shards, or else of their index.
pub(super) fn describe(folder: &Folder<'_>, config: Option<&TransformersConfig>, found: &mut Findings) {
    let older = config.and_then(TransformersConfig::quantization).is_none().then(|| quantization::beside(folder)).flatten();
    if let Some((quantization, path)) = &older {
        found.say(field::QUANTIZATION, quantization.method.clone(), path.as_str());
    }
    let counted = weights::count(folder, "safetensors", |directory, shards| {
        // The parts of a pipeline have their own configs.
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

/// The parameters of one model; `None` if the header of some shard is malformed.
fn count_shards(shards: &Shards<'_>, quantization: Option<&Quantization>, found: &mut Findings) -> Option<Parameters> {
    let mut parameters = Parameters::default();
    for shard in &shards.files {
        let file = shard.open()?;
        let read = read_header(file, shard.size, |tensor| count(&tensor, quantization, &mut parameters));
        read.map_err(|why| found.note(shard, why)).ok()?;
    }
    Some(parameters)
}

/// Adds a tensor to the model's parameters.
pub(super) fn count(tensor: &Tensor<'_>, quantization: Option<&Quantization>, parameters: &mut Parameters) {
    let name = tensor.name.rsplit('.').next().unwrap_or(tensor.name);
    let Some((holds, bits)) = HOLDS.iter().find(|(dtype, _)| *dtype == tensor.dtype).map(|(_, holds)| holds).zip(tensor.bits) else {
        return parameters.add_unknown();
    };
    if belongs_to_quantization(name, quantization.is_some()) {
        parameters.seen().scales = true;
        parameters.seen().block_scales |= matches!(holds, Holds::Scales);
        return;
    }
    let packed = || quantization.and_then(|q| q.bits).and_then(|packed| Some(tensor.elements.checked_mul(bits)? / packed));
    match holds {
        Holds::Parameters(precision) => {
            parameters.add(Some(tensor.elements));
            if let Some(precision) = precision {
                parameters.add_bytes(precision, tensor.bytes);
            }
        }
        Holds::SignedBytes => {
            parameters.seen().signed_bytes = true;
            parameters.add(Some(tensor.elements));
            parameters.add_bytes("int8", tensor.bytes);
        }
        Holds::Bytes if quantization.is_some() => parameters.add(packed()),
        Holds::Bytes => {
            parameters.seen().bytes = true;
            parameters.add(Some(tensor.elements));
            parameters.add_bytes("uint8", tensor.bytes);
        }
        Holds::Words if PACKED.contains(&name) => parameters.add(packed()),
        Holds::Words if quantization.is_some() && CODES.contains(&name) => parameters.add(None),
        Holds::Words | Holds::Indices => {}
        Holds::Scales => {
            parameters.seen().scales = true;
            parameters.seen().block_scales = true;
        }
    }
}

/// Whether quantizers store under this name the data that converts packed weights back to numbers:
/// scales, zero points, orders, shapes.
fn belongs_to_quantization(name: &str, is_quantized: bool) -> bool {
    #[rustfmt::skip]
    let suffixes = [
        "scales", "_scale", "_scale_inv", "_scale_2", "qzeros", "zero_point", "zero_points", "g_idx", "absmax", "quant_map", "_amax", "weight_shape",
    ];
    matches!(name, "biases" | "SCB" | "weight_format" | "scale_weight" | "scale_input" | "scaled_fp8")
        // Normalisation layers have such a parameter.
        || (name == "scale" && is_quantized)
        || name.starts_with("bitsandbytes__")
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}
