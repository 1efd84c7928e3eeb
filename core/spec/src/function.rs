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
    Clamp,
    Abs,
    Round,
    Ceil,
    Floor,
    Log,
    Mod,
    Lower,
    Upper,
    Trim,
    Split,
    Replace,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Format,
    FormatTime,
    Len,
    Any,
    HasTag,
    WithTag,
    WithoutTag,
    Hash,
    Network,
    IsPrivate,
    CommunityId,
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
    /// Expressions over a row of kind `flow` that ends at 2026-01-01T00:00:30Z, and what they give, as
    /// JSON; run as tests, shown in the reference.
    pub examples: &'static [(&'static str, &'static str)],
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
        examples: &[
            ("if(2 > 1, \"more\", \"less\")", "\"more\""),
            ("if(dst.port == 443, \"tls\", \"other\")", "\"tls\""),
        ],
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
        examples: &[("coalesce(none, 2, 3)", "2")],
        typing: |args| {
            count(args, 1..=usize::MAX)?;
            alike(args, 0)
        },
    },
    FunctionSpec {
        function: Function::Min,
        name: "min",
        signature: "min(a, b, …)",
        summary: "the smallest of its arguments, absent if one is",
        examples: &[("min(3, 1, 2)", "1"), ("min(10s, 1m)", "10.0")],
        typing: ordered,
    },
    FunctionSpec {
        function: Function::Max,
        name: "max",
        signature: "max(a, b, …)",
        summary: "the largest of its arguments, absent if one is",
        examples: &[("max(3, 1, 2)", "3")],
        typing: ordered,
    },
    FunctionSpec {
        function: Function::Clamp,
        name: "clamp",
        signature: "clamp(x, low, high)",
        summary: "`x`, but at least `low` and at most `high`",
        examples: &[("clamp(12, 0, 10)", "10"), ("clamp(-1, 0, 10)", "0")],
        typing: |args| {
            count(args, 3..=3)?;
            ordered(args)
        },
    },
    FunctionSpec {
        function: Function::Abs,
        name: "abs",
        signature: "abs(number)",
        summary: "the number without its sign",
        examples: &[("abs(-3)", "3"), ("abs(1s - 3s)", "2.0")],
        typing: |args| {
            count(args, 1..=1)?;
            number(args, 0)
        },
    },
    FunctionSpec {
        function: Function::Round,
        name: "round",
        signature: "round(number)",
        summary: "the nearest whole number, halves away from zero",
        examples: &[("round(2.5)", "3"), ("round(-2.4)", "-2")],
        typing: |args| {
            count(args, 1..=1)?;
            whole(args)
        },
    },
    FunctionSpec {
        function: Function::Ceil,
        name: "ceil",
        signature: "ceil(number)",
        summary: "the whole number above",
        examples: &[("ceil(2.1)", "3")],
        typing: |args| {
            count(args, 1..=1)?;
            whole(args)
        },
    },
    FunctionSpec {
        function: Function::Floor,
        name: "floor",
        signature: "floor(number), floor(time, step)",
        summary: "the whole number below; the multiple of `step` at or below a time or duration",
        examples: &[
            ("floor(2.9)", "2"),
            ("floor(-0.5)", "-1"),
            ("floor(7m30s, 5m)", "300.0"),
            ("floor(end, 1h)", "\"2026-01-01T00:00:00.000000000Z\""),
        ],
        typing: |args| {
            count(args, 1..=2)?;
            match args.len() {
                1 => whole(args),
                _ => stepped(args),
            }
        },
    },
    FunctionSpec {
        function: Function::Log,
        name: "log",
        signature: "log(x), log(x, base)",
        summary: "the natural logarithm, or that to a base; absent where there is none",
        examples: &[("log(1)", "0.0"), ("log(8, 2)", "3.0"), ("log(0)", "null")],
        typing: |args| {
            count(args, 1..=2)?;
            plain_numbers(args)
        },
    },
    FunctionSpec {
        function: Function::Mod,
        name: "mod",
        signature: "mod(a, b)",
        summary: "what is left of `a` after whole multiples of `b`, never negative; absent if `b` is 0",
        examples: &[("mod(7, 3)", "1"), ("mod(-1, 24)", "23"), ("mod(7, 0)", "null")],
        typing: |args| {
            count(args, 2..=2)?;
            ordered(args)
        },
    },
    FunctionSpec {
        function: Function::Lower,
        name: "lower",
        signature: "lower(string)",
        summary: "the string in lower case",
        examples: &[("lower(\"Web-01\")", "\"web-01\"")],
        typing: |args| strings(args, 1, Type::Str),
    },
    FunctionSpec {
        function: Function::Upper,
        name: "upper",
        signature: "upper(string)",
        summary: "the string in upper case",
        examples: &[("upper(\"eu\")", "\"EU\"")],
        typing: |args| strings(args, 1, Type::Str),
    },
    FunctionSpec {
        function: Function::Trim,
        name: "trim",
        signature: "trim(string)",
        summary: "the string without the white space around it",
        examples: &[("trim(\"  a b \")", "\"a b\"")],
        typing: |args| strings(args, 1, Type::Str),
    },
    FunctionSpec {
        function: Function::Split,
        name: "split",
        signature: "split(string, separator)",
        summary: "the pieces between the separators, as a list",
        examples: &[("split(\"a,b,c\", \",\")", "[\"a\",\"b\",\"c\"]")],
        typing: |args| strings(args, 2, Type::List(&Type::Str)),
    },
    FunctionSpec {
        function: Function::Replace,
        name: "replace",
        signature: "replace(string, what, with)",
        summary: "the string with every `what` replaced",
        examples: &[("replace(\"a-b-c\", \"-\", \".\")", "\"a.b.c\"")],
        typing: |args| strings(args, 3, Type::Str),
    },
    FunctionSpec {
        function: Function::Contains,
        name: "contains",
        signature: "contains(string, part)",
        summary: "whether the string has `part` in it",
        examples: &[("contains(\"checkout\", \"eck\")", "true")],
        typing: |args| strings(args, 2, Type::Bool),
    },
    FunctionSpec {
        function: Function::StartsWith,
        name: "starts_with",
        signature: "starts_with(string, part)",
        summary: "whether the string begins with `part`",
        examples: &[("starts_with(\"web-01\", \"web-\")", "true")],
        typing: |args| strings(args, 2, Type::Bool),
    },
    FunctionSpec {
        function: Function::EndsWith,
        name: "ends_with",
        signature: "ends_with(string, part)",
        summary: "whether the string ends with `part`",
        examples: &[("ends_with(\"web-01\", \"02\")", "false")],
        typing: |args| strings(args, 2, Type::Bool),
    },
    FunctionSpec {
        function: Function::Matches,
        name: "matches",
        signature: "matches(string, r\"pattern\")",
        summary: "whether the regular expression is found in the string; the pattern is a literal",
        examples: &[("matches(\"web-01\", r\"^web-\\d+$\")", "true")],
        typing: |args| {
            let ty = strings(args, 2, Type::Bool)?;
            let pattern = literal(args, 1, "a pattern in quotes")?;
            match regex::Regex::new(&pattern) {
                Ok(_) => Ok(ty),
                Err(error) => Err(bad_pattern(1, &error)),
            }
        },
    },
    FunctionSpec {
        function: Function::Format,
        name: "format",
        signature: "format(\"…{}…\", value, …)",
        summary: "the text with each `{}` replaced by the next value",
        examples: &[("format(\"{}:{}\", \"10.0.0.1\", 443)", "\"10.0.0.1:443\"")],
        typing: format_typing,
    },
    FunctionSpec {
        function: Function::FormatTime,
        name: "format_time",
        signature: "format_time(time, \"%Y-%m-%d\")",
        summary: "the time in UTC, as `strftime` writes it; the format is a literal",
        examples: &[("format_time(end, \"%Y-%m-%d %H:%M\")", "\"2026-01-01 00:00\"")],
        typing: |args| {
            count(args, 2..=2)?;
            expect(args, 0, &Type::Time)?;
            let format = literal(args, 1, "a format in quotes")?;
            match crate::units::format_time(0, &format) {
                Some(_) => Ok(Type::Str),
                None => Err(CallError {
                    argument: Some(1),
                    message: "has no such time format".into(),
                    help: Some("as in `format_time(end, \"%Y-%m-%d %H:%M\")`".into()),
                }),
            }
        },
    },
    FunctionSpec {
        function: Function::Len,
        name: "len",
        signature: "len(string or list)",
        summary: "characters of a string, or values of a list",
        examples: &[("len(\"über\")", "4"), ("len(split(\"a,b\", \",\"))", "2")],
        typing: |args| {
            count(args, 1..=1)?;
            match args[0].ty {
                Type::List(_) | Type::Unknown => Ok(Type::INT),
                _ => strings(args, 1, Type::INT),
            }
        },
    },
    FunctionSpec {
        function: Function::Any,
        name: "any",
        signature: "any(list), any(list, value)",
        summary: "whether the list has a value at all, or this one",
        examples: &[("any(split(\"a,b\", \",\"), \"b\")", "true"), ("any(split(\"a,b\", \",\"), \"c\")", "false")],
        typing: |args| {
            count(args, 1..=2)?;
            match (&args[0].ty, args.get(1).map(|v| &v.ty)) {
                (Type::Unknown, _) | (Type::List(_), None | Some(Type::Unknown)) => Ok(Type::Bool),
                (Type::List(of), Some(value)) if *of == value => Ok(Type::Bool),
                (Type::List(of), Some(value)) => Err(wrong(1, value, &article(of))),
                (other, _) => Err(wrong(0, other, "a list")),
            }
        },
    },
    FunctionSpec {
        function: Function::HasTag,
        name: "has_tag",
        signature: "has_tag(tags, \"key\"), has_tag(tags, \"key\", value)",
        summary: "whether the tags have the key, or the key with that value",
        examples: &[("has_tag(src.tags, \"team\")", "false")],
        typing: |args| {
            tags(args, 2..=3)?;
            Ok(Type::Bool)
        },
    },
    FunctionSpec {
        function: Function::WithTag,
        name: "with_tag",
        signature: "with_tag(tags, \"key\", value)",
        summary: "the tags with that one value for the key",
        examples: &[("has_tag(with_tag(src.tags, \"team\", \"a\"), \"team\", \"a\")", "true")],
        typing: |args| {
            tags(args, 3..=3)?;
            Ok(Type::Tags)
        },
    },
    FunctionSpec {
        function: Function::WithoutTag,
        name: "without_tag",
        signature: "without_tag(tags, \"key\")",
        summary: "the tags without the key",
        examples: &[("has_tag(without_tag(with_tag(src.tags, \"a\", \"1\"), \"a\"), \"a\")", "false")],
        typing: |args| {
            tags(args, 2..=2)?;
            Ok(Type::Tags)
        },
    },
    FunctionSpec {
        function: Function::Hash,
        name: "hash",
        signature: "hash(a, b, …)",
        summary: "a number that is the same for the same values, in every run and on every machine; for sampling",
        examples: &[("hash(\"a\", 1) == hash(\"a\", 1)", "true"), ("hash(\"a\", 1) == hash(\"a1\")", "false")],
        typing: |args| {
            count(args, 1..=usize::MAX)?;
            match args.iter().position(|a| matches!(a.ty, Type::Tags | Type::Sketch)) {
                Some(at) => Err(wrong(at, &args[at].ty.clone(), "a text, a number, a time or an address")),
                None => Ok(Type::INT),
            }
        },
    },
    FunctionSpec {
        function: Function::Network,
        name: "network",
        signature: "network(ip, bits)",
        summary: "the network of that many bits that the address is in, as a string",
        examples: &[("network(10.1.2.3, 24)", "\"10.1.2.0/24\"")],
        typing: |args| {
            count(args, 2..=2)?;
            expect(args, 0, &Type::Ip)?;
            expect(args, 1, &Type::INT)?;
            match args[1].as_literal().and_then(Value::as_i64) {
                Some(bits) if !(0..=128).contains(&bits) => Err(CallError {
                    argument: Some(1),
                    message: format!("takes 0 to 32 bits of an IPv4 address, 0 to 128 of an IPv6 one, not {bits}"),
                    help: None,
                }),
                _ => Ok(Type::Str),
            }
        },
    },
    FunctionSpec {
        function: Function::IsPrivate,
        name: "is_private",
        signature: "is_private(ip)",
        summary: "whether the address is of no public network (RFC 1918, RFC 4193, loopback, link-local)",
        examples: &[
            ("is_private(192.168.1.1)", "true"),
            ("is_private(\"::1\")", "true"),
            ("is_private(1.1.1.1)", "false"),
        ],
        typing: |args| {
            count(args, 1..=1)?;
            expect(args, 0, &Type::Ip)?;
            Ok(Type::Bool)
        },
    },
    FunctionSpec {
        function: Function::CommunityId,
        name: "community_id",
        signature: "community_id(src.ip, dst.ip, protocol, src.port, dst.port)",
        summary: "the Community ID v1 of a conversation of TCP, UDP or SCTP; absent for other protocols",
        examples: &[(
            "community_id(128.232.110.120, 66.35.250.204, protocol, 34855, 80)",
            "\"1:LQU9qZlK+B5F3KDmev6m5PMibrg=\"",
        )],
        typing: |args| {
            count(args, 5..=5)?;
            expect(args, 0, &Type::Ip)?;
            expect(args, 1, &Type::Ip)?;
            match &args[2].ty {
                Type::Enum(e) if e.name == "protocol" => {}
                Type::Unknown => {}
                other => return Err(wrong(2, &other.clone(), "a `protocol`")),
            }
            expect(args, 3, &Type::INT)?;
            expect(args, 4, &Type::INT)?;
            Ok(Type::Str)
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

/// Texts beside an enumeration are of it, if all of them are its words.
fn as_words(args: &mut [Expr]) {
    let Some(words) = args.iter().find_map(|arg| if let Type::Enum(words) = arg.ty { Some(words) } else { None })
    else {
        return;
    };
    let is_word = |arg: &Expr| match arg.as_literal() {
        Some(Value::Str(text)) => (words.parse)(text).is_some(),
        Some(Value::None) => true,
        _ => arg.ty == Type::Enum(words),
    };
    if args.iter().all(is_word) {
        args.iter_mut().for_each(|arg| arg.ty = Type::Enum(words));
    }
}

/// All arguments in one type: enumerations beside strings become strings, ints beside floats
/// floats. `first` is the number of the first of them within the call.
fn alike(args: &mut [Expr], first: usize) -> Result<Type, CallError> {
    as_words(args);
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

fn number(args: &[Expr], at: usize) -> Result<Type, CallError> {
    match args[at].ty.is_number() || args[at].ty.is_unknown() {
        true => Ok(args[at].ty.clone()),
        false => Err(wrong(at, &args[at].ty, "a number")),
    }
}

/// Plain numbers become whole ones; what has a unit keeps it.
fn whole(args: &[Expr]) -> Result<Type, CallError> {
    let ty = number(args, 0)?;
    Ok(if ty == Type::FLOAT { Type::INT } else { ty })
}

/// A time or a duration, and a step.
fn stepped(args: &mut [Expr]) -> Result<Type, CallError> {
    let ty = args[0].ty.clone();
    if ty != Type::Time && ty != Type::DURATION && !ty.is_unknown() {
        return Err(wrong(0, &ty, "a `time` or a `duration`"));
    }
    expect(args, 1, &Type::DURATION)?;
    Ok(ty)
}

fn plain_numbers(args: &mut [Expr]) -> Result<Type, CallError> {
    for (at, arg) in args.iter_mut().enumerate() {
        if arg.ty != Type::INT && arg.ty != Type::FLOAT && !arg.ty.is_unknown() {
            return Err(wrong(at, &arg.ty, "a number without a unit"));
        }
        *arg = std::mem::replace(arg, Expr::unknown()).cast(Type::FLOAT);
    }
    Ok(Type::FLOAT)
}

/// The text of an argument that has to be the same for every row.
fn literal(args: &[Expr], at: usize, what: &str) -> Result<String, CallError> {
    let mut arg = &args[at];
    while let Node::Cast(inner) = &arg.node {
        arg = inner;
    }
    match arg.as_literal().and_then(Value::as_str) {
        Some(text) => Ok(text.to_string()),
        None => Err(CallError { argument: Some(at), message: format!("takes {what} here, not a column"), help: None }),
    }
}

fn bad_pattern(argument: usize, error: &regex::Error) -> CallError {
    let message = format!("cannot read this pattern: {}", pattern_error(error));
    CallError { argument: Some(argument), message, help: None }
}

/// Why a regular expression is none, without the lines that show it again.
pub fn pattern_error(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string()
}

/// Tags, the text of a key, and perhaps a value.
fn tags(args: &mut [Expr], allowed: std::ops::RangeInclusive<usize>) -> Result<(), CallError> {
    count(args, allowed)?;
    expect(args, 0, &Type::Tags)?;
    literal(args, 1, "a key in quotes")?;
    if let Some(value) = args.get_mut(2) {
        if !value.ty.element().is_text() {
            return Err(wrong(2, &value.ty, "a `string`"));
        }
        *value = std::mem::replace(value, Expr::unknown()).cast(Type::Str);
    }
    Ok(())
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
