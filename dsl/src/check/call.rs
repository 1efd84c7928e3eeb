//! Calls in expressions: functions, and where a window allows them, aggregates.

use weir_spec::expr::{Expr as Typed, Node};
use weir_spec::function;
use weir_spec::types::{Type, article};
use weir_spec::value::Secret;
use weir_spec::{Diagnostic, Span, Value, aggregate};

use super::{Checker, Scope};
use crate::ast::{Arg, ExprKind, Name};
use crate::codes;
use crate::nearest::{list, meant, nearest};

impl Checker<'_> {
    pub(super) fn call_expr(
        &mut self,
        name: &Name,
        args: &[Arg],
        span: Span,
        scope: &mut Scope,
        wanted: Option<&Type>,
    ) -> Typed {
        match name.text.as_str() {
            "env" => return self.env(args, span),
            "secret" => return self.secret(args, span),
            _ => {}
        }
        let aggregate = aggregate::find(&name.text);
        let function = function::find(&name.text);
        // `min(a, b)` is the function, `min(a)` in a window the aggregate.
        if let (Some(spec), true) = (aggregate, scope.window.is_some())
            && (function.is_none() || args.iter().filter(|a| a.name.is_none()).count() <= 1)
        {
            return self.aggregate(spec, name, args, span, scope);
        }
        match (function, aggregate) {
            (Some(spec), _) => self.function(spec, args, span, scope, wanted),
            (None, Some(_)) => {
                args.iter().for_each(|a| drop(self.expr(&a.value, scope, None)));
                let title = format!("`{}` sums over a window's rows, and this is one row", name.text);
                let help = "write it in a window: `| window(5m) by … { n = count() }`";
                self.report(Diagnostic::new(codes::UNKNOWN_FUNCTION, name.span, title).help(help));
                Typed::unknown()
            }
            (None, None) if name.text == "top_k" => {
                self.unknown_function(name, scope.window.is_some());
                Typed::unknown()
            }
            (None, None) => {
                // In a window it may be meant as an aggregate, which reads rows.
                let mut rows = scope.stream.filter(|_| scope.window.is_some()).map(Scope::rows);
                for arg in args {
                    self.expr(&arg.value, rows.as_mut().unwrap_or(scope), None);
                }
                self.unknown_function(name, scope.window.is_some());
                Typed::unknown()
            }
        }
    }

    fn unknown_function(&mut self, name: &Name, in_window: bool) {
        let functions = function::ALL.iter().map(|f| f.name).chain(["env", "secret"]);
        let aggregates = aggregate::ALL.iter().map(|a| a.name).filter(|_| in_window);
        let names: Vec<&str> = functions.chain(aggregates).collect();
        if name.text == "top_k" || (name.text == "top" && in_window) {
            let d = Diagnostic::new(codes::NOT_YET, name.span, "`top_k` is not there yet in this version");
            return self.report(d.help("the largest groups of a window: `| top(5, by: …)` after it"));
        }
        let d = Diagnostic::new(codes::UNKNOWN_FUNCTION, name.span, format!("there is no function `{}`", name.text));
        let d = meant(d, nearest(&name.text, names.iter().copied()), || {
            format!("the functions are {}", list(names.iter().copied()))
        });
        self.report_name(&name.text, d);
    }

    fn function(
        &mut self,
        spec: &'static function::FunctionSpec,
        args: &[Arg],
        span: Span,
        scope: &mut Scope,
        wanted: Option<&Type>,
    ) -> Typed {
        if let Some(arg) = args.iter().find_map(|a| a.name.as_ref()) {
            let title = format!("`{}` has no option `{}`", spec.name, arg.text);
            self.report(
                Diagnostic::new(codes::WRONG_ARGUMENTS, arg.span, title)
                    .help(format!("it is called `{}`", spec.signature)),
            );
            return Typed::unknown();
        }
        let mut typed: Vec<Typed> = Vec::new();
        for (at, arg) in args.iter().enumerate() {
            typed.push(match passed_on(spec.function, at, wanted) {
                Some(words) => self.one_of(&arg.value, scope, words),
                None => self.expr(&arg.value, scope, hint(spec.function, at).as_ref()),
            });
        }
        match (spec.typing)(&mut typed) {
            Ok(_) if typed.iter().any(|t| t.ty.is_unknown()) => Typed::unknown(),
            Ok(ty) => Typed { ty, node: Node::Call(spec, typed) },
            Err(error) => {
                let place = error.argument.and_then(|at| args.get(at)).map_or(span, |a| a.value.span);
                let d = Diagnostic::new(codes::WRONG_ARGUMENTS, place, format!("`{}` {}", spec.name, error.message));
                self.report(d.help(error.help.unwrap_or_else(|| format!("it is called `{}`", spec.signature))));
                Typed::unknown()
            }
        }
    }

    /// An aggregate: its argument and `where:` are over the window's rows.
    fn aggregate(
        &mut self,
        spec: &'static aggregate::AggregateSpec,
        name: &Name,
        args: &[Arg],
        span: Span,
        scope: &mut Scope,
    ) -> Typed {
        let Some(stream) = scope.stream else { return Typed::unknown() };
        let mut rows = Scope::rows(stream);
        let mut filter = None;
        let mut given = Vec::new();
        for arg in args {
            match &arg.name {
                None => given.push(arg),
                Some(option) if option.text == "where" => filter = Some(self.condition(&arg.value, &mut rows)),
                Some(option) => {
                    let title = format!("`{}` has no option `{}`", spec.name, option.text);
                    self.report(Diagnostic::new(codes::UNKNOWN_OPTION, option.span, title).help("it has `where:`"));
                }
            }
        }
        if given.len() != spec.arguments {
            let title = format!("`{}` takes {} values, {} given", spec.name, spec.arguments, given.len());
            self.report(
                Diagnostic::new(codes::WRONG_ARGUMENTS, span, title).help(format!("it is called `{}`", spec.signature)),
            );
            return Typed::unknown();
        }
        let argument = given.first().map(|arg| (self.expr(&arg.value, &mut rows, None), arg.value.span));
        let parameter = match given.get(1) {
            None => 0.0,
            Some(arg) => match self.quantile(arg) {
                Some(q) => q,
                None => return Typed::unknown(),
            },
        };
        let ty = match &argument {
            Some((typed, _)) if typed.ty.is_unknown() => return Typed::unknown(),
            Some((typed, place)) => match (spec.typing)(&typed.ty) {
                Some(ty) => ty,
                None => {
                    let title = format!("`{}` takes {}, this is {}", name.text, spec.takes, article(&typed.ty));
                    self.report(Diagnostic::new(codes::WRONG_ARGUMENTS, *place, title));
                    return Typed::unknown();
                }
            },
            None => Type::INT,
        };
        let single = |typed: Typed| match typed.ty {
            Type::List(_) => typed.cast(Type::Str),
            _ => typed,
        };
        let call = aggregate::AggregateCall {
            aggregate: (spec.make)(parameter),
            argument: argument.map(|(typed, _)| single(typed)),
            filter,
            ty: ty.clone(),
        };
        match &mut scope.window {
            Some(collected) => collected.aggregate(call),
            None => Typed::unknown(),
        }
    }

    fn quantile(&mut self, arg: &Arg) -> Option<f64> {
        let q = self.constant(&arg.value, None)?.as_f64();
        let found = q.filter(|q| (0.0..=1.0).contains(q));
        if found.is_none() {
            let d = Diagnostic::new(codes::WRONG_ARGUMENTS, arg.value.span, "a quantile is between 0% and 100%");
            self.report(d.help("write `99%` or `0.99`"));
        }
        found
    }

    /// `env("NAME", "default")`.
    fn env(&mut self, args: &[Arg], span: Span) -> Typed {
        self.looked_up += 1;
        let texts: Vec<Option<&str>> = args.iter().map(|a| text_of(a)).collect();
        match texts.as_slice() {
            [Some(name)] => match (self.setting.env)(name) {
                Some(value) => Typed::literal(Value::Str(value)),
                None => Typed { ty: Type::Str, node: Node::Literal(Value::Str(String::new())) },
            },
            [Some(name), Some(default)] => {
                // Scripts and manifests set what they do not mean to set to nothing.
                let value = (self.setting.env)(name).filter(|value| !value.is_empty());
                let value = value.unwrap_or_else(|| default.to_string());
                Typed::literal(Value::Str(value))
            }
            _ => {
                let d = Diagnostic::new(codes::WRONG_ARGUMENTS, span, "`env` takes a name and a default, as texts");
                self.report(d.help("it is called `env(\"NAME\", \"default\")`"));
                Typed::unknown()
            }
        }
    }

    /// `secret("file:/run/secrets/key")`: only its place is kept.
    fn secret(&mut self, args: &[Arg], span: Span) -> Typed {
        let text = args.first().and_then(text_of).filter(|t| t.starts_with("file:") || t.starts_with("env:"));
        match (text, args.len()) {
            (Some(place), 1) => Typed::literal(Value::Secret(Secret(place.into()))),
            _ => {
                let d = Diagnostic::new(codes::WRONG_ARGUMENTS, span, "`secret` takes the place of the secret");
                self.report(d.help("it is called `secret(\"file:/run/secrets/key\")` or `secret(\"env:KEY\")`"));
                Typed::unknown()
            }
        }
    }
}

/// What a text in this place stands for.
fn hint(function: function::Function, at: usize) -> Option<Type> {
    use function::Function::{CommunityId, FormatTime, IsPrivate, Network};
    match (function, at) {
        (IsPrivate | Network, 0) | (CommunityId, 0 | 1) => Some(Type::Ip),
        (FormatTime, 0) => Some(Type::Time),
        (CommunityId, 2) => Some(Type::Enum(&weir_spec::kinds::enums::PROTOCOL)),
        _ => None,
    }
}

/// The enumeration of which a word is wanted of a call, where the call may give this argument.
fn passed_on(function: function::Function, at: usize, wanted: Option<&Type>) -> Option<&Type> {
    use function::Function::{Coalesce, If};
    let is_given = matches!((function, at), (If, 1 | 2) | (Coalesce, _));
    wanted.filter(|ty| is_given && matches!(ty, Type::Enum(_)))
}

fn text_of(arg: &Arg) -> Option<&str> {
    match &arg.value.kind {
        ExprKind::Literal(Value::Str(text)) => Some(text),
        _ => None,
    }
}
