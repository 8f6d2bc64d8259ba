//! Runs the assembled filter in a small interpreter of the instructions that it uses.

use nix::libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

fn run(program: &[sock_filter], arch: u32, number: u32, argument: u32) -> u32 {
    let (mut at, mut value) = (0, 0);
    loop {
        let step = program[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
        match u32::from(step.code) {
            code if code == BPF_LD | BPF_W | BPF_ABS => {
                value = match step.k {
                    0 => number,
                    4 => arch,
                    16 => argument,
                    other => panic!("loads offset {other}"),
                };
            }
            code if code == BPF_JMP | BPF_JEQ | BPF_K => at += branch(value == step.k),
            code if code == BPF_JMP | BPF_JGE | BPF_K => at += branch(value >= step.k),
            code if code == BPF_JMP | BPF_JSET | BPF_K => at += branch(value & step.k != 0),
            code if code == BPF_JMP | BPF_JA => at += step.k as usize,
            code if code == BPF_RET | BPF_K => return step.k,
            other => panic!("unexpected instruction {other:#x}"),
        }
    }
}

#[test]
fn the_filter_answers_as_meant() {
    let program = program(abis());
    let native = &abis()[0];
    let compat = &abis()[1];
    let table = [
        ("read or io_setup", native.audit_arch, 0, 0, ALLOW),
        ("mount", native.audit_arch, libc::SYS_mount as u32, 0, EPERM),
        ("bpf", native.audit_arch, libc::SYS_bpf as u32, 0, EPERM),
        ("unshare", native.audit_arch, libc::SYS_unshare as u32, 0, EPERM),
        ("fsopen", native.audit_arch, libc::SYS_fsopen as u32, 0, EPERM),
        ("fork", native.audit_arch, libc::SYS_clone as u32, libc::SIGCHLD as u32, ALLOW),
        ("user namespace", native.audit_arch, libc::SYS_clone as u32, libc::CLONE_NEWUSER as u32, EPERM),
        ("clone3", native.audit_arch, libc::SYS_clone3 as u32, 0, ENOSYS),
        ("unix socket", native.audit_arch, libc::SYS_socket as u32, libc::AF_UNIX as u32, ALLOW),
        ("vsock", native.audit_arch, libc::SYS_socket as u32, libc::AF_VSOCK as u32, EPERM),
        ("32-bit mount", compat.audit_arch, 21, 0, EPERM),
        ("32-bit user namespace", compat.audit_arch, 120, libc::CLONE_NEWUSER as u32, EPERM),
        ("32-bit write", compat.audit_arch, 4, 0, ALLOW),
        ("a foreign ABI", 0x1234, libc::SYS_mount as u32, 0, ALLOW),
    ];
    for (name, arch, number, argument, expected) in table {
        assert_eq!(run(&program, arch, number, argument), expected, "{name}");
    }
}

#[test]
fn tables_have_no_duplicates() {
    for abi in abis() {
        let mut numbers: Vec<u32> = abi.refused.iter().chain(SHARED).copied().collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "{abi:?}");
    }
}
