//! What the types of the settings can't say: which values make sense, alone and together. Pure; this file may not know where a setting came
//! from.

use std::net::SocketAddr;

use crate::blob_store;
use crate::config::Config;

/// The setting, and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);

/// The first thing that is wrong.
pub(crate) fn check(config: &Config) -> Result<(), Wrong> {
    if config.data_dir.as_os_str().is_empty() {
        return Err(("data_dir", "neither HOME nor XDG_DATA_HOME is set: name a folder with --data-dir".into()));
    }
    for (key, value, min, max) in ranges(config) {
        if !(min..=max).contains(&value) {
            return Err((key, format!("{value} is not within {min} and {max}")));
        }
    }
    lists(config)?;
    blobs(config)?;
    models::hub::endpoint_of(&config.models_endpoint).map_err(|error| ("models_endpoint", error.to_string()))?;
    if config.tls_cert.is_some() != config.tls_key.is_some() {
        let (set, missing) = if config.tls_cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
        return Err((set, format!("is of no use without {missing}")));
    }
    Ok(())
}

/// Each number with its least and its greatest value.
fn ranges(config: &Config) -> [(&'static str, u64, u64, u64); 35] {
    [
        ("blob_store_presigned_s", config.blob_store_presigned_s, 0, 7 * 24 * 60 * 60),
        ("download_bytes_max", config.download_bytes_max, 1024, 1 << 40),
        ("download_wall_ms_max", config.download_wall_ms_max, 1_000, 50 * 60 * 1_000),
        ("speech_workers", config.speech_workers.into(), 0, 256),
        ("neural_slots", config.neural_slots.into(), 1, 64),
        ("models_idle_minutes", config.models_idle_minutes.into(), 0, 366 * 24 * 60),
        ("lease_ms", config.lease_ms, 30_000, 3_600_000),
        ("heartbeat_ms", config.heartbeat_ms, 100, config.lease_ms / 3),
        ("stop_drain_ms", config.stop_drain_ms, 0, 600_000),
        ("stop_grace_ms", config.stop_grace_ms, 0, 600_000),
        ("queue_depth_max", config.queue_depth_max.into(), 1, 10_000_000),
        ("queue_wait_max_s", config.queue_wait_max_s.into(), 1, 366 * 24 * 60 * 60),
        ("text_chars_max", config.text_chars_max.into(), 1, 20_000_000),
        ("chunks_max", config.chunks_max.into(), 1, 100_000),
        ("json_body_bytes_max", config.json_body_bytes_max, 1024, 1 << 30),
        ("upload_bytes_max", config.upload_bytes_max, 1024, 1 << 40),
        ("temporary_bytes_per_owner_max", config.temporary_bytes_per_owner_max, config.upload_bytes_max, 1 << 50),
        ("temporary_bytes_max", config.temporary_bytes_max, config.temporary_bytes_per_owner_max, 1 << 50),
        ("decode_memory_bytes_max", config.decode_memory_bytes_max, 1 << 20, 1 << 40),
        ("decode_cpu_s_max", config.decode_cpu_s_max, 1, 86_400),
        ("decode_wall_ms_max", config.decode_wall_ms_max, 1, 86_400_000),
        ("decode_file_bytes_max", config.decode_file_bytes_max, 1 << 20, 1 << 40),
        ("decode_hosts_max", config.decode_hosts_max.into(), 1, 1_024),
        ("audio_ms_max", config.audio_ms_max, 1_000, 7 * 24 * 3_600_000),
        ("archive_bytes_max", config.archive_bytes_max, 1 << 20, 1 << 40),
        ("body_idle_ms", config.body_idle_ms, 100, 3_600_000),
        ("body_total_ms", config.body_total_ms, config.body_idle_ms, 86_400_000),
        ("header_read_ms", config.header_read_ms, 100, 600_000),
        ("header_bytes_max", config.header_bytes_max.into(), 8_192, 1 << 20),
        ("connections_max", config.connections_max.into(), 1, 1_000_000),
        ("subscribers_max", config.subscribers_max.into(), 1, 1_000_000),
        ("subscriber_send_ms", config.subscriber_send_ms, 100, 600_000),
        ("limits_write_ms", config.limits_write_ms, 100, 60_000),
        ("failures_per_minute_max", config.failures_per_minute_max.into(), 1, 1_000_000),
        ("failures_loopback_per_minute_max", config.failures_loopback_per_minute_max.into(), 1, 1_000_000),
    ]
}

fn lists(config: &Config) -> Result<(), Wrong> {
    if let Some(wrong) = config.download_allowed.iter().find(|text| text.parse::<SocketAddr>().is_err()) {
        return Err(("download_allowed", format!("\"{wrong}\" is no address with a port, such as 192.168.1.5:8096")));
    }
    if let Some(unknown) = config.queues.iter().find(|name| !jobs::QUEUES.contains(&name.as_str())) {
        return Err(("queues", format!("there is no queue \"{unknown}\": there are {}", jobs::QUEUES.join(" and "))));
    }
    if config.queues.is_empty() {
        return Err(("queues", "a worker without a queue does nothing".into()));
    }
    for (key, origins) in [("allowed_origins", &config.allowed_origins), ("cors_origins", &config.cors_origins)] {
        if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err((key, format!("\"{origin}\" is no origin such as https://app.example: scheme, host, perhaps a port, and no path")));
        }
    }
    Ok(())
}

fn blobs(config: &Config) -> Result<(), Wrong> {
    blob_store::of_config(config).map_err(|error| ("blob_store_url", error))?;
    if let Some(endpoint) = config.blob_store_endpoint.as_ref().filter(|endpoint| !is_origin(endpoint)) {
        return Err(("blob_store_endpoint", format!("\"{endpoint}\" is no address such as http://10.0.0.5:9000")));
    }
    if config.blob_store_url.is_none() && (config.blob_store_endpoint.is_some() || config.blob_store_presigned_s > 0) {
        let set = if config.blob_store_endpoint.is_some() { "blob_store_endpoint" } else { "blob_store_presigned_s" };
        return Err((set, "is of no use without blob_store_url".into()));
    }
    Ok(())
}

/// `*` is none: whoever may call is named.
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host.trim_end_matches('/'));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']))
}
