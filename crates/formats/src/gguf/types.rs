//! The format's numeric types.

/// A numeric type: elements are stored in blocks of equal length.
#[derive(Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Its number in files.
    pub id: u32,
    /// Its name, such as `Q4_K`.
    pub name: &'static str,
    /// Elements per block; 1 for unquantized numbers.
    pub block: u64,
    /// Bytes per block.
    pub bytes: u64,
}

impl TensorType {
    /// The type with this id, if it is known.
    pub(super) fn find(id: u32) -> Option<&'static Self> {
        TYPES.iter().find(|known| known.id == id)
    }

    /// Whether llama.cpp has removed the type with this id. It refuses files of older versions that
    /// use it.
    pub(super) fn is_removed(id: u32) -> bool {
        matches!(id, 4 | 5 | 31..=33 | 36..=38)
    }
}

const fn plain(id: u32, name: &'static str, bytes: u64) -> TensorType {
    TensorType { id, name, block: 1, bytes }
}

const fn blocks(id: u32, name: &'static str, block: u64, bytes: u64) -> TensorType {
    TensorType { id, name, block, bytes }
}

const TYPES: [TensorType; 38] = [
    plain(0, "F32", 4),
    plain(1, "F16", 2),
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
    plain(24, "I8", 1),
    plain(25, "I16", 2),
    plain(26, "I32", 4),
    plain(27, "I64", 8),
    plain(28, "F64", 8),
    blocks(29, "IQ1_M", 256, 56),
    plain(30, "BF16", 2),
    blocks(31, "Q4_0_4_4", 32, 18),
    blocks(32, "Q4_0_4_8", 32, 18),
    blocks(33, "Q4_0_8_8", 32, 18),
    blocks(34, "TQ1_0", 256, 54),
    blocks(35, "TQ2_0", 256, 66),
    blocks(39, "MXFP4", 32, 17),
    blocks(40, "NVFP4", 64, 36),
    blocks(41, "Q1_0", 128, 18),
    blocks(42, "Q2_0", 64, 18),
    blocks(9, "Q8_1", 32, 36),
];
