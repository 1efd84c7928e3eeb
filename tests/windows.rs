//! Windows against a plain reference: any order within lateness, any cut into batches, any number
//! of workers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::support::run;

const WIDTH: i64 = 10;

#[derive(Clone, Debug)]
struct Row {
    /// Seconds.
    at: i64,
    key: u8,
    n: i64,
}

/// Count, sum and largest by window and key.
type Sums = BTreeMap<(i64, u8), (i64, i64, i64)>;

/// Sums by (window, key), and how many rows were late: written from the definition.
fn reference(rows: &[Row], lateness: i64) -> (Sums, usize) {
    let mut sums = Sums::new();
    let mut late = 0;
    let mut latest = i64::MIN;
    for row in rows {
        let start = row.at.div_euclid(WIDTH) * WIDTH;
        if latest >= start + WIDTH + lateness {
            late += 1;
        } else {
            let sum = sums.entry((start, row.key)).or_insert((0, 0, i64::MIN));
            *sum = (sum.0 + 1, sum.1 + row.n, sum.2.max(row.n));
        }
        latest = latest.max(row.at);
    }
    (sums, late)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn windows_equal_the_reference(
        raw in prop::collection::vec((0i64..120, -15i64..1, 0u8..4, -50i64..50), 1..120),
        lateness in 1i64..10,
        workers in 1usize..4,
    ) {
        let rows: Vec<Row> = raw.iter().enumerate()
            .map(|(i, (_, jitter, key, n))| Row { at: (i as i64) + jitter + 100, key: *key, n: *n })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.ndjson");
        let line = |r: &Row| {
            let at = weir_spec::units::time(r.at * 1_000_000_000);
            format!("{{\"at\":\"{at}\",\"key\":\"k{}\",\"n\":{}}}\n", r.key, r.n)
        };
        std::fs::write(&path, rows.iter().map(line).collect::<String>()).unwrap();
        let path = path.display().to_string();
        let pipeline = format!(
            "settings(workers: {workers})\n\
             let w = ndjson({path:?}, as: {{ at: time, key: string, n: int }}) \
             | window({WIDTH}s, lateness: {lateness}s) by key {{ c = count(), s = sum(n), m = max(n) }}\n\
             w | stdout(ndjson)\nw.late | blackhole"
        );
        let got = run(&pipeline);
        prop_assert_eq!(got.code, 0, "{}", got.stderr);
        let mut sums = BTreeMap::new();
        for row in got.rows() {
            let start = weir_spec::units::parse_time(row["window"]["start"].as_str().unwrap()).unwrap() / 1_000_000_000;
            let key = row["key"].as_str().unwrap()[1..].parse::<u8>().unwrap();
            let number = |name: &str| row[name].as_i64().unwrap();
            let before = sums.insert((start, key), (number("c"), number("s"), number("m")));
            prop_assert!(before.is_none(), "a window came twice");
        }
        let (expected, late) = reference(&rows, lateness);
        prop_assert_eq!(sums, expected);
        prop_assert_eq!(got.count("blackhole", "in"), late as u64);
    }
}
