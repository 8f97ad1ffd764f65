//! The machine that the server runs on: processors, memory, NVIDIA devices, the data folder's disk. Read when asked; what is read when is
//! `machine_watch`'s. NVML is loaded at run time: where there is no NVIDIA driver there are no devices, and nothing else is different.
//!
//! This file may not know HTTP.

use std::path::{Path, PathBuf};

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use storage::filesystem;
use sysinfo::System;

/// The library's name on machines that have the driver but not its development files.
#[cfg(unix)]
const NVML_LIBRARY: &str = "libnvidia-ml.so.1";
#[cfg(not(unix))]
const NVML_LIBRARY: &str = "nvml.dll";
const DEVICES_MAX: u32 = 64;

/// What changes from moment to moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub at_ms: i64,
    /// Of all cores together, 0 to 100; `None` where the system can't say.
    pub cpu_percent: Option<f32>,
    pub cores: usize,
    pub ram_used_bytes: u64,
    pub ram_total_bytes: u64,
    pub devices: Vec<Device>,
    /// Of the data folder's disk.
    pub disk_free_bytes: Option<u64>,
}

/// A device of NVIDIA's. What the driver does not tell is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub index: u32,
    pub name: String,
    pub utilization_percent: Option<u32>,
    pub vram_used_bytes: Option<u64>,
    pub vram_total_bytes: Option<u64>,
    pub temperature_c: Option<u32>,
    /// Such as `9.0`.
    pub compute_capability: Option<String>,
}

/// What stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Such as `Debian GNU/Linux 12`.
    pub os: String,
    pub arch: &'static str,
    /// The processor's name.
    pub cpu: String,
    /// Of the NVIDIA driver.
    pub driver: Option<String>,
}

/// Keeps what must be kept between two readings. Every call may take some milliseconds, the first one seconds.
pub struct Machine {
    system: Option<System>,
    nvml: Option<Nvml>,
    folder: PathBuf,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("nvml", &self.nvml.is_some()).finish_non_exhaustive()
    }
}

impl Machine {
    /// `folder` lies on the disk that matters.
    pub fn open(folder: &Path) -> Self {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_all();
        }
        let nvml = Nvml::init().or_else(|_| Nvml::builder().lib_path(NVML_LIBRARY.as_ref()).init()).ok();
        Self { system, nvml, folder: folder.to_owned() }
    }

    pub fn facts(&self) -> Facts {
        let cpus = self.system.as_ref().map_or(&[][..], System::cpus);
        Facts {
            os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.into()),
            arch: std::env::consts::ARCH,
            cpu: cpus.first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default(),
            driver: self.nvml.as_ref().and_then(|nvml| nvml.sys_driver_version().ok()),
        }
    }

    /// The load of the processors is that since the last reading, or since [`Machine::open`].
    pub fn read(&mut self, at_ms: i64) -> Sample {
        let mut sample = Sample {
            at_ms,
            cpu_percent: None,
            cores: self.system.as_ref().map_or(0, |system| system.cpus().len()),
            ram_used_bytes: 0,
            ram_total_bytes: 0,
            devices: self.devices(),
            disk_free_bytes: filesystem::free_bytes(&self.folder),
        };
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
            sample.cpu_percent = Some(system.global_cpu_usage().clamp(0.0, 100.0));
            (sample.ram_used_bytes, sample.ram_total_bytes) = (system.used_memory(), system.total_memory());
            // In a container what it may use counts.
            let total = sample.ram_total_bytes;
            if let Some(limits) = system.cgroup_limits().filter(|limits| (1..total).contains(&limits.total_memory)) {
                sample.ram_total_bytes = limits.total_memory;
                sample.ram_used_bytes = limits.total_memory.saturating_sub(limits.free_memory);
            }
        }
        sample
    }

    fn devices(&self) -> Vec<Device> {
        let Some(nvml) = &self.nvml else {
            return Vec::new();
        };
        let count = nvml.device_count().unwrap_or(0).min(DEVICES_MAX);
        (0..count).filter_map(|index| nvml.device_by_index(index).ok().map(|device| read_device(index, &device))).collect()
    }
}

fn read_device(index: u32, device: &nvml_wrapper::Device<'_>) -> Device {
    let memory = device.memory_info().ok();
    let capability = device.cuda_compute_capability().ok();
    Device {
        index,
        name: device.name().unwrap_or_else(|_| "NVIDIA".into()),
        utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        vram_used_bytes: memory.as_ref().map(|memory| memory.used),
        vram_total_bytes: memory.as_ref().map(|memory| memory.total),
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
        compute_capability: capability.map(|capability| format!("{}.{}", capability.major, capability.minor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_holds_together() {
        let folder = std::env::temp_dir();
        let mut machine = Machine::open(&folder);
        let sample = machine.read(7);
        assert_eq!(sample.at_ms, 7);
        assert!(sample.ram_total_bytes > 0 && sample.ram_used_bytes <= sample.ram_total_bytes, "{sample:?}");
        assert!(sample.cpu_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)), "{sample:?}");
        assert!(sample.disk_free_bytes.is_some());
        let facts = machine.facts();
        assert!(sample.cores > 0 && !facts.os.is_empty(), "{facts:?}");
        // A driver without a device is thinkable, a device without a driver is not.
        assert!(sample.devices.is_empty() || facts.driver.is_some(), "{facts:?} {sample:?}");
    }
}
