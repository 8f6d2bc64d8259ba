//! The network namespace of a process without network: only a loopback interface, which must be raised because a
//! new namespace has it down.

use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::Error;
use crate::error::During;
use crate::raw;

/// Raises `lo` in the calling thread's network namespace.
pub(crate) fn raise_loopback() -> Result<(), Error> {
    const ACTION: &str = "raise";
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .during(ACTION, "the loopback interface")?;
    raw::raise_loopback(socket.as_fd()).needing("CAP_NET_ADMIN", ACTION, "the loopback interface")
}
