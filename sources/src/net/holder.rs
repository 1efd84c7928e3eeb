//! Who holds a port, as far as `/proc` tells.

use std::net::SocketAddr;
use std::path::Path;

/// Processes that are looked at, and open files of each.
const PROCESSES_MAX: usize = 65_536;
const FILES_MAX: usize = 65_536;

/// The process that has bound this UDP or TCP port: `netdata (pid 412)`.
pub fn holder(protocol: &str, address: SocketAddr) -> Option<String> {
    let inodes: Vec<String> =
        ["", "6"].iter().flat_map(|v| bound(&format!("/proc/net/{protocol}{v}"), address.port())).collect();
    let processes = std::fs::read_dir("/proc").ok()?;
    for process in processes.flatten().take(PROCESSES_MAX) {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        if holds(&process.path(), &inodes) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// Inodes of the sockets bound to a port.
fn bound(table: &str, port: u16) -> Vec<String> {
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let of = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let inode = fields.nth(7)?;
        let here = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (here == port && inode != "0").then(|| inode.to_string())
    };
    text.lines().skip(1).filter_map(of).collect()
}

fn holds(process: &Path, inodes: &[String]) -> bool {
    let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
    files.flatten().take(FILES_MAX).any(|file| {
        let Ok(target) = std::fs::read_link(file.path()) else { return false };
        let target = target.to_string_lossy();
        inodes.iter().any(|inode| target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')) == Some(inode))
    })
}
