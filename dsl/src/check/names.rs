//! Bare names that a pipe's expressions use, to find constants that have to be known before it.

use std::collections::BTreeSet;

use crate::ast::{Arg, Expr, ExprKind, Head, NamedExpr, Pipe, Stage};

pub(super) fn in_pipe(pipe: &Pipe, names: &mut BTreeSet<String>) {
    if let Head::Call(call) = &pipe.head {
        in_args(&call.args, names);
    }
    for stage in &pipe.stages {
        match stage {
            Stage::Where { condition, .. } => in_expr(condition, names),
            Stage::Set { fields, .. } | Stage::Select { fields, .. } | Stage::Route { fields, .. } => {
                in_fields(fields, names);
            }
            Stage::Drop { .. } | Stage::Broken(_) => {}
            Stage::Window { args, by, fields, .. } => {
                in_args(args, names);
                in_fields(by, names);
                in_fields(fields, names);
            }
            Stage::Call(call) => in_args(&call.args, names),
        }
    }
}

/// Names of components and pieces that a pipe calls.
pub(super) fn calls(pipe: &Pipe) -> impl Iterator<Item = &str> {
    let head = match &pipe.head {
        Head::Call(call) => Some(call.name.text.as_str()),
        Head::Stream(stream) => Some(stream.name.text.as_str()),
        _ => None,
    };
    let stages = pipe.stages.iter().filter_map(|stage| match stage {
        Stage::Call(call) => Some(call.name.text.as_str()),
        _ => None,
    });
    head.into_iter().chain(stages)
}

pub(super) fn in_args(args: &[Arg], names: &mut BTreeSet<String>) {
    args.iter().for_each(|arg| in_expr(&arg.value, names));
}

fn in_fields(fields: &[NamedExpr], names: &mut BTreeSet<String>) {
    fields.iter().for_each(|field| in_expr(&field.expr, names));
}

pub(super) fn in_expr(expr: &Expr, names: &mut BTreeSet<String>) {
    match &expr.kind {
        ExprKind::Name(name) if !name.contains('.') => drop(names.insert(name.clone())),
        ExprKind::Name(_) | ExprKind::Literal(_) | ExprKind::Broken => {}
        ExprKind::Index { base, .. } => in_expr(base, names),
        ExprKind::List(items) => items.iter().for_each(|e| in_expr(e, names)),
        ExprKind::Map(entries) => entries.iter().for_each(|(_, e)| in_expr(e, names)),
        ExprKind::Not(a) | ExprKind::Negate(a) => in_expr(a, names),
        ExprKind::Binary { left, right, .. } => {
            in_expr(left, names);
            in_expr(right, names);
        }
        ExprKind::Call { args, .. } => in_args(args, names),
    }
}

/// Params that an expression names as `param.x`.
pub(super) fn params_said(expr: &Expr, names: &mut BTreeSet<String>) {
    match &expr.kind {
        ExprKind::Name(name) => names.extend(name.strip_prefix("param.").map(str::to_string)),
        ExprKind::Literal(_) | ExprKind::Broken => {}
        ExprKind::Index { base, .. } => params_said(base, names),
        ExprKind::List(items) => items.iter().for_each(|e| params_said(e, names)),
        ExprKind::Map(entries) => entries.iter().for_each(|(_, e)| params_said(e, names)),
        ExprKind::Not(a) | ExprKind::Negate(a) => params_said(a, names),
        ExprKind::Binary { left, right, .. } => {
            params_said(left, names);
            params_said(right, names);
        }
        ExprKind::Call { args, .. } => args.iter().for_each(|a| params_said(&a.value, names)),
    }
}
