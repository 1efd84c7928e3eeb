//! The syntax tree. Every node has its span; comments and blank lines live between the tokens.

use weir_spec::{Span, Value};

#[derive(Debug, Default)]
pub struct File {
    pub items: Vec<Item>,
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
    },
    Param {
        name: Name,
        ty: Option<TypeName>,
        default: Option<Expr>,
    },
    Settings {
        args: Vec<Arg>,
        span: Span,
    },
    Pipe(Pipe),
    /// `test`, `use`, `pipe`: read over for now, with their names.
    Other {
        word: String,
        span: Span,
    },
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
    /// Nothing usable; already reported.
    Broken(Span),
}

#[derive(Debug)]
pub enum Stage {
    Where { condition: Expr, span: Span },
    Set { fields: Vec<NamedExpr>, span: Span },
    Select { fields: Vec<NamedExpr>, span: Span },
    Drop { names: Vec<Name>, span: Span },
    Window { args: Vec<Arg>, by: Vec<NamedExpr>, fields: Vec<NamedExpr>, span: Span },
    Route { fields: Vec<NamedExpr>, span: Span },
    Call(Call),
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
        }
    }
}
