//! Constant expressions, worked out before start.

use std::cmp::Ordering;

use weir_spec::expr::{Arithmetic, Comparison, Expr, Node};
use weir_spec::function::Function;
use weir_spec::{Value, value::Cidr};

/// The value of an expression without columns; `None` if it has columns or cannot be worked out.
pub(super) fn fold(expr: &Expr) -> Option<Value> {
    match &expr.node {
        Node::Literal(value) => Some(value.clone()),
        Node::Cast(inner) => {
            let value = fold(inner)?;
            match value.as_f64() {
                Some(x) => Some(Value::number(x, &expr.ty)),
                None => Some(value),
            }
        }
        Node::Not(a) => truth(a).map(|a| Value::Bool(!a)),
        Node::And(a, b) => match (truth(a), truth(b)) {
            (Some(false), _) | (_, Some(false)) => Some(Value::Bool(false)),
            (Some(true), Some(true)) => Some(Value::Bool(true)),
            _ => None,
        },
        Node::Or(a, b) => match (truth(a), truth(b)) {
            (Some(true), _) | (_, Some(true)) => Some(Value::Bool(true)),
            (Some(false), Some(false)) => Some(Value::Bool(false)),
            _ => None,
        },
        Node::Negate(a) => fold(a)?.as_f64().map(|x| Value::number(-x, &expr.ty)),
        Node::Compare(op, a, b) => compare(*op, &fold(a)?, &fold(b)?).map(Value::Bool),
        Node::In(a, set) => {
            let value = fold(a).filter(|value| *value != Value::None)?;
            Some(Value::Bool(set.iter().any(|item| is_in(&value, item))))
        }
        Node::Arithmetic(op, a, b) => {
            let (x, y) = (fold(a)?.as_f64()?, fold(b)?.as_f64()?);
            let result = match op {
                Arithmetic::Add => x + y,
                Arithmetic::Subtract => x - y,
                Arithmetic::Multiply => x * y,
                Arithmetic::Divide if y == 0.0 => return None,
                Arithmetic::Divide => x / y,
            };
            Some(Value::number(result, &expr.ty))
        }
        Node::Call(spec, args) => call(spec.function, args),
        Node::Column(_) | Node::Tag { .. } => None,
    }
}

/// The functions with which options are put together from params and the environment.
fn call(function: Function, args: &[Expr]) -> Option<Value> {
    match (function, args) {
        (Function::If, [condition, then, otherwise]) => fold(if truth(condition)? { then } else { otherwise }),
        (Function::Format, [pattern, values @ ..]) => {
            let mut parts = fold(pattern)?.as_str()?.split("{}").map(str::to_string).collect::<Vec<_>>().into_iter();
            let mut text = parts.next()?;
            for (part, value) in parts.zip(values) {
                text += &plain(&fold(value)?);
                text += &part;
            }
            Some(Value::Str(text))
        }
        (Function::Lower, [text]) => Some(Value::Str(fold(text)?.as_str()?.to_lowercase())),
        (Function::Upper, [text]) => Some(Value::Str(fold(text)?.as_str()?.to_uppercase())),
        (Function::Trim, [text]) => Some(Value::Str(fold(text)?.as_str()?.trim().to_string())),
        _ => None,
    }
}

/// A value as text, a text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn truth(expr: &Expr) -> Option<bool> {
    match fold(expr)? {
        Value::Bool(b) => Some(b),
        _ => None,
    }
}

fn compare(op: Comparison, a: &Value, b: &Value) -> Option<bool> {
    let order = match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) => x.partial_cmp(&y)?,
        _ => match (a.as_str(), b.as_str()) {
            (Some(x), Some(y)) => x.cmp(y),
            _ if a == b => Ordering::Equal,
            _ => Ordering::Less,
        },
    };
    Some(op.holds(order))
}

fn is_in(value: &Value, item: &Value) -> bool {
    match (value, item) {
        (Value::Ip(ip), Value::Cidr(cidr)) => Cidr::contains(cidr, ip),
        (a, b) => compare(Comparison::Equal, a, b) == Some(true),
    }
}
