//! Who the process is and what it may do: user, groups, capabilities, system calls. Given up in the only order that
//! works: the filter while CAP_SYS_ADMIN is there, the ids while CAP_SETUID is, the capabilities last.

use nix::unistd::{Gid, Uid};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::During;
use crate::{Error, Security, User, seccomp};

/// What Docker gives a container by default.
pub(crate) const DEFAULT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

const CAPABILITIES: &str = "the capabilities";

/// Becomes `user`, with the capabilities and the system calls of `security`. `no_new_privs` stays off, so that sudo
/// works; set-user-id programs get no more than the bounding set.
pub(crate) fn assume(user: &User, security: Security) -> Result<(), Error> {
    if security == Security::Sandbox {
        bound_capabilities()?;
        seccomp::install()?;
    }
    give_output(user)?;
    if security == Security::Insecure {
        rustix::thread::set_keep_capabilities(true).during("keep", CAPABILITIES)?;
    }
    become_user(user)?;
    limit_capabilities(user, security)
}

/// Gives the standard streams to the user, who could not open `/dev/stdout` otherwise.
fn give_output(user: &User) -> Result<(), Error> {
    let uid = Some(rustix::fs::Uid::from_raw(user.uid));
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = rustix::fs::fstat(stream).during("examine", "a standard stream")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
            rustix::fs::fchown(stream, uid, None).needing("CAP_CHOWN", "give away", "a standard stream")?;
        }
    }
    Ok(())
}

fn bound_capabilities() -> Result<(), Error> {
    const OBJECT: &str = "the capability bounding set";
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if DEFAULT_CAPABILITIES.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).needing("CAP_SETPCAP", "limit", OBJECT),
        }
    }
    Ok(())
}

fn become_user(user: &User) -> Result<(), Error> {
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    nix::unistd::setgroups(&groups).needing("CAP_SETGID", "set", "the supplementary groups")?;
    let gid = Gid::from_raw(user.gid);
    nix::unistd::setresgid(gid, gid, gid).needing("CAP_SETGID", "become group", gid)?;
    let uid = Uid::from_raw(user.uid);
    nix::unistd::setresuid(uid, uid, uid).needing("CAP_SETUID", "become user", uid)
}

/// The kernel took all from a user other than root already, if they were not to be kept, and computes the rest at
/// execve. Ambient ones pass it with any user.
fn limit_capabilities(user: &User, security: Security) -> Result<(), Error> {
    let held = rustix::thread::capabilities(None).during("read", CAPABILITIES)?.permitted;
    let (kept, ambient) = match security {
        Security::Sandbox if user.uid == 0 => (held & DEFAULT_CAPABILITIES, CapabilitySet::empty()),
        Security::Sandbox => (CapabilitySet::empty(), CapabilitySet::empty()),
        Security::Insecure => (held, held),
    };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: ambient };
    rustix::thread::clear_ambient_capability_set().during("clear", "the ambient capabilities")?;
    rustix::thread::set_capabilities(None, sets).during("set", CAPABILITIES)?;
    for capability in ambient.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .during("set", "the ambient capabilities")?;
    }
    Ok(())
}
