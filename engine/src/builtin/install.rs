//! What a person types to install a missing tool, by the kind of system that `/etc/os-release` names.
//!
//! Pure; the caller reads the file. It may not know what the tools are for.

/// Package names of one tool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packages {
    pub(super) debian: &'static str,
    pub(super) fedora: &'static str,
    /// `None`: not in the distribution's own packages.
    pub(super) arch: Option<&'static str>,
    pub(super) alpine: Option<&'static str>,
    pub(super) suse: Option<&'static str>,
    pub(super) homebrew: &'static str,
}

pub(super) const ESPEAK_NG: Packages = Packages {
    debian: "espeak-ng",
    fedora: "espeak-ng",
    arch: Some("espeak-ng"),
    alpine: Some("espeak-ng"),
    suse: Some("espeak-ng"),
    homebrew: "espeak-ng",
};

pub(super) const MECAB: Packages = Packages {
    debian: "mecab mecab-ipadic-utf8",
    fedora: "mecab mecab-ipadic",
    arch: None,
    alpine: None,
    suse: None,
    homebrew: "mecab mecab-ipadic",
};

/// `os_release` is the text of `/etc/os-release`, empty where there is none; `macos` says which of the two kinds without one this is.
pub(super) fn command(packages: Packages, os_release: &str, macos: bool) -> String {
    if macos {
        return format!("brew install {}", packages.homebrew);
    }
    let field = |name: &str| {
        let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_ascii_lowercase()
    };
    let kinds = format!("{} {}", field("ID"), field("ID_LIKE"));
    for kind in kinds.split_whitespace() {
        let (installer, names) = match kind {
            "debian" | "ubuntu" => ("apt-get install -y --no-install-recommends", Some(packages.debian)),
            "fedora" | "rhel" | "centos" => ("dnf install -y", Some(packages.fedora)),
            "arch" | "archlinux" => ("pacman -S --noconfirm", packages.arch),
            "alpine" => ("apk add", packages.alpine),
            "suse" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" => ("zypper install -y", packages.suse),
            _ => continue,
        };
        if let Some(names) = names {
            return format!("{installer} {names}");
        }
    }
    format!("install the package {} with the package manager of this system", packages.debian)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_command() {
        let espeak = |os_release: &str| command(ESPEAK_NG, os_release, false);
        let apt = "apt-get install -y --no-install-recommends espeak-ng";
        assert_eq!(espeak("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"), apt);
        assert_eq!(espeak("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), apt);
        assert_eq!(espeak("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), "dnf install -y espeak-ng");
        assert_eq!(espeak("ID=arch\n"), "pacman -S --noconfirm espeak-ng");
        assert_eq!(espeak("ID=alpine\n"), "apk add espeak-ng");
        assert_eq!(espeak("ID=\"opensuse-leap\"\n"), "zypper install -y espeak-ng");
        assert!(espeak("").starts_with("install the package espeak-ng"));
        assert!(command(MECAB, "ID=arch\n", false).starts_with("install the package mecab"));
        assert_eq!(command(MECAB, "", true), "brew install mecab mecab-ipadic");
    }
}
