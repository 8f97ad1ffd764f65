//! Keys and values of one slot, allocated once for the longest sequence it may reach: appending copies only the new rows.
//!
//! This file may not know attention.

use candle_core::{DType, Device, Result, Tensor, bail};

/// For each layer keys and values of shape kv_heads x capacity x head_dim.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize, kv_heads: usize, head_dim: usize, capacity: usize, device: &Device) -> Result<Self> {
        let one = || Tensor::zeros((kv_heads, capacity, head_dim), DType::F32, device);
        let layers = (0..layers).map(|_| Ok((one()?, one()?))).collect::<Result<_>>()?;
        Ok(Self { layers, len: 0, capacity })
    }

    /// Rows that every layer holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Writes rows x kv_heads x head_dim behind what is there, and gives all of the layer: kv_heads x length x head_dim. The length moves
    /// with [`KvCache::advance`], once for all layers.
    pub(crate) fn append(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let rows = k.dim(0)?;
        if self.len + rows > self.capacity {
            bail!("the cache of a slot is full at {} positions", self.capacity);
        }
        let (keys, values) = &self.layers[layer];
        keys.slice_set(&k.transpose(0, 1)?.contiguous()?, 1, self.len)?;
        values.slice_set(&v.transpose(0, 1)?.contiguous()?, 1, self.len)?;
        Ok((keys.narrow(1, 0, self.len + rows)?, values.narrow(1, 0, self.len + rows)?))
    }

    pub(crate) fn advance(&mut self, rows: usize) {
        self.len += rows;
    }
}
