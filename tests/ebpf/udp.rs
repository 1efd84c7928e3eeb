//! Packets of UDP, against what was sent.

use std::net::{Ipv6Addr, UdpSocket};

use weir_ebpf::records::{Counters, Origin, Protocol, Raw, Record};
use weir_ebpf::{Program, Wanted};

use super::{alone, attach, attach_with, of_ends as of};

fn raw(program: &Program, netns: u32) -> Vec<(Raw, Record)> {
    let mut all = Vec::new();
    let of = |raw: &Raw| Record::read(raw).filter(|record| record.netns == netns);
    program.open_udp(|raw| all.extend(of(raw).map(|record| (*raw, record)))).unwrap();
    assert!(all.iter().all(|(_, record)| record.protocol == Protocol::Udp));
    all
}

fn open(program: &Program, netns: u32) -> Vec<Record> {
    raw(program, netns).into_iter().map(|(_, record)| record).collect()
}

fn counted(sent: (u32, u64), received: (u32, u64)) -> Counters {
    let ((packets_sent, bytes_sent), (packets_received, bytes_received)) = (sent, received);
    Counters { packets_sent, bytes_sent, packets_received, bytes_received, ..Counters::default() }
}

fn send(from: &UdpSocket, to: &UdpSocket, bytes: usize) {
    from.send_to(&vec![7; bytes], to.local_addr().unwrap()).unwrap();
    assert_eq!(to.recv(&mut [0; 65_536]).unwrap(), bytes);
}

#[test]
fn each_peer_of_a_socket_is_counted_apart() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        alone("each_peer_of_a_socket_is_counted_apart", |netns| {
            let program = attach();
            let [client, server, other] = [(); 3].map(|()| UdpSocket::bind(address).unwrap());
            let [at_client, at_server, at_other] = [&client, &server, &other].map(|s| s.local_addr().unwrap());
            for _ in 0..20 {
                send(&client, &server, 30);
                send(&server, &client, 1000);
            }
            send(&client, &other, 0);
            // More than fits into a packet of the link: it is one all the same.
            send(&client, &other, 50_000);
            let records = open(&program, netns);
            assert_eq!(records.len(), 4, "{records:#?}");
            let asked = of(&records, at_client, at_server);
            assert_eq!(asked.counters, counted((20, 600), (20, 20_000)));
            assert_eq!((asked.origin, asked.pid, asked.is_owned), (Origin::Connected, std::process::id(), true));
            let answered = of(&records, at_server, at_client);
            assert_eq!((answered.counters, answered.origin), (counted((20, 20_000), (20, 600)), Origin::Accepted));
            assert_eq!(of(&records, at_client, at_other).counters, counted((2, 50_000), (0, 0)));
            assert_eq!(of(&records, at_other, at_client).counters, counted((0, 0), (2, 50_000)));
            assert!(records.iter().all(|record| record.opened.is_some() && record.closed.is_none()));
        });
    }
}

#[test]
fn ipv4_through_a_socket_of_ipv6_is_ipv4() {
    alone("ipv4_through_a_socket_of_ipv6_is_ipv4", |netns| {
        let program = attach();
        let server = UdpSocket::bind("[::]:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"hello", ("127.0.0.1", server.local_addr().unwrap().port())).unwrap();
        server.recv(&mut [0; 100]).unwrap();
        let ends: Vec<[Ipv6Addr; 2]> = open(&program, netns).iter().map(|r| [r.local, r.remote]).collect();
        assert_eq!(ends, [["::ffff:127.0.0.1".parse::<Ipv6Addr>().unwrap(); 2]; 2]);
    });
}

#[test]
fn a_socket_that_was_open_before_is_known_once_it_is_found() {
    alone("a_socket_that_was_open_before_is_known_once_it_is_found", |netns| {
        let [client, server] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        send(&client, &server, 500);
        let program = attach();
        // Nobody knows yet whose it is, and it counts all the same.
        send(&client, &server, 1);
        program.find(|_| {}).unwrap();
        send(&client, &server, 2);
        let records = open(&program, netns);
        let ours = of(&records, client.local_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(ours.counters, counted((2, 3), (0, 0)));
        assert_eq!((ours.origin, ours.pid), (Origin::Found, std::process::id()));
        // One that is opened now is not taken for one of these.
        let new = UdpSocket::bind("127.0.0.1:0").unwrap();
        send(&new, &server, 1);
        program.find(|_| {}).unwrap();
        let records = open(&program, netns);
        assert_eq!(of(&records, new.local_addr().unwrap(), server.local_addr().unwrap()).origin, Origin::Connected);
    });
}

#[test]
fn without_room_for_a_peer_its_packets_are_added_up() {
    alone("without_room_for_a_peer_its_packets_are_added_up", |netns| {
        let program = attach_with(Wanted { netns: Some(netns), peers_max: 4, ..Wanted::default() });
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            send(&client, &server, 100);
            send(&server, &client, 7);
        }
        let losses = program.losses().unwrap();
        let records = open(&program, netns);
        assert_eq!((records.len(), losses.peers), (4, 4));
        let sum = |of: fn(&Counters) -> u64| records.iter().map(|record| of(&record.counters)).sum::<u64>();
        assert_eq!(sum(|c| c.bytes_sent) + losses.udp.bytes_sent, 1070);
        assert_eq!(sum(|c| c.bytes_received) + losses.udp.bytes_received, 1070);
        assert_eq!(sum(|c| c.packets_sent.into()) + losses.udp.packets_sent, 20);
        assert_eq!(sum(|c| c.packets_received.into()) + losses.udp.packets_received, 20);
        // What is forgotten makes room.
        let (first, _) = raw(&program, netns)[0];
        assert!(program.forget(&first).unwrap().is_some());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        let records = open(&program, netns);
        assert!(records.iter().any(|r| r.local_port == client.local_addr().unwrap().port()), "{records:#?}");
    });
}

#[test]
fn what_came_after_it_was_told_is_told_when_it_is_forgotten() {
    alone("what_came_after_it_was_told_is_told_when_it_is_forgotten", |netns| {
        let program = attach();
        let [client, server] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        send(&client, &server, 10);
        let all = raw(&program, netns);
        send(&client, &server, 200);
        let told: Vec<Record> =
            all.iter().map(|(raw, _)| Record::read(&program.forget(raw).unwrap().unwrap()).unwrap()).collect();
        let ours = of(&told, client.local_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(ours.counters, counted((2, 210), (0, 0)));
        assert!(ours.closed.is_some_and(|at| at == ours.active) && ours.pid == std::process::id());
        assert_eq!(open(&program, netns), []);
        assert!(program.forget(&all[0].0).unwrap().is_none(), "it is gone");
    });
}
