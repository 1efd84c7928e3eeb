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

/// Folders as runtimes name them; in all of them is this container.
fn layouts() -> Vec<(String, bool)> {
    let pod = POD.replace('-', "_");
    vec![
        (format!("docker/{ID}"), false),
        (format!("system.slice/docker-{ID}.scope"), false),
        (
            format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice/cri-containerd-{ID}.scope"
            ),
            true,
        ),
        (format!("kubepods/burstable/pod{POD}/{ID}"), true),
        (format!("kubepods/besteffort/pod{POD}/crio-{ID}.scope"), true),
        (format!("machine.slice/libpod-{ID}.scope/container"), false),
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
        for (layout, _) in layouts() {
            let folder = cgroups.0.join(&layout);
            std::fs::create_dir_all(&folder).unwrap();
            // A process that begins in it, and stays until it is asked to go.
            let script = format!(
                "echo $$ > {}/cgroup.procs; exec 3<>/dev/tcp/127.0.0.1/{port}; echo {layout} >&3; read line",
                folder.display()
            );
            let mut bash = Command::new("bash");
            let mut child = bash.args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
            let mut server = listener.accept().unwrap().0;
            let mut line = vec![0; layout.len() + 1];
            server.read_exact(&mut line).unwrap();
            std::thread::sleep(Duration::from_millis(500));
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
    let open: Vec<&Value> = rows.iter().filter(|row| row["state"] == "established").collect();
    assert_eq!(open.len(), layouts().len(), "{rows:#?}");
    for (row, (layout, has_pod)) in open.iter().zip(layouts()) {
        assert_eq!(row["src"]["container"], ID, "{layout}: {row:#}");
        let tags = row["src"]["tags"].as_array().unwrap();
        assert!(tags.contains(&json!(format!("container_id:{ID}"))), "{layout}: {row:#}");
        assert_eq!(tags.contains(&json!(format!("pod_uid:{POD}"))), has_pod, "{layout}: {row:#}");
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
