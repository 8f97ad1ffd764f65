//! libespeak-ng as it is: the C functions that are needed, written out by hand from its public header `speak_lib.h` (API revision 12).
//!
//! The only file with foreign calls into it. It may not know the wire format; it hands out plain values.
#![allow(unsafe_code, reason = "libespeak-ng is a C library; every call into it stands in this file")]

use std::ffi::{CStr, CString, c_char, c_int, c_short, c_uchar, c_uint, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Mutex;

use libloading::Library;

/// Tried in this order. The numbered names come with the library package, the bare ones with its development package.
const LIBRARY_NAMES: &[&str] = if cfg!(target_os = "macos") {
    &["libespeak-ng.1.dylib", "libespeak-ng.dylib", "/opt/homebrew/lib/libespeak-ng.dylib", "/usr/local/lib/libespeak-ng.dylib"]
} else if cfg!(windows) {
    &["libespeak-ng.dll", "espeak-ng.dll", r"C:\Program Files\eSpeak NG\libespeak-ng.dll"]
} else {
    &["libespeak-ng.so.1", "libespeak-ng.so"]
};

/// About half an hour at the library's rate: a runaway voice must not eat the memory of the machine.
const MAX_SAMPLES: usize = 22_050 * 60 * 30;

const AUDIO_OUTPUT_SYNCHRONOUS: c_int = 2;
const INITIALIZE_DONT_EXIT: c_int = 0x8000;
const CHARS_UTF8: c_uint = 1;
const POS_CHARACTER: c_int = 1;
const EE_OK: c_int = 0;

const EVENT_LIST_TERMINATED: c_int = 0;

/// Parameter numbers of `espeak_SetParameter`.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(crate) enum Parameter {
    RateWpm = 1,
    Volume = 2,
    Pitch = 3,
    Range = 4,
}

/// As laid out by the library.
#[repr(C)]
struct RawEvent {
    kind: c_int,
    unique_identifier: c_uint,
    text_position: c_int,
    length: c_int,
    audio_position_ms: c_int,
    sample: c_int,
    user_data: *mut c_void,
    id: [u8; 8],
}

/// As laid out by the library.
#[repr(C)]
struct RawVoice {
    name: *const c_char,
    languages: *const c_char,
    identifier: *const c_char,
    gender: c_uchar,
    age: c_uchar,
    variant: c_uchar,
    xx1: c_uchar,
    score: c_int,
    spare: *mut c_void,
}

type SynthCallback = extern "C" fn(*mut c_short, c_int, *mut RawEvent) -> c_int;

/// An event as the library reports it: kinds are numbered as in `espeak_EVENT_TYPE`, positions are characters counted from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LibraryEvent {
    pub(crate) kind: i32,
    pub(crate) text_position: i32,
    pub(crate) length: i32,
    pub(crate) sample: i32,
}

#[derive(Debug, Default)]
pub(crate) struct Spoken {
    pub(crate) samples: Vec<i16>,
    pub(crate) events: Vec<LibraryEvent>,
    /// The limit was reached and the rest was not made.
    pub(crate) cut: bool,
}

#[derive(Debug)]
pub(crate) struct LibraryVoice {
    pub(crate) identifier: String,
    pub(crate) name: String,
    /// (priority, language) as the voice file states them.
    pub(crate) languages: Vec<(u8, String)>,
}

/// The callback carries no pointer of ours when it has no event to hang it on, so what is spoken is gathered here.
static SPOKEN: Mutex<Option<Spoken>> = Mutex::new(None);

/// A loaded and initialised libespeak-ng. It holds its state in C statics: one at a time in a process.
#[derive(Debug)]
pub(crate) struct Espeak {
    library: Library,
    pub(crate) sample_rate_hz: u32,
    pub(crate) version: String,
    pub(crate) data_path: String,
}

impl Espeak {
    /// Loads the library (from `file`, else by its usual names) and its data (from `data_path`, else where the library looks by itself).
    pub(crate) fn load(file: Option<&Path>, data_path: Option<&Path>) -> Result<Self, String> {
        let library = open(file)?;
        let data = match data_path {
            Some(path) => Some(CString::new(path.to_string_lossy().as_bytes()).map_err(|_| "data path holds a zero byte".to_owned())?),
            None => None,
        };
        let data_pointer = data.as_ref().map_or(ptr::null(), |path| path.as_ptr());
        // SAFETY: signatures are those of speak_lib.h; the strings live across the calls and the library copies them.
        unsafe {
            let initialize = symbol::<unsafe extern "C" fn(c_int, c_int, *const c_char, c_int) -> c_int>(&library, c"espeak_Initialize")?;
            let rate_hz = initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_pointer, INITIALIZE_DONT_EXIT);
            let info = symbol::<unsafe extern "C" fn(*mut *const c_char) -> *const c_char>(&library, c"espeak_Info")?;
            let mut found: *const c_char = ptr::null();
            let version = text(info(&raw mut found));
            let set_callback = symbol::<unsafe extern "C" fn(SynthCallback)>(&library, c"espeak_SetSynthCallback")?;
            set_callback(gather);
            let sample_rate_hz = u32::try_from(rate_hz).ok().filter(|&hz| hz > 0).ok_or("its data files cannot be read")?;
            Ok(Self { sample_rate_hz, version, data_path: text(found), library })
        }
    }

    pub(crate) fn voices(&self) -> Result<Vec<LibraryVoice>, String> {
        // SAFETY: a null specification asks for all voices; the list ends with a null pointer and stays valid until the next call.
        unsafe {
            let list = symbol::<unsafe extern "C" fn(*mut RawVoice) -> *const *const RawVoice>(&self.library, c"espeak_ListVoices")?;
            let mut voices = Vec::new();
            let mut next = list(ptr::null_mut());
            while !next.is_null() && !(*next).is_null() {
                let voice = &**next;
                voices.push(LibraryVoice {
                    identifier: text(voice.identifier),
                    name: text(voice.name),
                    languages: languages(voice.languages),
                });
                next = next.add(1);
            }
            Ok(voices)
        }
    }

    /// `false` when there is no such voice or variant.
    pub(crate) fn set_voice(&self, name: &str) -> Result<bool, String> {
        let name = CString::new(name).map_err(|_| "voice name holds a zero byte".to_owned())?;
        // SAFETY: the library copies the name.
        unsafe {
            let set = symbol::<unsafe extern "C" fn(*const c_char) -> c_int>(&self.library, c"espeak_SetVoiceByName")?;
            Ok(set(name.as_ptr()) == EE_OK)
        }
    }

    pub(crate) fn set(&self, parameter: Parameter, value: i32) -> Result<(), String> {
        // SAFETY: plain integers.
        unsafe {
            let set = symbol::<unsafe extern "C" fn(c_int, c_int, c_int) -> c_int>(&self.library, c"espeak_SetParameter")?;
            if set(parameter as c_int, value, 0) == EE_OK { Ok(()) } else { Err(format!("{parameter:?} {value} was not taken")) }
        }
    }

    /// Speaks plain text to its end. Neither SSML nor `[[phonemes]]` are read: both flags are left out.
    pub(crate) fn speak(&self, words: &str) -> Result<Spoken, String> {
        let words = CString::new(words).map_err(|_| "text holds a zero byte".to_owned())?;
        *gathered() = Some(Spoken::default());
        // SAFETY: the text lives across the call, which returns when all is spoken (synchronous mode); null asks for no identifier.
        let code = unsafe {
            let synth = symbol::<
                unsafe extern "C" fn(*const c_void, usize, c_uint, c_int, c_uint, c_uint, *mut c_uint, *mut c_void) -> c_int,
            >(&self.library, c"espeak_Synth")?;
            let length = words.as_bytes_with_nul().len();
            synth(words.as_ptr().cast(), length, 0, POS_CHARACTER, 0, CHARS_UTF8, ptr::null_mut(), ptr::null_mut())
        };
        let spoken = gathered().take().unwrap_or_default();
        if code == EE_OK || spoken.cut { Ok(spoken) } else { Err(format!("espeak_Synth returned {code}")) }
    }

    pub(crate) fn terminate(self) {
        // SAFETY: no call is running, and the library is not used again before the next load.
        unsafe {
            if let Ok(terminate) = symbol::<unsafe extern "C" fn() -> c_int>(&self.library, c"espeak_Terminate") {
                terminate();
            }
        }
    }
}

fn open(file: Option<&Path>) -> Result<Library, String> {
    let names: Vec<&Path> = match file {
        Some(file) => vec![file],
        None => LIBRARY_NAMES.iter().map(Path::new).collect(),
    };
    let mut tried = Vec::new();
    for name in names {
        // SAFETY: libespeak-ng has no initialiser with side effects; a wrong file named by hand is the person's own doing.
        match unsafe { Library::new(name) } {
            Ok(library) => return Ok(library),
            Err(error) => tried.push(error.to_string()),
        }
    }
    Err(tried.join("; "))
}

/// # Safety
/// `T` must be the C signature of the function.
unsafe fn symbol<'library, T>(library: &'library Library, name: &CStr) -> Result<libloading::Symbol<'library, T>, String> {
    // SAFETY: promised by the caller.
    unsafe { library.get::<T>(name) }.map_err(|error| error.to_string())
}

fn gathered() -> std::sync::MutexGuard<'static, Option<Spoken>> {
    SPOKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Called by the library for every buffer; 1 asks it to stop.
extern "C" fn gather(wave: *mut c_short, count: c_int, events: *mut RawEvent) -> c_int {
    let mut guard = gathered();
    let Some(spoken) = guard.as_mut() else { return 1 };
    if let (false, Ok(count @ 1..)) = (wave.is_null(), usize::try_from(count)) {
        // SAFETY: the library says that `count` samples stand there, valid during this call.
        spoken.samples.extend_from_slice(unsafe { std::slice::from_raw_parts(wave, count) });
    }
    let mut next = events;
    // SAFETY: the list is ended by an event of kind 0 and is valid during this call.
    unsafe {
        while !next.is_null() && (*next).kind != EVENT_LIST_TERMINATED {
            let event = &*next;
            spoken.events.push(LibraryEvent {
                kind: event.kind,
                text_position: event.text_position,
                length: event.length,
                sample: event.sample,
            });
            next = next.add(1);
        }
    }
    spoken.cut = spoken.samples.len() > MAX_SAMPLES;
    c_int::from(spoken.cut)
}

/// # Safety
/// `pointer` is null or a C string.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// `list` is null or pairs of a priority byte and a C string, ended by a zero byte.
unsafe fn languages(list: *const c_char) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: promised by the caller.
    unsafe {
        while !next.is_null() && *next != 0 {
            let priority = *next as u8;
            let tag = CStr::from_ptr(next.add(1));
            found.push((priority, tag.to_string_lossy().into_owned()));
            next = next.add(1 + tag.to_bytes_with_nul().len());
        }
    }
    found
}
