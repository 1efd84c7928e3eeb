//! The functions that there are.

use super::typing::{
    alike, bad_pattern, count, expect, format_typing, literal, number, ordered, plain_numbers, stepped, strings, tags,
    whole, wrong,
};
use super::{CallError, Function, FunctionSpec};
use crate::types::{Type, article};
use crate::value::Value;

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
