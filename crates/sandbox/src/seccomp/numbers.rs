//! Numbers of the refused system calls, for each ABI by which a program can call this kernel. The C library knows
//! those of its own ABI only, and a filter that looked at no other could be gone round with 32-bit calls.
//!
//! They are what Docker's default profile leaves out for the default capabilities, of the calls up to [`NEWEST`].

/// One way of calling the kernel.
#[derive(Debug)]
pub(super) struct Abi {
    /// `AUDIT_ARCH_*`.
    pub(super) audit_arch: u32,
    /// Whether numbers with the x32 bit mean another ABI.
    pub(super) has_x32: bool,
    /// Refused, in addition to [`SHARED`].
    pub(super) refused: &'static [u32],
    /// Allowed, though they are above [`NEWEST`].
    pub(super) private: &'static [u32],
    /// clone(2).
    pub(super) clone: u32,
    /// socket(2). On i386 `socketcall` does the same and hides its arguments.
    pub(super) socket: u32,
    /// personality(2).
    pub(super) personality: u32,
}

/// The newest call that the profile knows: removexattrat. Those above do not exist for the process.
pub(super) const NEWEST: u32 = 466;

/// Refused calls that have one number everywhere.
pub(super) const SHARED: &[u32] = &[
    425, // io_uring_setup
    426, // io_uring_enter
    427, // io_uring_register
    428, // open_tree
    429, // move_mount
    430, // fsopen
    431, // fsconfig
    432, // fsmount
    433, // fspick
    438, // pidfd_getfd
    440, // process_madvise
    442, // mount_setattr
    443, // quotactl_fd
    450, // set_mempolicy_home_node
    459, // lsm_get_self_attr
    460, // lsm_set_self_attr
    461, // lsm_list_modules
];

/// The ABIs of this machine's kernel; empty if there is no table for it.
pub(super) fn abis() -> &'static [Abi] {
    match std::env::consts::ARCH {
        "x86_64" => &[X86_64, I386],
        "aarch64" => &[AARCH64, ARM],
        _ => &[],
    }
}

pub(super) const X86_64: Abi = Abi {
    audit_arch: 0xc000_003e,
    has_x32: true,
    clone: 56,
    socket: 41,
    personality: 135,
    private: &[],
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
        181, // getpmsg
        182, // putpmsg
        183, // afs_syscall
        184, // tuxcall
        185, // security
        212, // lookup_dcookie
        227, // clock_settime
        236, // vserver
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

pub(super) const I386: Abi = Abi {
    audit_arch: 0x4000_0003,
    has_x32: false,
    clone: 120,
    socket: 359,
    personality: 136,
    private: &[],
    refused: &[
        17,  // break
        18,  // oldstat
        21,  // mount
        22,  // umount
        25,  // stime
        28,  // oldfstat
        31,  // stty
        32,  // gtty
        34,  // nice
        35,  // ftime
        44,  // prof
        48,  // signal
        51,  // acct
        52,  // umount2
        53,  // lock
        56,  // mpx
        58,  // ulimit
        59,  // oldolduname
        62,  // ustat
        67,  // sigaction
        68,  // sgetmask
        69,  // ssetmask
        72,  // sigsuspend
        73,  // sigpending
        74,  // sethostname
        79,  // settimeofday
        84,  // oldlstat
        86,  // uselib
        87,  // swapon
        88,  // reboot
        89,  // readdir
        98,  // profil
        101, // ioperm
        103, // syslog
        109, // olduname
        110, // iopl
        111, // vhangup
        112, // idle
        113, // vm86old
        115, // swapoff
        121, // setdomainname
        127, // create_module
        128, // init_module
        129, // delete_module
        130, // get_kernel_syms
        131, // quotactl
        134, // bdflush
        135, // sysfs
        137, // afs_syscall
        149, // _sysctl
        166, // vm86
        167, // query_module
        169, // nfsservctl
        188, // getpmsg
        189, // putpmsg
        217, // pivot_root
        253, // lookup_dcookie
        264, // clock_settime
        273, // vserver
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

pub(super) const AARCH64: Abi = Abi {
    audit_arch: 0xc000_00b7,
    has_x32: false,
    clone: 220,
    socket: 198,
    personality: 92,
    private: &[],
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

pub(super) const ARM: Abi = Abi {
    audit_arch: 0x4000_0028,
    has_x32: false,
    clone: 120,
    socket: 281,
    personality: 136,
    private: &[
        0xf_0001, // breakpoint
        0xf_0002, // cacheflush
        0xf_0005, // set_tls
    ],
    refused: &[
        21,  // mount
        34,  // nice
        51,  // acct
        52,  // umount2
        62,  // ustat
        67,  // sigaction
        72,  // sigsuspend
        73,  // sigpending
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
        134, // bdflush
        135, // sysfs
        149, // _sysctl
        169, // nfsservctl
        218, // pivot_root
        249, // lookup_dcookie
        262, // clock_settime
        271, // pciconfig_iobase
        272, // pciconfig_read
        273, // pciconfig_write
        309, // add_key
        310, // request_key
        311, // keyctl
        313, // vserver
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
