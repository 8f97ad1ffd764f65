//! The machine as the contract shows it.

use jobs::format::AudioFormat;
use salvo::oapi::ToSchema;
use serde::Serialize;

use crate::machine::{Device, Facts, Sample};
use crate::wire::time::rfc3339;

const MIB: u64 = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SystemStats {
    pub cpu: CpuLoad,
    pub ram: MemoryLoad,
    /// Empty without NVIDIA.
    pub gpu: Vec<GpuLoad>,
    pub disk: DiskLoad,
    /// When it was read.
    pub timestamp: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CpuLoad {
    /// Of all cores together over the last seconds; null where the system can't say.
    pub percent: Option<f32>,
    pub cores: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MemoryLoad {
    pub used_mb: u64,
    pub total_mb: u64,
    pub percent: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct GpuLoad {
    pub index: u32,
    pub name: String,
    /// Percent of the time; null where the driver does not tell, as with the other figures.
    pub utilization: Option<u32>,
    pub vram_used_mb: Option<u64>,
    pub vram_total_mb: Option<u64>,
    pub temperature_c: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DiskLoad {
    /// Of the data folder's disk; null where it can't be told.
    pub free_mb: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct GpuReport {
    /// Whether there is a device that could be computed on.
    pub available: bool,
    /// What neural models can use of it: `cuda`, or null.
    pub backend: Option<String>,
    /// The version of the NVIDIA driver.
    pub driver: Option<String>,
    pub devices: Vec<GpuDevice>,
    /// Why a device is not used, where there is one.
    pub warning: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct GpuDevice {
    #[serde(flatten)]
    pub load: GpuLoad,
    /// Such as `9.0`.
    pub compute_capability: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SystemInfo {
    pub os: String,
    pub arch: String,
    /// The processor's name.
    pub cpu: String,
    pub ram_total_mb: u64,
    /// Names of the NVIDIA devices.
    pub gpus: Vec<String>,
    pub app_version: String,
    pub api_version: String,
    pub capabilities: Capabilities,
}

/// What this server can do now.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Capabilities {
    /// The engine that speaks is installed.
    pub speech: bool,
    pub engine: String,
    pub languages: usize,
    pub instruct: bool,
    pub word_timings: bool,
    /// Audio formats that are written.
    pub formats: Vec<String>,
    /// Films on the timeline.
    pub ffmpeg: bool,
    /// Sound from video sites.
    pub yt_dlp: bool,
    /// `sqlite` or `postgres`.
    pub database: String,
}

impl SystemStats {
    pub fn of(sample: &Sample) -> Self {
        let (used, total) = (sample.ram_used_bytes, sample.ram_total_bytes);
        let percent = if total == 0 { 0.0 } else { tenths(used as f64 * 100.0 / total as f64) };
        Self {
            cpu: CpuLoad { percent: sample.cpu_percent.map(|percent| tenths(percent.into())), cores: sample.cores },
            ram: MemoryLoad { used_mb: used / MIB, total_mb: total / MIB, percent },
            gpu: sample.devices.iter().map(GpuLoad::of).collect(),
            disk: DiskLoad { free_mb: sample.disk_free_bytes.map(|bytes| bytes / MIB) },
            timestamp: rfc3339(sample.at_ms),
        }
    }
}

impl GpuLoad {
    fn of(device: &Device) -> Self {
        Self {
            index: device.index,
            name: device.name.clone(),
            utilization: device.utilization_percent,
            vram_used_mb: device.vram_used_bytes.map(|bytes| bytes / MIB),
            vram_total_mb: device.vram_total_bytes.map(|bytes| bytes / MIB),
            temperature_c: device.temperature_c,
        }
    }
}

impl GpuReport {
    /// `with_cuda`: this program can compute on NVIDIA devices.
    pub fn of(sample: &Sample, facts: &Facts, with_cuda: bool) -> Self {
        let device = |device: &Device| GpuDevice { load: GpuLoad::of(device), compute_capability: device.compute_capability.clone() };
        let devices: Vec<GpuDevice> = sample.devices.iter().map(device).collect();
        let unused = !devices.is_empty() && !with_cuda;
        Self {
            available: !devices.is_empty(),
            backend: (!devices.is_empty() && with_cuda).then(|| "cuda".into()),
            driver: facts.driver.clone(),
            devices,
            warning: unused.then(|| "this build computes on the processor: one with the feature `cuda` uses the device".into()),
        }
    }
}

/// All formats that this build writes.
pub fn formats() -> Vec<String> {
    AudioFormat::names().split(", ").map(str::to_owned).collect()
}

fn tenths(percent: f64) -> f32 {
    ((percent * 10.0).round() / 10.0) as f32
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(devices: Vec<Device>) -> Sample {
        Sample {
            at_ms: 0,
            cpu_percent: Some(12.34),
            cores: 4,
            ram_used_bytes: 3 * MIB,
            ram_total_bytes: 9 * MIB,
            devices,
            disk_free_bytes: Some(MIB),
        }
    }

    fn device() -> Device {
        Device {
            index: 0,
            name: "H200".into(),
            utilization_percent: Some(40),
            vram_used_bytes: Some(5 * MIB),
            vram_total_bytes: Some(7 * MIB),
            temperature_c: None,
            compute_capability: Some("9.0".into()),
        }
    }

    #[test]
    fn figures_are_those_of_the_contract() {
        let stats = serde_json::to_value(SystemStats::of(&sample(vec![device()]))).unwrap_or_default();
        let gpu = json!({
            "index": 0, "name": "H200", "utilization": 40, "vram_used_mb": 5, "vram_total_mb": 7, "temperature_c": null,
        });
        assert_eq!(stats["cpu"], json!({"percent": 12.3_f32, "cores": 4}));
        assert_eq!(stats["ram"], json!({"used_mb": 3, "total_mb": 9, "percent": 33.3_f32}));
        assert_eq!((&stats["gpu"][0], &stats["disk"]), (&gpu, &json!({"free_mb": 1})));
        assert_eq!(stats["timestamp"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_device_that_this_build_can_not_use_is_told_with_a_warning() {
        let facts = Facts { driver: Some("550".into()), ..Facts::default() };
        let used = GpuReport::of(&sample(vec![device()]), &facts, true);
        assert_eq!((used.available, used.backend.as_deref(), used.warning), (true, Some("cuda"), None));
        let unused = GpuReport::of(&sample(vec![device()]), &facts, false);
        assert_eq!((unused.available, unused.backend, unused.driver.as_deref()), (true, None, Some("550")));
        assert!(unused.warning.is_some_and(|warning| warning.contains("cuda")));
        let none = GpuReport::of(&sample(Vec::new()), &Facts::default(), false);
        assert_eq!(
            serde_json::to_value(none).unwrap_or_default(),
            json!({"available": false, "backend": null, "driver": null, "devices": [], "warning": null})
        );
    }
}
