//! A matrix that rows are multiplied with: the one seam behind which f32, quantised and later hand-written kernels live.
//!
//! Two ways in. `rows` treats every row as if it were alone, so that a slot's result never depends on its neighbours in the batch;
//! `block` is for the many rows of one prompt. This file may not know what is multiplied.

use std::fmt::Debug;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Module, Result, Tensor};

use super::ModelError;

/// How the large matrices are kept. Norms, embeddings, biases and the codec stay f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Equal to the reference.
    F32,
    /// Eight bits and a scale for each 32 weights, made at load.
    #[default]
    Q8,
    /// Four bits and a scale for each 32 weights, made at load.
    Q4,
}

impl Precision {
    fn ggml(self) -> Option<GgmlDType> {
        match self {
            Self::F32 => None,
            Self::Q8 => Some(GgmlDType::Q8_0),
            Self::Q4 => Some(GgmlDType::Q4_0),
        }
    }
}

/// `y = x W^T + b` over the last dimension of `x`, shape rows x inputs.
pub(crate) trait Linear: Debug + Send + Sync {
    /// Each row as if it were the only one.
    fn rows(&self, x: &Tensor) -> Result<Tensor>;

    /// All rows at once; equal to `rows` within rounding.
    fn block(&self, x: &Tensor) -> Result<Tensor>;

    /// What the matrix takes in memory.
    fn weight_bytes(&self) -> usize;
}

/// Puts a weight (outputs x inputs) behind the seam. A matrix whose inputs are no multiple of the block size stays f32.
pub(crate) fn load(weight: Tensor, bias: Option<Tensor>, precision: Precision) -> std::result::Result<Box<dyn Linear>, ModelError> {
    let inputs = weight.dim(1)?;
    match precision.ggml().filter(|kind| inputs.is_multiple_of(kind.block_size())) {
        None => Ok(Box::new(Full { weight, bias })),
        Some(kind) => {
            let weight = QTensor::quantize(&weight, kind)?;
            let weight_bytes = weight.storage_size_in_bytes();
            Ok(Box::new(Quantised { weight: QMatMul::from_qtensor(weight)?, weight_bytes, bias }))
        }
    }
}

/// A weight (outputs x inputs) that its file has in blocks of few bits.
pub(crate) fn of_quantised(weight: QTensor) -> std::result::Result<Box<dyn Linear>, ModelError> {
    let weight_bytes = weight.storage_size_in_bytes();
    Ok(Box::new(Quantised { weight: QMatMul::from_qtensor(weight)?, weight_bytes, bias: None }))
}

fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    bias.map_or_else(|| Ok(y.clone()), |bias| y.broadcast_add(bias))
}

#[derive(Debug)]
struct Full {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear for Full {
    /// One product a row: with two rows or more the CPU's f32 product leaves its vector path, which is slower and sums in another order.
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        let count = x.dim(0)?;
        if count == 1 || !x.device().is_cpu() {
            return self.block(x);
        }
        let transposed = self.weight.t()?;
        let each = (0..count).map(|row| x.narrow(0, row, 1)?.matmul(&transposed)).collect::<Result<Vec<_>>>()?;
        add_bias(Tensor::cat(&each, 0)?, self.bias.as_ref())
    }

    fn block(&self, x: &Tensor) -> Result<Tensor> {
        add_bias(x.matmul(&self.weight.t()?)?, self.bias.as_ref())
    }

    fn weight_bytes(&self) -> usize {
        self.weight.elem_count() * self.weight.dtype().size_in_bytes()
    }
}

#[derive(Debug)]
struct Quantised {
    weight: QMatMul,
    weight_bytes: usize,
    bias: Option<Tensor>,
}

impl Linear for Quantised {
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        self.block(x)
    }

    fn block(&self, x: &Tensor) -> Result<Tensor> {
        add_bias(self.weight.forward(&x.contiguous()?)?, self.bias.as_ref())
    }

    fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }
}
