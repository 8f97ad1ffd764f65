//! Tensors of a file of weights by name, each checked against the shape that the configuration promises.
//!
//! A safetensors file is mapped, not read: the kernel pages in what is asked for. What is handed out is f32 on the device (published talkers
//! are bf16, which holds no more than f32 does), or quantised as a file has it. For measuring there are weights without a file: numbers of
//! the right size that mean nothing. This file may not know what the tensors mean.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::quantized::QTensor;
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Shape, Tensor};

use super::ModelError;
use super::linear::{self, Linear, Precision};

/// Where tensors lie: one format of files.
pub(crate) trait TensorFile: Send + Sync {
    /// `None` where there is no such tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    fn load(&self, name: &str, device: &Device) -> candle_core::Result<Tensor>;

    /// Where the file has it in blocks of few bits.
    fn load_quantised(&self, name: &str, device: &Device) -> candle_core::Result<Option<QTensor>>;
}

impl TensorFile for MmapedSafetensors {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.get(name).ok().map(|view| view.shape().to_vec())
    }

    fn load(&self, name: &str, device: &Device) -> candle_core::Result<Tensor> {
        MmapedSafetensors::load(self, name, device)
    }

    fn load_quantised(&self, _name: &str, _device: &Device) -> candle_core::Result<Option<QTensor>> {
        Ok(None)
    }
}

/// One file of weights, or one that was published in parts.
pub(crate) struct Weights {
    file: PathBuf,
    /// `None`: what is asked for is made up.
    tensors: Option<Box<dyn TensorFile>>,
    device: Device,
    /// What was handed out, as it is kept.
    held_bytes: AtomicU64,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Weights {
    pub(crate) fn open(file: &Path, device: &Device) -> Result<Self, ModelError> {
        // The header is parsed and every range checked by the loader; a file cut short while mapped would end the process, and weights are
        // put in their place by a rename, never written in place.
        #[allow(unsafe_code, reason = "mapping a file is unsafe where another process could cut it short; weights are renamed into place")]
        let mapped = unsafe { MmapedSafetensors::new(file) };
        let mapped = mapped.map_err(|error| ModelError::Folder { file: file.to_owned(), detail: error.to_string() })?;
        Ok(Self::of(file, Box::new(mapped), device))
    }

    /// Has every tensor that is asked for, in whatever shape, and none that is optional.
    pub(crate) fn made_up(device: &Device) -> Self {
        Self { file: PathBuf::from("made up"), tensors: None, device: device.clone(), held_bytes: AtomicU64::new(0) }
    }

    /// All parts of a published model; `file` names them in errors.
    pub(crate) fn open_parts(file: &Path, parts: &[PathBuf], device: &Device) -> Result<Self, ModelError> {
        #[allow(unsafe_code, reason = "as above")]
        let mapped = unsafe { MmapedSafetensors::multi(parts) };
        let mapped = mapped.map_err(|error| ModelError::Folder { file: file.to_owned(), detail: error.to_string() })?;
        Ok(Self::of(file, Box::new(mapped), device))
    }

    /// Of a format that this file need not know.
    pub(crate) fn of(file: &Path, tensors: Box<dyn TensorFile>, device: &Device) -> Self {
        Self { file: file.to_owned(), tensors: Some(tensors), device: device.clone(), held_bytes: AtomicU64::new(0) }
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What everything that was asked for takes in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn hold(&self, bytes: usize) {
        self.held_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn root(&self) -> At<'_> {
        At { weights: self, prefix: String::new() }
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.as_ref().is_some_and(|tensors| tensors.shape(name).is_some())
    }

    fn bad(&self, detail: String) -> ModelError {
        ModelError::Folder { file: self.file.clone(), detail }
    }

    fn get(&self, name: &str, shape: &Shape) -> Result<Tensor, ModelError> {
        let tensor = self.as_stored(name, shape)?.to_dtype(DType::F32);
        tensor.map_err(|error| self.bad(format!("{name}: {error}")))
    }

    fn check(&self, tensors: &dyn TensorFile, name: &str, shape: &Shape) -> Result<(), ModelError> {
        let found = tensors.shape(name).ok_or_else(|| self.bad(format!("holds no tensor {name}")))?;
        if found != shape.dims() {
            return Err(self.bad(format!("{name} has shape {found:?}, the configuration says {:?}", shape.dims())));
        }
        Ok(())
    }

    fn as_stored(&self, name: &str, shape: &Shape) -> Result<Tensor, ModelError> {
        let Some(tensors) = &self.tensors else { return made_up(name, shape, &self.device) };
        self.check(tensors.as_ref(), name, shape)?;
        tensors.load(name, &self.device).map_err(|error| self.bad(format!("{name}: {error}")))
    }

    fn quantised(&self, name: &str, shape: &Shape) -> Result<Option<QTensor>, ModelError> {
        let Some(tensors) = &self.tensors else { return Ok(None) };
        self.check(tensors.as_ref(), name, shape)?;
        tensors.load_quantised(name, &self.device).map_err(|error| self.bad(format!("{name}: {error}")))
    }
}

/// Norms and counts are 1; the rest is spread so that activations neither grow nor vanish. A table repeated: millions of draws would take
/// longer than what is measured.
fn made_up(name: &str, shape: &Shape, device: &Device) -> Result<Tensor, ModelError> {
    const TABLE: u64 = 65_521;
    let counted = shape.elem_count();
    let values: Vec<f32> = if name.ends_with("norm.weight") || name.ends_with("cluster_usage") {
        vec![1.0; counted]
    } else {
        let inputs: usize = shape.dims().iter().skip(1).product();
        let scale = if shape.rank() < 2 { 0.02 } else { 1.7 / (inputs as f32).sqrt() };
        let of = |at: u64| ((at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * scale;
        (0..TABLE).map(of).cycle().take(counted).collect()
    };
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// A place in the tree of names.
#[derive(Debug, Clone)]
pub(crate) struct At<'w> {
    weights: &'w Weights,
    prefix: String,
}

impl At<'_> {
    pub(crate) fn at(&self, part: impl fmt::Display) -> Self {
        let prefix = if self.prefix.is_empty() { part.to_string() } else { format!("{}.{part}", self.prefix) };
        Self { weights: self.weights, prefix }
    }

    pub(crate) fn device(&self) -> &Device {
        self.weights.device()
    }

    fn name(&self, leaf: &str) -> String {
        if self.prefix.is_empty() { leaf.to_owned() } else { format!("{}.{leaf}", self.prefix) }
    }

    pub(crate) fn has(&self, leaf: &str) -> bool {
        self.weights.has(&self.name(leaf))
    }

    pub(crate) fn get(&self, leaf: &str, shape: impl Into<Shape>) -> Result<Tensor, ModelError> {
        let tensor = self.unheld(leaf, shape)?;
        self.weights.hold(tensor.elem_count() * tensor.dtype().size_in_bytes());
        Ok(tensor)
    }

    /// For what is kept in another form.
    fn unheld(&self, leaf: &str, shape: impl Into<Shape>) -> Result<Tensor, ModelError> {
        self.weights.get(&self.name(leaf), &shape.into())
    }

    /// Not widened to f32: for tables of which a few rows are used.
    pub(crate) fn get_as_stored(&self, leaf: &str, shape: impl Into<Shape>) -> Result<Tensor, ModelError> {
        let tensor = self.weights.as_stored(&self.name(leaf), &shape.into())?;
        self.weights.hold(tensor.elem_count() * tensor.dtype().size_in_bytes());
        Ok(tensor)
    }

    /// As the file has it in blocks of few bits; `None` where it has it in another way.
    pub(crate) fn get_quantised(&self, leaf: &str, shape: impl Into<Shape>) -> Result<Option<QTensor>, ModelError> {
        let quantised = self.weights.quantised(&self.name(leaf), &shape.into())?;
        self.weights.hold(quantised.as_ref().map_or(0, QTensor::storage_size_in_bytes));
        Ok(quantised)
    }

    /// `weight` of shape outputs x inputs, without a bias.
    pub(crate) fn linear(&self, inputs: usize, outputs: usize, precision: Precision) -> Result<Box<dyn Linear>, ModelError> {
        if let Some(quantised) = self.weights.quantised(&self.name("weight"), &(outputs, inputs).into())? {
            return self.held(linear::of_quantised(quantised)?);
        }
        self.held(linear::load(self.unheld("weight", (outputs, inputs))?, None, precision)?)
    }

    /// `weight` of shape outputs x inputs, and `bias`.
    pub(crate) fn linear_with_bias(&self, inputs: usize, outputs: usize, precision: Precision) -> Result<Box<dyn Linear>, ModelError> {
        self.held(linear::load(self.unheld("weight", (outputs, inputs))?, Some(self.get("bias", outputs)?), precision)?)
    }

    fn held(&self, linear: Box<dyn Linear>) -> Result<Box<dyn Linear>, ModelError> {
        self.weights.hold(linear.weight_bytes());
        Ok(linear)
    }
}
