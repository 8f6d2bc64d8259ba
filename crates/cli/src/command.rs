//! The commands, one file each: flags to a request, the use case, its result.

pub(crate) mod build;
mod call;
pub(crate) mod image;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod publish;
pub(crate) mod registry;
pub(crate) mod vendor;
pub(crate) mod verify;
