//! Where a source listens, as `udp://127.0.0.1:8125`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    Udp(SocketAddr),
    Unixgram(PathBuf),
    Unixstream(PathBuf),
}

impl Address {
    /// Reads an address; the error says what one looks like.
    pub fn parse(text: &str) -> Result<Address, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("`{text}` has no scheme: write `udp://{text}` or `unixgram://{text}`"));
        };
        match scheme {
            "udp" => socket(rest).map(Address::Udp),
            "unixgram" | "unixstream" if !rest.starts_with('/') => {
                Err(format!("`{rest}` is no absolute path: a socket is written `{scheme}:///run/name.socket`"))
            }
            "unixgram" => Ok(Address::Unixgram(rest.into())),
            "unixstream" => Ok(Address::Unixstream(rest.into())),
            "unix" => Err("`unix://` may be either of two: write `unixgram://` or `unixstream://`".into()),
            other => Err(format!("there is no `{other}://` here: it is one of udp, unixgram and unixstream")),
        }
    }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port: write `{text}:8125`"))?;
    let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    match host {
        "localhost" => Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()),
        "*" => Ok((IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into()),
        _ => Err(format!("`{host}` is no address of this host: write `127.0.0.1`, `0.0.0.0` or `[::]`")),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Udp(address) => write!(f, "udp://{address}"),
            Address::Unixgram(path) => write!(f, "unixgram://{}", path.display()),
            Address::Unixstream(path) => write!(f, "unixstream://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["udp://127.0.0.1:8125", "udp://[::1]:8125", "unixgram:///run/dsd.socket", "unixstream:///a b"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("udp://localhost:1").unwrap().to_string(), "udp://127.0.0.1:1");
        for text in [
            "127.0.0.1:8125",
            "udp://:8125",
            "udp://127.0.0.1",
            "tcp://127.0.0.1:1",
            "unixgram://dsd",
            "unix:///x",
            "udp://127.0.0.1:99999",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
