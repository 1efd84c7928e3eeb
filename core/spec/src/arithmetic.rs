//! What two values give that are added, subtracted, multiplied or divided: units meet, or do not.

use crate::expr::Arithmetic::{self, *};
use crate::expr::{Expr, Node};
use crate::types::Type;
use crate::types::Unit::*;

/// What an arithmetic operation gives, casting its operands where they may meet.
///
/// The error says in words why the two do not go together.
pub fn arithmetic(op: Arithmetic, mut a: Expr, mut b: Expr) -> Result<Expr, (Type, Type)> {
    let (x, y) = (a.ty.clone(), b.ty.clone());
    let both = |unit, float| Type::Number { float, unit };
    let ty = match (op, &x, &y) {
        (_, Type::Unknown, _) | (_, _, Type::Unknown) => Type::Unknown,
        (Subtract, Type::Time, Type::Time) => Type::DURATION,
        (Add | Subtract, Type::Time, t) if *t == Type::DURATION => Type::Time,
        (Add, t, Type::Time) if *t == Type::DURATION => Type::Time,
        (_, Type::Number { float: f, unit: u }, Type::Number { float: g, unit: v }) => {
            let float = *f || *g;
            match (op, u, v) {
                (Add | Subtract, u, v) if u == v => both(*u, float && *u != Nanos),
                (Multiply, One, u) | (Multiply, u, One) => both(*u, float && *u != Nanos),
                (Multiply, BytesPerSecond, Nanos) | (Multiply, Nanos, BytesPerSecond) => both(Bytes, true),
                (Multiply, PerSecond, Nanos) | (Multiply, Nanos, PerSecond) => Type::FLOAT,
                (Divide, u, v) if u == v => Type::FLOAT,
                (Divide, Nanos, One) => Type::DURATION,
                (Divide, u, One) => both(*u, true),
                (Divide, Bytes, Nanos) => Type::BYTE_RATE,
                (Divide, One, Nanos) => Type::RATE,
                _ => return Err((x, y)),
            }
        }
        _ => return Err((x, y)),
    };
    if matches!(op, Add | Subtract) && ty.is_number() {
        (a, b) = (a.cast(ty.clone()), b.cast(ty.clone()));
    }
    Ok(Expr { ty, node: Node::Arithmetic(op, Box::new(a), Box::new(b)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_meet_as_they_should() {
        let col = |ty: &Type| Expr::column("x", ty.clone());
        let gives = |op, a: &Type, b: &Type| arithmetic(op, col(a), col(b)).map(|e| e.ty).ok();
        assert_eq!(gives(Arithmetic::Divide, &Type::SIZE, &Type::DURATION), Some(Type::BYTE_RATE));
        assert_eq!(gives(Arithmetic::Divide, &Type::INT, &Type::INT), Some(Type::FLOAT));
        assert_eq!(gives(Arithmetic::Subtract, &Type::Time, &Type::Time), Some(Type::DURATION));
        assert_eq!(gives(Arithmetic::Multiply, &Type::DURATION, &Type::FLOAT), Some(Type::DURATION));
        assert_eq!(gives(Arithmetic::Add, &Type::DURATION, &Type::INT), None);
        assert_eq!(gives(Arithmetic::Multiply, &Type::SIZE, &Type::SIZE), None);
    }
}
