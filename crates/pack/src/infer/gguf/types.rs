//! The format's numeric types, and the mixes of them that whole files are made in.

/// A numeric type: elements lie in blocks of equal length.
pub(super) struct TensorType {
    pub(super) id: u32,
    pub(super) name: &'static str,
    /// Elements a block.
    pub(super) block: u64,
    /// Bytes a block.
    pub(super) bytes: u64,
    /// The specification's word for it, if it is a plain number.
    pub(super) precision: Option<&'static str>,
}

impl TensorType {
    /// The type of this id, if it is one that we know.
    pub(super) fn find(id: u32) -> Option<&'static Self> {
        TYPES.iter().find(|known| known.id == id)
    }
}

const fn plain(id: u32, name: &'static str, bytes: u64, precision: &'static str) -> TensorType {
    TensorType { id, name, block: 1, bytes, precision: Some(precision) }
}

const fn blocks(id: u32, name: &'static str, block: u64, bytes: u64) -> TensorType {
    TensorType { id, name, block, bytes, precision: None }
}

const TYPES: [TensorType; 32] = [
    plain(0, "F32", 4, "float32"),
    plain(1, "F16", 2, "float16"),
    blocks(2, "Q4_0", 32, 18),
    blocks(3, "Q4_1", 32, 20),
    blocks(6, "Q5_0", 32, 22),
    blocks(7, "Q5_1", 32, 24),
    blocks(8, "Q8_0", 32, 34),
    blocks(10, "Q2_K", 256, 84),
    blocks(11, "Q3_K", 256, 110),
    blocks(12, "Q4_K", 256, 144),
    blocks(13, "Q5_K", 256, 176),
    blocks(14, "Q6_K", 256, 210),
    blocks(15, "Q8_K", 256, 292),
    blocks(16, "IQ2_XXS", 256, 66),
    blocks(17, "IQ2_XS", 256, 74),
    blocks(18, "IQ3_XXS", 256, 98),
    blocks(19, "IQ1_S", 256, 50),
    blocks(20, "IQ4_NL", 32, 18),
    blocks(21, "IQ3_S", 256, 110),
    blocks(22, "IQ2_S", 256, 82),
    blocks(23, "IQ4_XS", 256, 136),
    plain(24, "I8", 1, "int8"),
    plain(25, "I16", 2, "int16"),
    plain(26, "I32", 4, "int32"),
    plain(27, "I64", 8, "int64"),
    plain(28, "F64", 8, "float64"),
    blocks(29, "IQ1_M", 256, 56),
    plain(30, "BF16", 2, "bfloat16"),
    blocks(34, "TQ1_0", 256, 54),
    blocks(35, "TQ2_0", 256, 66),
    blocks(39, "MXFP4", 32, 17),
    blocks(9, "Q8_1", 32, 36),
];

/// The name of the mix that `general.file_type` numbers, without those that quantize nothing.
pub(super) fn mix(file_type: u32) -> Option<&'static str> {
    /// Set when the number was guessed from the tensors, as ours would be.
    const GUESSED: u32 = 1024;
    Some(match file_type & !GUESSED {
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return None,
    })
}
