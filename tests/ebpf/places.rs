//! Where processes run: cgroups in the shapes of every container runtime, and network namespaces that are joined.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::dogstatsd::live::Live;
use super::source::wait_until_counting;
use super::{alone, space};

const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
const POD: &str = "810fe89d-da47-410b-8979-9154a40f8183";

/// A folder as a runtime names it, and what is known of who is in it.
struct Layout {
    folder: String,
    container: Option<&'static str>,
    pod: Option<&'static str>,
    unit: Option<&'static str>,
}

/// Every one that is known (`core/src/host/cgroup.rs`).
fn layouts() -> Vec<Layout> {
    const STATIC: &str = "feedfacefeedfacefeedfacefeedface";
    const TASK: &str = "432624d2150b349fe35ba397284dea78-4015331240";
    const GARDEN: &str = "34dc0b5e-626f-2c5c-4c51-70e3";
    const OTHER: &str = "9726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869861";
    let pod = POD.replace('-', "_");
    let slice = format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice");
    let known = |folder: String, container, pod| Layout { folder, container, pod, unit: None };
    vec![
        known(format!("docker/{ID}"), Some(ID), None),
        known(format!("system.slice/docker-{ID}.scope"), Some(ID), None),
        known(format!("{slice}/cri-containerd-{ID}.scope"), Some(ID), Some(POD)),
        known(format!("kubepods/burstable/pod{POD}/{ID}"), Some(ID), Some(POD)),
        known(format!("kubepods/pod{STATIC}/{ID}"), Some(ID), Some(STATIC)),
        known(format!("kubepods/besteffort/pod{POD}/crio-{ID}.scope"), Some(ID), Some(POD)),
        known(format!("kubepods/besteffort/pod{POD}/crio-conmon-{ID}.scope"), None, Some(POD)),
        known(format!("machine.slice/libpod-{ID}.scope/container"), Some(ID), None),
        // A node that is a container itself, as those of kind are: the inner one counts.
        known(format!("docker/{OTHER}/kubelet/kubepods/besteffort/pod{POD}/{ID}"), Some(ID), Some(POD)),
        known(format!("ecs/task/{TASK}"), Some(TASK), None),
        known(format!("garden/{GARDEN}"), Some(GARDEN), None),
        Layout { folder: "system.slice/shop.service".into(), container: None, pod: None, unit: Some("shop.service") },
    ]
}

/// Cgroups below a folder of the test's own, removed at the end.
struct Cgroups(PathBuf);

impl Cgroups {
    fn new() -> Cgroups {
        let root = weir_core::host::cgroup::mounted().unwrap();
        let own = root.join(format!("weir-test-{}", std::process::id()));
        std::fs::create_dir_all(&own).unwrap();
        Cgroups(own)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// A cgroup goes when nobody is in it, its inner ones first.
fn remove(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove(&entry.path());
    }
    let _ = std::fs::remove_dir(folder);
}

#[test]
fn containers_are_known_by_their_cgroups_in_every_layout() {
    let rows = alone("containers_are_known_by_their_cgroups_in_every_layout", |_| {
        let cgroups = Cgroups::new();
        let mut live =
            Live::start("ebpf(200ms, netns: \"own\") | resolve(src, from: [procfs()]) | file(\"{dir}/rows\")");
        wait_until_counting(&mut live, "rows");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for Layout { folder: layout, .. } in layouts() {
            let folder = cgroups.0.join(&layout);
            std::fs::create_dir_all(&folder).unwrap();
            // A process that begins in it, and stays until it is asked to go. What it says later is of a cgroup that
            // was there when the tree was last read, however long a busy host takes for that.
            let script = format!(
                "echo $$ > {}/cgroup.procs; exec 3<>/dev/tcp/127.0.0.1/{port}; echo {layout} >&3; sleep 0.7; echo again >&3; sleep 0.7; echo again >&3; read line",
                folder.display()
            );
            let mut bash = Command::new("bash");
            let mut child = bash.args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
            let mut server = listener.accept().unwrap().0;
            let mut line = vec![0; layout.len() + 1];
            server.read_exact(&mut line).unwrap();
            server.read_exact(&mut [0; 12]).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
            assert!(child.wait().unwrap().success());
        }
        std::thread::sleep(Duration::from_millis(400));
        let ran = live.stop();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let is_it = |row: &Value| row["observer"] == "src" && row["dst"]["port"] == port;
        live.rows("rows").into_iter().filter(is_it).collect::<Vec<Value>>()
    });
    let Some(rows) = rows else { return };
    // While it is open, its process can be looked at.
    let mut open: Vec<&Value> = rows.iter().filter(|row| row["state"] == "established").collect();
    // The last of each.
    open.reverse();
    open.dedup_by_key(|row| row["src"]["port"].as_u64());
    open.reverse();
    assert_eq!(open.len(), layouts().len(), "{rows:#?}");
    for (row, layout) in open.iter().zip(layouts()) {
        let tags = row["src"]["tags"].as_array().unwrap();
        let tag = |key: &str| {
            let found = tags.iter().find_map(|tag| tag.as_str().unwrap().strip_prefix(key)?.strip_prefix(':'));
            found.map(str::to_string)
        };
        let known = |value: Option<&str>| value.map(str::to_string);
        assert_eq!(row["src"]["container"].as_str(), layout.container, "{}: {row:#}", layout.folder);
        assert_eq!(tag("container_id"), known(layout.container), "{}: {row:#}", layout.folder);
        assert_eq!(tag("pod_uid"), known(layout.pod), "{}: {row:#}", layout.folder);
        assert_eq!(tag("systemd_unit"), known(layout.unit), "{}: {row:#}", layout.folder);
    }
}

/// Two namespaces and a cable between them: both ends are of this host, and meet.
#[test]
fn ends_in_two_namespaces_meet() {
    let rows = alone("ends_in_two_namespaces_meet", |here| {
        let ip =
            |args: &str| assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}");
        let (to_there, told) = mpsc::channel::<()>();
        let (say, from_there) = mpsc::channel();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                space::alone(move |there| {
                    // SAFETY: a call without pointers.
                    #[allow(unsafe_code)]
                    let thread = unsafe { libc::gettid() };
                    say.send((there, thread)).unwrap();
                    told.recv().unwrap();
                    for args in [
                        "addr add 10.8.0.2/24 dev weir1",
                        "-6 addr add fd08::2/64 dev weir1 nodad",
                        "link set weir1 up",
                    ] {
                        assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}");
                    }
                    let servers = ["10.8.0.2:7300", "[fd08::2]:7300"].map(|at| TcpListener::bind(at).unwrap());
                    say.send((there, 0)).unwrap();
                    for server in servers {
                        let mut all = Vec::new();
                        server.accept().unwrap().0.read_to_end(&mut all).unwrap();
                        assert_eq!(all.len(), 300_000);
                    }
                })
            });
            let (other, thread) = from_there.recv().unwrap();
            ip(&format!(
                "link add weir0 type veth peer name weir1 netns /proc/{}/task/{thread}/ns/net",
                std::process::id()
            ));
            for args in
                ["addr add 10.8.0.1/24 dev weir0", "-6 addr add fd08::1/64 dev weir0 nodad", "link set weir0 up"]
            {
                ip(args);
            }
            to_there.send(()).unwrap();
            from_there.recv().unwrap();
            let pipeline = "let halves = ebpf(200ms)\nhalves | file(\"{dir}/halves\")\n\
                            halves | pair(1d, lateness: 1s) | where dst.port == 7300 | file(\"{dir}/rows\")";
            let mut live = Live::start(pipeline);
            wait_until_counting(&mut live, "halves");
            std::thread::sleep(Duration::from_millis(500));
            for at in ["10.8.0.2:7300", "[fd08::2]:7300"] {
                let mut client = std::net::TcpStream::connect(at).unwrap();
                client.write_all(&vec![7; 300_000]).unwrap();
            }
            there.join().unwrap();
            std::thread::sleep(Duration::from_millis(400));
            let ran = live.stop();
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            (live.rows("rows"), here, other)
        })
    });
    let Some((rows, here, there)) = rows else { return };
    assert_eq!(rows.len(), 2, "{rows:#?}");
    for row in &rows {
        assert_eq!(
            (&row["observer"], &row["src"]["netns"], &row["dst"]["netns"]),
            (&json!("both"), &json!(here), &json!(there))
        );
        assert_eq!(
            (&row["sent_payload_bytes"], &row["dst_received_payload_bytes"]),
            (&json!(300_000), &json!(300_000))
        );
        assert_eq!((&row["src"]["pid"], &row["dst"]["pid"]), (&json!(std::process::id()), &json!(std::process::id())));
    }
    let mut ends: Vec<&str> = rows.iter().map(|row| row["dst"]["ip"].as_str().unwrap()).collect();
    ends.sort_unstable();
    assert_eq!(ends, ["10.8.0.2", "fd08::2"]);
}
