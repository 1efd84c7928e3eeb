//! Every function does what its examples say.

use serde_json::Value;

use super::support::run;

#[test]
fn examples_are_true() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flow.ndjson");
    let row = r#"{"end":"2026-01-01T00:00:30Z","protocol":"tcp","dst.port":443}"#;
    std::fs::write(&path, row).unwrap();
    let examples: Vec<(&str, &str, &str)> = weir_spec::function::ALL
        .iter()
        .flat_map(|f| f.examples.iter().map(|(expr, result)| (f.name, *expr, *result)))
        .collect();
    let columns: Vec<String> = examples.iter().enumerate().map(|(n, (_, expr, _))| format!("e{n} = {expr}")).collect();
    let pipeline =
        format!("ndjson({:?}, as: flow) | select {} | stdout(ndjson)", path.display().to_string(), columns.join(", "));
    let ran = run(&pipeline);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let row = &ran.rows()[0];
    for (n, (name, expr, result)) in examples.iter().enumerate() {
        let wanted: Value = serde_json::from_str(result).unwrap();
        let got = row.get(format!("e{n}")).cloned().unwrap_or(Value::Null);
        let same = got == wanted || got.as_f64().zip(wanted.as_f64()).is_some_and(|(a, b)| a == b);
        assert!(same, "{name}: {expr} gives {got}, not {wanted}");
    }
}

#[test]
fn every_function_has_an_example() {
    for function in weir_spec::function::ALL {
        assert!(!function.examples.is_empty(), "{}", function.name);
        assert!(function.examples.iter().all(|(expr, _)| expr.contains(function.name)), "{}", function.name);
    }
}
