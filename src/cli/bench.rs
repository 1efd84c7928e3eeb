//! `weir bench`: what weir costs on this very host.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use weir_core::host::cgroup;
use weir_ebpf::Wanted;
use weir_ebpf::measuring::{Cost, Measuring, NOTHING};

use super::{FAILED, say};

pub const EXAMPLES: &str = "\
Try these:
  sudo weir bench ebpf
  sudo weir bench ebpf --json";

#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What the kernel's hooks cost here, by its own account: connections and packets on loopback
    Ebpf(EbpfArgs),
}

#[derive(Args)]
struct EbpfArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// How much of each is done.
const CONNECTIONS: u32 = 2_000;
const PACKETS: u32 = 20_000;
const OPEN: usize = 500;

/// What was measured, and how much of it there was.
struct Line {
    what: &'static str,
    nanos: f64,
    runs: u64,
}

pub fn run(args: &BenchArgs) -> u8 {
    let What::Ebpf(args) = &args.what;
    match measure() {
        Ok(lines) if args.json => say(&lines.iter().map(json_line).collect::<String>()),
        Ok(lines) => say(&table(&lines)),
        Err(why) => {
            anstream::eprintln!(
                "error: {why}\n  help: it needs root, or CAP_SYS_ADMIN with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
            );
            FAILED
        }
    }
}

fn measure() -> Result<Vec<Line>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let cgroups = cgroup::mounted();
    let begun = Instant::now();
    let measuring = Measuring::begin(Wanted::default(), cgroups.as_deref()).map_err(|refused| said(&refused))?;
    let start = begun.elapsed();
    let mut lines = Vec::new();
    let mut line = |what, time: Duration, of: u64| {
        lines.push(Line { what, nanos: time.as_nanos() as f64 / of.max(1) as f64, runs: of });
    };
    line("to load and attach everything", start, 1);
    let begun = Instant::now();
    measuring.program.find(|_| {}).map_err(|error| said(&error))?;
    line("to find the sockets that were open before", begun.elapsed(), 1);

    let cost = costs(&measuring, &["on_state", "on_destroy"], connections).map_err(|error| said(&error))?;
    line("a TCP socket, from its opening to its end", cost[0].time + cost[1].time, u64::from(2 * CONNECTIONS));

    let packets = ["on_received", "on_sent", NOTHING];
    let cost = costs(&measuring, &packets, tcp_packets).map_err(|error| said(&error))?;
    line("a packet of TCP that comes", cost[0].time, cost[0].runs);
    line("a packet of TCP that goes", cost[1].time, cost[1].runs);
    line("the same for a program that does nothing", cost[2].time, cost[2].runs);
    let cost = costs(&measuring, &packets, udp_packets).map_err(|error| said(&error))?;
    line("a packet of UDP that comes", cost[0].time, cost[0].runs);
    line("a packet of UDP that goes", cost[1].time, cost[1].runs);

    let held = hold().map_err(|error| said(&error))?;
    let mut sockets = 0u64;
    let begun = Instant::now();
    measuring.program.open(|_| sockets += 1).map_err(|error| said(&error))?;
    line("an open TCP socket, at the end of an interval", begun.elapsed(), sockets);
    drop(held);
    Ok(lines)
}

/// What programs cost while something is done.
fn costs(
    measuring: &Measuring,
    names: &[&str],
    work: impl FnOnce() -> std::io::Result<()>,
) -> std::io::Result<Vec<Cost>> {
    let before: Vec<Cost> = names.iter().map(|name| measuring.cost(name)).collect();
    work()?;
    Ok(names.iter().zip(before).map(|(name, before)| measuring.cost(name).since(before)).collect())
}

fn connections() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..CONNECTIONS {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"hello")?;
        server.read_exact(&mut [0; 5])?;
    }
    Ok(())
}

fn tcp_packets() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for _ in 0..PACKETS {
        client.write_all(&[7; 64])?;
        server.read_exact(&mut [0; 64])?;
    }
    Ok(())
}

fn udp_packets() -> std::io::Result<()> {
    let (client, server) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    client.connect(server.local_addr()?)?;
    server.set_read_timeout(Some(Duration::from_secs(1)))?;
    for _ in 0..PACKETS {
        client.send(&[7; 64])?;
        server.recv(&mut [0; 64])?;
    }
    Ok(())
}

/// Connections that stay open.
fn hold() -> std::io::Result<Vec<TcpStream>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut held = Vec::with_capacity(2 * OPEN);
    while held.len() < 2 * OPEN {
        let Ok(client) = TcpStream::connect(listener.local_addr()?) else { break };
        held.push(client);
        let Ok((server, _)) = listener.accept() else { break };
        held.push(server);
    }
    Ok(held)
}

fn json_line(line: &Line) -> String {
    format!("{}\n", json!({ "what": line.what, "nanoseconds": line.nanos, "of": line.runs }))
}

fn table(lines: &[Line]) -> String {
    let one = |line: &Line| {
        let (number, unit) = match line.nanos {
            n if n >= 1e6 => (n / 1e6, "ms"),
            n if n >= 1e3 => (n / 1e3, "us"),
            n => (n, "ns"),
        };
        format!("{:<46} {number:>8.2} {unit}   of {}\n", line.what, line.runs)
    };
    let lines: String = lines.iter().map(one).collect();
    lines + "By the kernel's own account, in which a program that does nothing costs something as well.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_units() {
        let lines = [
            Line { what: "one", nanos: 61.25, runs: 7 },
            Line { what: "two", nanos: 1_650.0, runs: 8 },
            Line { what: "three", nanos: 81_000_000.0, runs: 1 },
        ];
        insta::assert_snapshot!(table(&lines) + &json_line(&lines[0]));
    }
}
