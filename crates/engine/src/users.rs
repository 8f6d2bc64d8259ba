//! Users and groups by name, from the `passwd` and `group` files of a tree.
//!
//! Two rules, both BuildKit's: a RUN whose user is unknown fails; an owner of copied files that is unknown is 0.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gantry_llb::pb;
use gantry_llb::pb::user_opt::User as Named;
use gantry_sandbox::User;

use crate::error::{At, Fault};
use crate::rooted;

/// A larger file is no user database but an attack on memory.
const MAX_USER_FILE: u64 = 10 << 20;

/// Who a process runs as, and where its home is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: User,
    pub(crate) home: String,
}

/// One line of `passwd`.
struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// One line of `group`.
struct GroupEntry {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Resolves a USER: `user[:group]`, names or numbers, in the tree at `root`.
///
/// Supplementary groups are those that list the user, unless a group was given; the primary one is always among them.
pub(crate) fn identity(root: &Path, text: &str) -> Result<Identity, Fault> {
    let passwd = passwd(root)?;
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd.iter().find(|entry| entry.name == user);
    let number = id(user);
    let entry = entry.or_else(|| passwd.iter().find(|entry| Some(entry.uid) == number));
    let (uid, default_gid) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) if user == "root" => (0, 0),
        (None, None) => return Err(Fault::NoSuchUser { kind: "user", name: user.to_owned() }),
    };
    let groups = groups(root)?;
    let (gid, others) = match group.filter(|group| !group.is_empty()) {
        Some(group) => (group_id(&groups, group)?, Vec::new()),
        None => (default_gid, supplementary(&groups, entry)),
    };
    let mut supplementary = vec![gid];
    supplementary.extend(others.into_iter().filter(|other| *other != gid));
    let home = passwd.iter().find(|entry| entry.uid == uid).map(|entry| entry.home.clone());
    let home = home.filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned());
    Ok(Identity { user: User { uid, gid, groups: supplementary }, home })
}

fn group_id(groups: &[GroupEntry], group: &str) -> Result<u32, Fault> {
    if let Some(entry) = groups.iter().find(|entry| entry.name == group) {
        return Ok(entry.gid);
    }
    match (id(group), group) {
        (Some(gid), _) => Ok(gid),
        (_, "root") => Ok(0),
        _ => Err(Fault::NoSuchUser { kind: "group", name: group.to_owned() }),
    }
}

fn supplementary(groups: &[GroupEntry], entry: Option<&PasswdEntry>) -> Vec<u32> {
    let Some(entry) = entry else { return Vec::new() };
    groups.iter().filter(|group| group.members.contains(&entry.name)).map(|group| group.gid).collect()
}

/// Resolves the owner that a file action asks for. `None`: it asks for none.
pub(crate) fn owner(root: &Path, owner: Option<&pb::ChownOpt>) -> Result<Option<(u32, u32)>, Fault> {
    let Some(owner) = owner else { return Ok(None) };
    let (mut uid, mut gid) = (0, 0);
    match owner.user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(Named::ById(number)) => (uid, gid) = (possible(*number, "user")?, *number),
        Some(Named::ByName(named)) => {
            known_here(named, "user")?;
            if let Some(entry) = passwd(root)?.iter().find(|entry| entry.name == named.name) {
                (uid, gid) = (entry.uid, entry.gid);
            }
        }
        None => {}
    }
    match owner.group.as_ref().and_then(|group| group.user.as_ref()) {
        Some(Named::ById(number)) => gid = possible(*number, "group")?,
        Some(Named::ByName(named)) => {
            known_here(named, "group")?;
            if let Some(entry) = groups(root)?.iter().find(|entry| entry.name == named.name) {
                gid = entry.gid;
            }
        }
        None => {}
    }
    Ok(Some((uid, gid)))
}

/// A user or group id in text. The largest number is none: to the kernel it means "leave it as it is".
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

fn possible(number: u32, kind: &'static str) -> Result<u32, Fault> {
    match number {
        u32::MAX => Err(Fault::NoSuchUser { kind, name: number.to_string() }),
        _ => Ok(number),
    }
}

/// A tree that starts from scratch has no names to look up.
fn known_here(named: &pb::NamedUserOpt, kind: &'static str) -> Result<(), Fault> {
    match named.input {
        0.. => Ok(()),
        _ => Err(Fault::NoSuchUser { kind, name: named.name.clone() }),
    }
}

fn passwd(root: &Path) -> Result<Vec<PasswdEntry>, Fault> {
    let text = read(root, "/etc/passwd")?;
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        Some(PasswdEntry { name, uid, gid, home: fields.nth(1).unwrap_or_default().to_owned() })
    };
    Ok(text.lines().filter_map(|line| parse(line.trim())).collect())
}

fn groups(root: &Path) -> Result<Vec<GroupEntry>, Fault> {
    let text = read(root, "/etc/group")?;
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let gid = id(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        Some(GroupEntry { name, gid, members })
    };
    Ok(text.lines().filter_map(|line| parse(line.trim())).collect())
}

/// The file's text; empty if there is none, or if it is no regular file.
fn read(root: &Path, path: &str) -> Result<String, Fault> {
    let path = rooted::resolve(root, Path::new(path)).at("resolve", Path::new(path))?;
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(MAX_USER_FILE).read_to_end(&mut bytes)).at("read", &path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\napp:x:100:101::/srv/app:/bin/sh\n";
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(
            root.path().join("etc/group"),
            "root:x:0:\nwheel:x:10:root,app\napp:x:101:\nlog:x:7:app\n",
        )
        .unwrap();
        root
    }

    #[test]
    fn identities() {
        let root = root();
        for (text, uid, gid, groups, home) in [
            ("", 0, 0, vec![0, 10], "/root"),
            ("root", 0, 0, vec![0, 10], "/root"),
            ("app", 100, 101, vec![101, 10, 7], "/srv/app"),
            ("100", 100, 101, vec![101, 10, 7], "/srv/app"),
            ("app:wheel", 100, 10, vec![10], "/srv/app"),
            ("app:55", 100, 55, vec![55], "/srv/app"),
            ("4242", 4242, 0, vec![0], "/"),
            ("4242:4243", 4242, 4243, vec![4243], "/"),
        ] {
            let expected = Identity { user: User { uid, gid, groups }, home: home.to_owned() };
            assert_eq!(identity(root.path(), text).unwrap(), expected, "USER {text}");
        }
        assert!(identity(root.path(), "4294967295").is_err(), "the kernel takes it for `as before`: root");
        assert!(identity(root.path(), "1:4294967295").is_err());
        assert!(identity(root.path(), "nobody-here").is_err());
        assert!(identity(root.path(), "app:no-such-group").is_err());
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(identity(empty.path(), "root").unwrap().home, "/");
    }

    #[test]
    fn owners() {
        let root = root();
        let name = |name: &str| {
            let named = pb::NamedUserOpt { name: name.into(), input: 0 };
            Some(pb::UserOpt { user: Some(Named::ByName(named)) })
        };
        let id = |id| Some(pb::UserOpt { user: Some(Named::ById(id)) });
        for (user, group, expected) in [
            (name("app"), None, (100, 101)),
            (name("app"), name("wheel"), (100, 10)),
            (name("nobody-here"), None, (0, 0)),
            (id(5), None, (5, 5)),
            (id(5), id(6), (5, 6)),
        ] {
            let chown = pb::ChownOpt { user, group };
            assert_eq!(owner(root.path(), Some(&chown)).unwrap(), Some(expected), "{chown:?}");
        }
        let largest = pb::ChownOpt { user: id(u32::MAX), group: None };
        assert!(owner(root.path(), Some(&largest)).is_err());
        assert_eq!(owner(root.path(), None).unwrap(), None);
    }
}
