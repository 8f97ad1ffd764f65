//! Where tensors live: on the first GPU in a build that has one of the features, on the CPU in all other builds and where there is no GPU.
//!
//! This file may not know what is computed.

use candle_core::Device;

/// Asked once for each model that is loaded.
pub(super) fn best() -> Device {
    #[cfg(feature = "cuda")]
    // One stream for all threads: with a stream each, what one thread has begun another would not wait for.
    match Device::new_cuda_with_stream(0) {
        Ok(device) => return device,
        Err(error) => tracing::warn!(%error, "no NVIDIA GPU can be used: the model speaks on the CPU"),
    }
    #[cfg(feature = "metal")]
    match Device::new_metal(0) {
        Ok(device) => return device,
        Err(error) => tracing::warn!(%error, "no Apple GPU can be used: the model speaks on the CPU"),
    }
    Device::Cpu
}
