//! Expressions as trees whose every part knows where it stands, as upstream's
//! messages point there: a name by its first letter, an operator by itself, a
//! selection by its point, a call by its bracket.
//!
//! Only what the library has read without complaint comes here.

use super::{
    kind::Kind,
    read::{self, Token},
};

/// A part of an expression.
#[derive(Debug)]
pub struct Node {
    /// The character that stands for it.
    pub at: usize,
    /// What it is.
    pub what: What,
}

/// What a part of an expression is.
#[derive(Debug)]
pub enum What {
    /// A value.
    Literal(Kind),
    /// A name.
    Name(String),
    /// A field, `a.b`, or `a.?b`.
    Field { of: Box<Node>, name: String, optional: bool },
    /// A function or operator, with what it is called on.
    Call { on: Option<Box<Node>>, name: String, of: Vec<Node> },
    /// `[a, b]`
    List(Vec<Node>),
    /// `{a: b}`
    Map(Vec<(Node, Node)>),
    /// `T{a: b}`
    Made { kind: String, fields: Vec<(String, Node)> },
}

/// Reads an expression.
pub fn parse(text: &str) -> Option<Node> {
    let mut reader = Reader { tokens: read::tokens(text)?, next: 0 };
    let node = reader.condition()?;
    reader.peek().is_none().then_some(node)
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    next: usize,
}

// The operators of two sides by how loosely they bind.
const LEVELS: &[&[&str]] =
    &[&["||"], &["&&"], &["==", "!=", "<", "<=", ">", ">=", "in"], &["+", "-"], &["*", "/", "%"]];

fn operator(at: usize, name: &str, of: Vec<Node>) -> Node {
    Node { at, what: What::Call { on: None, name: name.to_owned(), of } }
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(0, |(at, _)| *at)
    }

    fn sees(&self, sign: &str) -> bool {
        match self.peek() {
            Some(Token::Sign(it)) => *it == sign,
            // An operator by name.
            Some(Token::Name(name)) => sign == "in" && name == "in",
            _ => false,
        }
    }

    // Goes past a sign; where it stood.
    fn past(&mut self, sign: &str) -> Option<usize> {
        let at = self.place();
        self.sees(sign).then(|| {
            self.next += 1;
            at
        })
    }

    fn name(&mut self) -> Option<String> {
        let Some(Token::Name(name)) = self.peek() else { return None };
        let name = name.clone();
        self.next += 1;
        Some(name)
    }

    fn condition(&mut self) -> Option<Node> {
        let first = self.level(LEVELS)?;
        let Some(at) = self.past("?") else { return Some(first) };
        let yes = self.level(LEVELS)?;
        self.past(":")?;
        let no = self.condition()?;
        Some(operator(at, "_?_:_", vec![first, yes, no]))
    }

    fn level(&mut self, levels: &[&[&str]]) -> Option<Node> {
        let Some((signs, tighter)) = levels.split_first() else { return self.unary() };
        let mut left = self.level(tighter)?;
        while let Some(sign) = signs.iter().find(|sign| self.sees(sign)) {
            let at = self.past(sign)?;
            let right = self.level(tighter)?;
            let name = if *sign == "in" { "@in".to_owned() } else { format!("_{sign}_") };
            left = operator(at, &name, vec![left, right]);
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Node> {
        for sign in ["!", "-"] {
            let at = self.place();
            let mut count = 0;
            while self.past(sign).is_some() {
                count += 1;
            }
            if count == 0 {
                continue;
            }
            let number = matches!(self.peek(), Some(Token::Whole(_) | Token::Real));
            let node = self.member()?;
            // A sign before a number is part of it; two cancel out.
            let is_literal = number && sign == "-" && matches!(node.what, What::Literal(_));
            return Some(if is_literal || count % 2 == 0 {
                node
            } else {
                operator(at, &format!("{sign}_"), vec![node])
            });
        }
        self.member()
    }

    fn member(&mut self) -> Option<Node> {
        let mut node = self.primary()?;
        loop {
            if let Some(at) = self.past(".") {
                let optional = self.past("?").is_some();
                let name = self.name()?;
                node = match self.past("(") {
                    Some(at) => {
                        let of = self.arguments(")")?;
                        Node { at, what: What::Call { on: Some(Box::new(node)), name, of } }
                    }
                    None => Node { at, what: What::Field { of: Box::new(node), name, optional } },
                };
            } else if let Some(at) = self.past("[") {
                let optional = self.past("?").is_some();
                let key = self.condition()?;
                self.past("]")?;
                node = operator(at, if optional { "_[?_]" } else { "_[_]" }, vec![node, key]);
            } else if self.sees("{") {
                let kind = dotted(&node)?;
                node = self.made(kind)?;
            } else {
                return Some(node);
            }
        }
    }

    fn primary(&mut self) -> Option<Node> {
        let at = self.place();
        self.past(".");
        let token = self.peek()?.clone();
        match token {
            Token::Sign("(") => {
                self.past("(")?;
                let node = self.condition()?;
                self.past(")")?;
                return Some(node);
            }
            Token::Sign("[") => {
                self.past("[")?;
                return Some(Node { at, what: What::List(self.arguments("]")?) });
            }
            Token::Sign("{") => return self.map(at),
            Token::Sign(_) => return None,
            _ => self.next += 1,
        }
        let what = match token {
            Token::Name(name) => match name.as_str() {
                "true" | "false" => What::Literal(Kind::Bool),
                "null" => What::Literal(Kind::Null),
                _ => match self.past("(") {
                    Some(at) => {
                        let of = self.arguments(")")?;
                        return Some(Node { at, what: What::Call { on: None, name, of } });
                    }
                    None => What::Name(name),
                },
            },
            Token::Text(bytes) => What::Literal(if bytes { Kind::Bytes } else { Kind::String }),
            Token::Whole(unsigned) => What::Literal(if unsigned { Kind::Uint } else { Kind::Int }),
            Token::Real => What::Literal(Kind::Double),
            Token::Sign(_) => return None,
        };
        Some(Node { at, what })
    }

    fn arguments(&mut self, end: &str) -> Option<Vec<Node>> {
        let mut of = Vec::new();
        while self.past(end).is_none() {
            self.past("?");
            of.push(self.condition()?);
            if self.past(",").is_none() && !self.sees(end) {
                return None;
            }
        }
        Some(of)
    }

    fn map(&mut self, at: usize) -> Option<Node> {
        self.past("{")?;
        let mut entries = Vec::new();
        while self.past("}").is_none() {
            self.past("?");
            let key = self.condition()?;
            self.past(":")?;
            entries.push((key, self.condition()?));
            if self.past(",").is_none() && !self.sees("}") {
                return None;
            }
        }
        Some(Node { at, what: What::Map(entries) })
    }

    fn made(&mut self, kind: String) -> Option<Node> {
        let at = self.past("{")?;
        let mut fields = Vec::new();
        while self.past("}").is_none() {
            self.past("?");
            let name = self.name()?;
            self.past(":")?;
            fields.push((name, self.condition()?));
            if self.past(",").is_none() && !self.sees("}") {
                return None;
            }
        }
        Some(Node { at, what: What::Made { kind, fields } })
    }
}

/// The name that a chain of names makes: `a.b.c`.
pub fn dotted(node: &Node) -> Option<String> {
    match &node.what {
        What::Name(name) => Some(name.clone()),
        What::Field { of, name, optional: false } => Some(format!("{}.{name}", dotted(of)?)),
        _ => None,
    }
}
