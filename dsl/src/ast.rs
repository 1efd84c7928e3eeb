//! The syntax tree. Every node has its span; comments and blank lines live between the tokens.

use std::path::{Path, PathBuf};

use weir_spec::{Span, Value};

#[derive(Debug, Default)]
pub struct File {
    pub items: Vec<Item>,
    /// So many items, the first, are of the file itself; the others come from files it uses.
    pub own: usize,
    /// Where each used file begins, and its directory as seen from the file itself.
    pub directories: Vec<(usize, PathBuf)>,
}

impl File {
    /// The directory of the used file that a place is in; none for the file itself.
    pub fn directory(&self, at: usize) -> Option<&Path> {
        let next = self.directories.partition_point(|(start, _)| *start <= at);
        Some(self.directories.get(next.checked_sub(1)?)?.1.as_path())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Debug)]
pub enum Item {
    Let {
        name: Name,
        value: LetValue,
        span: Span,
    },
    Param {
        param: Param,
        span: Span,
    },
    Settings {
        args: Vec<Arg>,
        span: Span,
    },
    Pipe(Pipe),
    /// `use "teams.weir"`.
    Use {
        path: String,
        span: Span,
    },
    Piece(Piece),
    Test(Test),
}

impl Item {
    pub fn span(&self) -> Span {
        match self {
            Item::Let { span, .. }
            | Item::Param { span, .. }
            | Item::Settings { span, .. }
            | Item::Use { span, .. } => *span,
            Item::Pipe(pipe) => pipe.span,
            Item::Piece(piece) => piece.span,
            Item::Test(test) => test.span,
        }
    }
}

/// `name: type = default`, of a file or of a piece.
#[derive(Debug)]
pub struct Param {
    pub name: Name,
    pub ty: Option<TypeName>,
    pub default: Option<Expr>,
}

/// `pipe name(params) = … | …`: a named piece of pipe that is called like a component.
#[derive(Debug)]
pub struct Piece {
    pub name: Name,
    pub params: Vec<Param>,
    pub body: Pipe,
    pub span: Span,
}

/// `test "…" { … }`.
#[derive(Debug)]
pub struct Test {
    pub name: String,
    pub name_span: Span,
    pub statements: Vec<Statement>,
    pub span: Span,
}

#[derive(Debug)]
pub struct Statement {
    pub kind: StatementKind,
    pub span: Span,
}

#[derive(Debug)]
pub enum StatementKind {
    /// `set param = value`.
    Set {
        name: Name,
        value: Expr,
    },
    /// `feed name with pipe`.
    Feed {
        target: StreamName,
        pipe: Pipe,
    },
    /// `advance 6m`.
    Advance {
        by: Expr,
    },
    /// `fail sink for 30s`.
    Fail {
        sink: Name,
        time: Expr,
    },
    Expect {
        target: StreamName,
        expected: Expected,
    },
}

/// What is expected of a stream or a sink.
#[derive(Debug)]
pub enum Expected {
    /// `count == 3`, or another number of the ledger.
    Counter { name: Name, op: Operator, value: Expr },
    /// `dropped reason == 3`.
    Dropped { reason: Name, op: Operator, value: Expr },
    /// `any { condition, … }`.
    Rows { quantifier: Quantifier, conditions: Vec<Expr> },
    /// `rows [ { … }, … ]`.
    Exactly { rows: Vec<Expr>, in_order: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantifier {
    Any,
    All,
    None,
}

#[derive(Debug)]
pub enum LetValue {
    Pipe(Pipe),
    Constant(Expr),
}

/// `list<T>` or a plain type name.
#[derive(Clone, Debug)]
pub struct TypeName {
    pub text: String,
    pub span: Span,
}

#[derive(Debug)]
pub struct Pipe {
    pub head: Head,
    pub stages: Vec<Stage>,
    pub span: Span,
    /// A syntax error took something out of it: what comes out is not known.
    pub broken: bool,
}

/// `x` or `x.late`.
#[derive(Clone, Debug)]
pub struct StreamName {
    pub name: Name,
    pub output: Option<Name>,
}

impl StreamName {
    pub fn span(&self) -> Span {
        self.output.as_ref().map_or(self.name.span, |o| self.name.span.to(o.span))
    }
}

#[derive(Debug)]
pub enum Head {
    Stream(StreamName),
    Call(Call),
    Merge {
        inputs: Vec<StreamName>,
        span: Span,
    },
    /// `rows [ { … }, … ]`, in a test.
    Rows {
        rows: Vec<Expr>,
        span: Span,
    },
    /// What comes in where a piece is called.
    Input(Span),
    /// Nothing usable; already reported.
    Broken(Span),
}

#[derive(Debug)]
pub enum Stage {
    Where {
        condition: Expr,
        span: Span,
    },
    Set {
        fields: Vec<NamedExpr>,
        span: Span,
    },
    Select {
        fields: Vec<NamedExpr>,
        span: Span,
    },
    Drop {
        names: Vec<Name>,
        span: Span,
    },
    Window {
        args: Vec<Arg>,
        by: Vec<NamedExpr>,
        fields: Vec<NamedExpr>,
        span: Span,
    },
    Route {
        fields: Vec<NamedExpr>,
        span: Span,
    },
    Call(Call),
    /// A mistake of syntax stands here: what comes out is not known.
    Broken(Span),
}

/// `name = expr`, or an expression that names itself.
#[derive(Debug)]
pub struct NamedExpr {
    pub name: Option<Name>,
    pub expr: Expr,
}

#[derive(Debug)]
pub struct Call {
    pub name: Name,
    pub args: Vec<Arg>,
    pub parens: bool,
    pub span: Span,
}

#[derive(Debug)]
pub struct Arg {
    pub name: Option<Name>,
    pub value: Expr,
}

#[derive(Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Operator {
    pub fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual)
    }
}

#[derive(Debug)]
pub enum ExprKind {
    /// A name with its dots, as written.
    Name(String),
    /// `x["key"]`.
    Index {
        base: Box<Expr>,
        key: String,
    },
    Literal(Value),
    List(Vec<Expr>),
    Map(Vec<(Name, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary {
        op: Operator,
        op_span: Span,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Call {
        name: Name,
        args: Vec<Arg>,
    },
    /// Something was wrong here and has been reported.
    Broken,
}

impl Expr {
    /// Comparisons in it, joined by `and`, `or` and `not`, that have the same name on both sides.
    pub fn compared_with_itself(&self) -> Vec<Span> {
        let (mut found, mut todo) = (Vec::new(), vec![self]);
        while let Some(expr) = todo.pop() {
            match &expr.kind {
                ExprKind::Not(inner) => todo.push(inner),
                ExprKind::Binary { op: Operator::And | Operator::Or, left, right, .. } => {
                    todo.extend([left.as_ref(), right.as_ref()])
                }
                ExprKind::Binary { op, left, right, .. } if op.is_comparison() => {
                    if let (ExprKind::Name(a), ExprKind::Name(b)) = (&left.kind, &right.kind)
                        && a == b
                    {
                        found.push(expr.span);
                    }
                }
                _ => {}
            }
        }
        found
    }
}

impl Stage {
    pub fn span(&self) -> Span {
        match self {
            Stage::Where { span, .. }
            | Stage::Set { span, .. }
            | Stage::Select { span, .. }
            | Stage::Drop { span, .. }
            | Stage::Window { span, .. }
            | Stage::Route { span, .. } => *span,
            Stage::Call(call) => call.span,
            Stage::Broken(span) => *span,
        }
    }
}
