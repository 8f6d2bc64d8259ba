//! Numbers of the refused system calls, for each ABI by which a program can call this kernel. The C library knows
//! those of its own ABI only, and a filter that looked at no other could be gone round with 32-bit calls.

/// One way of calling the kernel.
#[derive(Debug)]
pub(super) struct Abi {
    /// `AUDIT_ARCH_*`.
    pub(super) audit_arch: u32,
    /// Whether numbers with the x32 bit mean another ABI.
    pub(super) has_x32: bool,
    /// Refused, in addition to [`SHARED`].
    pub(super) refused: &'static [u32],
    /// clone(2).
    pub(super) clone: u32,
    /// socket(2), unless `socketcall` hides its arguments.
    pub(super) socket: Option<u32>,
}

/// Refused calls that are new enough to have one number everywhere: io_uring_setup, _enter, _register, open_tree,
/// move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_getfd, mount_setattr, quotactl_fd,
/// set_mempolicy_home_node, open_tree_attr.
pub(super) const SHARED: &[u32] = &[425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 443, 450, 467];

/// The ABIs of this machine's kernel; empty if there is no table for it.
pub(super) fn abis() -> &'static [Abi] {
    match std::env::consts::ARCH {
        "x86_64" => &[X86_64, I386],
        "aarch64" => &[AARCH64, ARM],
        _ => &[],
    }
}

const X86_64: Abi = Abi {
    audit_arch: 0xc000_003e,
    has_x32: true,
    clone: 56,
    socket: Some(41),
    refused: &[
        103, // syslog
        134, // uselib
        136, // ustat
        139, // sysfs
        153, // vhangup
        155, // pivot_root
        156, // _sysctl
        163, // acct
        164, // settimeofday
        165, // mount
        166, // umount2
        167, // swapon
        168, // swapoff
        169, // reboot
        170, // sethostname
        171, // setdomainname
        172, // iopl
        173, // ioperm
        174, // create_module
        175, // init_module
        176, // delete_module
        177, // get_kernel_syms
        178, // query_module
        179, // quotactl
        180, // nfsservctl
        212, // lookup_dcookie
        227, // clock_settime
        237, // mbind
        238, // set_mempolicy
        239, // get_mempolicy
        246, // kexec_load
        248, // add_key
        249, // request_key
        250, // keyctl
        256, // migrate_pages
        272, // unshare
        279, // move_pages
        298, // perf_event_open
        300, // fanotify_init
        304, // open_by_handle_at
        308, // setns
        312, // kcmp
        313, // finit_module
        320, // kexec_file_load
        321, // bpf
        323, // userfaultfd
    ],
};

const I386: Abi = Abi {
    audit_arch: 0x4000_0003,
    has_x32: false,
    clone: 120,
    socket: Some(359),
    refused: &[
        21,  // mount
        22,  // umount
        25,  // stime
        51,  // acct
        52,  // umount2
        62,  // ustat
        74,  // sethostname
        79,  // settimeofday
        86,  // uselib
        87,  // swapon
        88,  // reboot
        101, // ioperm
        103, // syslog
        110, // iopl
        111, // vhangup
        113, // vm86old
        115, // swapoff
        121, // setdomainname
        127, // create_module
        128, // init_module
        129, // delete_module
        130, // get_kernel_syms
        131, // quotactl
        135, // sysfs
        149, // _sysctl
        166, // vm86
        167, // query_module
        169, // nfsservctl
        217, // pivot_root
        253, // lookup_dcookie
        264, // clock_settime
        274, // mbind
        275, // get_mempolicy
        276, // set_mempolicy
        283, // kexec_load
        286, // add_key
        287, // request_key
        288, // keyctl
        294, // migrate_pages
        310, // unshare
        317, // move_pages
        336, // perf_event_open
        338, // fanotify_init
        342, // open_by_handle_at
        346, // setns
        349, // kcmp
        350, // finit_module
        357, // bpf
        374, // userfaultfd
        404, // clock_settime64
    ],
};

const AARCH64: Abi = Abi {
    audit_arch: 0xc000_00b7,
    has_x32: false,
    clone: 220,
    socket: Some(198),
    refused: &[
        18,  // lookup_dcookie
        39,  // umount2
        40,  // mount
        41,  // pivot_root
        42,  // nfsservctl
        58,  // vhangup
        60,  // quotactl
        89,  // acct
        97,  // unshare
        104, // kexec_load
        105, // init_module
        106, // delete_module
        112, // clock_settime
        116, // syslog
        142, // reboot
        161, // sethostname
        162, // setdomainname
        170, // settimeofday
        217, // add_key
        218, // request_key
        219, // keyctl
        224, // swapon
        225, // swapoff
        235, // mbind
        236, // get_mempolicy
        237, // set_mempolicy
        238, // migrate_pages
        239, // move_pages
        241, // perf_event_open
        262, // fanotify_init
        265, // open_by_handle_at
        268, // setns
        272, // kcmp
        273, // finit_module
        280, // bpf
        282, // userfaultfd
        294, // kexec_file_load
    ],
};

const ARM: Abi = Abi {
    audit_arch: 0x4000_0028,
    has_x32: false,
    clone: 120,
    socket: Some(281),
    refused: &[
        21,  // mount
        51,  // acct
        52,  // umount2
        62,  // ustat
        74,  // sethostname
        79,  // settimeofday
        86,  // uselib
        87,  // swapon
        88,  // reboot
        103, // syslog
        111, // vhangup
        115, // swapoff
        121, // setdomainname
        128, // init_module
        129, // delete_module
        131, // quotactl
        135, // sysfs
        149, // _sysctl
        169, // nfsservctl
        218, // pivot_root
        249, // lookup_dcookie
        262, // clock_settime
        309, // add_key
        310, // request_key
        311, // keyctl
        319, // mbind
        320, // get_mempolicy
        321, // set_mempolicy
        337, // unshare
        344, // move_pages
        347, // kexec_load
        364, // perf_event_open
        367, // fanotify_init
        371, // open_by_handle_at
        375, // setns
        378, // kcmp
        379, // finit_module
        386, // bpf
        388, // userfaultfd
        400, // migrate_pages
        401, // kexec_file_load
        404, // clock_settime64
    ],
};
