//! Arrays of numbers as files hold them, widened to f64; points stay in f32 where that is exact.

use half::{bf16, f16};

use crate::io::Fault;
use crate::measure::Cloud;

/// Numbers in C order (the last index runs fastest) and their shape; there are Π shape of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// The numbers, in f64.
    pub values: Vec<f64>,
}

/// A type of number a file may hold. All but integers beyond 2^53, which are rounded to nearest, are kept exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

/// How the numbers of an array lie in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub shape: Vec<usize>,
    pub number: Number,
    pub big_endian: bool,
    /// Fortran order: the first index runs fastest.
    pub fortran: bool,
}

/// The numbers of an array, those that f32 holds exactly as T.
enum Numbers<T> {
    Single(Vec<T>),
    Double(Vec<f64>),
}

impl Number {
    /// Bytes a number takes.
    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

impl Layout {
    /// The array whose numbers begin at the start of `bytes`; what follows them is ignored, as numpy does.
    pub fn decode(&self, bytes: &[u8]) -> Result<Array, Fault> {
        let (Numbers::Single(values) | Numbers::Double(values)) = self.numbers(bytes)?;
        Ok(Array { shape: self.shape.clone(), values })
    }

    /// [`Layout::decode`] as points, one a row: in f32 where that keeps every number of the type.
    pub fn cloud(&self, bytes: &[u8]) -> Result<Cloud, Fault> {
        let dim = dimension(&self.shape)?;
        let cloud = match self.numbers::<f32>(bytes)? {
            Numbers::Single(points) => Cloud::of_f32(points, dim)?,
            Numbers::Double(points) => Cloud::new(points, dim)?,
        };
        Ok(if self.shape.len() > 2 { cloud.with_shape(&self.shape[1..]) } else { cloud })
    }

    /// How many numbers there are, if `bytes` hold as many.
    fn count(&self, bytes: &[u8]) -> Result<usize, Fault> {
        let count = self.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        let needed = count.and_then(|n| n.checked_mul(self.number.size()));
        match (count, needed) {
            (Some(count), Some(needed)) if needed <= bytes.len() => Ok(count),
            _ => Err(Fault::Truncated { shape: self.shape.clone(), needed, found: bytes.len() }),
        }
    }

    /// The numbers, as T where f32 holds every number of the type exactly.
    fn numbers<T: From<f32>>(&self, bytes: &[u8]) -> Result<Numbers<T>, Fault> {
        let count = self.count(bytes)?;
        Ok(Numbers::Single(match self.number {
            Number::F16 => self.gather(count, bytes, |b| f16::from_le_bytes(b).to_f32().into()),
            Number::Bf16 => self.gather(count, bytes, |b| bf16::from_le_bytes(b).to_f32().into()),
            Number::F32 => self.gather(count, bytes, |b| f32::from_le_bytes(b).into()),
            Number::I8 => self.gather(count, bytes, |b| f32::from(i8::from_le_bytes(b)).into()),
            Number::I16 => self.gather(count, bytes, |b| f32::from(i16::from_le_bytes(b)).into()),
            Number::U8 => self.gather(count, bytes, |b| f32::from(u8::from_le_bytes(b)).into()),
            Number::U16 => self.gather(count, bytes, |b| f32::from(u16::from_le_bytes(b)).into()),
            Number::F64 => return Ok(Numbers::Double(self.gather(count, bytes, f64::from_le_bytes))),
            Number::I32 => return Ok(Numbers::Double(self.gather(count, bytes, |b| i32::from_le_bytes(b).into()))),
            Number::I64 => return Ok(Numbers::Double(self.gather(count, bytes, |b| i64::from_le_bytes(b) as f64))),
            Number::U32 => return Ok(Numbers::Double(self.gather(count, bytes, |b| u32::from_le_bytes(b).into()))),
            Number::U64 => return Ok(Numbers::Double(self.gather(count, bytes, |b| u64::from_le_bytes(b) as f64))),
        }))
    }

    /// `count` numbers of N bytes in C order.
    fn gather<T, const N: usize>(&self, count: usize, bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        let numbers = bytes.as_chunks::<N>().0;
        let widen = |mut bytes: [u8; N]| {
            if self.big_endian {
                bytes.reverse();
            }
            value(bytes)
        };
        if self.fortran {
            (0..count).map(|k| widen(numbers[self.fortran_offset(k)])).collect()
        } else {
            numbers[..count].iter().map(|&bytes| widen(bytes)).collect()
        }
    }

    /// Where in Fortran order the number stands that is `k`-th in C order.
    fn fortran_offset(&self, k: usize) -> usize {
        let (_, offset) =
            self.shape.iter().rev().fold((k, 0), |(rest, offset), &extent| (rest / extent, offset * extent + rest % extent));
        offset
    }
}

impl Array {
    /// The values as points, one a row.
    pub(super) fn into_cloud(self) -> Result<Cloud, Fault> {
        let dim = dimension(&self.shape)?;
        Ok(Cloud::new(self.values, dim)?)
    }

    /// Weights, from n, n × 1 or 1 × n numbers.
    pub(super) fn into_weights(self) -> Result<Vec<f64>, Fault> {
        match self.shape[..] {
            [_] | [_, 1] | [1, _] => Ok(self.values),
            _ => Err(Fault::Shape { shape: self.shape, wanted: "weights are n numbers, one a point" }),
        }
    }
}

/// The dimension d of points of this shape: n × d or, with d = 1, n.
fn dimension(shape: &[usize]) -> Result<usize, Fault> {
    let of_pictures = |extents: &[usize]| extents.iter().try_fold(1usize, |d, extent| d.checked_mul(*extent));
    let d = match shape {
        [_] => Some(1),
        [_, extents @ ..] => of_pictures(extents),
        [] => None,
    };
    d.ok_or_else(|| Fault::Shape { shape: shape.to_vec(), wanted: "points are n × d, or n × C × H × W, one point a row" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Given;

    fn decode(number: Number, big_endian: bool, bytes: &[u8]) -> Vec<f64> {
        let shape = vec![bytes.len() / number.size()];
        Layout { shape, number, big_endian, fortran: false }.decode(bytes).unwrap().values
    }

    #[test]
    fn every_type_of_number_is_kept_exactly() {
        assert_eq!(decode(Number::F16, false, &f16::from_f32(-0.333).to_le_bytes()), [f16::from_f32(-0.333).to_f64()]);
        assert_eq!(decode(Number::Bf16, false, &bf16::from_f32(3.15).to_le_bytes()), [bf16::from_f32(3.15).to_f64()]);
        assert_eq!(decode(Number::F32, false, &0.1f32.to_le_bytes()), [f64::from(0.1f32)]);
        assert_eq!(decode(Number::F64, false, &0.1f64.to_le_bytes()), [0.1]);
        assert_eq!(decode(Number::I8, false, &[0x80, 0x7f]), [-128.0, 127.0]);
        assert_eq!(decode(Number::U8, false, &[0x80, 0xff]), [128.0, 255.0]);
        assert_eq!(decode(Number::I16, false, &i16::MIN.to_le_bytes()), [-32768.0]);
        assert_eq!(decode(Number::U16, false, &u16::MAX.to_le_bytes()), [65535.0]);
        assert_eq!(decode(Number::I32, false, &i32::MIN.to_le_bytes()), [-2_147_483_648.0]);
        assert_eq!(decode(Number::U32, false, &u32::MAX.to_le_bytes()), [4_294_967_295.0]);
        assert_eq!(decode(Number::I64, false, &(-(1i64 << 53)).to_le_bytes()), [-9_007_199_254_740_992.0]);
        assert_eq!(decode(Number::U64, false, &(1u64 << 63).to_le_bytes()), [9_223_372_036_854_775_808.0]);
    }

    #[test]
    fn points_of_few_digits_are_kept_in_single_precision() {
        let layout = |number, big_endian| Layout { shape: vec![2, 1], number, big_endian, fortran: false };
        let given = |number, bytes: &[u8]| layout(number, false).cloud(bytes).unwrap();
        let single = [0.1f32, -3e38];
        let bytes: Vec<u8> = single.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(given(Number::F32, &bytes).given(), Given::F32(&single));
        assert_eq!(given(Number::U8, &[3, 255]).given(), Given::F32(&[3.0, 255.0]));
        let whole: Vec<u8> = [16_777_217i32, -1].iter().flat_map(|x| x.to_le_bytes()).collect(); // 2²⁴ + 1 is no f32
        assert_eq!(given(Number::I32, &whole).given(), Given::F64(&[16_777_217.0, -1.0]));
        let turned: Vec<u8> = single.iter().flat_map(|x| x.to_be_bytes()).collect();
        assert_eq!(layout(Number::F32, true).cloud(&turned).unwrap().given(), Given::F32(&single));
    }

    #[test]
    fn big_endian_numbers_are_turned_round() {
        assert_eq!(decode(Number::F64, true, &0.1f64.to_be_bytes()), [0.1]);
        assert_eq!(decode(Number::I16, true, &(-2i16).to_be_bytes()), [-2.0]);
    }

    #[test]
    fn fortran_order_is_c_order_transposed() {
        let layout = |fortran| Layout { shape: vec![2, 3, 4], number: Number::U8, big_endian: false, fortran };
        let c: Vec<u8> = (0..24).collect();
        let mut f = vec![0; 24];
        for (i, j, k) in (0..24).map(|at| (at / 12, at / 4 % 3, at % 4)) {
            f[i + 2 * (j + 3 * k)] = c[12 * i + 4 * j + k];
        }
        assert_eq!(layout(true).decode(&f).unwrap(), layout(false).decode(&c).unwrap());
    }

    #[test]
    fn a_shape_that_no_memory_could_hold_is_an_error_not_an_overflow() {
        let layout = Layout { shape: vec![usize::MAX, 2], number: Number::F64, big_endian: false, fortran: true };
        assert!(matches!(layout.decode(&[0; 64]), Err(Fault::Truncated { needed: None, found: 64, .. })));
    }
}
