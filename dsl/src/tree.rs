//! The syntax tree as text, without places: what a pipeline says, however it is laid out.

use std::fmt::Write;

use crate::ast::{
    Arg, Call, Expected, Expr, ExprKind, File, Head, Item, LetValue, Name, NamedExpr, Param, Pipe, Stage,
    StatementKind, StreamName,
};

/// One definition or pipe a line, as nested lists.
pub fn print(file: &File) -> String {
    let mut out = String::new();
    for item in &file.items {
        let _ = writeln!(out, "{}", item_text(item));
    }
    out
}

fn list(head: &str, parts: impl IntoIterator<Item = String>) -> String {
    let parts: Vec<String> = parts.into_iter().collect();
    if parts.is_empty() { format!("({head})") } else { format!("({head} {})", parts.join(" ")) }
}

fn item_text(item: &Item) -> String {
    match item {
        Item::Let { name, value, .. } => {
            let value = match value {
                LetValue::Pipe(pipe) => pipe_text(pipe),
                LetValue::Constant(expr) => expr_text(expr),
            };
            list("let", [name.text.clone(), value])
        }
        Item::Param { param, .. } => param_text("param", param),
        Item::Settings { args, .. } => list("settings", args.iter().map(arg_text)),
        Item::Pipe(pipe) => pipe_text(pipe),
        Item::Use { path, .. } => list("use", [format!("{path:?}")]),
        Item::Piece(piece) => {
            let params = piece.params.iter().map(|p| param_text("param", p));
            list("piece", [piece.name.text.clone()].into_iter().chain(params).chain([pipe_text(&piece.body)]))
        }
        Item::Test(test) => {
            let statements = test.statements.iter().map(|s| statement_text(&s.kind));
            list("test", [format!("{:?}", test.name)].into_iter().chain(statements))
        }
    }
}

fn param_text(head: &str, param: &Param) -> String {
    let ty = param.ty.iter().map(|t| format!(":{}", t.text));
    list(head, [param.name.text.clone()].into_iter().chain(ty).chain(param.default.iter().map(expr_text)))
}

fn pipe_text(pipe: &Pipe) -> String {
    let broken = pipe.broken.then(|| "broken".to_string());
    list("pipe", [head_text(&pipe.head)].into_iter().chain(pipe.stages.iter().map(stage_text)).chain(broken))
}

fn head_text(head: &Head) -> String {
    match head {
        Head::Stream(stream) => stream_text(stream),
        Head::Call(call) => call_text(call),
        Head::Merge { inputs, .. } => list("merge", inputs.iter().map(stream_text)),
        Head::Rows { rows, .. } => list("rows", rows.iter().map(expr_text)),
        Head::Input(_) => "input".into(),
        Head::Broken(_) => "broken".into(),
    }
}

fn stream_text(stream: &StreamName) -> String {
    match &stream.output {
        Some(output) => format!("{}.{}", stream.name.text, output.text),
        None => stream.name.text.clone(),
    }
}

fn stage_text(stage: &Stage) -> String {
    match stage {
        Stage::Where { condition, .. } => list("where", [expr_text(condition)]),
        Stage::Set { fields, .. } => list("set", fields.iter().map(field_text)),
        Stage::Select { fields, .. } => list("select", fields.iter().map(field_text)),
        Stage::Drop { names, .. } => list("drop", names.iter().map(|n: &Name| n.text.clone())),
        Stage::Route { fields, .. } => list("route", fields.iter().map(field_text)),
        Stage::Window { args, by, fields, .. } => {
            let by = list("by", by.iter().map(field_text));
            list("window", args.iter().map(arg_text).chain([by]).chain(fields.iter().map(field_text)))
        }
        Stage::Call(call) => call_text(call),
        Stage::Broken(_) => "broken".into(),
    }
}

fn call_text(call: &Call) -> String {
    list(&format!("call {}", call.name.text), call.args.iter().map(arg_text))
}

fn arg_text(arg: &Arg) -> String {
    match &arg.name {
        Some(name) => format!("{}:{}", name.text, expr_text(&arg.value)),
        None => expr_text(&arg.value),
    }
}

fn field_text(field: &NamedExpr) -> String {
    match &field.name {
        Some(name) => list("=", [name.text.clone(), expr_text(&field.expr)]),
        None => expr_text(&field.expr),
    }
}

fn expr_text(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Name(name) => name.clone(),
        ExprKind::Index { base, key } => list("tag", [expr_text(base), format!("{key:?}")]),
        ExprKind::Literal(value) => format!("{value:?}"),
        ExprKind::List(items) => list("list", items.iter().map(expr_text)),
        ExprKind::Map(entries) => list("map", entries.iter().map(|(n, e)| format!("{}:{}", n.text, expr_text(e)))),
        ExprKind::Not(a) => list("not", [expr_text(a)]),
        ExprKind::Negate(a) => list("-", [expr_text(a)]),
        ExprKind::Binary { op, left, right, .. } => list(&format!("{op:?}"), [expr_text(left), expr_text(right)]),
        ExprKind::Call { name, args } => list(&name.text, args.iter().map(arg_text)),
        ExprKind::Broken => "broken".into(),
    }
}

fn statement_text(statement: &StatementKind) -> String {
    match statement {
        StatementKind::Set { name, value } => list("set", [name.text.clone(), expr_text(value)]),
        StatementKind::Feed { target, pipe } => list("feed", [stream_text(target), pipe_text(pipe)]),
        StatementKind::Advance { by } => list("advance", [expr_text(by)]),
        StatementKind::Fail { sink, time } => list("fail", [sink.text.clone(), expr_text(time)]),
        StatementKind::Expect { target, expected } => {
            let expected = match expected {
                Expected::Counter { name, op, value } => list(&name.text, [format!("{op:?}"), expr_text(value)]),
                Expected::Dropped { reason, op, value } => {
                    list("dropped", [reason.text.clone(), format!("{op:?}"), expr_text(value)])
                }
                Expected::Rows { quantifier, conditions } => {
                    list(&format!("{quantifier:?}"), conditions.iter().map(expr_text))
                }
                Expected::Exactly { rows, in_order } => {
                    list(if *in_order { "rows in order" } else { "rows" }, rows.iter().map(expr_text))
                }
            };
            list("expect", [stream_text(target), expected])
        }
    }
}
