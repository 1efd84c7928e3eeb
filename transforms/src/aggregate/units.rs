//! Units of metrics that say none: the protocol has no field for them, and the names that the .NET and Go
//! tracers give their runtime metrics are known.

use std::collections::HashMap;
use std::sync::LazyLock;

/// By name. From dd-trace-dotnet, dd-trace-go and go-runtime-metrics-internal.
static UNITS: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| include_str!("units.csv").lines().skip(1).filter_map(|line| line.split_once(',')).collect());

/// The unit of a metric, if its name is one of those.
pub fn of(name: &str) -> Option<&'static str> {
    // Nearly every other name is told by its beginning.
    name.starts_with("runtime.").then(|| UNITS.get(name).copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_by_name() {
        assert_eq!(of("runtime.dotnet.mem.committed"), Some("byte"));
        assert_eq!(of("runtime.dotnet.mem"), None);
        assert!(UNITS.keys().all(|name| name.starts_with("runtime.")));
    }
}
