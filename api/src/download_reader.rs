//! What was downloaded is a stranger's file like an upload: it is read by the same processes, for the job that fetched it. This file may not
//! know where it came from.

use std::path::Path;

use futures::future::BoxFuture;
use jobs::download::{SoundReader, Unread};

use crate::config::Config;
use crate::decode_host::{HostAnswer, HostTask};
use crate::decode_hosts::{DecodeHosts, DecodeHostsConfig};

#[derive(Debug, Clone)]
pub struct DownloadReader {
    hosts: DecodeHosts,
    audio_ms_max: u64,
}

impl DownloadReader {
    pub fn of(config: &Config) -> Self {
        Self { hosts: DecodeHosts::new(DecodeHostsConfig::of(config)), audio_ms_max: config.audio_ms_max }
    }

    async fn read(&self, file: &Path, output: &Path) -> Result<i64, Unread> {
        let task = HostTask::Flac { output: output.to_owned(), audio_ms_max: self.audio_ms_max };
        match self.hosts.run(file, "what was fetched", task).await {
            Ok(HostAnswer::Media(facts)) => Ok(i64::try_from(facts.duration_ms).unwrap_or(i64::MAX)),
            Ok(other) => Err(Unread::Busy(format!("decode host: {other:?}"))),
            Err(problem) if problem.code.status().is_client_error() => Err(Unread::Refused(problem.detail)),
            Err(problem) => Err(Unread::Busy(problem.detail)),
        }
    }
}

impl SoundReader for DownloadReader {
    fn flac<'a>(&'a self, file: &'a Path, output: &'a Path) -> BoxFuture<'a, Result<i64, Unread>> {
        Box::pin(self.read(file, output))
    }
}
