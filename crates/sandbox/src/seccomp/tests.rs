//! Runs the assembled filter in a small interpreter of the instructions that it uses.

use nix::libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
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
            code if code == BPF_JMP | BPF_JGT | BPF_K => at += branch(value > step.k),
            code if code == BPF_JMP | BPF_JSET | BPF_K => at += branch(value & step.k != 0),
            code if code == BPF_JMP | BPF_JA => at += step.k as usize,
            code if code == BPF_RET | BPF_K => return step.k,
            other => panic!("unexpected instruction {other:#x}"),
        }
    }
}

/// All ABIs by their names.
const ABIS: [(&str, &Abi); 4] = [
    ("x86_64", &numbers::X86_64),
    ("i386", &numbers::I386),
    ("aarch64", &numbers::AARCH64),
    ("arm", &numbers::ARM),
];

#[test]
fn calls_are_answered_as_by_the_reference() {
    // Numbers on x86_64, i386, aarch64 and arm.
    let table: [(&str, [u32; 4], u32); 23] = [
        ("read", [0, 3, 63, 3], ALLOW),
        ("fork or exit", [57, 2, 93, 2], ALLOW),
        ("mount", [165, 21, 40, 21], EPERM),
        ("unshare", [272, 310, 97, 337], EPERM),
        ("bpf", [321, 357, 280, 386], EPERM),
        ("keyctl", [250, 288, 219, 311], EPERM),
        ("settimeofday", [164, 79, 170, 79], EPERM),
        ("adjtimex", [159, 124, 171, 124], ALLOW),
        ("chroot", [161, 61, 51, 61], ALLOW),
        ("ptrace", [101, 26, 117, 26], ALLOW),
        ("kcmp", [312, 349, 272, 378], EPERM),
        ("open_by_handle_at", [304, 342, 265, 371], EPERM),
        ("userfaultfd", [323, 374, 282, 388], EPERM),
        ("seccomp", [317, 354, 277, 383], ALLOW),
        ("io_uring_setup", [425; 4], EPERM),
        ("fsopen", [430; 4], EPERM),
        ("openat2", [437; 4], ALLOW),
        ("pidfd_getfd", [438; 4], EPERM),
        ("process_madvise", [440; 4], EPERM),
        ("clone3", [435; 4], ENOSYS),
        ("lsm_list_modules", [461; 4], EPERM),
        ("removexattrat", [466; 4], ALLOW),
        ("open_tree_attr", [467; 4], ENOSYS),
    ];
    for (index, (abi_name, abi)) in ABIS.into_iter().enumerate() {
        let program = program(std::slice::from_ref(abi));
        for (name, call, expected) in table {
            let number = call[index];
            assert_eq!(run(&program, abi.audit_arch, number, 0), expected, "{name} on {abi_name}");
        }
        assert_eq!(run(&program, abi.audit_arch, 10_000, 0), ENOSYS, "{abi_name}");
        assert_eq!(run(&program, 0x1234, 0, 0), libc::SECCOMP_RET_KILL_THREAD, "{abi_name}");
    }
    let arm = program(std::slice::from_ref(&numbers::ARM));
    assert_eq!(run(&arm, numbers::ARM.audit_arch, 0xf_0005, 0), ALLOW, "set_tls");
    let x86 = program(&[numbers::X86_64, numbers::I386]);
    assert_eq!(run(&x86, numbers::X86_64.audit_arch, X32_BIT, 0), ENOSYS, "x32");
    assert_eq!(run(&x86, numbers::I386.audit_arch, 21, 0), EPERM, "the second ABI");
}

#[test]
fn arguments_decide() {
    for (name, abi) in ABIS {
        let program = program(std::slice::from_ref(abi));
        let table: [(u32, &[u32], &[u32]); 3] = [
            (
                abi.clone,
                &[libc::SIGCHLD as u32, 0x11_0000],
                &[libc::CLONE_NEWUSER as u32, 0x2000_0011, 0x0200_0000],
            ),
            (abi.socket, &[1, 2, 16, 37, 39, 41], &[38, 40]),
            (abi.personality, &[0, 8, 0x2_0000, 0x2_0008, u32::MAX], &[1, 0x4_0000, 0x2_0009]),
        ];
        for (number, allowed, refused) in table {
            let answer = |argument: &u32| run(&program, abi.audit_arch, number, *argument);
            assert!(allowed.iter().all(|argument| answer(argument) == ALLOW), "{number} on {name}");
            assert!(refused.iter().all(|argument| answer(argument) == EPERM), "{number} on {name}");
        }
    }
}

#[test]
fn tables_have_no_duplicates() {
    for (_, abi) in ABIS {
        let mut numbers: Vec<u32> = abi.refused.iter().chain(SHARED).copied().collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.iter().all(|number| *number < NEWEST));
        assert_eq!(numbers.len(), count, "{abi:?}");
    }
}
