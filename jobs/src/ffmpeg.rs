//! What is asked of ffmpeg and ffprobe about a stranger's film: what it is, a picture of it, its sound. They read that one file and nothing
//! else: no network, and none of the formats that name other files. This file may not know where results are kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::film::VideoCodec;
use crate::tool::{FFMPEG_MISSING, ProcessLimits, ToolError, ToolMissing, ToolRun, Tools};

/// Demuxers that read one file; playlists (hls, dash, concat, image2) would lead to others.
const DEMUXERS: &str =
    "mov,matroska,avi,mpeg,mpegvideo,mpegts,flv,ogg,asf,wav,aiff,mp3,aac,ac3,eac3,dts,flac,amr,caf,gif,png_pipe,jpeg_pipe,webp_pipe,mxf,rm";
/// Of a poster.
const POSTER_WIDTH_MAX: u32 = 1_280;
const PROBE_MS_MAX: u64 = 60_000;
/// Forty decoders at once, and hours of film.
const FILM_LIMITS: ProcessLimits = ProcessLimits { memory_bytes_max: 4 << 30, cpu_s_max: 0, file_bytes_max: 32 << 30 };

/// What a film says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct FilmFacts {
    /// As it is shown, in pixels; `None` where nothing is shown.
    pub picture: Option<Picture>,
    /// `None` where the file does not say.
    pub duration_ms: Option<i64>,
    /// Of its first sound track.
    pub audio_channels: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// Pictures a second.
    pub fps: Option<f64>,
}

/// Both programs, where they are.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    tools: Tools,
    ffmpeg: PathBuf,
    ffprobe: PathBuf,
}

impl Ffmpeg {
    pub fn find(tools: &Tools) -> Result<Self, ToolMissing> {
        let find = |name| tools.find(name).ok_or(FFMPEG_MISSING);
        Ok(Self { ffmpeg: find("ffmpeg")?, ffprobe: find("ffprobe")?, tools: tools.clone() })
    }

    /// `folder` is where it may leave things.
    pub async fn facts(&self, film: &Path, folder: &Path, token: &CancellationToken) -> Result<FilmFacts, ToolError> {
        let mut arguments: Vec<OsString> = ["-v", "error", "-of", "json", "-show_entries"].map(OsString::from).to_vec();
        arguments.push(
            "format=duration:stream=codec_type,width,height,avg_frame_rate,channels:stream_disposition=attached_pic:stream_side_data=rotation"
                .into(),
        );
        arguments.extend(input(film));
        let mut said = String::new();
        let run = self.of(self.ffprobe.clone(), arguments, folder, PROBE_MS_MAX);
        self.tools.run(run, token, &mut |line| said.push_str(line)).await?;
        let said = serde_json::from_str(&said).map_err(|_| ToolError::Failed { complaint: "nothing can be told of it".into() })?;
        Ok(facts_of(&said))
    }

    /// Its first picture as PNG.
    pub async fn poster(&self, film: &Path, target: &Path, folder: &Path, token: &CancellationToken) -> Result<(), ToolError> {
        let scale = format!("scale=w='min({POSTER_WIDTH_MAX},iw)':h=-2");
        let options = ["-map", "0:v:0", "-frames:v", "1", "-vf", &scale, "-c:v", "png", "-f", "image2", "-update", "1"];
        self.convert(film, &options, target, folder, PROBE_MS_MAX, token).await
    }

    /// The first `ms_max` of its first sound track as FLAC, in one channel or two.
    pub async fn sound(&self, film: &Path, ms_max: u64, target: &Path, folder: &Path, token: &CancellationToken) -> Result<(), ToolError> {
        let seconds = format!("{}.{:03}", ms_max / 1_000, ms_max % 1_000);
        let mix = "aformat=channel_layouts=mono|stereo";
        let options =
            ["-map", "0:a:0", "-vn", "-sn", "-dn", "-t", &seconds, "-af", mix, "-sample_fmt", "s16", "-c:a", "flac", "-f", "flac"];
        // As slow as one tenth of the sound's length is still waited for.
        self.convert(film, &options, target, folder, PROBE_MS_MAX + ms_max / 10, token).await
    }

    /// Which codec it makes films with: H.264 where it was built with x264.
    pub(crate) async fn video_codec(&self, folder: &Path, token: &CancellationToken) -> Result<VideoCodec, ToolError> {
        let run = self.of(self.ffmpeg.clone(), ["-hide_banner", "-encoders"].map(OsString::from).to_vec(), folder, PROBE_MS_MAX);
        let mut codec = VideoCodec::Mpeg4;
        let mut look = |line: &str| {
            if line.split_whitespace().nth(1) == Some("libx264") {
                codec = VideoCodec::H264;
            }
        };
        self.tools.run(run, token, &mut look).await?;
        Ok(codec)
    }

    /// With limits for a long film.
    pub(crate) async fn make(
        &self,
        arguments: Vec<OsString>,
        folder: &Path,
        wall_ms_max: u64,
        token: &CancellationToken,
    ) -> Result<(), ToolError> {
        let limits = ProcessLimits { cpu_s_max: wall_ms_max / 1_000, ..FILM_LIMITS };
        let run = ToolRun { limits, ..self.of(self.ffmpeg.clone(), arguments, folder, wall_ms_max) };
        self.tools.run(run, token, &mut |_| {}).await
    }

    async fn convert(
        &self,
        film: &Path,
        options: &[&str],
        target: &Path,
        folder: &Path,
        wall_ms_max: u64,
        token: &CancellationToken,
    ) -> Result<(), ToolError> {
        let mut arguments: Vec<OsString> = ["-nostdin", "-v", "error", "-threads", "1"].map(OsString::from).to_vec();
        arguments.extend(input(film));
        arguments.extend(options.iter().map(OsString::from));
        arguments.extend([OsString::from("-y"), file_url(target)]);
        self.tools.run(self.of(self.ffmpeg.clone(), arguments, folder, wall_ms_max), token, &mut |_| {}).await
    }

    fn of(&self, program: PathBuf, arguments: Vec<OsString>, folder: &Path, wall_ms_max: u64) -> ToolRun {
        ToolRun {
            program,
            arguments,
            folder: folder.to_owned(),
            input: Vec::new(),
            limits: self.tools.limits(),
            wall_ms_max,
            environment: Vec::new(),
        }
    }
}

/// A stranger's file, as it may be read.
pub(crate) fn input(file: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["-protocol_whitelist", "file", "-format_whitelist", DEMUXERS, "-i"].map(OsString::from).to_vec();
    arguments.push(file_url(file));
    arguments
}

/// A path that is taken for nothing else, whatever is in it.
pub(crate) fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

fn facts_of(said: &Value) -> FilmFacts {
    let streams = said["streams"].as_array().map_or(&[][..], Vec::as_slice);
    let of_kind = |kind: &'static str| streams.iter().filter(move |stream| stream["codec_type"] == kind);
    // The cover of a song is no film.
    let shown = of_kind("video").find(|stream| stream["disposition"]["attached_pic"] != 1);
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
    let picture = shown.and_then(|stream| {
        let (width, height) = (number(&stream["width"])?, number(&stream["height"])?);
        let turned = stream["side_data_list"].as_array().into_iter().flatten().find_map(|data| data["rotation"].as_i64()).unwrap_or(0);
        let (width, height) = if turned % 180 == 0 { (width, height) } else { (height, width) };
        Some(Picture { width, height, fps: stream["avg_frame_rate"].as_str().and_then(ratio) })
    });
    let seconds: Option<f64> = said["format"]["duration"].as_str().and_then(|text| text.parse().ok());
    let duration_ms = seconds.filter(|seconds| (0.0..1e9).contains(seconds)).map(|seconds| (seconds * 1_000.0).round() as i64);
    FilmFacts { picture, duration_ms, audio_channels: of_kind("audio").find_map(|stream| number(&stream["channels"])) }
}

/// `30000/1001`, to a thousandth.
fn ratio(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let (above, below): (f64, f64) = (above.parse().ok()?, below.parse().ok()?);
    (above > 0.0 && below > 0.0).then(|| (above / below * 1_000.0).round() / 1_000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_shown_and_heard_is_told() {
        let film = json!({
            "streams": [
                {"codec_type": "video", "width": 640, "height": 480, "avg_frame_rate": "30000/1001", "disposition": {"attached_pic": 0},
                 "side_data_list": [{"rotation": -90}]},
                {"codec_type": "audio", "channels": 6, "avg_frame_rate": "0/0"},
            ],
            "format": {"duration": "12.3456"},
        });
        let picture = Picture { width: 480, height: 640, fps: Some(29.97) };
        assert_eq!(facts_of(&film), FilmFacts { picture: Some(picture), duration_ms: Some(12_346), audio_channels: Some(6) });
        let song = json!({"streams": [{"codec_type": "video", "width": 9, "height": 9, "disposition": {"attached_pic": 1}}], "format": {}});
        assert_eq!(facts_of(&song), FilmFacts { picture: None, duration_ms: None, audio_channels: None });
        assert_eq!(facts_of(&json!(null)).picture, None);
    }
}
