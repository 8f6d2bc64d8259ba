//! Changes of files in JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::members::Members;
use crate::pb;

/// `file` of an operation.
pub(super) fn file(file: &pb::FileOp) -> Value {
    json!({ "actions": file.actions.iter().map(action).collect::<Vec<_>>() })
}

fn action(action: &pb::FileAction) -> Value {
    let mut object = Members::default();
    object.int("input", action.input).int("secondaryInput", action.secondary_input);
    object.int("output", action.output);
    match &action.action {
        Some(pb::file_action::Action::Copy(action)) => object.value("copy", Some(copy(action))),
        Some(pb::file_action::Action::Mkfile(file)) => {
            let mut mkfile = Members::default();
            mkfile.text("path", &file.path).number("mode", file.mode).int("timestamp", file.timestamp);
            mkfile.text("data", &BASE64_STANDARD.encode(&file.data));
            mkfile.value("owner", file.owner.as_ref().map(owner));
            object.value("mkfile", Some(mkfile.done()))
        }
        Some(pb::file_action::Action::Mkdir(directory)) => {
            let mut mkdir = Members::default();
            mkdir.text("path", &directory.path).number("mode", directory.mode);
            mkdir.int("timestamp", directory.timestamp).flag("makeParents", directory.make_parents);
            mkdir.value("owner", directory.owner.as_ref().map(owner));
            object.value("mkdir", Some(mkdir.done()))
        }
        Some(pb::file_action::Action::Symlink(link)) => {
            let mut symlink = Members::default();
            symlink.text("oldpath", &link.oldpath).text("newpath", &link.newpath);
            symlink.value("owner", link.owner.as_ref().map(owner)).int("timestamp", link.timestamp);
            object.value("symlink", Some(symlink.done()))
        }
        Some(pb::file_action::Action::Rm(removed)) => {
            let mut rm = Members::default();
            rm.text("path", &removed.path).flag("allowNotFound", removed.allow_not_found);
            object.value("rm", Some(rm.flag("allowWildcard", removed.allow_wildcard).done()))
        }
        None => &mut object,
    };
    object.done()
}

fn copy(copy: &pb::FileActionCopy) -> Value {
    let mut object = Members::default();
    object.text("src", &copy.src).text("dest", &copy.dest);
    object.number("mode", copy.mode).text("modeStr", &copy.mode_str);
    object.int("timestamp", copy.timestamp);
    object.value("owner", copy.owner.as_ref().map(owner));
    object.flag("followSymlink", copy.follow_symlink).flag("dirCopyContents", copy.dir_copy_contents);
    object.flag("attemptUnpackDockerCompatibility", copy.attempt_unpack_docker_compatibility);
    object.flag("createDestPath", copy.create_dest_path).flag("allowWildcard", copy.allow_wildcard);
    object.flag("allowEmptyWildcard", copy.allow_empty_wildcard);
    object.flag("alwaysReplaceExistingDestPaths", copy.always_replace_existing_dest_paths);
    object.texts("includePatterns", &copy.include_patterns);
    object.texts("excludePatterns", &copy.exclude_patterns);
    object.texts("requiredPaths", &copy.required_paths).done()
}

fn owner(owner: &pb::ChownOpt) -> Value {
    let user = |user: &pb::UserOpt| match &user.user {
        None => json!({}),
        Some(pb::user_opt::User::ById(id)) => json!({ "byID": id }),
        Some(pb::user_opt::User::ByName(name)) => {
            let mut object = Members::default();
            json!({ "byName": object.text("name", &name.name).int("input", name.input).done() })
        }
    };
    let mut object = Members::default();
    object.value("user", owner.user.as_ref().map(user));
    object.value("group", owner.group.as_ref().map(user)).done()
}
