//! The system calls that a sandboxed process is refused: those that Docker's default profile refuses to a container
//! with the default capabilities. It is a list of what is refused (so that new harmless calls work), a second line
//! of defence behind capabilities and namespaces, and it answers EPERM, as if a privilege were missing.

use nix::libc::{self, sock_filter};

use crate::Error;
use crate::error::During;
use crate::raw;

mod numbers;

use numbers::{Abi, SHARED, abis};

/// Flags of clone(2) that make namespaces: those must not be made, since in a new user namespace the process would
/// have all capabilities, and with them the kernel's least tested interfaces.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;

/// clone3(2) has its flags in memory, where a filter cannot look; libraries fall back to clone(2) on ENOSYS.
const CLONE3: u32 = 435;

/// On x86-64, numbers from here belong to the x32 ABI, which has its own and is practically unused.
const X32_BIT: u32 = 0x4000_0000;

/// Where `struct seccomp_data` has the number, the architecture and the first argument's lower half; all
/// architectures here are little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Refuses the calls to this thread and to all that it becomes or starts. Needs CAP_SYS_ADMIN, as long as
/// `no_new_privs` is off. Does nothing on architectures without a table.
pub(crate) fn install() -> Result<(), Error> {
    let abis = abis();
    if abis.is_empty() {
        return Ok(());
    }
    raw::install_filter(&program(abis)).needing("CAP_SYS_ADMIN", "install", "the system call filter")
}

/// One block for each ABI; calls by any other ABI (which can only be emulated ones) are allowed.
fn program(abis: &[Abi]) -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE)];
    for abi in abis {
        let block = block(abi);
        // The offset of a conditional jump has 8 bits only.
        program.push(jump(libc::BPF_JEQ, abi.audit_arch, 1, 0));
        program.push(skip(block.len()));
        program.extend(block);
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

fn block(abi: &Abi) -> Vec<sock_filter> {
    let refuse = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let unknown = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let mut block = vec![load(NUMBER)];
    if abi.has_x32 {
        block.extend([jump(libc::BPF_JGE, X32_BIT, 0, 1), unknown]);
    }
    block.extend([jump(libc::BPF_JEQ, CLONE3, 0, 1), unknown]);
    for number in abi.refused.iter().chain(SHARED) {
        block.extend([jump(libc::BPF_JEQ, *number, 0, 1), refuse]);
    }
    block.extend([
        jump(libc::BPF_JEQ, abi.clone, 0, 4),
        load(FIRST_ARGUMENT),
        jump(libc::BPF_JSET, NAMESPACE_FLAGS, 0, 1),
        refuse,
        allow,
    ]);
    if let Some(socket) = abi.socket {
        // Virtual-machine sockets reach the host past any network namespace.
        block.extend([
            jump(libc::BPF_JEQ, socket, 0, 3),
            load(FIRST_ARGUMENT),
            jump(libc::BPF_JEQ, libc::AF_VSOCK as u32, 0, 1),
            refuse,
        ]);
    }
    block.push(allow);
    block
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(condition: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    let code = (libc::BPF_JMP | condition | libc::BPF_K) as u16;
    sock_filter { code, jt: if_true, jf: if_false, k: value }
}

fn skip(instructions: usize) -> sock_filter {
    let count = u32::try_from(instructions).expect("a filter has at most 4096 instructions");
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: count }
}

fn answer(value: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: value }
}

#[cfg(test)]
mod tests;
