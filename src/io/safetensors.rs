//! `.safetensors`: a JSON header with names, types and offsets, then the numbers, little-endian in C order.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::io::Fault;
use crate::io::array::{Array, Layout, Number};

/// What `decode` makes of the tensor `name` of a whole `.safetensors` file.
pub(super) fn read<T>(bytes: &[u8], name: &str, decode: impl FnOnce(&Layout, &[u8]) -> Result<T, Fault>) -> Result<T, Fault> {
    let tensors = open(bytes)?;
    let (layout, data) = tensor(&tensors, name)?;
    decode(&layout, data)
}

/// The tensors of a whole file.
pub(super) fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, Fault> {
    SafeTensors::deserialize(bytes).map_err(damaged)
}

/// The metadata of a whole file, empty where there are none.
pub(super) fn metadata(bytes: &[u8]) -> Result<HashMap<String, String>, Fault> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    Ok(header.metadata().clone().unwrap_or_default())
}

fn damaged(error: SafeTensorError) -> Fault {
    Fault::Damaged { why: error.to_string() }
}

/// The tensor `name`.
pub(super) fn array(tensors: &SafeTensors<'_>, name: &str) -> Result<Array, Fault> {
    let (layout, data) = tensor(tensors, name)?;
    layout.decode(data)
}

/// How the numbers of the tensor `name` lie, and where.
fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str) -> Result<(Layout, &'a [u8]), Fault> {
    let present = || tensors.names().into_iter().map(str::to_owned).collect();
    let tensor = match tensors.tensor(name) {
        Err(SafeTensorError::TensorNotFound(_)) => return Err(Fault::NoArray { name: name.into(), present: present() }),
        other => other.map_err(damaged)?,
    };
    let number = match tensor.dtype() {
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::F32 => Number::F32,
        Dtype::F64 => Number::F64,
        Dtype::I8 => Number::I8,
        Dtype::I16 => Number::I16,
        Dtype::I32 => Number::I32,
        Dtype::I64 => Number::I64,
        Dtype::U8 => Number::U8,
        Dtype::U16 => Number::U16,
        Dtype::U32 => Number::U32,
        Dtype::U64 => Number::U64,
        other => return Err(Fault::Type { found: format!("numbers of type {other}") }),
    };
    Ok((Layout { shape: tensor.shape().to_vec(), number, big_endian: false, fortran: false }, tensor.data()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::serialize;
    use safetensors::tensor::TensorView;

    #[test]
    fn every_type_of_tensor_is_read_as_its_own() {
        for (number, one) in [
            (Dtype::F16, &half::f16::ONE.to_le_bytes()[..]),
            (Dtype::BF16, &half::bf16::ONE.to_le_bytes()),
            (Dtype::F32, &1f32.to_le_bytes()),
            (Dtype::F64, &1f64.to_le_bytes()),
            (Dtype::I8, &[1]),
            (Dtype::U8, &[1]),
            (Dtype::I16, &1i16.to_le_bytes()),
            (Dtype::U16, &1u16.to_le_bytes()),
            (Dtype::I32, &1i32.to_le_bytes()),
            (Dtype::U32, &1u32.to_le_bytes()),
            (Dtype::I64, &1i64.to_le_bytes()),
            (Dtype::U64, &1u64.to_le_bytes()),
        ] {
            let tensor = TensorView::new(number, vec![1], one).unwrap();
            let file = serialize([("points", tensor)], None).unwrap();
            assert_eq!(read(&file, "points", Layout::decode).unwrap().values, [1.0], "{number}");
        }
    }
}
