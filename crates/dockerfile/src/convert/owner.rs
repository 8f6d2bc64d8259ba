//! Owners: `user[:group]`, by number or by a name of the image's own user database.

use gantry_llb::pb;

/// The owner that a text means. Names are looked up in the files of the vertex's base, when it runs.
pub(super) fn parse(text: &str) -> pb::ChownOpt {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    pb::ChownOpt { user: Some(one(user)), group: group.map(one) }
}

/// The owner with these numbers.
pub(super) fn by_id(uid: u32, gid: u32) -> pb::ChownOpt {
    let id = |id| Some(pb::UserOpt { user: Some(pb::user_opt::User::ById(id)) });
    pb::ChownOpt { user: id(uid), group: id(gid) }
}

fn one(text: &str) -> pb::UserOpt {
    let user = match (text, text.parse::<i32>()) {
        ("" | "root", _) => pb::user_opt::User::ById(0),
        // Go wraps negative numbers around, and so must the bytes of the operation.
        (_, Ok(id)) => pb::user_opt::User::ById(id as u32),
        (name, Err(_)) => {
            pb::user_opt::User::ByName(pb::NamedUserOpt { name: name.to_owned(), input: crate::graph::NONE })
        }
    };
    pb::UserOpt { user: Some(user) }
}
