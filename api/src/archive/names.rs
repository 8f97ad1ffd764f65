//! The names that members of an archive may have: a closed grammar, so that whatever else a name can be (a path upwards, an absolute one, a
//! drive, another case, a folder) is simply unknown. Pure.

use std::fmt;

use uuid::Uuid;

pub(super) const MANIFEST: &str = "manifest.json";

/// A member that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Name {
    Manifest,
    Of(Uuid, Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Consent,
    Preview,
    Profile,
    Samples,
    /// From 1.
    Sample(u32),
    Voice,
}

impl Name {
    /// `None` for everything that is not written exactly as [`Name`]'s `Display` does.
    pub(super) fn parse(path: &str) -> Option<Self> {
        if path == MANIFEST {
            return Some(Self::Manifest);
        }
        let (id, rest) = path.strip_prefix("voices/")?.split_once('/')?;
        let id = Uuid::parse_str(id).ok()?;
        let part = match rest {
            "consent.json" => Part::Consent,
            "preview.wav" => Part::Preview,
            "profile.json" => Part::Profile,
            "samples.json" => Part::Samples,
            "voice.json" => Part::Voice,
            _ => Part::Sample(rest.strip_prefix("samples/")?.strip_suffix(".wav")?.parse().ok().filter(|number| *number > 0)?),
        };
        let name = Self::Of(id, part);
        (name.to_string() == path).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str(MANIFEST),
            Self::Of(id, part) => write!(f, "voices/{id}/{part}"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consent => f.write_str("consent.json"),
            Self::Preview => f.write_str("preview.wav"),
            Self::Profile => f.write_str("profile.json"),
            Self::Samples => f.write_str("samples.json"),
            Self::Sample(number) => write!(f, "samples/{number:03}.wav"),
            Self::Voice => f.write_str("voice.json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0197f000-0000-7000-8000-000000000000";

    #[test]
    fn only_names_in_their_one_form_are_known() {
        for part in ["voice.json", "samples.json", "profile.json", "preview.wav", "consent.json", "samples/001.wav", "samples/1000.wav"] {
            assert!(Name::parse(&format!("voices/{ID}/{part}")).is_some(), "{part}");
        }
        for part in
            ["", "x.json", "Voice.json", "samples/1.wav", "samples/000.wav", "samples/0001.wav", "samples/+01.wav", "samples/001.WAV"]
        {
            assert_eq!(Name::parse(&format!("voices/{ID}/{part}")), None, "{part}");
        }
        let upper = format!("voices/{}/voice.json", ID.to_uppercase());
        for path in [
            "",
            "../manifest.json",
            "/manifest.json",
            "Manifest.json",
            "manifest.json/",
            "voices/../manifest.json",
            "voices/x/voice.json",
            upper.as_str(),
            "voices\\x\\voice.json",
            "C:manifest.json",
            "voices/0197f000000070008000000000000000/voice.json",
        ] {
            assert_eq!(Name::parse(path), None, "{path}");
        }
    }
}
