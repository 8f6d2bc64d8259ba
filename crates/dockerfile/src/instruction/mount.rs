//! `RUN --mount`: comma-separated `key=value` fields.
//!
//! They are read twice. Before anything is built, only `from` counts, because it says which stages are needed, and
//! it may hold no variables for that reason. When the command is converted, the rest is read with its variables
//! expanded.

use crate::error::Fault;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountType {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret file or variable.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Everybody.
    Shared,
    /// One command; others get a new one.
    Private,
    /// One command; others wait.
    Locked,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// What is mounted.
    pub(crate) kind: MountType,
    /// The stage or image whose files are meant; empty for the context.
    pub(crate) from: String,
    /// The path in it.
    pub(crate) source: String,
    /// Where to mount it.
    pub(crate) target: String,
    /// Whether writing is forbidden.
    pub(crate) read_only: bool,
    /// The size of a tmpfs in bytes; 0 if not given.
    pub(crate) size: i64,
    /// The id of a cache, secret or agent; empty if not given.
    pub(crate) id: String,
    /// Who may use a cache.
    pub(crate) sharing: Option<Sharing>,
    /// Whether a secret or agent has to be there.
    pub(crate) required: bool,
    /// The variable that holds a secret.
    pub(crate) env: Option<String>,
    /// Permissions.
    pub(crate) mode: Option<u32>,
    /// Owner.
    pub(crate) uid: Option<u32>,
    /// Group.
    pub(crate) gid: Option<u32>,
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

/// The `from` of a mount's text.
pub(super) fn from(text: &str) -> Result<Option<String>, Fault> {
    let mut from = None;
    for field in fields(text)? {
        if let Some((key, value)) = field.split_once('=')
            && key.eq_ignore_ascii_case("from")
        {
            if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(Fault::semantics("`from` doesn't support variable expansion")
                    .hint("define a stage with FROM and the variable, and mount from that stage"));
            }
            from = Some(value.to_owned());
        }
    }
    Ok(from.filter(|from| !from.is_empty()))
}

impl Mount {
    /// Reads a mount's text, expanding values.
    pub(crate) fn read(
        text: &str,
        mut expand: impl FnMut(&str) -> Result<String, Fault>,
    ) -> Result<Self, Fault> {
        let mut mount = Self {
            kind: MountType::Bind,
            from: String::new(),
            source: String::new(),
            target: String::new(),
            read_only: true,
            size: 0,
            id: String::new(),
            sharing: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        let mut read_only = None;
        for field in fields(text)? {
            match field.split_once('=') {
                None => mount.set_bare(&field, &mut read_only)?,
                Some((key, value)) => {
                    let value = expand(value)?;
                    mount.set(&key.to_ascii_lowercase(), value, &mut read_only, &field)?;
                }
            }
        }
        let writable = matches!(mount.kind, MountType::Cache | MountType::Tmpfs);
        mount.read_only = read_only.unwrap_or(!writable);
        mount.check()?;
        Ok(mount)
    }

    /// Whether its files are those of the build context. A cache begins with nothing instead.
    pub(crate) fn takes_context(&self) -> bool {
        self.from.is_empty() && self.kind != MountType::Cache
    }

    fn set_bare(&mut self, field: &str, read_only: &mut Option<bool>) -> Result<(), Fault> {
        match field.to_ascii_lowercase().as_str() {
            "readonly" | "ro" => *read_only = Some(true),
            "readwrite" | "rw" => *read_only = Some(false),
            "required" => self.set_required(true)?,
            key => {
                let fault = Fault::syntax(format!("mount field `{field}` must be a key=value pair"));
                return Err(if KEYS.contains(&key) { fault } else { fault.suggest(key, KEYS) });
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        key: &str,
        value: String,
        read_only: &mut Option<bool>,
        field: &str,
    ) -> Result<(), Fault> {
        let invalid = || Fault::syntax(format!("invalid value for mount key `{key}`: `{value}`"));
        match key {
            "type" => self.kind = mount_type(&value)?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *read_only = Some(crate::boolean(&value).ok_or_else(invalid)?),
            "readwrite" | "rw" => *read_only = Some(!crate::boolean(&value).ok_or_else(invalid)?),
            "required" => self.set_required(crate::boolean(&value).ok_or_else(invalid)?)?,
            "size" if self.kind == MountType::Tmpfs => self.size = bytes(&value).ok_or_else(invalid)?,
            "size" => {
                return Err(Fault::syntax("only mounts of type tmpfs have a `size`")
                    .hint("put type=tmpfs before it, or leave it out"));
            }
            "id" => self.id = value,
            "sharing" => self.sharing = Some(sharing(&value)?),
            "mode" => self.mode = Some(unsigned(&value, 8).ok_or_else(invalid)?),
            "uid" => self.uid = Some(unsigned(&value, 10).ok_or_else(invalid)?),
            "gid" => self.gid = Some(unsigned(&value, 10).ok_or_else(invalid)?),
            "env" => self.env = Some(value),
            _ => return Err(Fault::syntax(format!("unexpected key `{key}` in `{field}`")).suggest(key, KEYS)),
        }
        Ok(())
    }

    fn set_required(&mut self, required: bool) -> Result<(), Fault> {
        if !matches!(self.kind, MountType::Secret | MountType::Ssh) {
            return Err(Fault::syntax("only mounts of type secret or ssh can be `required`")
                .hint("put the type before it"));
        }
        self.required = required;
        Ok(())
    }

    fn check(&self) -> Result<(), Fault> {
        let owned = self.mode.or(self.uid).or(self.gid).is_some();
        if owned && matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            return Err(Fault::syntax("only mounts of type cache, secret or ssh have a mode, uid or gid"));
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(Fault::syntax("only mounts of type cache have a `sharing`"));
        }
        if self.kind == MountType::Ssh && !self.source.is_empty() {
            return Err(Fault::syntax("ssh does not support source"));
        }
        if self.kind == MountType::Secret {
            if !self.from.is_empty() {
                return Err(Fault::syntax("a secret mount has no `from`"));
            }
            if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                return Err(Fault::syntax("a secret mount needs an id, source or target"));
            }
            if !self.source.is_empty() && !self.id.is_empty() {
                return Err(Fault::syntax("a secret mount has either a source or an id"));
            }
        }
        Ok(())
    }
}

/// A number without a sign.
fn unsigned(text: &str, radix: u32) -> Option<u32> {
    u32::from_str_radix(text, radix).ok().filter(|_| !text.starts_with('+'))
}

fn mount_type(text: &str) -> Result<MountType, Fault> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "bind" => MountType::Bind,
        "cache" => MountType::Cache,
        "tmpfs" => MountType::Tmpfs,
        "secret" => MountType::Secret,
        "ssh" => MountType::Ssh,
        _ => return Err(Fault::syntax(format!("unsupported mount type `{text}`")).suggest(text, TYPES)),
    })
}

fn sharing(text: &str) -> Result<Sharing, Fault> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "shared" => Sharing::Shared,
        "private" => Sharing::Private,
        "locked" => Sharing::Locked,
        _ => {
            let fault = Fault::syntax(format!("unsupported sharing value `{text}`"));
            return Err(fault.suggest(text, ["shared", "private", "locked"]));
        }
    })
}

/// A size like `64m` or `1.5 GiB`: binary multiples, whatever the suffix looks like.
fn bytes(text: &str) -> Option<i64> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' '))?;
    let (number, suffix) = text.split_at(last + 1);
    let number: f64 = without_separators(number.strip_suffix(' ').unwrap_or(number))?.parse().ok()?;
    let power = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (0.0..i64::MAX as f64).contains(&bytes).then_some(bytes as i64)
}

/// The number without the `_` between its digits, as Go has them; none if one stands elsewhere.
fn without_separators(number: &str) -> Option<String> {
    let parts: Vec<&str> = number.split('_').collect();
    let between = parts.windows(2).all(|pair| {
        pair[0].ends_with(|c: char| c.is_ascii_digit()) && pair[1].starts_with(|c: char| c.is_ascii_digit())
    });
    between.then(|| parts.concat())
}

/// Comma-separated fields; one in double quotes may hold commas, and quotes doubled.
pub(super) fn fields(text: &str) -> Result<Vec<String>, Fault> {
    let invalid = || Fault::syntax(format!("`{text}` has a quote in the wrong place"));
    if text.is_empty() {
        return Err(Fault::syntax("the flag has no fields"));
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let after = match rest.strip_prefix('"') {
            Some(mut quoted) => {
                let mut field = String::new();
                loop {
                    let (part, after) = quoted.split_once('"').ok_or_else(invalid)?;
                    field.push_str(part);
                    match after.strip_prefix('"') {
                        Some(after) => {
                            field.push('"');
                            quoted = after;
                        }
                        None => {
                            quoted = after;
                            break;
                        }
                    }
                }
                fields.push(field);
                quoted
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err(invalid());
                }
                fields.push(rest[..end].to_owned());
                &rest[end..]
            }
        };
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => return Err(invalid()),
        }
    }
}
