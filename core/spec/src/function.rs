//! Scalar functions: each declared once, with its typing and its words.

use crate::expr::{Expr, Node};
use crate::types::{Type, Unit};
use crate::value::Value;

/// Which function it is; `weir-core` has the code of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    If,
    Coalesce,
    Min,
    Max,
    Abs,
    Lower,
    Upper,
    Contains,
    StartsWith,
    EndsWith,
    Len,
    Format,
    Network,
    IsPrivate,
}

/// Why a call is wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct CallError {
    /// The argument at fault, counted from 0; none if it is their number.
    pub argument: Option<usize>,
    pub message: String,
    pub help: Option<String>,
}

/// The declaration of a function.
pub struct FunctionSpec {
    pub function: Function,
    pub name: &'static str,
    /// As a reader would write it: `if(condition, then, else)`.
    pub signature: &'static str,
    pub summary: &'static str,
    /// Checks the arguments, casts them where they may be, and gives the type of the result.
    pub typing: fn(&mut [Expr]) -> Result<Type, CallError>,
}

impl std::fmt::Debug for FunctionSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for FunctionSpec {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

/// Every function, in the order the reference lists them.
pub static ALL: &[FunctionSpec] = &[
    FunctionSpec {
        function: Function::If,
        name: "if",
        signature: "if(condition, then, else)",
        summary: "`then` where the condition is true, `else` where it is false, absent where it is absent",
        typing: |args| {
            count(args, 3..=3)?;
            expect(args, 0, &Type::Bool)?;
            alike(&mut args[1..], 1)
        },
    },
    FunctionSpec {
        function: Function::Coalesce,
        name: "coalesce",
        signature: "coalesce(a, b, …)",
        summary: "the first value that is there",
        typing: |args| {
            count(args, 1..=usize::MAX)?;
            alike(args, 0)
        },
    },
    FunctionSpec {
        function: Function::Min,
        name: "min",
        signature: "min(a, b, …)",
        summary: "the smallest of its arguments",
        typing: ordered,
    },
    FunctionSpec {
        function: Function::Max,
        name: "max",
        signature: "max(a, b, …)",
        summary: "the largest of its arguments",
        typing: ordered,
    },
    FunctionSpec {
        function: Function::Abs,
        name: "abs",
        signature: "abs(number)",
        summary: "the number without its sign",
        typing: |args| {
            count(args, 1..=1)?;
            match args[0].ty.is_number() {
                true => Ok(args[0].ty.clone()),
                false => Err(wrong(0, &args[0].ty, "a number")),
            }
        },
    },
    FunctionSpec {
        function: Function::Lower,
        name: "lower",
        signature: "lower(string)",
        summary: "the string in lower case",
        typing: |args| strings(args, 1, Type::Str),
    },
    FunctionSpec {
        function: Function::Upper,
        name: "upper",
        signature: "upper(string)",
        summary: "the string in upper case",
        typing: |args| strings(args, 1, Type::Str),
    },
    FunctionSpec {
        function: Function::Contains,
        name: "contains",
        signature: "contains(string, part)",
        summary: "whether the string has `part` in it",
        typing: |args| strings(args, 2, Type::Bool),
    },
    FunctionSpec {
        function: Function::StartsWith,
        name: "starts_with",
        signature: "starts_with(string, part)",
        summary: "whether the string begins with `part`",
        typing: |args| strings(args, 2, Type::Bool),
    },
    FunctionSpec {
        function: Function::EndsWith,
        name: "ends_with",
        signature: "ends_with(string, part)",
        summary: "whether the string ends with `part`",
        typing: |args| strings(args, 2, Type::Bool),
    },
    FunctionSpec {
        function: Function::Len,
        name: "len",
        signature: "len(string or list)",
        summary: "characters of a string, or values of a list",
        typing: |args| {
            count(args, 1..=1)?;
            match args[0].ty {
                Type::List(_) | Type::Unknown => Ok(Type::INT),
                _ => strings(args, 1, Type::INT),
            }
        },
    },
    FunctionSpec {
        function: Function::Format,
        name: "format",
        signature: "format(\"…{}…\", value, …)",
        summary: "the text with each `{}` replaced by the next value",
        typing: format_typing,
    },
    FunctionSpec {
        function: Function::Network,
        name: "network",
        signature: "network(ip, bits)",
        summary: "the network of that many bits that the address is in, as a string",
        typing: |args| {
            count(args, 2..=2)?;
            expect(args, 0, &Type::Ip)?;
            expect(args, 1, &Type::INT)?;
            Ok(Type::Str)
        },
    },
    FunctionSpec {
        function: Function::IsPrivate,
        name: "is_private",
        signature: "is_private(ip)",
        summary: "whether the address is of no public network (RFC 1918, RFC 4193, loopback, link-local)",
        typing: |args| {
            count(args, 1..=1)?;
            expect(args, 0, &Type::Ip)?;
            Ok(Type::Bool)
        },
    },
];

pub fn find(name: &str) -> Option<&'static FunctionSpec> {
    ALL.iter().find(|f| f.name == name)
}

fn count(args: &[Expr], allowed: std::ops::RangeInclusive<usize>) -> Result<(), CallError> {
    if allowed.contains(&args.len()) {
        return Ok(());
    }
    let wants = match (allowed.start(), allowed.end()) {
        (a, b) if a == b && *a == 1 => "1 argument".to_string(),
        (a, b) if a == b => format!("{a} arguments"),
        (a, &usize::MAX) => format!("at least {a} arguments"),
        (a, b) => format!("{a} to {b} arguments"),
    };
    let message = format!("takes {wants}, {} given", args.len());
    Err(CallError { argument: None, message, help: None })
}

fn wrong(argument: usize, found: &Type, wanted: &str) -> CallError {
    let message = format!("takes {wanted} here, this is {}", article(found));
    CallError { argument: Some(argument), message, help: None }
}

/// `an int`, `a string`.
pub fn article(ty: &Type) -> String {
    let word = ty.to_string();
    let an = word.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} `{word}`", if an { "an" } else { "a" })
}

fn expect(args: &mut [Expr], at: usize, ty: &Type) -> Result<(), CallError> {
    let found = &args[at].ty;
    if found == ty || found.is_unknown() { Ok(()) } else { Err(wrong(at, found, &article(ty))) }
}

fn strings(args: &mut [Expr], n: usize, result: Type) -> Result<Type, CallError> {
    count(args, n..=n)?;
    for (at, arg) in args.iter_mut().enumerate() {
        if !arg.ty.element().is_text() {
            return Err(wrong(at, &arg.ty, "a `string`"));
        }
        *arg = std::mem::replace(arg, Expr::unknown()).cast(Type::Str);
    }
    Ok(result)
}

/// All arguments in one type: enumerations beside strings become strings, ints beside floats
/// floats. `first` is the number of the first of them within the call.
fn alike(args: &mut [Expr], first: usize) -> Result<Type, CallError> {
    let known = |e: &&Expr| !e.ty.is_unknown() && e.as_literal() != Some(&Value::None);
    let Some(mut ty) = args.iter().find(known).map(|e| e.ty.clone()) else {
        return Ok(Type::Unknown);
    };
    for (at, arg) in args.iter().enumerate() {
        ty = match (&ty, &arg.ty) {
            (a, b) if a == b => ty,
            (_, Type::Unknown) => ty,
            (a, b) if a.element().is_text() && b.element().is_text() => Type::Str,
            (Type::Number { unit: a, .. }, Type::Number { unit: b, .. }) if a == b => ty.to_float(),
            (a, b) => {
                let message = format!("has {} here, but {} before", article(b), article(a));
                return Err(CallError { argument: Some(first + at), message, help: None });
            }
        };
    }
    for arg in args {
        *arg = std::mem::replace(arg, Expr::unknown()).cast(ty.clone());
    }
    Ok(ty)
}

fn ordered(args: &mut [Expr]) -> Result<Type, CallError> {
    count(args, 2..=usize::MAX)?;
    let ty = alike(args, 0)?;
    match ty {
        Type::Number { .. } | Type::Time | Type::Unknown => Ok(ty),
        other => Err(wrong(0, &other, "numbers or times")),
    }
}

fn format_typing(args: &mut [Expr]) -> Result<Type, CallError> {
    count(args, 1..=usize::MAX)?;
    let Some(template) = args[0].as_literal().and_then(Value::as_str) else {
        let message = "takes a literal text first".to_string();
        return Err(CallError { argument: Some(0), message, help: None });
    };
    let places = template.matches("{}").count();
    if places == args.len() - 1 {
        return Ok(Type::Str);
    }
    let message = format!("has {places} `{{}}` for {} values", args.len() - 1);
    Err(CallError { argument: Some(0), message, help: None })
}

/// What an arithmetic operation gives, casting its operands where they may meet.
///
/// The error says in words why the two do not go together.
pub fn arithmetic(op: crate::expr::Arithmetic, mut a: Expr, mut b: Expr) -> Result<Expr, (Type, Type)> {
    use crate::expr::Arithmetic::*;
    use Unit::*;
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
    use crate::expr::Arithmetic;

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

    #[test]
    fn names_are_unique() {
        for f in ALL {
            assert_eq!(find(f.name).map(|found| found.function), Some(f.function));
            assert!(f.signature.starts_with(f.name));
        }
    }
}
