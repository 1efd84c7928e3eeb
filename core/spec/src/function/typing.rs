//! What arguments a function takes: the rules that several share.

use super::CallError;
use crate::expr::{Expr, Node};
use crate::types::{Type, Unit, article};
use crate::value::Value;

pub(super) fn count(args: &[Expr], allowed: std::ops::RangeInclusive<usize>) -> Result<(), CallError> {
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

pub(super) fn wrong(argument: usize, found: &Type, wanted: &str) -> CallError {
    let message = format!("takes {wanted} here, this is {}", article(found));
    CallError { argument: Some(argument), message, help: None }
}

pub(super) fn expect(args: &mut [Expr], at: usize, ty: &Type) -> Result<(), CallError> {
    let found = &args[at].ty;
    if found == ty || found.is_unknown() { Ok(()) } else { Err(wrong(at, found, &article(ty))) }
}

pub(super) fn strings(args: &mut [Expr], n: usize, result: Type) -> Result<Type, CallError> {
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
pub(super) fn alike(args: &mut [Expr], first: usize) -> Result<Type, CallError> {
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

pub(super) fn number(args: &[Expr], at: usize) -> Result<Type, CallError> {
    match args[at].ty.is_number() || args[at].ty.is_unknown() {
        true => Ok(args[at].ty.clone()),
        false => Err(wrong(at, &args[at].ty, "a number")),
    }
}

/// Plain numbers and sizes become whole ones; rates stay what they are.
pub(super) fn whole(args: &[Expr]) -> Result<Type, CallError> {
    Ok(match number(args, 0)? {
        Type::Number { unit: unit @ (Unit::One | Unit::Bytes), .. } => Type::Number { float: false, unit },
        ty => ty,
    })
}

/// A time or a duration, and a step.
pub(super) fn stepped(args: &mut [Expr]) -> Result<Type, CallError> {
    let ty = args[0].ty.clone();
    if ty != Type::Time && ty != Type::DURATION && !ty.is_unknown() {
        return Err(wrong(0, &ty, "a `time` or a `duration`"));
    }
    expect(args, 1, &Type::DURATION)?;
    Ok(ty)
}

pub(super) fn plain_numbers(args: &mut [Expr]) -> Result<Type, CallError> {
    for (at, arg) in args.iter_mut().enumerate() {
        if arg.ty != Type::INT && arg.ty != Type::FLOAT && !arg.ty.is_unknown() {
            return Err(wrong(at, &arg.ty, "a number without a unit"));
        }
        *arg = std::mem::replace(arg, Expr::unknown()).cast(Type::FLOAT);
    }
    Ok(Type::FLOAT)
}

/// The text of an argument that has to be the same for every row.
pub(super) fn literal(args: &[Expr], at: usize, what: &str) -> Result<String, CallError> {
    let mut arg = &args[at];
    while let Node::Cast(inner) = &arg.node {
        arg = inner;
    }
    match arg.as_literal().and_then(Value::as_str) {
        Some(text) => Ok(text.to_string()),
        None => Err(CallError { argument: Some(at), message: format!("takes {what} here, not a column"), help: None }),
    }
}

pub(super) fn bad_pattern(argument: usize, error: &regex::Error) -> CallError {
    let message = format!("cannot read this pattern: {}", pattern_error(error));
    CallError { argument: Some(argument), message, help: None }
}

/// Why a regular expression is none, without the lines that show it again.
pub fn pattern_error(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string()
}

/// Tags, the text of a key, and perhaps a value.
pub(super) fn tags(args: &mut [Expr], allowed: std::ops::RangeInclusive<usize>) -> Result<(), CallError> {
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

pub(super) fn ordered(args: &mut [Expr]) -> Result<Type, CallError> {
    count(args, 2..=usize::MAX)?;
    let ty = alike(args, 0)?;
    match ty {
        Type::Number { .. } | Type::Time | Type::Unknown => Ok(ty),
        other => Err(wrong(0, &other, "numbers or times")),
    }
}

pub(super) fn format_typing(args: &mut [Expr]) -> Result<Type, CallError> {
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
