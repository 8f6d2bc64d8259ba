//! Which distribution an image has: `os-release`, the file that says so.
//!
//! Specification: os-release(5). Lines of `NAME=value`, with shell quotes.

/// A distribution. Empty fields are what the image does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distro {
    /// `ID`: `debian`.
    pub id: String,
    /// `VERSION_ID`: `12`.
    pub version: String,
    /// `PRETTY_NAME`, else `NAME`.
    pub name: String,
}

impl Distro {
    /// Reads an os-release file. Lines that are none are skipped, as every reader of the format does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut distro = Self::default();
        let mut short_name = String::new();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            match name {
                "ID" => distro.id = unquote(value).to_ascii_lowercase(),
                "VERSION_ID" => distro.version = unquote(value),
                "PRETTY_NAME" => distro.name = unquote(value),
                "NAME" => short_name = unquote(value),
                _ => {}
            }
        }
        if distro.name.is_empty() {
            distro.name = short_name;
        }
        distro
    }

    /// `debian-12`, as package URLs have it.
    pub(crate) fn tag(&self) -> String {
        match (self.id.is_empty(), self.version.is_empty()) {
            (true, _) => String::new(),
            (false, true) => self.id.clone(),
            (false, false) => format!("{}-{}", self.id, self.version),
        }
    }
}

fn unquote(value: &str) -> String {
    let value = value.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else { return value.to_owned() };
    let inner = value[1..].strip_suffix(quote).unwrap_or(&value[1..]);
    match quote {
        '\'' => inner.to_owned(),
        _ => {
            let mut clean = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                clean.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
            clean
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let debian =
            Distro::parse("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n");
        assert_eq!(
            (debian.tag().as_str(), debian.name.as_str()),
            ("debian-12", "Debian GNU/Linux 12 (bookworm)")
        );
        let rolling = Distro::parse("# none\nNAME='Arch'\nID=\"Arch\"\nBUILD_ID");
        assert_eq!((rolling.tag().as_str(), rolling.name.as_str()), ("arch", "Arch"));
        assert_eq!(Distro::parse("ID=\"a\\\"b\\$").id, "a\"b$");
        assert_eq!(Distro::parse("").tag(), "");
    }
}
