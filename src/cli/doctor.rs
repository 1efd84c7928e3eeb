//! `weir doctor`: what this host can do for weir, what it cannot, and what would change that.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;
use weir_core::host::cgroup;
use weir_core::host::holder::{Place, holder};
use weir_ebpf::conntrack::Conntrack;
use weir_ebpf::{Diag, Refused, Scope, rights, try_hooks};
use weir_spec::units;
use weir_transforms::resolve::procfs;

use super::say;

pub const EXAMPLES: &str = "\
Try these:
  weir doctor
  sudo weir doctor                  what root could do here
  weir doctor --format json         one object a line";

#[derive(Args)]
pub struct DoctorArgs {
    /// How it is written
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON object a line
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Fine,
    /// It works with less, or in another way.
    Limited,
    Missing,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Fine => "fine",
            State::Limited => "limited",
            State::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    pub theme: &'static str,
    pub what: String,
    pub state: State,
    pub detail: String,
    /// What is not there because of it, and what would change that.
    pub help: Option<String>,
    /// What the kernel answered, where it is the kernel that refused.
    pub errno: Option<i32>,
}

impl Finding {
    fn new(theme: &'static str, what: impl Into<String>, state: State, detail: impl Into<String>) -> Finding {
        Finding { theme, what: what.into(), state, detail: detail.into(), help: None, errno: None }
    }

    fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = Some(help.into());
        self
    }
}

pub fn run(args: &DoctorArgs) -> u8 {
    let findings = examine();
    match args.format {
        Format::Table => say(&table(&findings)),
        Format::Json => say(&findings.iter().map(json_line).collect::<String>()),
    }
}

/// Looks at everything. Changes nothing: what is attached for a try is detached again.
fn examine() -> Vec<Finding> {
    let mut findings = kernel();
    findings.extend(capabilities(&read("/proc/self/status")));
    findings.extend(flows());
    findings.extend(processes());
    findings.extend(ports());
    findings.extend(memory());
    findings
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

fn kernel() -> Vec<Finding> {
    let release = read("/proc/sys/kernel/osrelease");
    let state = if version(&release) >= (5, 15) { State::Fine } else { State::Limited };
    let mut kernel = Finding::new("kernel", "release", state, format!("{release} {}", std::env::consts::ARCH));
    if state != State::Fine {
        kernel = kernel.help("flows from the kernel were tried from 5.15 on");
    }
    let types = match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(meta) => Finding::new("kernel", "types (BTF)", State::Fine, units::human_size(meta.len() as f64)),
        Err(error) => Finding::new("kernel", "types (BTF)", State::Missing, error.to_string())
            .help("programs cannot be fitted to this kernel; it has to be built with CONFIG_DEBUG_INFO_BTF"),
    };
    let lockdown = read("/sys/kernel/security/lockdown");
    let mode = lockdown.split(['[', ']']).nth(1).unwrap_or("none").to_string();
    // Nothing that is attached reads the kernel's memory by a helper, which is what a lockdown forbids.
    vec![kernel, types, Finding::new("kernel", "lockdown", State::Fine, mode)]
}

/// The first two numbers of a release.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Capabilities that something here needs: the bit, and what for.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "flows of TCP and UDP from the kernel"),
    (38, "CAP_PERFMON", "flows of TCP and UDP from the kernel"),
    (12, "CAP_NET_ADMIN", "flows of UDP from the kernel"),
    (rights::CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "services and files of processes that others run"),
    (2, "CAP_DAC_READ_SEARCH", "services and files of processes that others run"),
];
/// Has all that the others give.
const CAP_SYS_ADMIN: u32 = 21;

fn capabilities(status: &str) -> Vec<Finding> {
    let effective = rights::effective(status);
    let has = |bit: u32| effective >> bit & 1 == 1;
    let one = |(bit, name, gives): &(u32, &'static str, &str)| match has(*bit) || (*bit > 30 && has(CAP_SYS_ADMIN)) {
        true => Finding::new("rights", *name, State::Fine, *gives),
        false => Finding::new("rights", *name, State::Missing, *gives).help("run as root, or give it to the program"),
    };
    CAPABILITIES.iter().map(one).collect()
}

fn flows() -> Vec<Finding> {
    let cgroups = cgroup::mounted();
    let mut findings = match try_hooks(cgroups.as_deref()) {
        Ok(hooks) => hooks.into_iter().map(|hook| of_hook(hook.name, hook.gives, hook.refused.as_ref())).collect(),
        Err(refused) => vec![of_hook("bpf(2)", "flows from the kernel", Some(&refused))],
    };
    findings.push(match Diag::open(Scope::All).and_then(|mut diag| diag.sockets()) {
        Ok(sockets) => Finding::new(
            "flows",
            "INET_DIAG",
            State::Fine,
            format!("{} TCP sockets; what is asked without BPF", sockets.len()),
        ),
        Err(error) => Finding::new("flows", "INET_DIAG", State::Missing, error.to_string())
            .help("without BPF there are no flows here; the kernel needs CONFIG_INET_DIAG"),
    });
    findings.push(match cgroups {
        Some(root) if cgroup::is_part(&root) => {
            Finding::new("flows", "cgroup2", State::Limited, format!("a part of it at {}", root.display()))
                .help("UDP is counted for this part, and containers outside have no names; mount the host's own")
        }
        Some(root) => {
            let beside = if cgroup::is_hybrid() { ", beside controllers of version 1" } else { "" };
            Finding::new("flows", "cgroup2", State::Fine, format!("at {}{beside}", root.display()))
        }
        None => Finding::new("flows", "cgroup2", State::Missing, "mounted nowhere")
            .help("UDP is not counted, and containers have no names; `mount -t cgroup2 none /sys/fs/cgroup`"),
    });
    findings.push(match Conntrack::open() {
        Ok(Some(_)) => {
            Finding::new("flows", "conntrack", State::Fine, "what was called where addresses are translated")
        }
        Ok(None) => {
            Finding::new("flows", "conntrack", State::Fine, "no connections are tracked, so no addresses translated")
        }
        Err(error) => Finding::new("flows", "conntrack", State::Missing, error.to_string())
            .help("translated addresses are told as sockets see them; it needs CAP_NET_ADMIN"),
    });
    findings
}

fn of_hook(name: &str, gives: &str, refused: Option<&Refused>) -> Finding {
    let Some(refused) = refused else { return Finding::new("flows", name, State::Fine, gives) };
    let help = match refused.errno {
        Some(libc::EPERM | libc::EACCES) => "the rights above are missing, or the kernel or the container forbids it",
        Some(libc::ENOENT) => "this kernel does not have it",
        _ => "see what is said",
    };
    let finding = Finding::new("flows", name, State::Missing, format!("{gives}: {refused}")).help(help);
    Finding { errno: refused.errno, ..finding }
}

fn processes() -> Vec<Finding> {
    let root = std::env::var("HOST_PROC").unwrap_or_else(|_| "/proc".into());
    vec![match procfs::trouble(Path::new(&root)) {
        Some(why) => Finding::new("processes", root, State::Limited, "does not show all of them").help(why),
        None => Finding::new("processes", root, State::Fine, "shows all processes and what they were started with"),
    }]
}

/// Where `node.weir` listens.
const LISTENS: [(&str, &str); 3] = [("udp", "127.0.0.1:8125"), ("tcp", "127.0.0.1:8126"), ("tcp", "127.0.0.1:5555")];
const SOCKETS: &str = "/var/run/datadog";

fn ports() -> Vec<Finding> {
    let mut findings: Vec<Finding> = LISTENS.iter().filter_map(|(protocol, text)| port(protocol, text)).collect();
    findings.push(match fs::metadata(SOCKETS) {
        Ok(meta) if meta.is_dir() => Finding::new("ports", SOCKETS, State::Fine, "is there"),
        _ => Finding::new("ports", SOCKETS, State::Limited, "is not there")
            .help("node.weir makes it if it may; `mkdir -p /var/run/datadog`"),
    });
    findings
}

fn port(protocol: &str, text: &str) -> Option<Finding> {
    let address: SocketAddr = text.parse().ok()?;
    let (place, bound) = match protocol {
        "udp" => (Place::Udp(address), UdpSocket::bind(address).map(drop)),
        _ => (Place::Tcp(address), TcpListener::bind(address).map(drop)),
    };
    let what = format!("{protocol}://{address}");
    Some(match bound {
        Ok(()) => Finding::new("ports", what, State::Fine, "is free"),
        Err(error) => {
            let in_use = error.kind() == std::io::ErrorKind::AddrInUse;
            let by = holder(place).filter(|_| in_use).map_or_else(|| error.to_string(), |who| format!("held by {who}"));
            Finding::new("ports", what, State::Limited, by).help("stop it, or let weir listen elsewhere")
        }
    })
}

/// Bytes of a receive buffer that bursts of datagrams fit into.
const RECEIVE_BYTES: u64 = 4 << 20;

fn memory() -> Vec<Finding> {
    let available =
        read("/proc/meminfo").lines().find_map(|line| line.strip_prefix("MemAvailable:").map(str::to_string));
    let kib: u64 = available.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let size = units::human_size((kib * 1024) as f64);
    let state = if kib >= 512 * 1024 { State::Fine } else { State::Limited };
    let mut memory = Finding::new("memory", "available", state, size);
    if state != State::Fine {
        memory = memory.help("a pipeline takes up to 512 MiB unless `settings(memory:)` says less");
    }
    let most: u64 = read("/proc/sys/net/core/rmem_max").parse().unwrap_or(0);
    let size = units::human_size(most as f64);
    let buffers = match most >= RECEIVE_BYTES || Path::new("/proc/self").metadata().is_err() {
        true => Finding::new("memory", "net.core.rmem_max", State::Fine, size),
        false => Finding::new("memory", "net.core.rmem_max", State::Limited, size)
            .help("bursts of datagrams may be dropped, and counted; `sysctl -w net.core.rmem_max=4194304`"),
    };
    let datagrams: u64 = read("/proc/sys/net/unix/max_dgram_qlen").parse().unwrap_or(0);
    let queue =
        Finding::new("memory", "net.unix.max_dgram_qlen", State::Fine, format!("{datagrams} datagrams a unix socket"));
    let queue = match datagrams {
        0..100 => Finding { state: State::Limited, ..queue }
            .help("clients on unix sockets wait or drop in bursts; `sysctl -w net.unix.max_dgram_qlen=512`"),
        _ => queue,
    };
    vec![memory, buffers, queue]
}

fn json_line(finding: &Finding) -> String {
    let Finding { theme, what, state, detail, help, errno } = finding;
    let state = state.word();
    let line = json!({ "theme": theme, "what": what, "state": state, "detail": detail, "help": help, "errno": errno });
    format!("{line}\n")
}

/// Columns that are as wide as their widest cell; help stands below its line.
fn table(findings: &[Finding]) -> String {
    let width = |cell: fn(&Finding) -> &str| findings.iter().map(|f| cell(f).chars().count()).max().unwrap_or(0);
    let (themes, whats) = (width(|f| f.theme), width(|f| &f.what));
    let mut text = String::new();
    let mut before = "";
    for finding in findings {
        let theme = if finding.theme == before { "" } else { finding.theme };
        before = finding.theme;
        let state = finding.state.word();
        text += &format!("{theme:themes$}  {:whats$}  {state:7}  {}\n", finding.what, finding.detail);
        if let Some(help) = &finding.help {
            text += &format!("{:themes$}  {:whats$}  {:7}  -> {help}\n", "", "", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert_eq!(["6.18.44-cloud", "5.15.0", "", "x"].map(version), [(6, 18), (5, 15), (0, 0), (0, 0)]);
    }

    #[test]
    fn rights_are_read_from_their_bits() {
        let states =
            |bits: u64| capabilities(&format!("Name:\tweir\nCapEff:\t{bits:016x}\n")).into_iter().map(|f| f.state);
        assert!(states(u64::MAX).all(|state| state == State::Fine));
        assert!(states(0).all(|state| state == State::Missing));
        let some: Vec<State> = states(1 << 39 | 1 << 38).collect();
        assert_eq!(some, [State::Fine, State::Fine, State::Missing, State::Missing, State::Missing]);
        assert_eq!(states(1 << CAP_SYS_ADMIN).filter(|state| *state == State::Fine).count(), 2);
    }

    #[test]
    fn a_table_is_read_downward() {
        let findings = [
            Finding::new("kernel", "release", State::Fine, "6.1 x86_64"),
            Finding::new("kernel", "types (BTF)", State::Missing, "no such file").help("build it with them"),
            Finding::new("ports", "udp://127.0.0.1:8125", State::Limited, "held by agent (pid 7)"),
        ];
        insta::assert_snapshot!(table(&findings) + &json_line(&findings[1]));
    }
}
