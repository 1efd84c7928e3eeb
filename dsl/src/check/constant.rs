//! Constant expressions, worked out before start.

use std::cmp::Ordering;

use weir_spec::expr::{Arithmetic, Comparison, Expr, Node};
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
        Node::Column(_) | Node::Tag { .. } | Node::Call(..) => None,
    }
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
