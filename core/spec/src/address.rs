//! Addresses with ports, as pipelines write them.

use std::net::SocketAddr;

/// Reads `127.0.0.1:8126`, `[::1]:8126`, `localhost:8126` or `:8126`, which is on this host.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.split_once(':') {
        Some(("" | "localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_string(),
    };
    whole.parse().map_err(|_| format!("`{text}` is no address with a port: write \"127.0.0.1:8126\""))
}

/// Whether others than this host may reach a listener: `udp://0.0.0.0:8125`, `tcp://10.0.0.1:80`.
pub fn is_open(listener: &str) -> bool {
    let address = listener.split_once("://").filter(|(scheme, _)| matches!(*scheme, "udp" | "tcp"));
    let Some((_, rest)) = address else { return false };
    // `*` is every address of the host.
    rest.starts_with("*:") || socket(rest).is_ok_and(|address| !address.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for text in ["127.0.0.1:80", "[::1]:80", "localhost:80", ":80"] {
            assert!(socket(text).is_ok_and(|address| address.ip().is_loopback()), "{text}");
        }
        for text in ["80", "host:80", "127.0.0.1", "127.0.0.1:99999", ""] {
            assert!(socket(text).is_err(), "{text}");
        }
        assert!(
            is_open("udp://0.0.0.0:8125")
                && is_open("tcp://[::]:80")
                && is_open("udp://*:8125")
                && is_open("udp://10.0.0.7:1")
        );
        assert!(
            !is_open("udp://127.0.0.1:8125")
                && !is_open("udp://[::1]:8125")
                && !is_open("unixgram:///x")
                && !is_open("tcp://[::1]:1")
        );
    }
}
