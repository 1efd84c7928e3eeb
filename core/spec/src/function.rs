//! Scalar functions: each declared once, with its typing and its words.

mod table;
mod typing;

use crate::expr::Expr;
use crate::types::Type;
pub use table::ALL;
pub use typing::pattern_error;

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

pub fn find(name: &str) -> Option<&'static FunctionSpec> {
    ALL.iter().find(|f| f.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for f in ALL {
            assert_eq!(find(f.name).map(|found| found.function), Some(f.function));
            assert!(f.signature.starts_with(f.name));
        }
    }
}
