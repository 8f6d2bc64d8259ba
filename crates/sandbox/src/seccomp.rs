//! The system calls that a sandboxed process is refused: what Docker's default profile refuses to a container with the
//! default capabilities, as runc applies it. A second line of defence behind capabilities and namespaces.
//!
//! A call that the profile knows and leaves out is answered by EPERM, as if a privilege were missing; one that is newer
//! than the profile by ENOSYS, so that libraries fall back to older ones. Where a filter would look at the upper half of
//! an argument that the kernel does not, this one does not, either.

use nix::libc::{self, sock_filter};

use crate::Error;
use crate::error::During;
use crate::raw;

mod numbers;

use numbers::{Abi, NEWEST, SHARED, abis};

/// Flags of clone(2) that make namespaces: those must not be made, since in a new user namespace the process would
/// have all capabilities, and with them the kernel's least tested interfaces.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;

/// clone3(2) has its flags in memory, where a filter cannot look; libraries fall back to clone(2) on ENOSYS.
const CLONE3: u32 = 435;

/// On x86-64, numbers from here belong to the x32 ABI, which has its own and is practically unused.
const X32_BIT: u32 = 0x4000_0000;

/// Families of sockets that are refused: virtual machines' reach the host past any network namespace, and those of the
/// kernel's cryptography are all attack surface.
const SOCKETS: [u32; 2] = [libc::AF_ALG as u32, libc::AF_VSOCK as u32];

/// What may be asked of personality(2): Linux, 32-bit Linux, each with a plain `uname`, and what there is now. Others make
/// attacks easier, such as by fixed addresses.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];

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

/// One block for each ABI. A call by any other is by no program that this kernel could have started.
fn program(abis: &[Abi]) -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE)];
    for abi in abis {
        let block = block(abi);
        // The offset of a conditional jump has 8 bits only.
        program.push(jump(libc::BPF_JEQ, abi.audit_arch, 1, 0));
        program.push(skip(block.len()));
        program.extend(block);
    }
    program.push(answer(libc::SECCOMP_RET_KILL_THREAD));
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
    for number in abi.private {
        block.extend([jump(libc::BPF_JEQ, *number, 0, 1), allow]);
    }
    block.extend([jump(libc::BPF_JGT, NEWEST, 0, 1), unknown]);
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
    block.extend(one_of(abi.socket, &SOCKETS, refuse, allow));
    block.extend(one_of(abi.personality, &PERSONALITIES, allow, refuse));
    block.push(allow);
    block
}

/// Answers the call of this number by whether its first argument is one of `values`.
fn one_of(number: u32, values: &[u32], yes: sock_filter, no: sock_filter) -> Vec<sock_filter> {
    let mut answers = vec![load(FIRST_ARGUMENT)];
    for value in values {
        answers.extend([jump(libc::BPF_JEQ, *value, 0, 1), yes]);
    }
    answers.push(no);
    let length = u8::try_from(answers.len()).expect("it is about a handful of values");
    let mut block = vec![jump(libc::BPF_JEQ, number, 0, length)];
    block.extend(answers);
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
