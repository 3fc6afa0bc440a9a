//! The format's numeric types, `TensorProto.DataType`.

/// A numeric type.
#[derive(Debug, PartialEq, Eq)]
pub struct DataType {
    /// Its number in files.
    pub id: u64,
    /// Its name, such as `FLOAT16`.
    pub name: &'static str,
    /// Bits per element; 0 for strings, which have no fixed length.
    pub bits: u64,
}

impl DataType {
    /// The type with this id, if it is known.
    pub(super) fn find(id: u64) -> Option<&'static Self> {
        TYPES.iter().find(|known| known.id == id)
    }
}

const fn of(id: u64, name: &'static str, bits: u64) -> DataType {
    DataType { id, name, bits }
}

const TYPES: [DataType; 28] = [
    of(1, "FLOAT", 32),
    of(2, "UINT8", 8),
    of(3, "INT8", 8),
    of(4, "UINT16", 16),
    of(5, "INT16", 16),
    of(6, "INT32", 32),
    of(7, "INT64", 64),
    of(8, "STRING", 0),
    of(9, "BOOL", 8),
    of(10, "FLOAT16", 16),
    of(11, "DOUBLE", 64),
    of(12, "UINT32", 32),
    of(13, "UINT64", 64),
    of(14, "COMPLEX64", 64),
    of(15, "COMPLEX128", 128),
    of(16, "BFLOAT16", 16),
    of(17, "FLOAT8E4M3FN", 8),
    of(18, "FLOAT8E4M3FNUZ", 8),
    of(19, "FLOAT8E5M2", 8),
    of(20, "FLOAT8E5M2FNUZ", 8),
    of(21, "UINT4", 4),
    of(22, "INT4", 4),
    of(23, "FLOAT4E2M1", 4),
    of(24, "FLOAT8E8M0", 8),
    of(25, "UINT2", 2),
    of(26, "INT2", 2),
    of(27, "FLOAT6E2M3", 6),
    of(28, "FLOAT6E3M2", 6),
];
