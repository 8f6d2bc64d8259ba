//! What the process sees and may do.

use std::fs;
use std::io::{BufRead, BufReader};

use gantry_sandbox::{Exit, Network, Resource, Rlimit, Sandbox, Security, User};

use crate::fixture::{Fixture, RUNNER, run};

#[test]
fn root_identity_and_environment() {
    let fixture = Fixture::new();
    assert_eq!(fixture.output("hostname"), "buildhost\n");
    assert_eq!(fixture.output("echo $$"), "1\n");
    assert_eq!(fixture.output("umask"), "0022\n");
    assert_eq!(run(&fixture.spec(&["env"])).unwrap().stdout, "PATH=/sbin:/bin\nSECRET=a b\n");
    assert_eq!(
        fixture.output("cat; [ -p /dev/stdin ] && ls -1 /proc/self/fd").lines().count(),
        4,
        "three streams and the listing"
    );

    let mut spec =
        fixture.shell("id; grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status; pwd; echo err > /dev/stderr");
    spec.process.user = User { uid: 1000, gid: 1001, groups: vec![5, 6] };
    spec.process.cwd = "/etc".into();
    let none = "0000000000000000";
    let expected = format!(
        "uid=1000 gid=1001 groups=5,6\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\n/etc\n"
    );
    let done = run(&spec).unwrap();
    assert_eq!((done.stdout, done.stderr.as_str()), (expected, "err\n"));
}

#[test]
fn root_capabilities_are_dockers() {
    let fixture = Fixture::new();
    let set = "00000000a80425fb";
    let none = "0000000000000000";
    let pattern = "^(Cap|NoNew|Seccomp:|Sig(Ign|Blk))";
    assert_eq!(
        run(&fixture.spec(&["grep", "-E", pattern, "/proc/self/status"])).unwrap().stdout,
        format!(
            "SigBlk:\t{none}\nSigIgn:\t{none}\nCapInh:\t{none}\nCapPrm:\t{set}\nCapEff:\t{set}\nCapBnd:\t{set}\n\
             CapAmb:\t{none}\nNoNewPrivs:\t0\nSeccomp:\t2\n"
        )
    );
}

#[test]
fn root_the_host_is_out_of_reach() {
    let fixture = Fixture::new();
    for script in [
        "touch /sys/x",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo b > /proc/sysrq-trigger",
        "mount -t tmpfs x /tmp",
        "unshare -U true",
        "unshare -m true",
        "ls /proc/acpi/*",
        "hostname other",
        // A device node can be made, but not used.
        "mknod /tmp/null c 1 3 && cat /tmp/null",
        "mknod /dev/null2 c 1 3 && cat /dev/null2",
    ] {
        let done = run(&fixture.shell(script)).unwrap();
        assert_ne!(done.exit, Exit::Code(0), "{script}: {done:?}");
    }
    assert_eq!(fixture.output("cat /proc/interrupts /proc/keys; ls /sys/firmware"), "");
    let mounts = fixture.output("cat /proc/self/mounts");
    let host = fixture.path("base");
    assert!(!mounts.contains(host.to_str().unwrap()), "{mounts}");
    assert_eq!(mounts.lines().filter(|line| line.contains(" / ")).count(), 1, "{mounts}");
}

#[test]
fn root_devices_work() {
    let fixture = Fixture::new();
    let script = "cat /dev/null; echo x > /dev/null; [ -c /dev/urandom ] && [ -c /dev/ptmx ] && [ -d /dev/mqueue ] \
        && echo hidden > /dev/shm/x && echo on > /dev/stdout && stat -c %a /dev/shm && ls /dev";
    let core = if std::path::Path::new("/proc/kcore").exists() { "core\n" } else { "" };
    let others =
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert_eq!(fixture.output(script), format!("on\n1777\n{core}{others}"));
}

#[test]
fn root_insecure_is_not_confined() {
    let fixture = Fixture::new();
    let mut spec =
        fixture.shell("mount -t tmpfs x /tmp && unshare -m true && grep Seccomp: /proc/self/status");
    spec.security = Security::Insecure;
    let done = run(&spec).unwrap();
    assert_eq!((done.exit, done.stdout.as_str()), (Exit::Code(0), "Seccomp:\t0\n"), "{done:?}");

    // Whoever the process is: ambient capabilities pass the change of the user and every execve.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let held = own.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).unwrap();
    let mut spec = fixture.shell(
        "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2; test -c /dev/kmsg && exec 3< /dev/kmsg",
    );
    spec.security = Security::Insecure;
    spec.process.user = User { uid: 1000, gid: 1000, groups: vec![1000] };
    let done = run(&spec).unwrap();
    assert_eq!((done.exit, done.stdout), (Exit::Code(0), format!("{held}\n").repeat(4)));

    let mut spec =
        fixture.shell("stat -c '%F %t %T' /dev/loop0 /dev/loop7 /dev/net/tun /dev/fuse /dev/kvm /dev/cuse");
    spec.security = Security::Insecure;
    let character = "character special file";
    let expected = format!(
        "block special file 7 0\nblock special file 7 7\n{character} a c8\n{character} a e5\n{character} a e8\n\
         {character} a cb\n"
    );
    assert_eq!(run(&spec).unwrap().stdout, expected);
}

#[test]
fn root_network_none_has_only_loopback() {
    let fixture = Fixture::new();
    assert_eq!(fixture.output("ls /sys/class/net"), "lo\n");
    let flags = fixture.output("ip -o link");
    assert!(flags.lines().count() == 1 && flags.contains("LOOPBACK,UP"), "{flags}");
    let mut spec = fixture.shell("ls /proc/self/ns/net -l");
    spec.network = Network::Host;
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let done = run(&spec).unwrap();
    assert!(done.stdout.contains(host.to_str().unwrap()), "{done:?}");
}

#[test]
fn root_limits_are_set() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("ulimit -n; ulimit -Hn");
    spec.process.rlimits = vec![Rlimit { resource: Resource::OpenFiles, soft: Some(99), hard: Some(100) }];
    assert_eq!(run(&spec).unwrap().stdout, "99\n100\n");
}

#[test]
fn root_the_supervisors_program_cannot_be_overwritten() {
    let fixture = Fixture::new();
    let running = Sandbox::new(RUNNER).spawn(&fixture.shell("echo; sleep 1000")).unwrap();
    BufReader::new(&running.stdout).read_line(&mut String::new()).unwrap();
    let own = format!("PPid:\t{}\n", std::process::id());
    let supervisors = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(|process| {
        let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
        read("status").contains(&own) && read("cmdline").contains("--gantry-sandbox-supervisor")
    });
    // Also those of other tests, which may end meanwhile.
    let mounts: Vec<_> = supervisors.filter_map(|path| rustix::fs::statvfs(path.join("exe")).ok()).collect();
    assert!(!mounts.is_empty());
    for mount in mounts {
        assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    }
}
