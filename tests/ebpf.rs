//! The BPF program, and the source on it, against what the kernel's own sockets say.

mod hosts;
mod loss;
mod nat;
mod peers;
mod places;
mod source;
mod space;
mod udp;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_ebpf::measuring::Measuring;
use weir_ebpf::records::{Counters, Losses, Origin, Record, state};
use weir_ebpf::{Program, Wanted};
use weir_sources::ebpf::meter::{Event, Flow, Meter};

use space::tcp_info;

/// Whether this can run here. In CI it has to.
fn is_allowed(test: &str) -> bool {
    super::support::is_root(test, "to load BPF programs and to make network namespaces")
}

/// Runs in a network namespace of its own, given by its inode, where that can be. One test at a time: what all
/// sockets of a program have in common is compared.
fn alone<T: Send>(test: &str, run: impl FnOnce(u32) -> T + Send) -> Option<T> {
    alone_with(&[], test, run)
}

/// The same of what runs these programs.
fn alone_with<T: Send>(tools: &[&str], test: &str, run: impl FnOnce(u32) -> T + Send) -> Option<T> {
    static TURN: Mutex<()> = Mutex::new(());
    if !is_allowed(test) || !super::support::has_tools(test, &[&["ip"], tools].concat()) {
        return None;
    }
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Some(space::alone(run))
}

fn attach() -> Program {
    attach_with(Wanted::default())
}

fn attach_with(wanted: Wanted) -> Program {
    let cgroups = weir_core::host::cgroup::mounted();
    let program = Program::attach(wanted, cgroups.as_deref()).unwrap_or_else(|refused| panic!("{refused}"));
    assert!(!wanted.udp || program.udp_refused().is_none(), "{}", program.udp_refused().unwrap());
    program
}

/// Sockets of one namespace.
fn open(program: &Program, netns: u32) -> Vec<Record> {
    let mut records = Vec::new();
    program.open(|raw| records.extend(Record::read(raw).filter(|record| record.netns == netns))).unwrap();
    records
}

fn closed(program: &mut Program, netns: u32) -> Vec<Record> {
    let mut records = Vec::new();
    program.closed(|raw| records.extend(Record::read(raw).filter(|record| record.netns == netns)));
    records
}

fn find(program: &Program, netns: u32) -> Vec<Record> {
    let mut records = Vec::new();
    program.find(|raw| records.extend(Record::read(raw).filter(|record| record.netns == netns))).unwrap();
    records
}

/// The record of a socket, by its two ends.
fn of<'a>(records: &'a [Record], socket: &TcpStream) -> &'a Record {
    of_ends(records, socket.local_addr().unwrap(), socket.peer_addr().unwrap())
}

fn of_ends(records: &[Record], local: SocketAddr, remote: SocketAddr) -> &Record {
    let ends = (mapped(local), mapped(remote));
    let is_it = |record: &&Record| ((record.local, record.local_port), (record.remote, record.remote_port)) == ends;
    records.iter().find(is_it).unwrap_or_else(|| panic!("none of {ends:?} in {records:#?}"))
}

fn mapped(address: SocketAddr) -> (Ipv6Addr, u16) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip, address.port())
}

/// What the program and the kernel say of both sockets, when nothing happened in between.
fn assert_as_the_kernel_says(program: &Program, netns: u32, sockets: [&TcpStream; 2]) {
    for _ in 0..100 {
        let before = sockets.map(tcp_info);
        let records = open(program, netns);
        if sockets.map(tcp_info) == before {
            assert_eq!(sockets.map(|socket| of(&records, socket).counters), before);
            return;
        }
    }
    panic!("something always happened");
}

fn pair(listen: &str) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(listen).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    (listener, client, server)
}

fn send(mut from: &TcpStream, mut to: &TcpStream, bytes: usize) {
    std::thread::scope(|scope| {
        scope.spawn(move || from.write_all(&vec![7; bytes]).unwrap());
        let mut got = vec![0; bytes];
        to.read_exact(&mut got).unwrap();
    });
}

#[test]
fn connections_are_counted_as_the_kernel_counts_them() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        alone("connections_are_counted_as_the_kernel_counts_them", |netns| {
            let mut program = attach();
            let (_listener, client, server) = pair(address);
            send(&client, &server, 3_000_000);
            send(&server, &client, 50_000);
            assert_as_the_kernel_says(&program, netns, [&client, &server]);

            let records = open(&program, netns);
            let [ours, theirs] = [&client, &server].map(|socket| of(&records, socket).clone());
            assert_eq!((ours.origin, theirs.origin), (Origin::Connected, Origin::Accepted));
            assert_eq!((ours.state, theirs.state), (state::ESTABLISHED, state::ESTABLISHED));
            assert_eq!([ours.pid, theirs.pid], [std::process::id(); 2]);
            assert!(ours.opened <= ours.established && ours.established <= Some(ours.active));
            assert_eq!(records.iter().filter(|record| record.origin == Origin::Listening).count(), 1);

            // Half of it is closed, the other half goes on.
            client.shutdown(Shutdown::Write).unwrap();
            send(&server, &client, 70_000);
            let both = [of(&open(&program, netns), &client).cookie, of(&open(&program, netns), &server).cookie];
            drop(server);
            drop(client);
            let records = closed(&mut program, netns);
            let [ours, theirs] = both.map(|cookie| records.iter().find(|record| record.cookie == cookie).unwrap());
            // On a busy host some of it is sent again.
            let bytes = |of: &Counters| (of.bytes_sent - of.bytes_retransmitted, of.bytes_received);
            assert_eq!(bytes(&ours.counters), (3_000_000, 120_000));
            assert_eq!(bytes(&theirs.counters), (120_000, 3_000_000));
            assert!(ours.closed.is_some() && ours.error.is_none() && theirs.error.is_none());
            assert_eq!(program.losses().unwrap().tcp.sockets, 0);
        });
    }
}

#[test]
fn a_connect_that_fails_says_why() {
    alone("a_connect_that_fails_says_why", |netns| {
        let mut program = attach();
        let refused = TcpStream::connect("127.0.0.1:9").unwrap_err();
        let records = closed(&mut program, netns);
        // The port itself is told of, too, when it answers: by a reset, which is of no socket.
        assert_eq!(records.len(), 1, "{records:#?}");
        let record = &records[0];
        assert_eq!(record.error.map(i32::from), refused.raw_os_error());
        assert_eq!((record.state, record.origin, record.remote_port), (state::SYN_SENT, Origin::Connected, 9));
        assert_eq!(record.counters.bytes_sent, 0);
    });
}

#[test]
fn what_was_open_before_is_found_and_not_counted_again() {
    alone("what_was_open_before_is_found_and_not_counted_again", |netns| {
        let (_listener, client, server) = pair("127.0.0.1:0");
        send(&client, &server, 40_000);
        let mut program = attach();
        assert_eq!(open(&program, netns), []);
        let found = find(&program, netns);
        let [ours, theirs] = [&client, &server].map(|socket| of(&found, socket));
        assert_eq!(found.iter().filter(|record| record.origin == Origin::Listening).count(), 1);
        assert_eq!([ours.origin, theirs.origin], [Origin::Found; 2]);
        assert_eq!((ours.counters.bytes_sent, theirs.counters.bytes_received), (40_000, 40_000));
        assert_eq!((ours.pid, ours.opened), (std::process::id(), None));
        // Once.
        assert_eq!(find(&program, netns), []);
        send(&client, &server, 1_000);
        let cookie = ours.cookie;
        let before = ours.counters;
        drop((client, server));
        let records = closed(&mut program, netns);
        let ours = records.iter().find(|record| record.cookie == cookie).unwrap();
        assert_eq!(ours.counters.since(&before).bytes_sent, 1_000);
    });
}

/// A program that comes while connections are made and closed: each that begins later is told whole, and each that
/// had begun is found, or told as one that was never known.
#[test]
fn under_churn_every_connection_has_its_place() {
    const THREADS: u64 = 2;
    alone("under_churn_every_connection_has_its_place", |netns| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_over, ended) = (AtomicBool::new(false), AtomicU64::new(0));
        let (mut program, before, mut found) = std::thread::scope(|scope| {
            let (is_over, ended, listener) = (&is_over, &ended, &listener);
            for _ in 0..THREADS {
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let mut client = TcpStream::connect(address).unwrap();
                        client.write_all(&[7; 100]).unwrap();
                        client.shutdown(Shutdown::Write).unwrap();
                        assert_eq!(client.read(&mut [0]).unwrap(), 0);
                        drop(client);
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(move || {
                listener.set_nonblocking(true).unwrap();
                while !is_over.load(Ordering::Relaxed) || ended.load(Ordering::Relaxed) == 0 {
                    let Ok((mut server, _)) = listener.accept() else { continue };
                    server.set_nonblocking(false).unwrap();
                    let mut all = Vec::new();
                    server.read_to_end(&mut all).unwrap();
                }
                // Those that still wait for an answer.
                std::thread::sleep(std::time::Duration::from_millis(200));
                while let Ok((mut server, _)) = listener.accept() {
                    server.set_nonblocking(false).unwrap();
                    server.read_to_end(&mut Vec::new()).unwrap();
                }
            });
            std::thread::sleep(std::time::Duration::from_millis(50));
            let earlier = ended.load(Ordering::Relaxed);
            let program = attach();
            let before = [earlier, ended.load(Ordering::Relaxed)];
            let mut found = Vec::new();
            for _ in 0..20 {
                found.extend(find(&program, netns));
                open(&program, netns);
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            is_over.store(true, Ordering::Relaxed);
            (program, before, found)
        });
        // Since before it was attached, and since it was.
        let [most, least] = before.map(|before| ended.load(Ordering::Relaxed) - before);
        assert!(before[0] > 0 && least > 50, "{before:?} and {least}");
        let told: Vec<Record> =
            closed(&mut program, netns).into_iter().filter(|r| r.remote_port == address.port()).collect();
        let whole: Vec<&Record> = told.iter().filter(|record| record.origin == Origin::Connected).collect();
        assert!(whole.iter().all(|record| record.counters.bytes_sent == 100 && record.error.is_none()));
        // Those that had begun are as many as there are threads, at most.
        let begun_later = whole.len() as u64;
        assert!((least - THREADS..=most).contains(&begun_later), "{begun_later} of {least} to {most}");
        found.retain(|record| record.origin == Origin::Found && record.remote_port == address.port());
        let of_before = told.iter().filter(|record| record.origin == Origin::Found).count() as u64;
        let losses = program.losses().unwrap();
        assert!(of_before <= THREADS && found.len() as u64 <= THREADS, "{of_before}, {found:#?}");
        assert_eq!((losses.tcp.sockets, losses.no_memory), (0, 0));
        // The ends of those that had begun and were not found.
        assert!(losses.unknown <= 2 * (most - least + 2 * THREADS), "{losses:?}");
    });
}

/// Three in a hundred packets with payload are dropped, and sent again.
#[test]
fn what_is_sent_again_is_counted_as_the_kernel_counts_it() {
    alone_with(&["nft"], "what_is_sent_again_is_counted_as_the_kernel_counts_it", |netns| {
        loss::one_by_one();
        let _firewall = loss::Firewall::of_some();
        let program = attach();
        let (_listener, client, server) = pair(&format!("127.0.0.1:{}", loss::PORT));
        for _ in 0..3 {
            send(&client, &server, 1_000_000);
            send(&server, &client, 1_000);
            assert_as_the_kernel_says(&program, netns, [&client, &server]);
        }
        let counters = tcp_info(&client);
        assert!(counters.retransmits > 10 && counters.bytes_retransmitted > 10_000, "{counters:?}");
    });
}

/// Without UDP nothing is attached to packets, and nothing runs while connections are used.
#[test]
fn without_udp_a_packet_costs_nothing() {
    alone("without_udp_a_packet_costs_nothing", |netns| {
        const PACKETS: u64 = 1_000;
        let cgroups = weir_core::host::cgroup::mounted();
        let wanted = Wanted { netns: Some(netns), udp: false, ..Wanted::default() };
        let measuring = Measuring::begin(wanted, cgroups.as_deref()).unwrap_or_else(|refused| panic!("{refused}"));
        let (_listener, client, server) = pair("127.0.0.1:0");
        let asking = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(measuring.cost("on_state").runs >= 3, "what it is called for is counted");
        // Others open connections meanwhile, for which it is called as well: not all the time.
        let is_quiet = (0..30).any(|_| {
            let (told, sent) = (measuring.cost("on_state").runs, tcp_info(&client).packets_sent);
            for _ in 0..PACKETS / 2 {
                send(&client, &server, 1);
                send(&server, &client, 1);
                asking.send_to(b"x", asking.local_addr().unwrap()).unwrap();
                asking.recv(&mut [0; 10]).unwrap();
            }
            assert!(tcp_info(&client).packets_sent - sent >= PACKETS as u32 / 2);
            measuring.cost("on_state").runs - told < PACKETS / 10
        });
        assert!(is_quiet, "it is called for packets");
        assert_eq!(["on_sent", "on_received", "on_create"].map(|name| measuring.cost(name).runs), [0; 3]);
    });
}

/// Four threads open connections faster than a page of them is read; what does not fit is in a row of its own.
#[test]
fn a_ring_that_is_full_loses_no_bytes() {
    const THREADS: u64 = 4;
    const CONNECTIONS: u64 = 200;
    alone("a_ring_that_is_full_loses_no_bytes", |netns| {
        let wanted = Wanted { netns: Some(netns), udp: false, ring_bytes: 4096, ..Wanted::default() };
        let mut program = attach_with(wanted);
        let (mut meter, mut flows) = (Meter::new(), Vec::new());
        let second = 1_000_000_000;
        let mut cut = |program: &mut Program, at: i64| {
            let mut events: Vec<Event> = closed(program, netns).into_iter().map(Event::Closed).collect();
            events.push(Event::Cut(at * second));
            events.extend(open(program, netns).into_iter().map(Event::Open));
            events.push(Event::Done(program.losses().unwrap()));
            for event in events {
                meter.take(event, &mut flows);
            }
        };
        // Threads begin in the namespace of who starts them.
        let over = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                    for _ in 0..CONNECTIONS {
                        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                        let server = listener.accept().unwrap().0;
                        send(&client, &server, 100);
                    }
                    over.fetch_add(1, Ordering::Relaxed);
                });
            }
            // What is told in between is not told again.
            for at in 1.. {
                cut(&mut program, at);
                if over.load(Ordering::Relaxed) == THREADS {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        (1_000_000..1_000_005).for_each(|at| cut(&mut program, at));
        let losses = program.losses().unwrap();
        assert!(losses.tcp.sockets > THREADS * CONNECTIONS / 4, "the ring was hardly ever full: {losses:?}");
        assert_eq!((losses.no_memory, losses.unknown), (0, 0));
        assert!(flows.iter().any(|flow| flow.socket.is_none()), "no row has what did not fit");
        let own = |flow: &Flow| match &flow.socket {
            Some(socket) if !socket.is_src => (flow.received.payload_bytes, flow.sent.payload_bytes),
            _ => (flow.sent.payload_bytes, flow.received.payload_bytes),
        };
        let sums = flows.iter().map(own).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let all = (THREADS * CONNECTIONS * 100) as i64;
        assert_eq!(sums, (all, all), "{losses:?}");
    });
}

#[test]
fn ipv4_to_a_socket_of_ipv6_is_ipv4() {
    alone("ipv4_to_a_socket_of_ipv6_is_ipv4", |netns| {
        let program = attach();
        let listener = TcpListener::bind("[::]:0").unwrap();
        let client = TcpStream::connect(("127.0.0.1", listener.local_addr().unwrap().port())).unwrap();
        let server = listener.accept().unwrap().0;
        let records = open(&program, netns);
        for socket in [&client, &server] {
            assert_eq!(of(&records, socket).local.to_ipv4_mapped(), Some(std::net::Ipv4Addr::LOCALHOST));
        }
    });
}

/// How a server closes without an end.
#[derive(Clone, Copy, Debug)]
enum Abort {
    /// With bytes that nobody has read.
    Unread,
    /// Without lingering.
    Hard,
    /// After the other side has ended, with bytes that nobody has read.
    AfterEnd,
    /// After it has ended its own direction, with bytes that nobody has read.
    HalfClosed,
    /// The same, without lingering.
    HalfClosedHard,
    /// By connecting to nobody.
    Disconnect,
    /// Nobody has ever accepted it, and who listens goes.
    NeverAccepted,
}

impl Abort {
    const ALL: [Abort; 7] = [
        Abort::Unread,
        Abort::Hard,
        Abort::AfterEnd,
        Abort::HalfClosed,
        Abort::HalfClosedHard,
        Abort::Disconnect,
        Abort::NeverAccepted,
    ];
}

#[test]
#[allow(unsafe_code)]
fn a_reset_is_told_apart_from_an_end_and_counted() {
    use std::os::fd::AsRawFd;
    alone("a_reset_is_told_apart_from_an_end_and_counted", |netns| {
        for abort in Abort::ALL {
            let mut program = attach();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(b"never read").unwrap();
            let server = (!matches!(abort, Abort::NeverAccepted)).then(|| listener.accept().unwrap().0);
            let fd = server.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            if let (Abort::HalfClosed | Abort::HalfClosedHard, Some(server)) = (abort, &server) {
                server.shutdown(Shutdown::Write).unwrap();
            }
            match abort {
                Abort::Unread | Abort::HalfClosed | Abort::NeverAccepted => {}
                Abort::AfterEnd => client.shutdown(Shutdown::Write).unwrap(),
                Abort::Hard | Abort::HalfClosedHard => {
                    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                    let (value, bytes) = ((&raw const linger).cast(), size_of::<libc::linger>() as u32);
                    // SAFETY: a value of as many bytes as is said.
                    let done = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, bytes) };
                    assert_eq!(done, 0);
                }
                Abort::Disconnect => {
                    // SAFETY: all zeros are an address of no family.
                    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
                    // SAFETY: an address of as many bytes as is said.
                    assert_eq!(unsafe { libc::connect(fd, &raw const nobody, 16) }, 0);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop((server, listener));
            if matches!(abort, Abort::HalfClosed | Abort::HalfClosedHard) {
                // The other side's end comes before its reset.
                assert_eq!(client.read(&mut [0; 10]).unwrap_or(0), 0);
            }
            assert!(client.read(&mut [0; 10]).is_err() || client.write(b"x").is_err(), "{abort:?}");
            let received = tcp_info(&client).packets_received;
            let port = client.local_addr().unwrap().port();
            drop(client);
            let records = closed(&mut program, netns);
            let ours = records.iter().find(|record| record.local_port == port).unwrap();
            let theirs = records.iter().find(|record| record.remote_port == port).unwrap();
            // A reset behind an end is a broken pipe.
            let error = ours.error.map(i32::from).unwrap_or_default();
            assert!([libc::ECONNRESET, libc::EPIPE].contains(&error), "{abort:?} {error}");
            assert_eq!(theirs.error, None, "{abort:?}");
            let is_reset = [state::ESTABLISHED, state::CLOSE_WAIT, state::FIN_WAIT1].contains(&theirs.state);
            assert!(is_reset, "{abort:?} {theirs:?}");
            assert_eq!(theirs.counters.bytes_received, 10, "{abort:?}");
            // All that came is what the other side sent, its answer to the SYN apart, which no socket sends.
            assert_eq!(theirs.counters.packets_sent + 1, received, "{abort:?}");
            assert_eq!(ours.counters.packets_sent, theirs.counters.packets_received, "{abort:?}");
        }
    });
}

#[test]
fn a_process_that_is_gone_at_once_is_known() {
    alone("a_process_that_is_gone_at_once_is_known", |netns| {
        let mut program = attach();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3");
        let mut child = std::process::Command::new("bash").args(["-c", &script]).spawn().unwrap();
        let pid = child.id();
        assert!(child.wait().unwrap().success());
        drop(listener.accept().unwrap());
        let records = closed(&mut program, netns);
        let ours = records.iter().find(|record| record.remote_port == port).unwrap();
        assert_eq!((ours.pid, ours.command.as_str(), ours.counters.bytes_sent), (pid, "bash", 6));
    });
}

/// A server whose children accept: a connection is that child's, not of who listened.
#[test]
#[allow(unsafe_code)]
fn of_a_server_that_forks_the_child_is_told() {
    alone("of_a_server_that_forks_the_child_is_told", |netns| {
        use std::os::fd::AsRawFd;
        let mut program = attach();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // SAFETY: the child calls nothing but the system, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                for _ in 0..2 {
                    let fd = libc::accept(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut());
                    let mut byte = 0u8;
                    // Until the other end is closed.
                    while libc::read(fd, (&raw mut byte).cast(), 1) > 0 {}
                    libc::close(fd);
                }
                libc::_exit(0);
            }
        }
        // One is there when an interval ends, the other comes and goes in between.
        let long = TcpStream::connect(address).unwrap();
        let ends = |record: &&Record| record.origin == Origin::Accepted;
        // The child needs a moment to accept it.
        let mut told = 0;
        for _ in 0..200 {
            find(&program, netns);
            told = open(&program, netns).iter().find(ends).unwrap().pid;
            if told == child as u32 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(told, child as u32);
        drop(long);
        drop(TcpStream::connect(address).unwrap());
        // SAFETY: a call without pointers.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        let records = closed(&mut program, netns);
        let pids: Vec<u32> = records.iter().filter(ends).map(|record| record.pid).collect();
        assert_eq!(pids, [child as u32; 2], "{records:#?}");
    });
}

/// Ten thousand connections, one after the other: none is missing.
#[test]
fn many_short_connections_are_all_told() {
    const CONNECTIONS: usize = 10_000;
    alone("many_short_connections_are_all_told", |netns| {
        let mut program = attach();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..CONNECTIONS {
                    let mut server = listener.accept().unwrap().0;
                    let mut byte = [0; 4];
                    server.read_exact(&mut byte).unwrap();
                    server.write_all(&byte).unwrap();
                }
            });
            for number in 0..CONNECTIONS as u32 {
                let mut client = TcpStream::connect(address).unwrap();
                client.write_all(&number.to_be_bytes()).unwrap();
                client.read_exact(&mut [0; 4]).unwrap();
            }
        });
        let mut records = Vec::new();
        // The last ones may still be on their way out.
        for _ in 0..200 {
            records.extend(closed(&mut program, netns));
            if records.len() == 2 * CONNECTIONS {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(records.len(), 2 * CONNECTIONS);
        let all = |f: fn(&Counters) -> u64| records.iter().map(|record| f(&record.counters)).sum::<u64>();
        assert_eq!(all(|counters| counters.bytes_sent), 8 * CONNECTIONS as u64);
        assert_eq!(all(|counters| counters.bytes_received), 8 * CONNECTIONS as u64);
        assert_eq!(program.losses().unwrap(), Losses::default());
    });
}
