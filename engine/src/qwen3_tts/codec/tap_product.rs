//! A one-dimensional convolution as one matrix product for each tap of its kernel, added up in place.
//!
//! candle's own convolution copies its input once for each tap and is 2.7 times slower at the codec's sizes (`engine-speed.md` 5). On the
//! CPU the products go straight into the result; on other devices they are tensors that are added. This file may not know padding or state.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// Steps between the taps, and between the results; results that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::qwen3_tts) struct Taps {
    pub dilation: usize,
    pub stride: usize,
    pub outputs: usize,
}

/// `x`: channels x length; `weight`: taps x outputs x channels; `bias`: outputs. Gives outputs x `taps.outputs`:
/// `y[o, t] = bias[o] + sum over k, c of weight[k, o, c] * x[c, t * stride + k * dilation]`.
pub(in crate::qwen3_tts) fn product(x: &Tensor, weight: &Tensor, bias: &Tensor, taps: Taps) -> Result<Tensor> {
    let (kernel, _, channels) = weight.dims3()?;
    let reach = taps.outputs.saturating_sub(1) * taps.stride + kernel.saturating_sub(1) * taps.dilation + 1;
    if x.dim(0)? != channels || x.dim(1)? < reach || taps.outputs == 0 {
        bail!("a convolution over {:?} cannot give {} results", x.shape(), taps.outputs);
    }
    let x = x.contiguous()?;
    if x.device().is_cpu() {
        return x.apply_op3_no_bwd(weight, bias, &InPlace(taps));
    }
    let mut sum = bias.unsqueeze(1)?.broadcast_as((bias.dim(0)?, taps.outputs))?.contiguous()?;
    for tap in 0..kernel {
        sum = (sum + weight.get(tap)?.matmul(&seen_by(&x, tap, taps)?)?)?;
    }
    Ok(sum)
}

/// The columns that one tap meets: channels x outputs.
fn seen_by(x: &Tensor, tap: usize, taps: Taps) -> Result<Tensor> {
    let from = tap * taps.dilation;
    if taps.stride == 1 {
        return x.narrow(1, from, taps.outputs)?.contiguous();
    }
    let at: Vec<u32> = (0..taps.outputs).map(|t| (from + t * taps.stride) as u32).collect();
    x.index_select(&Tensor::new(at, x.device())?, 1)
}

struct InPlace(Taps);

fn values<'s>(storage: &'s CpuStorage, layout: &Layout) -> Result<&'s [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => bail!("a convolution needs contiguous tensors"),
    }
}

impl CustomOp3 for InPlace {
    fn name(&self) -> &'static str {
        "tap-product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (channels, length) = x_layout.shape().dims2()?;
        let (kernel, outputs, _) = weight_layout.shape().dims3()?;
        let (x, weight, bias) = (values(x, x_layout)?, values(weight, weight_layout)?, values(bias, bias_layout)?);
        let count = self.0.outputs;
        let mut y: Vec<f32> = bias.iter().flat_map(|bias| std::iter::repeat_n(*bias, count)).collect();
        for tap in 0..kernel {
            let size = Size { outputs, count, channels, length, stride: self.0.stride };
            add_product(&mut y, &weight[tap * outputs * channels..], &x[tap * self.0.dilation..], size);
        }
        Ok((CpuStorage::F32(y), Shape::from((outputs, count))))
    }
}

#[derive(Debug, Clone, Copy)]
struct Size {
    outputs: usize,
    count: usize,
    channels: usize,
    /// Of a row of `x`.
    length: usize,
    stride: usize,
}

/// `y += weight x`, where `x` begins at the tap's first column.
fn add_product(y: &mut [f32], weight: &[f32], x: &[f32], size: Size) {
    let Size { outputs, count, channels, length, stride } = size;
    let last = (channels - 1) * length + (count - 1) * stride;
    assert!(y.len() >= outputs * count && weight.len() >= outputs * channels && x.len() > last, "the sizes were checked before");
    let threads = candle_core::utils::get_num_threads();
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    #[allow(unsafe_code, reason = "gemm takes pointers and strides; the assertion above bounds all that they reach")]
    unsafe {
        gemm::gemm(
            outputs,
            count,
            channels,
            y.as_mut_ptr(),
            1,
            count as isize,
            true,
            weight.as_ptr(),
            1,
            channels as isize,
            x.as_ptr(),
            stride as isize,
            length as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The definition, written out.
    fn plain(x: &Tensor, weight: &Tensor, bias: &Tensor, taps: Taps) -> Vec<Vec<f32>> {
        let x: Vec<Vec<f32>> = x.to_vec2().unwrap();
        let weight: Vec<Vec<Vec<f32>>> = weight.to_vec3().unwrap();
        let bias: Vec<f32> = bias.to_vec1().unwrap();
        let one = |o: usize, t: usize| {
            let products = (0..weight.len()).flat_map(|k| (0..x.len()).map(move |c| (k, c)));
            bias[o] + products.map(|(k, c)| weight[k][o][c] * x[c][t * taps.stride + k * taps.dilation]).sum::<f32>()
        };
        (0..bias.len()).map(|o| (0..taps.outputs).map(|t| one(o, t)).collect()).collect()
    }

    fn check(channels: usize, outputs: usize, kernel: usize, taps: Taps) {
        let random = |shape: &[usize]| Tensor::randn(0_f32, 1.0, shape, &Device::Cpu).unwrap();
        let length = (taps.outputs - 1) * taps.stride + (kernel - 1) * taps.dilation + 1;
        let (x, weight, bias) = (random(&[channels, length]), random(&[kernel, outputs, channels]), random(&[outputs]));
        let made: Vec<Vec<f32>> = product(&x, &weight, &bias, taps).unwrap().to_vec2().unwrap();
        for (made, plain) in made.iter().flatten().zip(plain(&x, &weight, &bias, taps).iter().flatten()) {
            assert!((made - plain).abs() < 1e-4, "{made} {plain} {taps:?}");
        }
    }

    #[test]
    fn equals_its_definition() {
        for (channels, outputs, kernel) in [(1, 4, 7), (24, 1, 7), (17, 33, 3), (5, 5, 1)] {
            for (dilation, stride) in [(1, 1), (3, 1), (9, 1), (1, 2), (1, 5)] {
                for count in [1, 2, 29] {
                    check(channels, outputs, kernel, Taps { dilation, stride, outputs: count });
                }
            }
        }
    }

    #[test]
    fn too_short_an_input_is_refused() {
        let x = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
        let weight = Tensor::zeros((3, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let bias = Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(product(&x, &weight, &bias, Taps { dilation: 1, stride: 1, outputs: 3 }).is_ok());
        assert!(product(&x, &weight, &bias, Taps { dilation: 1, stride: 1, outputs: 4 }).is_err());
    }
}
