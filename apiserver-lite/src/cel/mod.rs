//! Expressions in CEL as objects of the API hold them: what is found wrong before
//! one ever runs.
//!
//! [`Scope::compile`] is the way in. Its texts are upstream's compiler's. Syntax is read twice: by
//! the library that evaluates, whose complaints are upstream's, and then by [`parse`], which keeps where
//! everything stands. [`check`] finds names that nobody declared, fields that are not there and operands
//! that do not go together. Where it cannot tell a type it says nothing: what is let through is found out
//! when it runs.

mod check;
mod kind;
mod parse;
mod read;
mod scope;

use coracle_api::{FieldError, FieldPath};

pub use self::{kind::Kind, scope::Scope};

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is wrong, and this is what upstream says.
    Wrong(String),
    /// This server cannot take it.
    Unfit(String),
}

impl Fault {
    /// The error of the field that holds the expression.
    pub fn at(&self, path: &FieldPath, expression: &str) -> FieldError {
        match self {
            Self::Wrong(detail) => FieldError::invalid(path, expression, detail.as_str()),
            Self::Unfit(detail) => FieldError::forbidden(path, detail.as_str()),
        }
    }
}

/// What is wrong with an expression that selects devices.
///
/// # Errors
/// The fault.
pub fn of_devices(expression: &str) -> Result<(), Fault> {
    let kind = Scope::of_devices().compile(expression)?;
    if kind.is(&Kind::Bool) || kind == Kind::Dyn {
        return Ok(());
    }
    Err(Fault::Wrong(format!("must evaluate to bool or the unknown type, not {kind}")))
}

#[cfg(test)]
mod tests;
