//! Typed expressions over the columns of a row. `weir-dsl` makes them, `weir-core` runs them.

use std::cmp::Ordering;

use std::fmt;

use crate::component::Columns;
use crate::function::FunctionSpec;
use crate::types::Type;
use crate::value::Value;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// An expression and its type. Operands of one operation already agree in type: where the language
/// lets an int meet a float, checking has put a [`Node::Cast`] in between.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    pub ty: Type,
    pub node: Node,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    Column(String),
    /// The values of one key in a tag column; as many as the set has.
    Tag {
        column: String,
        key: String,
    },
    Literal(Value),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// Where one side has several values, true if any matches; `NotEqual` is then `not ==`.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// Equality with any of these constants; for addresses also containment in networks.
    In(Box<Expr>, Vec<Value>),
    Call(&'static FunctionSpec, Vec<Expr>),
    /// The inner value as this expression's type: int to float, enumeration to string, several
    /// strings to one joined by commas.
    Cast(Box<Expr>),
}

impl Expr {
    pub fn column(name: impl Into<String>, ty: Type) -> Expr {
        Expr { ty, node: Node::Column(name.into()) }
    }

    pub fn literal(value: Value) -> Expr {
        Expr { ty: value.ty(), node: Node::Literal(value) }
    }

    /// What stands for an expression that is wrong and already reported.
    pub fn unknown() -> Expr {
        Expr { ty: Type::Unknown, node: Node::Literal(Value::None) }
    }

    pub fn cast(self, ty: Type) -> Expr {
        // What is absent is so in any type.
        if self.as_literal() == Some(&Value::None) {
            return Expr { ty, ..self };
        }
        if self.ty == ty { self } else { Expr { ty, node: Node::Cast(Box::new(self)) } }
    }

    pub fn as_literal(&self) -> Option<&Value> {
        match &self.node {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The expressions directly inside.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.node {
            Node::Column(_) | Node::Tag { .. } | Node::Literal(_) => Vec::new(),
            Node::Not(a) | Node::Negate(a) | Node::In(a, _) | Node::Cast(a) => vec![a],
            Node::And(a, b) | Node::Or(a, b) => vec![a, b],
            Node::Compare(_, a, b) | Node::Arithmetic(_, a, b) => vec![a, b],
            Node::Call(_, args) => args.iter().collect(),
        }
    }

    /// The columns it reads.
    pub fn columns(&self) -> Columns {
        let mut columns = match &self.node {
            Node::Column(name) | Node::Tag { column: name, .. } => Columns::of([name.as_str()]),
            _ => Columns::none(),
        };
        for child in self.children() {
            columns.join(child.columns());
        }
        columns
    }

    /// Whether it is the same for every row.
    pub fn is_constant(&self) -> bool {
        match &self.node {
            Node::Column(_) | Node::Tag { .. } => false,
            _ => self.children().iter().all(|child| child.is_constant()),
        }
    }
}

impl Comparison {
    /// Whether it is true of two values in that order.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }

    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

impl Arithmetic {
    pub fn symbol(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
        }
    }
}

/// As the language writes it, fully bracketed where operators nest.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Column(name) => f.write_str(name),
            Node::Tag { column, key } => write!(f, "{column}[{key:?}]"),
            Node::Literal(value) => write!(f, "{value}"),
            Node::Not(a) => write!(f, "not {}", Operand(a)),
            Node::Negate(a) => write!(f, "-{}", Operand(a)),
            Node::And(a, b) => write!(f, "{} and {}", Operand(a), Operand(b)),
            Node::Or(a, b) => write!(f, "{} or {}", Operand(a), Operand(b)),
            Node::Compare(op, a, b) => write!(f, "{} {} {}", Operand(a), op.symbol(), Operand(b)),
            Node::Arithmetic(op, a, b) => {
                write!(f, "{} {} {}", Operand(a), op.symbol(), Operand(b))
            }
            Node::In(a, set) => write!(f, "{} in {}", Operand(a), Value::List(set.clone())),
            Node::Call(function, args) => {
                let args: Vec<_> = args.iter().map(Expr::to_string).collect();
                write!(f, "{}({})", function.name, args.join(", "))
            }
            Node::Cast(a) => write!(f, "{a}"),
        }
    }
}

/// An operand, in brackets if it has an operator of its own.
struct Operand<'a>(&'a Expr);

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.node {
            Node::Cast(inner) => write!(f, "{}", Operand(inner)),
            Node::Column(_) | Node::Tag { .. } | Node::Literal(_) | Node::Call(..) => {
                write!(f, "{}", self.0)
            }
            _ => write!(f, "({})", self.0),
        }
    }
}
