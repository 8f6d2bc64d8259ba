//! Resource limits by the names that Docker's `--ulimit` uses.

use std::str::FromStr;

use rustix::process as os;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A limit of getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// What is limited.
    pub resource: Resource,
    /// The limit in force, in the resource's own unit; `None` is unlimited.
    pub soft: Option<u64>,
    /// The most that the process may raise `soft` to; `None` is unlimited.
    pub hard: Option<u64>,
}

impl Rlimit {
    pub(crate) fn to_os(self) -> (os::Resource, os::Rlimit) {
        (self.resource.to_os(), os::Rlimit { current: self.soft, maximum: self.hard })
    }
}

macro_rules! resources {
    ($($variant:ident $name:literal $os:ident $unit:literal),* $(,)?) => {
        /// A resource of getrlimit(2); parses from Docker's word for it, e.g. `nofile`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Resource {
            $(#[doc = concat!("`", $name, "`: ", $unit, ".")] $variant),*
        }

        impl Resource {
            fn to_os(self) -> os::Resource {
                match self { $(Self::$variant => os::Resource::$os),* }
            }
        }

        impl FromStr for Resource {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self, Error> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(Error::InvalidSpec(format!("unknown resource limit {name:?}"))),
                }
            }
        }
    };
}

resources! {
    AddressSpace "as" As "bytes of address space",
    Core "core" Core "bytes of a core file",
    Cpu "cpu" Cpu "seconds of processor time",
    Data "data" Data "bytes of data segment",
    FileSize "fsize" Fsize "bytes of a created file",
    Locks "locks" Locks "file locks",
    LockedMemory "memlock" Memlock "bytes of locked memory",
    MessageQueue "msgqueue" Msgqueue "bytes in POSIX message queues",
    Nice "nice" Nice "20 minus the best nice value",
    OpenFiles "nofile" Nofile "open file descriptors",
    Processes "nproc" Nproc "processes of the user",
    ResidentSet "rss" Rss "bytes of resident memory",
    RealTimePriority "rtprio" Rtprio "the best real-time priority",
    RealTimeTime "rttime" Rttime "microseconds of real-time processing",
    PendingSignals "sigpending" Sigpending "queued signals",
    Stack "stack" Stack "bytes of stack",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        assert_eq!("nofile".parse(), Ok(Resource::OpenFiles));
        assert!("files".parse::<Resource>().is_err());
    }
}
