//! What the parts of a form say about a voice that is to be made of recordings: all that is wrong with them is named at once, before a
//! recording is read. Pure; files and categories are looked up elsewhere.

use jobs::recordings::VoiceFacts;

use crate::problem::{FieldProblem, Problem};
use crate::upload::Upload;
use crate::voice_fields as fields;
use crate::wire::clone::Clip;

pub const FILES_MAX: usize = 20;
const CLIPS_MAX: usize = 100;
const WEIGHTS: std::ops::RangeInclusive<f64> = 0.01..=100.0;
/// What a voice speaks of which nothing is known.
const LANGUAGE: &str = "en";

/// How the files of a form are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// One file, whole.
    Single,
    /// Each file, whole.
    Multi,
    /// Parts of files.
    Clips,
}

/// A part of the file at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub field: String,
    pub file_index: usize,
    pub range_ms: Option<(i64, i64)>,
    pub transcript: Option<String>,
    pub weight: f64,
}

/// A form that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct CloneWish {
    /// Without its category.
    pub facts: VoiceFacts,
    /// Name or id.
    pub category: Option<String>,
    pub denoise: bool,
    pub parts: Vec<Part>,
}

/// The values so far, and what was wrong with others.
struct Reader<'u> {
    upload: &'u Upload,
    errors: Vec<FieldProblem>,
}

impl<'u> Reader<'u> {
    fn wrong(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldProblem::new(field, message));
    }

    fn text(&mut self, names: &[&str]) -> Option<&'u str> {
        match self.upload.text(names) {
            Ok(text) => text,
            Err(problem) => {
                self.errors.extend(problem.errors);
                None
            }
        }
    }

    fn checked<T: Default>(&mut self, field: &str, checked: Result<T, String>) -> T {
        checked.unwrap_or_else(|message| {
            self.wrong(field, message);
            T::default()
        })
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.text(&[name]).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("false" | "0" | "no" | "off") => false,
            Some("true" | "1" | "yes" | "on") => true,
            Some(_) => {
                self.wrong(name, "must be true or false");
                false
            }
        }
    }

    fn tags(&mut self) -> Vec<String> {
        let mut tags = Vec::new();
        for text in self.upload.texts(&["tags", "tags[]"]) {
            if text.trim_start().starts_with('[') {
                let listed = serde_json::from_str::<Vec<String>>(text).map_err(|_| "must be a JSON list of texts".to_owned());
                tags.extend(self.checked("tags", listed));
            } else if !text.trim().is_empty() {
                tags.push(text.to_owned());
            }
        }
        self.checked("tags", fields::tags(&tags))
    }

    fn transcript(&mut self, field: &str, text: Option<&str>) -> Option<String> {
        let text = text.map(str::trim).filter(|text| !text.is_empty())?;
        Some(self.checked(field, fields::transcript(text)))
    }
}

/// # Errors
/// 422 with all that is wrong.
pub fn read(upload: &Upload, call: Call) -> Result<CloneWish, Problem> {
    let mut form = Reader { upload, errors: Vec::new() };
    let name = match form.text(&["name", "voice_name"]) {
        Some(name) => form.checked("name", fields::name(name)),
        None => {
            form.wrong("name", "is needed");
            String::new()
        }
    };
    if !form.flag("consent") && !form.errors.iter().any(|error| error.field == "consent") {
        form.wrong("consent", "must be true: the person whose voice it is has to agree that it is cloned");
    }
    let description = form.text(&["description"]).map_or(Ok(String::new()), fields::description);
    let description = form.checked("description", description);
    let gender = form.text(&["gender"]).map_or(Ok("neutral".to_owned()), fields::gender);
    let gender = form.checked("gender", gender);
    let parts = match call {
        Call::Single => single(&mut form),
        Call::Multi => multi(&mut form),
        Call::Clips => clips(&mut form),
    };
    let language = match form.text(&["language", "lang"]).filter(|tag| *tag != "auto") {
        Some(tag) => form.checked("language", fields::language(tag)),
        None => language_of(&parts),
    };
    let (tags, private, denoise) = (form.tags(), form.flag("private"), form.flag("denoise"));
    let category = form.text(&["category"]).map(str::to_owned);
    if !form.errors.is_empty() {
        return Err(Problem::invalid(form.errors));
    }
    let facts = VoiceFacts { name, description, language, gender, category: None, tags, private };
    Ok(CloneWish { facts, category, denoise, parts })
}

/// As the transcripts sound.
fn language_of(parts: &[Part]) -> String {
    let said: Vec<&str> = parts.iter().filter_map(|part| part.transcript.as_deref()).collect();
    if said.is_empty() { LANGUAGE.to_owned() } else { jobs::text::language::detect(&said.join(" "), LANGUAGE) }
}

fn single(form: &mut Reader<'_>) -> Vec<Part> {
    let file = match form.upload.only_file() {
        Ok(file) => file,
        Err(problem) => {
            form.errors.extend(problem.errors);
            return Vec::new();
        }
    };
    let text = form.text(&["transcript"]);
    let transcript = form.transcript("transcript", text);
    vec![Part { field: file.field.clone(), file_index: 0, range_ms: None, transcript, weight: 1.0 }]
}

/// Whether there are files, and not too many; an empty one is named.
fn has_files(form: &mut Reader<'_>) -> bool {
    let upload = form.upload;
    match upload.files.len() {
        0 => form.wrong("files", "are needed: 1 to 20 files in parts named files"),
        count if count > FILES_MAX => form.wrong("files", format!("must be at most {FILES_MAX}")),
        _ => {}
    }
    for (index, _) in upload.files.iter().enumerate().filter(|(_, file)| file.size_bytes == 0) {
        form.wrong(format!("files[{index}]"), "is empty");
    }
    form.errors.iter().all(|error| !error.field.starts_with("files"))
}

fn multi(form: &mut Reader<'_>) -> Vec<Part> {
    if !has_files(form) {
        return Vec::new();
    }
    let files = form.upload.files.len();
    let listed = form.text(&["transcripts"]).map_or(Ok(Vec::new()), serde_json::from_str::<Vec<Option<String>>>);
    let transcripts = form.checked("transcripts", listed.map_err(|_| "must be a JSON list of texts".to_owned()));
    if transcripts.len() > files {
        form.wrong("transcripts", format!("has {} entries for {files} files", transcripts.len()));
    }
    let part = |index: usize| {
        let text = transcripts.get(index).and_then(Option::as_deref);
        let transcript = form.transcript(&format!("transcripts[{index}]"), text);
        Part { field: format!("files[{index}]"), file_index: index, range_ms: None, transcript, weight: 1.0 }
    };
    (0..files).map(part).collect()
}

fn clips(form: &mut Reader<'_>) -> Vec<Part> {
    if !has_files(form) {
        return Vec::new();
    }
    let files = form.upload.files.len();
    let Some(text) = form.text(&["clips"]) else {
        form.wrong("clips", "are needed: a JSON list of {\"file_index\", \"start_ms\", \"end_ms\"}");
        return Vec::new();
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let clips: Vec<Clip> = match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(clips) => clips,
        Err(error) => {
            let path = error.path().to_string();
            let field = if path == "." { "clips".to_owned() } else { format!("clips{path}") };
            form.wrong(field, format!("can't be read: {}", error.inner()));
            return Vec::new();
        }
    };
    if clips.is_empty() || clips.len() > CLIPS_MAX {
        form.wrong("clips", format!("must be 1 to {CLIPS_MAX}"));
        return Vec::new();
    }
    let mut parts = Vec::new();
    for (index, clip) in clips.into_iter().enumerate() {
        let field = format!("clips[{index}]");
        if clip.file_index >= files {
            form.wrong(format!("{field}.file_index"), format!("names no file: there are {files}, from 0"));
        }
        if clip.start_ms < 0 || clip.end_ms <= clip.start_ms {
            form.wrong(format!("{field}.end_ms"), format!("{} to {} ms is no part of a recording", clip.start_ms, clip.end_ms));
        }
        let weight = clip.weight.unwrap_or(1.0);
        if !WEIGHTS.contains(&weight) {
            form.wrong(format!("{field}.weight"), format!("must be between {} and {}", WEIGHTS.start(), WEIGHTS.end()));
        }
        let transcript = form.transcript(&format!("{field}.transcript"), clip.transcript.as_deref());
        parts.push(Part { field, file_index: clip.file_index, range_ms: Some((clip.start_ms, clip.end_ms)), transcript, weight });
    }
    // Each file is read once, in whatever order its clips come.
    parts.sort_by_key(|part| part.file_index);
    parts
}
