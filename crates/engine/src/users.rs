//! Users and groups by name, from the `passwd` and `group` files of a tree.
//!
//! Two rules, both BuildKit's: a RUN whose user is unknown fails; an owner of copied files that is unknown is 0.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use gantry_llb::pb;
use gantry_llb::pb::user_opt::User as Named;
use gantry_sandbox::User;

use crate::error::{At, Fault};
use crate::rooted;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
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
    uid: i64,
    gid: i64,
    home: String,
}

/// One line of `group`.
struct GroupEntry {
    name: String,
    gid: i64,
    members: Vec<String>,
}

/// Resolves a USER: `user[:group]`, names or numbers, in the tree at `root`. The rules are those of runc's library:
///
/// - A number is an id and never a name, and a user by number is the first of that id.
/// - Two numbers are taken as they are; then there are no supplementary groups.
/// - Supplementary groups are those that list the user, unless a group was given.
/// - A user who is not said is root, whatever the files hold.
pub(crate) fn identity(root: &Path, text: &str) -> Result<Identity, Fault> {
    let passwd = passwd(root)?;
    let user = match two_numbers(text)? {
        Some(user) => user,
        None => named(root, &passwd, if text.is_empty() { "0" } else { text })?,
    };
    let home = passwd.iter().find(|entry| entry.uid == i64::from(user.uid)).map(|entry| entry.home.clone());
    Ok(Identity { user, home: home.unwrap_or_else(|| "/".to_owned()) })
}

/// A user and a group by their numbers, where `root` is one, too.
fn two_numbers(text: &str) -> Result<Option<User>, Fault> {
    let number = |text: &str| match text {
        "root" => Some(0),
        _ => text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
    };
    match text.split_once(':').map(|(user, group)| (number(user), number(group))) {
        Some((Some(uid), Some(gid))) => {
            Ok(Some(User { uid: possible(uid, "user")?, gid: possible(gid, "group")?, groups: vec![gid] }))
        }
        _ => Ok(None),
    }
}

fn named(root: &Path, passwd: &[PasswdEntry], text: &str) -> Result<User, Fault> {
    let mut parts = text.split(':');
    let (user, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let number = user.parse::<i64>().ok();
    let entry = passwd.iter().find(|entry| match (user, number) {
        ("", _) => entry.uid == 0,
        (_, Some(number)) => entry.uid == number,
        (name, None) => entry.name == name,
    });
    let (uid, default_gid) = match (entry, number) {
        (Some(entry), _) => (id(entry.uid, "user")?, id(entry.gid, "group")?),
        (None, Some(number)) => (id_in_text(number, "user")?, 0),
        (None, None) if user.is_empty() => (0, 0),
        (None, None) => return Err(Fault::NoSuchUser { kind: "user", name: user.to_owned() }),
    };
    let groups = groups(root)?;
    let (gid, others) = match group {
        "" => (default_gid, supplementary(&groups, entry)?),
        group => (group_id(&groups, group)?, Vec::new()),
    };
    let mut supplementary = vec![gid];
    supplementary.extend(others.into_iter().filter(|other| *other != gid));
    Ok(User { uid, gid, groups: supplementary })
}

fn group_id(groups: &[GroupEntry], group: &str) -> Result<u32, Fault> {
    let number = group.parse::<i64>().ok();
    let entry = groups.iter().find(|entry| match number {
        Some(number) => entry.gid == number,
        None => entry.name == group,
    });
    match (entry, number) {
        (Some(entry), _) => id(entry.gid, "group"),
        (None, Some(number)) => id_in_text(number, "group"),
        (None, None) => Err(Fault::NoSuchUser { kind: "group", name: group.to_owned() }),
    }
}

fn supplementary(groups: &[GroupEntry], entry: Option<&PasswdEntry>) -> Result<Vec<u32>, Fault> {
    let Some(entry) = entry else { return Ok(Vec::new()) };
    let listed = groups.iter().filter(|group| group.members.contains(&entry.name));
    listed.map(|group| id(group.gid, "group")).collect()
}

/// Resolves the owner that a file action asks for. `None`: it asks for none.
pub(crate) fn owner(root: &Path, owner: Option<&pb::ChownOpt>) -> Result<Option<(u32, u32)>, Fault> {
    let Some(owner) = owner else { return Ok(None) };
    let (mut uid, mut gid) = (0, 0);
    match owner.user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(Named::ById(number)) => (uid, gid) = (possible(*number, "user")?, *number),
        Some(Named::ByName(named)) => {
            known_here(named, "user")?;
            regular(root, PASSWD)?;
            if let Some(entry) = passwd(root)?.iter().find(|entry| entry.name == named.name) {
                (uid, gid) = (id(entry.uid, "user")?, id(entry.gid, "group")?);
            }
        }
        None => {}
    }
    match owner.group.as_ref().and_then(|group| group.user.as_ref()) {
        Some(Named::ById(number)) => gid = possible(*number, "group")?,
        Some(Named::ByName(named)) => {
            known_here(named, "group")?;
            regular(root, GROUP)?;
            if let Some(entry) = groups(root)?.iter().find(|entry| entry.name == named.name) {
                gid = id(entry.gid, "group")?;
            }
        }
        None => {}
    }
    Ok(Some((uid, gid)))
}

/// A user or group id of a file.
fn id(number: i64, kind: &'static str) -> Result<u32, Fault> {
    match u32::try_from(number) {
        Ok(number) => possible(number, kind),
        Err(_) => Err(Fault::NoSuchUser { kind, name: number.to_string() }),
    }
}

/// A user or group id that stands alone and is in no file. runc takes none of the upper half then.
fn id_in_text(number: i64, kind: &'static str) -> Result<u32, Fault> {
    match i32::try_from(number) {
        Ok(0..) => id(number, kind),
        _ => Err(Fault::NoSuchUser { kind, name: number.to_string() }),
    }
}

/// The largest number is none: to the kernel it means "leave it as it is".
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
    let text = read(root, PASSWD)?;
    let parse = |line: &str| {
        let mut fields = line.split(':').map(str::to_owned);
        let name = fields.next().unwrap_or_default();
        let (uid, gid) = (number(fields.nth(1)), number(fields.next()));
        PasswdEntry { name, uid, gid, home: fields.nth(1).unwrap_or_default() }
    };
    Ok(lines(&text).map(parse).collect())
}

fn groups(root: &Path) -> Result<Vec<GroupEntry>, Fault> {
    let text = read(root, GROUP)?;
    let parse = |line: &str| {
        let mut fields = line.split(':').map(str::to_owned);
        let name = fields.next().unwrap_or_default();
        let gid = number(fields.nth(1));
        let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        GroupEntry { name, gid, members }
    };
    Ok(lines(&text).map(parse).collect())
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// A field of these files that is a number. What is none counts as 0, as with runc: that way lines that are comments, or
/// of NIS, are entries of root, and so is a user whose id is misspelt.
fn number(field: Option<String>) -> i64 {
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The place of a user file; `None` if there is nothing at its path.
fn place(root: &Path, path: &str) -> Result<Option<PathBuf>, Fault> {
    let path = Path::new(path);
    match rooted::resolve(root, path) {
        Ok(place) if place.symlink_metadata().is_ok() => Ok(Some(place)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error).at("resolve", path),
    }
}

/// Fails if there is something else than a file.
fn regular(root: &Path, path: &str) -> Result<(), Fault> {
    match place(root, path)? {
        Some(place) if !place.metadata().is_ok_and(|metadata| metadata.is_file()) => {
            Err(Fault::NotAFile(path.into()))
        }
        _ => Ok(()),
    }
}

/// The file's text; empty if there is none, or if it is no regular file.
fn read(root: &Path, path: &str) -> Result<String, Fault> {
    let Some(path) = place(root, path)? else { return Ok(String::new()) };
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
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\nshort:x:77\n app:x:100:101::/srv/app:/bin/sh\n\n\
            4242:x:1:2::/:/bin/sh\nhomeless:x:7:8::\nmisspelt:x:a:5::/m:\nlargest:x:4294967295:0::/:\n";
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
            ("100:101", 100, 101, vec![101], "/srv/app"),
            ("app:", 100, 101, vec![101, 10, 7], "/srv/app"),
            (":wheel", 0, 10, vec![10], "/root"),
            ("root:root", 0, 0, vec![0], "/root"),
            ("app:10", 100, 10, vec![10], "/srv/app"),
            ("+100", 100, 101, vec![101, 10, 7], "/srv/app"),
            ("4000000000:5", 4_000_000_000, 5, vec![5], "/"),
            ("homeless", 7, 8, vec![8], ""),
            ("misspelt", 0, 5, vec![5], "/root"),
        ] {
            let expected = Identity { user: User { uid, gid, groups }, home: home.to_owned() };
            assert_eq!(identity(root.path(), text).unwrap(), expected, "USER {text}");
        }
        for text in ["4294967295", "1:4294967295", "largest"] {
            assert!(identity(root.path(), text).is_err(), "the kernel takes it for `as before`: root");
        }
        for text in ["nobody-here", "app:no-such-group", "4000000000", "app:4000000000", "-1", "0x10"] {
            assert!(identity(root.path(), text).is_err(), "USER {text}");
        }
        let empty = tempfile::tempdir().unwrap();
        for (text, uid) in
            [("", Some(0)), ("0", Some(0)), ("7", Some(7)), ("root:root", Some(0)), ("root", None)]
        {
            let found = identity(empty.path(), text).ok().map(|found| (found.user.uid, found.home));
            assert_eq!(found, uid.map(|uid| (uid, "/".to_owned())), "USER {text}");
        }
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
            (name("short"), None, (77, 0)),
            (id(5), None, (5, 5)),
            (id(5), id(6), (5, 6)),
        ] {
            let chown = pb::ChownOpt { user, group };
            assert_eq!(owner(root.path(), Some(&chown)).unwrap(), Some(expected), "{chown:?}");
        }
        let odd = tempfile::tempdir().unwrap();
        let by_name = pb::ChownOpt { user: name("app"), group: None };
        std::fs::write(odd.path().join("etc"), "").unwrap();
        assert_eq!(owner(odd.path(), Some(&by_name)).unwrap(), Some((0, 0)), "a file has no files in it");
        std::fs::remove_file(odd.path().join("etc")).unwrap();
        std::fs::create_dir_all(odd.path().join("etc/passwd")).unwrap();
        assert!(owner(odd.path(), Some(&by_name)).is_err(), "a directory has no users");
        let largest = pb::ChownOpt { user: id(u32::MAX), group: None };
        assert!(owner(root.path(), Some(&largest)).is_err());
        assert_eq!(owner(root.path(), None).unwrap(), None);
    }
}
