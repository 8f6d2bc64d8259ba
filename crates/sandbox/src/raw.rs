//! The system calls that no library in use wraps safely, each behind a safe function. All `unsafe` of the
//! workspace is here.
#![allow(
    unsafe_code,
    reason = "fork, namespaces, ioctl, signal dispositions and seccomp have no safe interface"
)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::libc;
use nix::unistd::ForkResult;
use rustix::thread::UnshareFlags;

/// First file descriptor after the standard streams.
const FIRST_INHERITED: libc::c_uint = 3;

/// The number of the last signal that has a disposition.
const LAST_SIGNAL: libc::c_int = 64;

/// At least the size of the kernel's `struct sigaction` on any architecture.
const SIGACTION_WORDS: usize = 8;

/// The kernel's set of 64 signals.
const SIGSET_BYTES: usize = 8;

/// Forks a process of one thread.
///
/// # Errors
/// EDEADLK if the process has several threads: the child would hold their locks for ever.
pub(crate) fn fork_single_threaded() -> io::Result<ForkResult> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: with one thread there is no lock or other state that another thread left half-way.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// Moves the calling thread into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES), "file descriptors are shared with safe code");
    // SAFETY: only unsharing the table of file descriptors is unsound, and no caller asks for it.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Which mounts [`mount_setattr`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The one mount.
    One,
    /// All mounts below it, too.
    All,
}

/// Sets attributes (`MOUNT_ATTR_*`) on a mount.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, set: u64, reach: Reach) -> io::Result<()> {
    let recursive = match reach {
        Reach::One => 0,
        Reach::All => libc::AT_RECURSIVE,
    };
    // SAFETY: an all-zero `mount_attr` is valid and changes nothing.
    let mut attr: libc::mount_attr = unsafe { mem::zeroed() };
    attr.attr_set = set;
    // SAFETY: the path is a NUL-terminated literal and `attr` outlives the call, which reads `size_of` bytes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result)
}

/// Makes every descriptor but the standard streams close at the next execve.
pub(crate) fn close_on_exec_all() -> io::Result<()> {
    // SAFETY: marking descriptors close-on-exec takes none away from their owners.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, FIRST_INHERITED, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })
}

/// Restores the default disposition of every signal and blocks none: both are inherited over execve.
pub(crate) fn reset_signals() -> io::Result<()> {
    for signal in 1..=LAST_SIGNAL {
        let default = [0_u64; SIGACTION_WORDS];
        let no_old = ptr::null_mut::<libc::c_void>();
        // SAFETY: the kernel reads an all-zero `sigaction`, which is SIG_DFL: it runs no code of ours. KILL and STOP
        // refuse it, and are at their defaults. The C library's function refuses signals 32 and 33, too.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), no_old, SIGSET_BYTES) };
    }
    Ok(nix::sys::signal::sigprocmask(
        nix::sys::signal::SigmaskHow::SIG_SETMASK,
        Some(&nix::sys::signal::SigSet::empty()),
        None,
    )?)
}

/// Sets the `IFF_UP` flag of the network interface called `lo` in the namespace of `socket`.
pub(crate) fn raise_loopback(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an all-zero `ifreq` is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo\0") {
        *slot = byte as libc::c_char;
    }
    let fd: RawFd = socket.as_raw_fd();
    // SAFETY: both requests take an `ifreq`, which outlives the calls.
    check(unsafe { libc::ioctl(fd, libc::SIOCGIFFLAGS as _, &raw mut request) }.into())?;
    // SAFETY: the previous call filled in this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw mut request) }.into())
}

/// Gives the process a session keyring of its own, with nothing of the caller's in it.
pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    let anonymous = ptr::null::<libc::c_char>();
    // SAFETY: no name is read where there is none.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous) })
}

/// The number of a loop device that nobody uses, asked of `/dev/loop-control`.
pub(crate) fn free_loop_device(control: BorrowedFd<'_>) -> io::Result<u32> {
    /// `LOOP_CTL_GET_FREE`.
    const GET_FREE: libc::Ioctl = 0x4c82;
    // SAFETY: the request takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Installs a seccomp filter for this thread and all it becomes.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = program.len().try_into().map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter` and writes nothing.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
